# shellcheck shell=bash
# The appliance's own kernel: Debian's source with our configuration, everything built in. Sourced by image/build,
# image/check and image/kernel/refresh.
#
# What was built is kept in $OUT/kernel-own by a hash of all that it was made of; making it takes a quarter of an hour of
# two processors.

OWN_KERNEL_SOURCE=linux-source-6.1
OWN_KERNEL_CONFIG=$IMAGE_DIR/kernel/config
OWN_KERNEL_CACHE=$OUT/kernel-own
# What building it runs, besides what any build does.
OWN_KERNEL_PACKAGES=(bc bison flex gcc libc6-dev libelf-dev make perl xz-utils zstd)
# What only dealing with the configuration runs.
OWN_KERNEL_OPTIONS_PACKAGES=(bison flex gcc libc6-dev make xz-utils)
# How many kernels are kept, for whoever goes back and forth.
OWN_KERNELS=3

# own_kernel_package: the file of Debian's source; empty where none was downloaded.
own_kernel_package() {
    find "$OWN_KERNEL_CACHE" -maxdepth 1 -name "${OWN_KERNEL_SOURCE}_*.deb" 2>/dev/null | sort -V | tail -n 1
}

# own_kernel_key: one hash over source, configuration and compiler.
own_kernel_key() {
    {
        sha256sum <"$(own_kernel_package)"
        sha256sum <"$OWN_KERNEL_CONFIG"
        gcc --version | head -n 1
        ld --version | head -n 1
        # How it is made.
        declare -f own_kernel_make
        echo "$SOURCE_DATE_EPOCH"
    } | sha256sum | cut -c 1-32
}

# own_kernel: the folder of the kernel that the configuration asks for; empty where it has not been built.
own_kernel() {
    local folder
    [[ -n $(own_kernel_package) ]] || return 0
    command -v gcc ld >/dev/null || return 0
    folder=$OWN_KERNEL_CACHE/$(own_kernel_key)
    [[ ! -e $folder/vmlinuz ]] || echo "$folder"
}

# own_kernel_download: Debian's source; once, until `--update`.
own_kernel_download() {
    local folder=$OWN_KERNEL_CACHE/download
    [[ -n ${UPDATE:-} || -z $(own_kernel_package) ]] || return 0
    fresh_lists
    step "downloading $OWN_KERNEL_SOURCE"
    rm -rf "$folder" && mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$OWN_KERNEL_SOURCE") >"$OUT/apt.log" 2>&1 ||
        fail "apt-get could not download $OWN_KERNEL_SOURCE; its words are in $OUT/apt.log"
    rm -f "$OWN_KERNEL_CACHE/${OWN_KERNEL_SOURCE}_"*.deb
    mv "$folder/${OWN_KERNEL_SOURCE}_"*.deb "$OWN_KERNEL_CACHE/"
    rmdir "$folder"
}

# own_kernel_unpack FOLDER [ARGUMENT OF TAR...]: the source, or some of it, without the folder that it is packed in.
own_kernel_unpack() {
    dpkg-deb --fsys-tarfile "$(own_kernel_package)" | tar -xO "./usr/src/$OWN_KERNEL_SOURCE.tar.xz" |
        tar -xJ --strip-components=1 -C "$1" "${@:2}" || fail "$(own_kernel_package) cannot be unpacked; remove it and build again"
}

# own_kernel_options: a tree in which configurations can be made and nothing else; prints where it is.
own_kernel_options() {
    local tree
    tree=$OWN_KERNEL_CACHE/options-$(basename "$(own_kernel_package)" .deb)
    if [[ ! -e $tree/Makefile ]]; then
        rm -rf "$OWN_KERNEL_CACHE"/options-* && mkdir -p "$tree.new"
        own_kernel_unpack "$tree.new" --wildcards '*/Kconfig*' "$OWN_KERNEL_SOURCE"/{Kbuild,Makefile} \
            "$OWN_KERNEL_SOURCE/scripts/*" "$OWN_KERNEL_SOURCE/arch/x86/Makefile*"
        mv "$tree.new" "$tree"
    fi
    echo "$tree"
}

# own_kernel_configure TREE: its .config and its defconfig become what image/kernel/options comes to.
own_kernel_configure() {
    {
        make -s -C "$1" KCONFIG_ALLCONFIG="$IMAGE_DIR/kernel/options" allnoconfig && make -s -C "$1" savedefconfig
    } >"$OUT/kconfig.log" 2>&1 || fail "image/kernel/options is not understood; why is in $OUT/kconfig.log"
}

# own_kernel_make TREE: the same bytes whoever makes it, where and when. An empty LOCALVERSION keeps a repository around
# the tree out of the kernel's name.
own_kernel_make() {
    nice make -C "$1" -j"${JOBS:-$(nproc)}" KBUILD_BUILD_TIMESTAMP="@$SOURCE_DATE_EPOCH" KBUILD_BUILD_VERSION=1 \
        KBUILD_BUILD_USER=vrouter KBUILD_BUILD_HOST=vrouter LOCALVERSION= bzImage
}

# own_kernel_build: puts the kernel that the configuration asks for into the cache.
own_kernel_build() {
    local folder tree
    own_kernel_download
    [[ -z $(own_kernel) ]] || return 0
    need_packages "${OWN_KERNEL_PACKAGES[@]}"
    folder=$OWN_KERNEL_CACHE/$(own_kernel_key)
    tree=$OWN_KERNEL_CACHE/tree
    step "unpacking $(basename "$(own_kernel_package)")"
    rm -rf "$tree" "$folder" && mkdir -p "$tree" "$folder"
    own_kernel_unpack "$tree"
    cp "$OWN_KERNEL_CONFIG" "$tree/.config"
    step "building the kernel (a quarter of an hour on two processors; its words are in $OWN_KERNEL_CACHE/build.log)"
    {
        make -C "$tree" olddefconfig && own_kernel_make "$tree"
    } >"$OWN_KERNEL_CACHE/build.log" 2>&1 || fail "the kernel cannot be built; why is in $OWN_KERNEL_CACHE/build.log"
    make -s -C "$tree" LOCALVERSION= kernelrelease >"$folder/version"
    install -m 0644 "$OWN_KERNEL_CONFIG" "$folder/config"
    install -m 0644 "$tree/System.map" "$folder/System.map"
    # Last: its being there says that the rest is.
    install -m 0644 "$tree/arch/x86/boot/bzImage" "$folder/vmlinuz.new"
    mv "$folder/vmlinuz.new" "$folder/vmlinuz"
    rm -rf "$tree"
    own_kernel_forget
}

# own_kernel_forget: all kernels but the newest.
own_kernel_forget() {
    local folder
    find "$OWN_KERNEL_CACHE" -mindepth 2 -maxdepth 2 -name vmlinuz -printf '%T@ %h\n' | sort -rn |
        tail -n +$((OWN_KERNELS + 1)) | cut -d ' ' -f 2- | while read -r folder; do
            rm -rf "$folder"
        done
}
