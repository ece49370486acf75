# shellcheck shell=bash
# The modules of Debian's kernel, and the initramfs. Sourced by image/build.

# module_files LIST: the files of the listed modules and of all that they need, in the order in which they load.
module_files() {
    local names
    names=$(entries "$1" | tr '\n' ' ')
    # modules.dep names what a module needs in reverse order of loading. A module's name has _ where its file has -.
    awk -v names="$names" '
        function place(path,    needs, count, i) {
            if (path in placed) return
            placed[path] = 1
            count = split(dependencies[path], needs, " ")
            for (i = count; i > 0; i--) place(needs[i])
            print path
        }
        {
            path = $1; sub(/:$/, "", path)
            name = path; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name)
            paths[name] = path
            $1 = ""; dependencies[path] = $0
        }
        END {
            count = split(names, wanted, " ")
            for (i = 1; i <= count; i++) {
                if (!(wanted[i] in paths)) { print "no module " wanted[i] >"/dev/stderr"; exit 1 }
                place(paths[wanted[i]])
            }
        }' "$OUT/debian/lib/modules/$(kernel_version)/modules.dep" || fail "$1 names a module that this kernel has not"
}

# index_modules: what the kernel's package leaves to its installation.
index_modules() {
    [[ -e $OUT/debian/lib/modules/$(kernel_version)/modules.dep ]] || depmod -b "$OUT/debian" "$(kernel_version)"
}

# early_modules TREE: what the initramfs's program loads, and the list of it.
early_modules() {
    local tree=$1 modules list file
    modules=$OUT/debian/lib/modules/$(kernel_version)
    list=$(module_files "$IMAGE_DIR/modules.early")
    mkdir "$tree/lib"
    for file in $list; do
        install -m 0644 "$modules/$file" "$tree/lib/"
        printf '/lib/%s\n' "${file##*/}"
    done >"$tree/modules"
}

# build_initramfs: $OUT/initrd, with the first program and the modules that it loads, if the kernel has any.
build_initramfs() {
    local tree=$OUT/initramfs
    step "packing the initramfs"
    rm -rf "$tree" && mkdir -p "$tree"/{dev,proc,sys,root}
    install -m 0755 "$INIT" "$tree/init"
    [[ $KERNEL == own ]] || early_modules "$tree"
    # Modes do not depend on the umask of whoever builds.
    chmod -R u=rwX,go=rX "$tree"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && find . | sort | cpio --quiet --reproducible -R 0:0 -H newc -o) | zstd -q -19 -T1 >"$OUT/initrd.new"
    mv "$OUT/initrd.new" "$OUT/initrd"
}
