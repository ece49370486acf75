# shellcheck shell=bash
# What the image is made of: an SPDX bill of materials and the licences of all of it. Sourced by image/build.

BOM=vrouter.spdx.json
LICENCES=licences.tar.zst

# build_bom: $OUT/vrouter.spdx.json (SPDX 2.3) and $OUT/licences.tar.zst, for the root, the kernel and the initramfs.
build_bom() {
    step "writing the bill of materials"
    (cd "$TOP" && cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu) >"$OUT/metadata.json" ||
        fail "cargo cannot name what the router links"
    linked_crates <"$OUT/metadata.json" >"$OUT/crates.json"
    {
        packages_of_root
        kernel_material
    } | jq --null-input --raw-input --slurpfile crates "$OUT/crates.json" --slurpfile metadata "$OUT/metadata.json" \
        --arg created "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
        --arg content "$(cat "$OUT/vmlinuz" "$OUT/initrd" "$OUT/root.erofs" | sha256sum | cut -d ' ' -f 1)" \
        --from-file "$IMAGE_DIR/lib/bom.jq" >"$OUT/$BOM.new"
    mv "$OUT/$BOM.new" "$OUT/$BOM"
    pack_licences
}

# The crates that vrouterd, vrctl and the first program link: names, versions, sources and licences, as JSON.
linked_crates() {
    jq '(.packages | map({key: .id, value: .}) | from_entries) as $packages
        | ([.packages[] | select(any(.targets[]; .kind == ["proc-macro"])) | {key: .id, value: true}] | from_entries) as $macros
        | (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg | select($macros[.] | not)]}) | from_entries) as $links
        | def reach: . as $seen | ([$seen[] | $links[.][]] + $seen | unique) as $more | if ($more | length) == ($seen | length) then $seen else $more | reach end;
        .resolve.root as $root
        | [[$root] | reach | .[] | select(. != $root) | $packages[.] | {name, version, license, authors, manifest_path}] | sort_by(.name, .version)'
}

# The Debian packages of which the root holds a file: "deb NAME VERSION SOURCE SHA256", a line each.
packages_of_root() {
    local package
    for package in "$OUT"/packages/*.deb; do
        ! in_root "$package" || material "$package"
    done
}

# material PACKAGE: its line.
material() {
    # shellcheck disable=SC2016  # for dpkg-deb
    printf 'deb %s %s\n' "$(dpkg-deb --show --showformat='${Package} ${Version} ${source:Package}' "$1")" \
        "$(sha256sum "$1" | cut -d ' ' -f 1)"
}

# in_root PACKAGE: whether the root has a file of it. Debian's packages still name /bin and /lib.
in_root() {
    dpkg-deb --fsys-tarfile "$1" | tar -t | sed -n -e 's|^\./||' -e 's|^\(s\?bin\|lib\|lib64\)/|usr/\1/|' -e 's|.*[^/]$|&|p' |
        grep -v '^usr/share/doc/' | (cd "$OUT/root.tree" && { xargs -d '\n' ls -d 2>/dev/null || true; }) | grep -c . >/dev/null
}

# pack_licences: the copyright file of each Debian package, and what each crate says of its licence. Some crates name
# theirs in their manifest alone.
pack_licences() {
    local tree=$OUT/licences name declared folder
    rm -rf "$tree" && mkdir -p "$tree"/{debian,crates}
    install -m 0644 "$TOP/LICENSE" "$tree/vrouter"
    while read -r name; do
        copyright "$name" >"$tree/debian/$name" || fail "$name comes without its copyright file"
    done < <(jq -r '.packages[] | select(.SPDXID | startswith("SPDXRef-deb-")) | .name' "$OUT/$BOM")
    # Most of Debian's copyright files name a text of this folder instead of repeating it.
    [[ ! -d /usr/share/common-licenses ]] || cp -rL /usr/share/common-licenses "$tree/common-licenses"
    while IFS=$'\t' read -r name declared folder; do
        mkdir "$tree/crates/$name"
        printf '%s\n' "$declared" >"$tree/crates/$name/declared"
        find "$folder" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'unlicense*' -o -iname 'notice*' \) \
            -exec install -m 0644 -t "$tree/crates/$name" {} +
    done < <(jq -r '.[] | [
        "\(.name)-\(.version)", "\(.license), by \(.authors | if . == [] then "whom its repository names" else join(", ") end)", (.manifest_path | rtrimstr("/Cargo.toml"))
    ] | join("\t")' "$OUT/crates.json")
    # Modes do not depend on the umask of whoever builds.
    chmod -R u=rwX,go=rX "$tree"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    tar -C "$OUT" --sort=name --owner=0 --group=0 --numeric-owner --format=ustar -cf - licences | zstd -q -19 -T1 >"$OUT/$LICENCES.new"
    mv "$OUT/$LICENCES.new" "$OUT/$LICENCES"
}

# copyright PACKAGE: its copyright file. The kernel's sources are not unpacked among the other packages.
copyright() {
    if [[ $1 == linux-source-* ]]; then
        dpkg-deb --fsys-tarfile "$OUT/kernel-own/$1"_*.deb | tar -xO "./usr/share/doc/$1/copyright"
    else
        cat "$OUT/debian/usr/share/doc/$1/copyright"
    fi
}

# What the kernel is made of, where it is the own one; Debian's is among the packages of the root, for its modules.
kernel_material() {
    local package
    [[ $KERNEL == own ]] || return 0
    for package in "$OUT"/kernel-own/*.deb; do
        material "$package"
    done
}
