# shellcheck shell=bash
# Debian packages as a source of files: downloaded and unpacked without root, never installed. Sourced by image/build.

# download_packages: fetches what `packages` names into $OUT/packages, and Debian's kernel where the image has that; once,
# until `--update`.
download_packages() {
    local folder=$OUT/packages wanted key codename
    wanted=$(entries "$IMAGE_DIR/packages")
    key=$(printf '%s\n' "$wanted" | sha256sum)
    if [[ -n ${UPDATE:-} || ! -e $folder/complete || $(<"$folder/complete") != "$key" ]]; then
        # shellcheck source=/dev/null
        codename=$(source /etc/os-release && echo "${VERSION_CODENAME:-without a name}")
        [[ $codename == bookworm ]] ||
            fail "the image is made of packages of Debian 12 (bookworm), and this system is $codename; build it in a container of Debian 12"
        fresh_lists
        step "downloading $(wc -w <<<"$wanted") Debian packages"
        rm -rf "$folder" && mkdir -p "$folder"
        # shellcheck disable=SC2086  # a list of names
        download $wanted
        printf '%s\n' "$key" >"$folder/complete"
    fi
    # shellcheck disable=SC2153  # image/build sets it
    [[ $KERNEL == own ]] || download_kernel
}

# download_kernel: Debian's kernel for clouds, unless one is there.
download_kernel() {
    local kernel
    ! compgen -G "$OUT/packages/linux-image-*.deb" >/dev/null || return 0
    fresh_lists
    # The meta package names the newest kernel.
    kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[^ ]*-cloud-amd64\)$/\1/p' | head -n 1)
    [[ -n $kernel ]] ||
        fail "apt knows no linux-image-cloud-amd64; run apt-get update with Debian bookworm among the sources"
    step "downloading $kernel"
    download "$kernel"
}

# download PACKAGE...: into $OUT/packages.
download() {
    (cd "$OUT/packages" && apt-get download -qq -o APT::Sandbox::User=root "$@") >"$OUT/apt.log" 2>&1 ||
        fail "apt-get could not download the packages; its words are in $OUT/apt.log"
}

# unpack_packages: all packages in one tree, $OUT/debian, of which the image takes single files.
unpack_packages() {
    local tree=$OUT/debian key package folder
    key=$(cd "$OUT/packages" && sha256sum ./*.deb)
    if [[ -e $tree.key && $(<"$tree.key") == "$key" ]]; then
        return 0
    fi
    step "unpacking the packages"
    rm -rf "$tree" "$tree.key" && mkdir -p "$tree/usr"
    # Debian's packages still name /bin and /lib; in one tree they are links.
    for folder in bin sbin lib lib64; do
        mkdir "$tree/usr/$folder" && ln -s "usr/$folder" "$tree/$folder"
    done
    for package in "$OUT"/packages/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --no-same-owner -C "$tree" ||
            fail "$package cannot be unpacked; remove it and build again"
    done
    printf '%s\n' "$key" >"$tree.key"
}

# The version of Debian's kernel, which was unpacked.
kernel_version() {
    basename "$OUT"/debian/boot/vmlinuz-* | sed 's/^vmlinuz-//'
}
