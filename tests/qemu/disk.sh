# shellcheck shell=bash
# The machine that starts from its disk by firmware: two slots, updates, and what becomes of those that go wrong.
# Sourced by tests/qemu/run, after image/lab/vm.sh.

DISK_PACKAGES_OF_HOST=(mtools ovmf util-linux)
# How many random cuts the cases make; NAME=COUNT on the command line says otherwise.
UPDATE_CUTS=2
# A version that fails to become healthy has its time before it is given up, each time that it is tried.
UNHEALTHY_TRIES=1
TRIAL=240
# One that cannot start is tried so often by systemd-boot, each time after the kernel's ten seconds.
TRIES=3

# Where GET /v1/system says things, as jq paths.
SYSTEM_VERSION=.version
SYSTEM_TRIAL=.trial.state

# disk_images [--binaries DIR]: builds the disk and the updates that the cases take a machine through: to the next version,
# and to one after it whose router does not run.
disk_images() {
    local sick=$OUT/sick
    VERSION_NOW=$(version)
    VERSION_NEXT=$((${VERSION_NOW%%.*} + 1)).0.0
    VERSION_SICK=$((${VERSION_NOW%%.*} + 2)).0.0
    UPDATE=$OUT/vrouter_$VERSION_NEXT.update
    SICK_UPDATE=$OUT/vrouter_$VERSION_SICK.update
    "$IMAGE_DIR/update" --version "$VERSION_NEXT" --out "$UPDATE" "$@"
    mkdir -p "$sick"
    # A program that ends at once with a failure.
    cp "$OUT/debian/usr/bin/false" "$sick/vrouterd"
    cp "$OUT/debian/usr/bin/false" "$sick/vrctl"
    "$IMAGE_DIR/update" --version "$VERSION_SICK" --out "$SICK_UPDATE" --binaries "$sick"
}

# A new machine with a disk of its own that runs the demonstration; its generation is BEFORE.
disk_machine() {
    VM_DISK=$LAB_DIR/disk.raw
    VM_DATA=
    VM_MEMORY=$VM_DISK_MEMORY
    VM_ACCELERATOR=$VM_STEADY
    rm -f "$VM_DISK.firmware"
    cp --sparse=always "$OUT/disk.raw" "$VM_DISK"
    boot
    BEFORE=$(apply_demo)
    web1_by_hand
}

# works VERSION: the router of that version has the state of before and serves it.
works() {
    vm_until "version $1 runs" "$(((TRIES + 1) * START))" runs "$1"
    is "version $1 has the acknowledged generation" "$BEFORE" "$(generation)"
    vm_until "a guest is translated" "$START" translated
    printf '  ok  and serves\n'
}

# runs VERSION: whether that version answers.
runs() {
    [[ $(system "$SYSTEM_VERSION") == "$1" ]]
}

# system PATH: what the router says of its versions and slots.
system() {
    api GET /v1/system 2>/dev/null | jq -r "$1" 2>/dev/null
}

trial_is() {
    [[ $(system "$SYSTEM_TRIAL") == "$1" ]]
}

# send_update FILE [QUERY]: streams an update to the router and prints its answer, then the status on a line of its own.
send_update() {
    inside operator curl --silent --show-error --max-time 600 --oauth2-bearer "$VM_TOKEN" --request POST --upload-file "$1" \
        --header 'Content-Type: application/octet-stream' --header 'Expect:' --write-out '\n%{http_code}\n' "$API/v1/system/update${2:-}"
}

# takes_update FILE: an update that has to be taken.
takes_update() {
    local said
    said=$(send_update "$1") || true
    [[ $(tail -n 1 <<<"$said") == 20[0-9] ]] || { vm_words && fail "the update was not taken: $said"; }
    printf '  ok  %s is taken\n' "$(basename "$1")"
}

