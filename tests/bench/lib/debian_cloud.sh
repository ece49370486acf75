# shellcheck shell=bash
# A stock Debian cloud image, made of Debian's packages alone: what the image stands beside. Sourced by cases/images.sh.

# Where it is kept until its list or this file changes, for it takes ten minutes.
DEBIAN_CLOUD=$OUT/debian-cloud
DEBIAN_CLOUD_PACKAGES=(dosfstools e2fsprogs erofs-utils mmdebstrap mtools zstd)
# The disk of the stock image is as large, and its root's label is the same.
DEBIAN_CLOUD_DISK=3G
DEBIAN_CLOUD_LABEL=cloudimg-rootfs

# debian_cloud_build: vmlinuz, initrd, cmdline, root.ext4 and seed.vfat in $DEBIAN_CLOUD, and in `sizes` what it takes packed,
# on a disk and in files.
debian_cloud_build() {
    local key
    key=$(cat "$BENCH_DIR/lib/debian_cloud.list" "$BENCH_DIR/lib/debian_cloud.sh" | sha256sum)
    [[ ! -e $DEBIAN_CLOUD/key || $(<"$DEBIAN_CLOUD/key") != "$key" ]] || return 0
    need_packages "${DEBIAN_CLOUD_PACKAGES[@]}"
    rm -rf "$DEBIAN_CLOUD"
    mkdir -p "$DEBIAN_CLOUD"
    debian_cloud_tree "$DEBIAN_CLOUD/tree"
    debian_cloud_seed "$DEBIAN_CLOUD/seed.vfat"
    cp -L "$DEBIAN_CLOUD/tree/vmlinuz" "$DEBIAN_CLOUD/vmlinuz"
    cp -L "$DEBIAN_CLOUD/tree/initrd.img" "$DEBIAN_CLOUD/initrd"
    printf 'root=LABEL=%s ro console=ttyS0 quiet panic=10\n' "$DEBIAN_CLOUD_LABEL" >"$DEBIAN_CLOUD/cmdline"
    truncate -s "$DEBIAN_CLOUD_DISK" "$DEBIAN_CLOUD/root.ext4"
    mkfs.ext4 -q -L "$DEBIAN_CLOUD_LABEL" -d "$DEBIAN_CLOUD/tree" "$DEBIAN_CLOUD/root.ext4"
    debian_cloud_measure >"$DEBIAN_CLOUD/sizes"
    rm -rf "$DEBIAN_CLOUD/tree" "$DEBIAN_CLOUD/root.erofs"
    printf '%s\n' "$key" >"$DEBIAN_CLOUD/key"
}

# debian_cloud_tree FOLDER: the installed system, without what is of one machine alone.
debian_cloud_tree() {
    local tree=$1 packages
    packages=$(entries "$BENCH_DIR/lib/debian_cloud.list" | tr '\n' ',')
    step "installing a stock Debian cloud image (some minutes)"
    # shellcheck disable=SC2016  # mmdebstrap's shell expands it
    mmdebstrap --quiet --mode=root --variant=minbase --include="${packages%,}" \
        --customize-hook='chroot "$1" systemctl enable systemd-networkd.service' \
        --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
        --customize-hook=': >"$1/etc/machine-id"' \
        --customize-hook=': >"$1/etc/hostname"' \
        --customize-hook='echo LANG=C.UTF-8 >"$1/etc/default/locale"' \
        --customize-hook="echo 'LABEL=$DEBIAN_CLOUD_LABEL / ext4 rw,discard,errors=remount-ro 0 1' >\"\$1/etc/fstab\"" \
        bookworm "$tree" >"$OUT/mmdebstrap.log" 2>&1 || fail "mmdebstrap could not install it; its words are in $OUT/mmdebstrap.log"
}

# debian_cloud_seed FILE: what a cloud gives a new machine: one address, and a command for when all has started. It says what
# is taken then, on the console, so that nobody has to log in for it.
debian_cloud_seed() {
    local files=$LAB_DIR/seed
    mkdir -p "$files"
    printf 'instance-id: bench\nlocal-hostname: bench\n' >"$files/meta-data"
    cat >"$files/network-config" <<'END_OF_FILE'
version: 2
ethernets:
  mgmt: { match: { macaddress: "52:54:00:00:00:01" }, addresses: [192.168.0.188/24] }
END_OF_FILE
    cat >"$files/user-data" <<'END_OF_FILE'
#cloud-config
write_files:
  - path: /run/bench
    content: |
      systemctl is-system-running --wait
      running=$(systemctl list-units --type service --state running --no-legend --plain | wc -l)
      echo "bench: $(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) KiB available, $running services" >/dev/ttyS0
runcmd:
  - [systemd-run, --no-block, sh, /run/bench]
END_OF_FILE
    truncate -s 1M "$1"
    mkfs.vfat -n CIDATA "$1" >/dev/null
    mcopy -i "$1" "$files"/* ::
}

# debian_cloud_measure: NAME VALUE, in octets and files; packed the way the image is, kernel and initramfs in its /boot.
debian_cloud_measure() {
    local tree=$DEBIAN_CLOUD/tree
    step "packing it (some minutes)"
    mkfs.erofs -x-1 --all-root "$DEBIAN_CLOUD/root.erofs" "$tree" >"$OUT/mkfs.log" 2>&1 ||
        fail "mkfs.erofs failed; its words are in $OUT/mkfs.log"
    printf 'packed %s\n' "$(tar -C "$DEBIAN_CLOUD" -cf - root.erofs | zstd -19 -T0 -q | wc -c)"
    printf 'disk %s\n' "$(du --block-size=1 "$DEBIAN_CLOUD/root.ext4" | cut -f 1)"
    printf 'files %s\n' "$(find "$tree" ! -type d | wc -l)"
    printf 'packages %s\n' "$(find "$tree/var/lib/dpkg/info" -name '*.list' | wc -l)"
    printf 'setuid %s\n' "$(find "$tree" -type f -perm /6000 | wc -l)"
}
