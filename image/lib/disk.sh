# shellcheck shell=bash
# The disk that a machine starts from by its own firmware: a slot with a verified root, the one file that firmware
# starts, and all of it in partitions. Nothing needs root or a loop device. Sourced by image/build.

# How large a slot is; genimage.cfg says the same.
SLOT_SIZE=$((64 * 1048576))
# The block of roots and hashes; the initramfs's program knows no other.
BLOCK=4096
# Where systemd keeps its boot programs, of the package systemd-boot-efi.
BOOT_PROGRAMS=usr/lib/systemd/boot/efi
# FAT knows no time before this, and its tools misread what is given to them so.
FAT_EPOCH=315532800
FAT_SERIAL=76726f75
# An ext4 with room for generations and leases; the file is sparse.
DATA_SIZE=64M
DATA_UUID=2c6f8f2e-2f3a-4a56-8d0c-646174617672

# need_update_key: UPDATE_KEY, the public key whose updates the image takes. Whoever names none gets a pair of his own.
need_update_key() {
    if [[ -z ${UPDATE_KEY:-} ]]; then
        UPDATE_KEY=$OUT/update.pub
        if [[ ! -e $OUT/update.pub || ! -e $OUT/update.key ]]; then
            step "making a key for updates, $OUT/update.key: images of this folder take what is signed with it"
            (umask 077 && openssl genpkey -algorithm ed25519 -out "$OUT/update.key") || fail "openssl cannot make a key"
            openssl pkey -in "$OUT/update.key" -pubout -out "$OUT/update.pub" || fail "openssl cannot tell the key's public half"
        fi
    fi
    openssl pkey -pubin -in "$UPDATE_KEY" -noout -text 2>/dev/null | grep -q '^ED25519' ||
        fail "$UPDATE_KEY is no public key of Ed25519 in PEM"
}

# build_parts ROOT: what an update is made of, $OUT/slot and $OUT/uki.efi, of $OUT/ROOT.erofs.
build_parts() {
    [[ ${KERNEL:-own} == own ]] || fail "a disk needs the own kernel, which has all that it takes built in: image/build --kernel own"
    step "making slot and boot file"
    build_slot "$OUT/$1.erofs"
    build_uki "$OUT/$1.tree/usr/lib/os-release"
}

# build_disk ROOT: $OUT/disk.raw and $OUT/disk.qcow2, with $OUT/ROOT.erofs in the first slot.
build_disk() {
    build_parts "$1"
    step "making the disk"
    build_esp
    genimage_disk
    qemu-img convert -f raw -O qcow2 -c "$OUT/disk.raw" "$OUT/disk.qcow2.new"
    mv "$OUT/disk.qcow2.new" "$OUT/disk.qcow2"
}

