# shellcheck shell=bash
# The read-only root: single files of Debian packages, what they link, our own files. Sourced by image/build.

# Any erofs of ours; fixed so that two builds agree.
ROOT_UUID=7e1f0f3a-6f0e-4c55-9a0b-76726f757465

# from_debian TREE PATH: copies one file; a link is followed.
from_debian() {
    [[ -e $OUT/debian/$2 ]] || fail "no package of image/packages holds $2"
    # An absolute link would lead out of the tree, to a file of the machine that builds.
    [[ $(realpath "$OUT/debian/$2") == "$(realpath "$OUT/debian")"/* ]] || fail "$2 is a link that leads out of its package"
    install -D -m "$(file_mode "$OUT/debian/$2")" "$OUT/debian/$2" "$1/$2"
}

# Runnable or not; other bits of a mode, setuid before all, stay behind.
file_mode() {
    if [[ -x $1 ]]; then echo 0755; else echo 0644; fi
}

# add_libraries TREE: what the ELF files of a tree link, until nothing is missing.
add_libraries() {
    local tree=$1 library found again=yes
    while [[ -n $again ]]; do
        again=
        for library in $(needed_libraries "$tree"); do
            [[ -z $(find "$tree/usr/lib" -name "$library" -print -quit) ]] || continue
            found=$(cd "$OUT/debian" && find usr/lib usr/lib64 -name "$library" | sort | head -n 1)
            [[ -n $found ]] || fail "something links $library, and no package of image/packages holds it"
            from_debian "$tree" "$found"
            again=yes
        done
    done
}

# The sonames that the ELF files of a tree ask for. readelf says of every other file that it is none.
needed_libraries() {
    find "$1" -type f \( -perm -u+x -o -name '*.so*' \) ! -name '*.ko' -print0 | xargs -0 readelf -d 2>/dev/null |
        sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u
}

# add_loader TREE PATH: the loader, from wherever the packages keep it, so that PATH leads there.
add_loader() {
    local found
    found=$(cd "$OUT/debian" && find usr -name "${2##*/}" -type f | sort | head -n 1)
    [[ -n $found ]] || fail "no package of image/packages holds ${2##*/}"
    from_debian "$1" "$found"
    [[ -e $1/$2 ]] || { mkdir -p "$(dirname "$1/$2")" && ln -s "$(realpath --relative-to="$(dirname "$1/$2")" "$1/$found")" "$1/$2"; }
}

# add_list TREE LIST: the entries of a root list.
add_list() {
    local tree=$1 kind path other
    while read -r kind path other; do
        case $kind in
            file) from_debian "$tree" "$path" ;;
            link) mkdir -p "$(dirname "$tree/$path")" && ln -s "$other" "$tree/$path" ;;
            dir) mkdir -p "$tree/$path" ;;
            loader) add_loader "$tree" "$path" ;;
            own) install -D -m "$(file_mode "$TOP/$other")" "$TOP/$other" "$tree/$path" ;;
            *) fail "$2: '$kind' is neither file, link, dir, loader nor own" ;;
        esac
    done < <(entries "$2")
}

# add_modules TREE: the modules of the router with their index, and the list by which they are loaded.
add_modules() {
    local tree=$1 version modules file
    version=$(kernel_version)
    modules=usr/lib/modules/$version
    for file in $(module_files "$IMAGE_DIR/modules.early") $(module_files "$IMAGE_DIR/modules.router"); do
        install -D -m 0644 "$OUT/debian/$modules/$file" "$tree/$modules/$file"
    done
    cp "$OUT/debian/$modules"/modules.{order,builtin,builtin.modinfo} "$tree/$modules/"
    depmod -b "$tree" "$version"
    # Only the binary indices are read by what the image holds.
    find "$tree/$modules" -maxdepth 1 -type f ! -name '*.bin' -delete
    mkdir -p "$tree/usr/lib/modules-load.d"
    entries "$IMAGE_DIR/modules.router" >"$tree/usr/lib/modules-load.d/vrouter.conf"
}

# add_names TREE: what the system is called.
add_names() {
    local version
    version=$(version)
    printf '%s\n' 'NAME=vrouter' 'ID=vrouter' 'ID_LIKE=debian' "VERSION_ID=$version" "PRETTY_NAME=\"vrouter $version\"" \
        >"$1/usr/lib/os-release"
    ln -s ../usr/lib/os-release "$1/etc/os-release"
}

# build_root NAME LIST...: $OUT/NAME.erofs from root lists, their overlays and the router's binaries.
build_root() {
    local name=$1 tree=$OUT/$1.tree list
    shift
    step "putting the root together"
    rm -rf "$tree" && mkdir -p "$tree"
    for list in "$@"; do
        add_list "$tree" "$list"
    done
    cp -rP --no-preserve=ownership "$IMAGE_DIR/overlay/." "$tree/"
    install -m 0755 "$BINARIES/vrouterd" "$BINARIES/vrctl" "$tree/usr/bin/"
    install -D -m 0644 "$UPDATE_KEY" "$tree/usr/share/vrouter/update.pub"
    add_names "$tree"
    add_libraries "$tree"
    [[ $KERNEL == own ]] || add_modules "$tree"
    # Modes do not depend on the umask of whoever builds.
    find "$tree" -type d -exec chmod 0755 {} + -o -type f -perm -u+x -exec chmod 0755 {} + -o -type f -exec chmod 0644 {} +
    step "packing the root"
    # Not compressed: a machine reads pages as they lie there, and zstd packs the whole for a download far better than it
    # packs what LZ4 has packed before, the only algorithm that these kernels' erofs knows.
    mkfs.erofs -T"$SOURCE_DATE_EPOCH" -U"$ROOT_UUID" -x-1 --all-root "$OUT/$name.erofs.new" "$tree" \
        >"$OUT/mkfs.log" 2>&1 || fail "mkfs.erofs failed; its words are in $OUT/mkfs.log"
    mv "$OUT/$name.erofs.new" "$OUT/$name.erofs"
}
