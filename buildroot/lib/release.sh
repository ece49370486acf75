# shellcheck shell=bash
# What a release of Buildroot itself says of the external tree. Sourced by buildroot/check.

check_by_release() {
    [[ -e $BUILDROOT_DIR/support/scripts/check-dotconfig.py ]] || fail "BUILDROOT_DIR does not name an unpacked release of Buildroot"
    step "Buildroot $(release_version)"
    [[ $(release_version) == "$RELEASE"* ]] || skip "the promised release: this is $(release_version), and not $RELEASE"
    check_release_rust
    check_defconfig
    check_packages
    check_prebuilt
    check_kernel_as_it_is
    check_order
    check_style
}

# buildroot ARGUMENT...: its make, on a folder that goes with this check. It writes nothing into its own.
buildroot() {
    make -s -C "$BUILDROOT_DIR" BR2_EXTERNAL="$HERE" O="$WORK/output" BR2_DL_DIR="$WORK/downloads" "$@" 2>"$OUT/buildroot.log" ||
        fail "Buildroot refuses: $(tail -n 5 "$OUT/buildroot.log")"
}

release_version() {
    sed -n 's/^export BR2_VERSION := //p' "$BUILDROOT_DIR/Makefile"
}

check_release_rust() {
    local rust
    rust=$(sed -n 's/^RUST_BIN_VERSION = //p' "$BUILDROOT_DIR/package/rust-bin/rust-bin.mk")
    [[ $(printf '%s\n' "$(wanted_rust)" "$rust" | sort -V | head -n 1) == "$(wanted_rust)" ]] ||
        fail "this Buildroot carries Rust $rust, and Cargo.toml asks for $(wanted_rust)"
}

# Not a line of the configuration is dropped, and it is in the form in which Buildroot would save it.
check_defconfig() {
    step "the defconfig, read and saved"
    buildroot "$(basename "$DEFCONFIG")" >/dev/null
    "$BUILDROOT_DIR/support/scripts/check-dotconfig.py" "$WORK/output/.config" "$DEFCONFIG" >&2 || fail "lines of the defconfig are dropped"
    buildroot savedefconfig DEFCONFIG="$WORK/saved" >/dev/null
    diff "$DEFCONFIG" "$WORK/saved" >&2 || fail "the defconfig is not in the form in which Buildroot saves it"
}

# The target's packages are those that are expected, and each option that Config.in uses exists.
check_packages() {
    local option
    step "the packages of the target"
    packages target | diff "$HERE/lib/packages" - >&2 || fail "the target has other packages than buildroot/lib/packages says"
    while read -r option; do
        grep -rqE "^(menu)?config $option\$" "$BUILDROOT_DIR" --include='Config*.in*' || fail "Buildroot has no option $option"
    done <"$HERE/lib/options.used"
}

# packages TYPE: by name, what is built for the target or for the host, by the configuration as it is.
packages() {
    buildroot show-info >"$WORK/info"
    python3 "$HERE/lib/info.py" "$1" <"$WORK/info" || fail "Buildroot's show-info cannot be read"
}

# With given programs, neither Rust nor clang is built, and the target is the same.
check_prebuilt() {
    local found
    step "given programs"
    {
        cat "$DEFCONFIG"
        printf '%s\n' BR2_PACKAGE_VROUTER_PREBUILT=y "BR2_PACKAGE_VROUTER_PREBUILT_DIR=\"$WORK\""
    } >"$WORK/prebuilt"
    buildroot defconfig DEFCONFIG="$WORK/prebuilt" >/dev/null
    packages target | diff "$HERE/lib/packages" - >&2 || fail "given programs change the packages of the target"
    found=$(packages host | sed -nE '/^host-(rust|clang|llvm)/p' | tr '\n' ' ')
    [[ -z $found ]] || fail "given programs still need $found"
    buildroot "$(basename "$DEFCONFIG")" >/dev/null
}

# Buildroot changes nothing of the kernel's configuration.
check_kernel_as_it_is() {
    local fixups
    step "the kernel's configuration, as it is"
    buildroot printvars VARS=LINUX_KCONFIG_FIXUP_CMDS >"$WORK/fixups"
    fixups=$(tr -d '[:space:]' <"$WORK/fixups")
    [[ $fixups == LINUX_KCONFIG_FIXUP_CMDS= ]] || fail "Buildroot would change image/kernel/config"
}

# No package waits for itself.
check_order() {
    step "the order of the build"
    buildroot show-build-order >"$WORK/order"
    tr ' ' '\n' <"$WORK/order" | grep -qx vrouter || fail "vrouter is not among what is built"
}

check_style() {
    local files
    step "check-package"
    mapfile -t files < <(own_files)
    PATH=$(python python-magic==0.4.27 flake8==7.3.0):$PATH "$BUILDROOT_DIR/utils/check-package" -b "${files[@]}" >"$OUT/check.log" 2>&1 ||
        fail "check-package found faults: $(<"$OUT/check.log")"
    tail -n 2 "$OUT/check.log" >&2
}
