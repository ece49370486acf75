# shellcheck shell=bash
# What can be checked of the external tree without a Buildroot. Sourced by buildroot/check.

check_alone() {
    check_run_bits
    check_shell
    check_sandbox
    check_kernel
    check_agreement
    check_paths
    check_layout
    check_options
}

# Buildroot runs the scripts; one without its run bit ends a build of an hour with 126.
check_run_bits() {
    local file first
    step "run bits"
    while read -r file; do
        first=$(head -c 2 "$file" | tr -d '\0')
        if [[ $first == '#!' ]]; then
            [[ -x $file ]] || fail "$file is a program and cannot be run"
        else
            [[ ! -x $file ]] || fail "$file is no program and can be run"
        fi
    done < <(own_files)
}

# own_files: the tree's own files, without what is made in it.
own_files() {
    find "$HERE" -type f ! -path "$HERE/dist/*" ! -path "$HERE/output/*" ! -path "$HERE/board/vrouter/patches/vrouter/*" | sort
}

check_shell() {
    local scripts
    step "shellcheck"
    mapfile -t scripts < <(own_files | xargs grep -lE '^#(!.*(bash|/sh)| shellcheck shell=bash)$')
    (cd "$TOP" && shellcheck --external-sources --source-path=. --exclude=SC2034 "${scripts[@]}") || fail "shellcheck found faults"
}

# What is said twice, in Cargo.toml and here, is the same.
check_agreement() {
    local named wanted
    step "versions and hashes"
    named=$(sed -n 's/^VROUTER_VERSION = //p' "$HERE/package/vrouter/vrouter.mk")
    wanted=$(sed -n 's/^version = "\(.*\)"/\1/p' "$TOP/Cargo.toml" | head -n 1)
    [[ $named == "$wanted" ]] || fail "package/vrouter/vrouter.mk is for $named, and Cargo.toml says $wanted"
    wanted=$(wanted_rust)
    [[ $(printf '%s\n' "$wanted" "$RELEASE_RUST" | sort -V | tail -n 1) == "$RELEASE_RUST" ]] ||
        fail "Buildroot $RELEASE carries Rust $RELEASE_RUST, and Cargo.toml asks for $wanted"
    named=$(sed -n 's/^sha256  \([0-9a-f]*\)  LICENSE$/\1/p' "$HERE/package/vrouter/vrouter.hash")
    wanted=$(sha256sum "$TOP/LICENSE" | cut -d ' ' -f 1)
    [[ $named == "$wanted" ]] || fail "package/vrouter/vrouter.hash has another hash of LICENSE than $wanted"
    named=$(sed -n 's/^BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="\(.*\)"/\1/p' "$DEFCONFIG")
    grep -qxE "sha256  [0-9a-f]{64}  linux-${named//./\\.}\.tar\.xz" "$HERE/board/vrouter/patches/linux/linux.hash" ||
        fail "board/vrouter/patches/linux/linux.hash has no hash of linux-$named.tar.xz"
    [[ ${named%.*} == "${OWN_KERNEL_SOURCE#linux-source-}" ]] ||
        fail "the defconfig builds Linux $named, and image/kernel/config is for $OWN_KERNEL_SOURCE"
}

# Whatever the configuration names in this repository is there: the kernel's configuration, the scripts.
check_paths() {
    local path
    step "paths of the configuration"
    while read -r path; do
        [[ -e $HERE/$path ]] || fail "the defconfig names $path, which is not there"
    done < <(grep -oE '\$\(BR2_EXTERNAL_VROUTER_PATH\)/[^" ]*' "$DEFCONFIG" | sed 's|^[^/]*/||')
}

# The disk's layout is taken by genimage, and the partitions are those that the initramfs's program looks for.
check_layout() {
    local names
    step "genimage"
    mkdir -p "$WORK/input" "$WORK/root" "$WORK/disk"
    truncate -s 64M "$WORK/input/esp.vfat" "$WORK/input/data.ext4"
    truncate -s 1M "$WORK/input/slot"
    genimage --config "$IMAGE_DIR/genimage.cfg" --rootpath "$WORK/root" --tmppath "$WORK/tmp" --inputpath "$WORK/input" \
        --outputpath "$WORK/disk" >"$OUT/genimage.log" 2>&1 || fail "genimage refuses image/genimage.cfg; why is in $OUT/genimage.log"
    names=$(partx --raw --noheadings --output NAME "$WORK/disk/disk.raw" | tr '\n' ' ')
    [[ $names == 'esp root-a root-b data ' ]] || fail "the partitions are $names"
    rm -rf "$WORK/disk"
}

# The options of the package: understood by kconfig, and nothing of Buildroot is used that the committed list does not name.
check_options() {
    step "Config.in"
    BR2_EXTERNAL_VROUTER_PATH=$HERE "$(python kconfiglib==14.1.0)/python3" "$HERE/lib/options.py" "$HERE/Config.in" >"$WORK/options" ||
        fail "Config.in has faults"
    diff "$HERE/lib/options.used" "$WORK/options" >&2 ||
        fail "Config.in uses other options of Buildroot than buildroot/lib/options.used says"
}