# build_slot EROFS: $OUT/slot, the root with its hashes behind it, and $OUT/slot.verity, the word that names it.
build_slot() {
    local slot=$OUT/slot.new size blocks salt hash uuid
    cp "$1" "$slot"
    truncate -s "%$BLOCK" "$slot"
    size=$(stat -c %s "$slot")
    blocks=$((size / BLOCK))
    # Nobody can prepare hashes for a salt that he does not know before the root is made.
    salt=$(sha256sum "$slot" | cut -d ' ' -f 1)
    # The uuid by which the slot is known is half of the root hash, which does not depend on it: the first pass tells it.
    hash=$(verity_format "$slot" "$blocks" "$salt" 76726f75-7465-4472-8000-000000000005) || fail "veritysetup failed; see $OUT/verity.log"
    uuid=$(sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/' <<<"$hash")
    truncate -s "$size" "$slot"
    [[ $(verity_format "$slot" "$blocks" "$salt" "$uuid") == "$hash" ]] || fail "veritysetup makes two hashes of one root"
    (($(stat -c %s "$slot") <= SLOT_SIZE)) || fail "the root with its hashes is larger than a slot, $SLOT_SIZE octets"
    mv "$slot" "$OUT/slot"
    printf '%s:%s\n' "$hash" "$blocks" >"$OUT/slot.verity"
}

# verity_format FILE BLOCKS SALT UUID: puts the hashes behind the data and prints the root hash.
verity_format() {
    veritysetup format --data-blocks="$2" --hash-offset=$(($2 * BLOCK)) --data-block-size="$BLOCK" --hash-block-size="$BLOCK" \
        --hash=sha256 --salt="$3" --uuid="$4" "$1" "$1" >"$OUT/verity.log" 2>&1 || return 1
    sed -n 's/^Root hash:[[:space:]]*//p' "$OUT/verity.log"
}

# build_uki OS_RELEASE: $OUT/uki.efi, which firmware starts: kernel, initramfs, command line and name in one file.
build_uki() {
    local stub=$OUT/debian/$BOOT_PROGRAMS/linuxx64.efi.stub uki=$OUT/uki.efi.new folder=$OUT/uki name file offset arguments=()
    [[ -e $stub ]] || fail "no package of image/packages holds $BOOT_PROGRAMS/linuxx64.efi.stub"
    rm -rf "$folder" && mkdir "$folder"
    cp "$1" "$folder/osrel"
    printf '%s vrouter.verity=%s' "$(<"$OUT/cmdline")" "$(<"$OUT/slot.verity")" >"$folder/cmdline"
    cp "$OUT/initrd" "$folder/initrd"
    cp "$OUT/vmlinuz" "$folder/linux"
    # Each section has a place in memory behind the stub's last, the kernel behind all.
    offset=$(objdump -h "$stub" | awk '$1 ~ /^[0-9]+$/ { print "0x" $4, "0x" $3 }' | while read -r start size; do
        echo $((start + size))
    done | sort -n | tail -n 1)
    for name in osrel cmdline initrd linux; do
        file=$folder/$name
        offset=$(((offset + 0xffff) / 0x10000 * 0x10000))
        arguments+=(--add-section ".$name=$file" --change-section-vma ".$name=$offset")
        offset=$((offset + $(stat -c %s "$file")))
    done
    objcopy "${arguments[@]}" "$stub" "$uki" || fail "objcopy cannot put the boot file together"
    without_time "$uki"
    mv "$uki" "$OUT/uki.efi"
    rm -rf "$folder"
}

# without_time EFI: takes the time of its making out of a program for firmware, and the sum over all of it that depends on
# the time, which no firmware looks at: four octets each, 8 and 88 behind the signature that the octets at 60 point to.
without_time() {
    local header field
    header=$(od -An -tu4 -j 60 -N 4 "$1" | tr -d ' ')
    for field in 8 88; do
        printf '\0\0\0\0' | dd of="$1" bs=1 seek=$((header + field)) conv=notrunc status=none
    done
}

# build_esp: $OUT/esp.vfat, the firmware's partition. The only system in it has no number of tries: it is known to be good.
build_esp() {
    local esp=$OUT/esp.vfat.new
    truncate -s 0 "$esp" && truncate -s 64M "$esp"
    mkfs.fat --invariant -F 32 -s 1 -i "$FAT_SERIAL" -n ESP "$esp" >"$OUT/mkfs.log" || fail "mkfs.fat failed; see $OUT/mkfs.log"
    in_esp "$esp" mmd ::EFI ::EFI/BOOT ::EFI/Linux ::loader
    in_esp "$esp" mcopy "$OUT/debian/$BOOT_PROGRAMS/systemd-bootx64.efi" ::EFI/BOOT/BOOTX64.EFI
    in_esp "$esp" mcopy "$IMAGE_DIR/loader.conf" ::loader/loader.conf
    in_esp "$esp" mcopy "$OUT/uki.efi" "::EFI/Linux/vrouter_$(version).efi"
    mv "$esp" "$OUT/esp.vfat"
}

# An empty data disk, to be copied for each machine.
build_data() {
    step "making an empty data disk"
    truncate -s "$DATA_SIZE" "$OUT/data.ext4.new"
    # Its identifiers and its times are all that would differ between two of them; no time is taken for the present one.
    E2FSPROGS_FAKE_TIME=$((SOURCE_DATE_EPOCH > 0 ? SOURCE_DATE_EPOCH : 1)) \
        mkfs.ext4 -q -L vrouter-data -U "$DATA_UUID" -E "hash_seed=$DATA_UUID,lazy_itable_init=0,lazy_journal_init=0" \
        "$OUT/data.ext4.new" >"$OUT/mkfs.log" 2>&1 || fail "mkfs.ext4 failed; its words are in $OUT/mkfs.log"
    mv "$OUT/data.ext4.new" "$OUT/data.ext4"
}

# in_esp FILE COMMAND ARGUMENT...: one of mtools' commands on a FAT file system.
in_esp() {
    local esp=$1 command=$2
    shift 2
    TZ=UTC MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=$FAT_EPOCH "$command" -i "$esp" "$@" || fail "$command cannot fill the boot partition"
}

# genimage_disk: $OUT/disk.raw, as image/genimage.cfg says.
genimage_disk() {
    local folder=$OUT/genimage
    rm -rf "$folder" && mkdir -p "$folder/root"
    genimage --config "$IMAGE_DIR/genimage.cfg" --rootpath "$folder/root" --tmppath "$folder/tmp" --inputpath "$OUT" \
        --outputpath "$folder" >"$OUT/genimage.log" 2>&1 || fail "genimage failed; see $OUT/genimage.log"
    mv "$folder/disk.raw" "$OUT/disk.raw"
    rm -rf "$folder"
}