# refuses_update TEXT FILE: one that must not be.
refuses_update() {
    local said status
    said=$(send_update "$2") || true
    status=$(tail -n 1 <<<"$said")
    [[ $status == 4[0-9][0-9] ]] || { vm_words && fail "$1: wanted a refusal, got: $said"; }
    printf '  ok  %s is refused: %s\n' "$1" "$(head -n 1 <<<"$said" | jq -r '.detail // .title' 2>/dev/null)"
}

# disk_partition NAME: where a partition begins on the machine's disk, in octets, and how long it is.
disk_partition() {
    partx --show --noheadings --output NAME,START,SECTORS "$VM_DISK" |
        awk -v name="$1" '$1 == name { print $2 * 512, $3 * 512 }'
}

# on_esp COMMAND ARGUMENT...: one of mtools' commands on the firmware's partition of a machine that is off.
on_esp() {
    local command=$1 begin
    shift
    read -r begin _ < <(disk_partition esp)
    MTOOLS_SKIP_CHECK=1 "$command" -i "$VM_DISK@@$begin" "$@"
}

# entries_of_disk: the systems that the firmware may start.
entries_of_disk() {
    on_esp mdir -b ::EFI/Linux/ | sed 's|.*/||' | sort
}

# one_try VERSION: leaves a staged version a single try, where what follows each of them is the same.
one_try() {
    local entry
    entry=$(entries_of_disk | grep "^vrouter_$1+")
    on_esp mmove "::EFI/Linux/$entry" "::EFI/Linux/vrouter_$1+1.efi"
}

# Firmware, boot loader, verified root: the same router.
case_disk() {
    disk_machine
    holds 'the console names the slot' console_says 'the root is root-a on /dev/vda2'
    holds 'nothing keeps it from being updated' test -z "$(grep -a 'no update can be taken' "$VM_CONSOLE")"
    works "$VERSION_NOW"
    vm_power_cut
    vm_start again
    works "$VERSION_NOW"
    vm_power_cut
    # Not one that a firmware or a menu would have added: the command line is the one in the boot file.
    is 'entries on the disk' "vrouter_$VERSION_NOW.efi" "$(entries_of_disk)"
    vm_start last
    works "$VERSION_NOW"
}

# From one version to the next, with the state, and for good.
case_update() {
    local broken=$LAB_DIR/broken.update
    disk_machine
    cp "$UPDATE" "$broken"
    # In the signature, behind magic, length and manifest; and in the last octet of the boot file.
    flip_bit "$broken" $((13 + $(manifest_length "$UPDATE") + 5))
    refuses_update 'an update with another signature' "$broken"
    cp "$UPDATE" "$broken"
    flip_bit "$broken" $(($(stat -c %s "$UPDATE") - 1))
    refuses_update 'an update with another boot file' "$broken"
    rm "$broken"
    takes_update "$UPDATE"
    is 'the one that runs is still' "$VERSION_NOW" "$(system "$SYSTEM_VERSION")"
    api POST /v1/system/reboot >/dev/null
    works "$VERSION_NEXT"
    holds 'it runs from the other slot' console_says 'the root is root-b'
    vm_until "it is known to be good" "$START" trial_is good
    vm_power_cut
    is 'its entry is counted no more' "vrouter_$VERSION_NOW.efi vrouter_$VERSION_NEXT.efi " "$(entries_of_disk | tr '\n' ' ')"
    vm_start again
    works "$VERSION_NEXT"
    refuses_update 'the version that runs' "$UPDATE"
}

