# shellcheck shell=bash
# The router's programs, from source. Sourced by image/build.

# The least Rust that Cargo.toml asks for.
wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$TOP/Cargo.toml"
}

need_rust() {
    local wanted found
    wanted=$(wanted_rust)
    # A fresh rustup is not in the path of a shell that was there before it.
    PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null ||
        fail "there is no cargo; install Rust $wanted or later: curl https://sh.rustup.rs -sSf | sh -s -- -y --profile minimal"
    found=$(rustc --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] ||
        fail "Rust $found is older than the $wanted that vrouter needs; update it: rustup update stable"
}

# Builds vrouterd and vrctl into target/release. Cargo shows its own progress.
build_router() {
    step "building vrouterd and vrctl (the first time takes several minutes)"
    (cd "$TOP" && CARGO_TARGET_DIR=$TOP/target cargo build --release --locked --bin vrouterd --bin vrctl) ||
        fail "cargo could not build the router; its words are above"
}

# Builds the initramfs's program, linked statically: the initramfs holds no library.
build_init() {
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    step "building the initramfs's program"
    # Its size is memory that a small machine has to have while it starts.
    (cd "$TOP" && CARGO_TARGET_DIR=$TOP/target RUSTFLAGS='-C target-feature=+crt-static' \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=s CARGO_PROFILE_RELEASE_PANIC=abort \
        cargo build --release --locked --no-default-features --features init --bin vrouter-init --target "$target") ||
        fail "cargo could not build the initramfs's program; its words are above"
    INIT=$TOP/target/$target/release/vrouter-init
}