# flip_bit FILE OFFSET: changes one bit of an octet.
flip_bit() {
    local octet bit
    random bit 8
    octet=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf '%b' "\\x$(printf '%02x' $((octet ^ 1 << bit)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

manifest_length() {
    echo $((0x$(od -An -tx1 -j 9 -N 4 "$1" | tr -d ' ')))
}

# The plug is pulled at any instant of an update: the router is there with its state, in the old version or, where nothing was
# missing any more, in the new one; and the next update goes through.
case_power_cut_in_update() {
    local count=${CASE_COUNT:-$UPDATE_CUTS} number took cut said upload version old=0 new=0
    VM_REPLAY=$TOP/tests/qemu/replay
    disk_machine
    took=${EPOCHREALTIME/./}
    takes_update "$UPDATE"
    took=$(((${EPOCHREALTIME/./} - took) / 1000))
    for ((number = 1; number <= count; number++)); do
        # Also in the second after it, when all is said and perhaps not all is written.
        random cut $((took + 1000))
        rm -f "$LAB_DIR/said"
        send_update "$UPDATE" >"$LAB_DIR/said" 2>/dev/null &
        upload=$!
        sleep "$((cut / 1000)).$(printf '%03d' $((cut % 1000)))"
        vm_power_cut
        said=$(tail -n 1 "$LAB_DIR/said")
        # Who sends to a machine that is gone would wait for it.
        pkill -KILL -P "$upload" || true
        wait "$upload" 2>/dev/null || true
        vm_start "cut-$number"
        vm_until "the API answers" "$START" api_answers
        if [[ $said != 20[0-9] ]] && runs "$VERSION_NOW"; then
            version=$VERSION_NOW
            old=$((old + 1))
        else
            version=$VERSION_NEXT
            new=$((new + 1))
        fi
        works "$version" >/dev/null
        printf '  ok  cut %d of %d, %d ms into %d ms: version %s with its state\n' "$number" "$count" "$cut" "$took" "$version"
        [[ $version == "$VERSION_NEXT" ]] || continue
        vm_until "it is known to be good" "$START" trial_is good
        vm_power_cut
        disk_machine
    done
    printf '  ok  %d cuts: the old version %d times, the new one %d times\n' "$count" "$old" "$new"
    takes_update "$UPDATE"
    api POST /v1/system/reboot >/dev/null
    works "$VERSION_NEXT"
}

# A slot that is not what it was never gets further than the verity check, and the old version comes back by itself.
case_damaged_update() {
    local begin block size from octet
    disk_machine
    takes_update "$UPDATE"
    vm_power_cut
    read -r begin _ < <(disk_partition root-b)
    size=$(($(stat -c %s "$OUT/root.erofs") / 4096))
    for ((block = 0; block < 300; block++)); do
        random from "$size"
        random octet 4096
        flip_bit "$VM_DISK" $((begin + from * 4096 + octet))
    done
    vm_start damaged
    works "$VERSION_NOW"
    is 'the damaged slot was tried so often' "$TRIES" "$(grep -ac 'Kernel panic' "$VM_CONSOLE")"
    holds 'and ended by the verity check' console_says 'Kernel panic.*dm-verity device corrupted'
    # A slot without its superblock is not even mounted.
    takes_update "$UPDATE"
    vm_power_cut
    one_try "$VERSION_NEXT"
    dd if=/dev/zero of="$VM_DISK" bs=4096 count=1 seek=$((begin / 4096 + $(blocks_of_next))) conv=notrunc status=none
    vm_start without
    works "$VERSION_NOW"
    holds 'the console says which slot does not hold the root' \
        console_says 'no slot holds the root .*root-b on /dev/vda3: there is no verity superblock'
}

# How many blocks of data the next version's root has; its superblock follows them.
blocks_of_next() {
    sed 's/.*://' "$OUT/update/$VERSION_NEXT/slot.verity"
}

# A version whose router does not get well is given up after its time, and the old one comes back by itself.
case_unhealthy_update() {
    local tries=${CASE_COUNT:-$UNHEALTHY_TRIES}
    disk_machine
    takes_update "$SICK_UPDATE"
    if ((tries == 1)); then
        vm_power_cut
        one_try "$VERSION_SICK"
        vm_start unhealthy
    else
        api POST /v1/system/reboot >/dev/null
    fi
    vm_until "the new version is tried" "$START" console_says 'the root is root-b'
    vm_until "the old version is back" $((tries * (TRIAL + 3 * START))) runs "$VERSION_NOW"
    is 'the new one was tried so often' "$tries" "$(grep -ac 'the root is root-b' "$VM_CONSOLE")"
    works "$VERSION_NOW"
}
