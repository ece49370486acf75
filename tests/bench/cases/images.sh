# shellcheck shell=bash
# The image beside a stock Debian cloud image, on which appliances of this kind are usually built: what they take packed, on a
# disk, in files and in memory, and how long they take from QEMU's start until they serve. Both get their kernel from QEMU and
# their configuration by the way that they are made for: a credential here, a NoCloud disk there.
# The router serves when a guest has its address; Debian, which routes nothing yet, when its SSH server greets.

# shellcheck source=tests/bench/lib/debian_cloud.sh
source "$BENCH_DIR/lib/debian_cloud.sh"

IMAGES_ROUTER=10.1.1.1
IMAGES_CLIENT=10.1.1.251
IMAGES_ADDRESS=192.168.0.188
# Memory of both where they are compared by what they take, in MiB, and what they are tried in until they serve.
IMAGES_MEMORY=512
IMAGES_LEAST=(48 56 64 72 80 96 112 128 144 160 192 224 256 320 384 512)
# How long a start may take, in seconds, on a machine that others use as well.
IMAGES_PATIENCE=600
# An emulated machine that gets no processor for a moment takes its timer for broken, and panics.
IMAGES_APPEND=no_timer_check
FIRST_START="QEMU's start to service, for the first time"
NEXT_START="QEMU's start to service, with what it remembers"
IN_PROCESSOR_TIME=", in QEMU's processor time"

case_images() {
    local round program
    images_lab
    images_sizes
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in vrouter debian; do
            images_starts "$program"
            images_memory "$program"
        done
        step "images: round $round of $ROUNDS"
    done
    for program in vrouter debian; do
        images_least "$program"
    done
    row 'kernel, initramfs and root, packed by zstd' MiB debian 'ratio < 1'
    row 'on the disk of a host' MiB debian 'ratio < 1'
    row 'files' '' debian 'ratio < 1'
    row 'of these, setuid or setgid' '' debian 'value = 0'
    row "taken of $IMAGES_MEMORY MiB once it serves" MiB debian 'ratio < 1'
    row 'services running then' '' debian 'ratio < 1'
    row 'least memory that it serves in' MiB debian 'ratio < 1'
    row "$FIRST_START" s debian 'ratio < 1'
    row "$FIRST_START$IN_PROCESSOR_TIME" s debian 'ratio < 1'
    row "$NEXT_START" s debian 'ratio < 1'
    row "$NEXT_START$IN_PROCESSOR_TIME" s debian 'ratio < 1'
}

# images_lab: both images, and the networks that either stands in.
images_lab() {
    machine_image
    debian_cloud_build
    station images-operator mgmt 52:54:00:00:01:02 192.168.0.2/24
    station images-client guest fa:aa:00:00:00:fb "$IMAGES_CLIENT/24"
    # Nobody answers for these addresses before they are there, and a kernel that asked in vain waits with its next try.
    inside images-operator ip neighbour replace "$IMAGES_ADDRESS" lladdr 52:54:00:00:00:01 dev eth0 nud permanent
    inside images-client ip neighbour replace "$IMAGES_ROUTER" lladdr 52:54:00:00:00:03 dev eth0 nud permanent
    # Longer ones do not pass: of what the firmware hands over, the service manager reads one page.
    jq --compact-output . "$IMAGE_DIR/demo.json" >"$LAB_DIR/images.json"
    VM_DATA=$LAB_DIR/images.disk
    VM_APPEND=$IMAGES_APPEND
}

# images_sizes: what needs no machine.
images_sizes() {
    local packed
    packed=$(awk '/packed by zstd$/ { print $1 }' "$OUT/sizes")
    sample 'kernel, initramfs and root, packed by zstd' vrouter "$packed"
    sample 'on the disk of a host' vrouter \
        "$(du --block-size=1 "$OUT"/{vmlinuz,initrd,root.erofs,data.ext4} | awk '{ sum += $1 } END { print sum / 1048576 }')"
    sample 'files' vrouter "$(find "$OUT/root.tree" ! -type d | wc -l)"
    sample 'of these, setuid or setgid' vrouter "$(find "$OUT/root.tree" -type f -perm /6000 | wc -l)"
    sample 'kernel, initramfs and root, packed by zstd' debian "$(images_debian packed 1048576)"
    sample 'on the disk of a host' debian "$(images_debian disk 1048576)"
    sample 'files' debian "$(images_debian files 1)"
    sample 'of these, setuid or setgid' debian "$(images_debian setuid 1)"
}

# images_debian NAME UNIT: a size that was measured when it was made.
images_debian() {
    awk -v name="$1" -v unit="$2" '$1 == name { print $2 / unit }' "$DEBIAN_CLOUD/sizes"
}

# images_new PROGRAM: the disk of a machine that has never run.
images_new() {
    case $1 in
        vrouter) cp --sparse=always "$OUT/data.ext4" "$VM_DATA" ;;
        debian) cp --sparse=always "$DEBIAN_CLOUD/root.ext4" "$VM_DATA" ;;
    esac
}

# images_vm PROGRAM MEMORY: starts the machine on the disk that is there; when is in IMAGES_STARTED, in microseconds.
images_vm() {
    local VM_ROOT=${IMAGES_ROOT:-$OUT/root.erofs} VM_TOKEN='' VM_CONFIG=$LAB_DIR/images.json VM_MEMORY=$2 OUT=$OUT
    if [[ $1 == debian ]]; then
        # The seed is its first disk, the root its second; vm_start takes kernel, initramfs and command line from OUT.
        VM_ROOT=$DEBIAN_CLOUD/seed.vfat VM_CONFIG='' OUT=$DEBIAN_CLOUD
    fi
    IMAGES_STARTED=${EPOCHREALTIME/./}
    vm_start "images-$1"
}

# images_serves PROGRAM: whether it does now.
images_serves() {
    local greeting=
    if [[ $1 == vrouter ]]; then
        timeout 5 ip netns exec "$LAB-images-client" "$LOAD" "$IMAGES_CLIENT" "$IMAGES_ROUTER" 1 1 once >/dev/null 2>&1
    else
        # Nobody waits for the connection's end: one that is greeted has seen all.
        IFS= read -r -t 20 greeting < <(exec ip netns exec "$LAB-images-operator" \
            socat -T 20 -u "TCP:$IMAGES_ADDRESS:22,connect-timeout=0.3" - 2>/dev/null) || true
        [[ $greeting == SSH-2.0-* ]]
    fi
}

# images_until PROGRAM: waits until it serves; not for a machine that ended or takes too long.
images_until() {
    local limit=$((SECONDS + IMAGES_PATIENCE))
    until images_serves "$1"; do
        vm_alive && ((SECONDS < limit)) || return 1
        sleep 0.02
    done
}

# images_starts PROGRAM: from a new disk, an end in order, and once more from what it wrote.
images_starts() {
    local figure
    images_new "$1"
    for figure in "$FIRST_START" "$NEXT_START"; do
        images_vm "$1" "$IMAGES_MEMORY"
        images_until "$1" || { vm_words && fail "$1 does not serve; the machine's last words are above"; }
        sample "$figure" "$1" "$(jq --null-input "(${EPOCHREALTIME/./} - $IMAGES_STARTED) / 1000000")"
        # What does not depend on who else uses the processor.
        sample "$figure$IN_PROCESSOR_TIME" "$1" "$(jq --null-input "$(cpu_ticks "$VM_PID") / $TICKS")"
        if [[ $figure == "$FIRST_START" ]]; then
            [[ $1 != debian ]] || vm_until "all of it has started" "$IMAGES_PATIENCE" images_told
            images_end
        else
            vm_power_cut
        fi
    done
}

# images_end: by the power button, so that its disk is whole.
images_end() {
    local limit=$((SECONDS + IMAGES_PATIENCE))
    while vm_alive; do
        vm_press_power_button
        sleep 1
        ((SECONDS < limit)) || { vm_words && fail "the machine does not end"; }
    done
}

# images_told: whether Debian said on its console what it takes; it does once, the first time.
images_told() {
    grep -aq '^bench: [0-9]* KiB available' "$VM_CONSOLE" && grep -a '^bench: ' "$VM_CONSOLE" | tail -n 1 >"$LAB_DIR/images.told"
}

# images_memory PROGRAM: what it takes of the machine, its kernel included. Debian's was told at its first start; the image
# has no shell, but its sibling for debugging has, and runs the same.
images_memory() {
    local available services
    if [[ $1 == vrouter ]]; then
        local IMAGES_ROOT=$OUT/root-debug.erofs VM_APPEND="$IMAGES_APPEND vrouter.debug-shell"
        images_new "$1"
        images_vm "$1" "$IMAGES_MEMORY"
        images_until "$1" || { vm_words && fail "the debug image does not serve; the machine's last words are above"; }
        vm_until "its console has a shell" "$IMAGES_PATIENCE" console_ready
        available=$(console 'cat /proc/meminfo' | awk '/^MemAvailable/ { print $2 }')
        services=$(console 'systemctl list-units --type service --state running --no-legend --plain --no-pager' |
            grep -vc -e debug-shell -e '^$')
        vm_power_cut
    else
        read -r _ available _ _ services _ <"$LAB_DIR/images.told"
    fi
    sample "taken of $IMAGES_MEMORY MiB once it serves" "$1" "$(jq --null-input "$IMAGES_MEMORY - $available / 1024")"
    sample 'services running then' "$1" "$services"
}

# images_least PROGRAM: the least memory of those that are tried in which a new machine comes to serve, found by halving. One
# that takes four times as long as with plenty does not serve.
images_least() {
    local low=0 high=$((${#IMAGES_LEAST[@]} - 1)) middle IMAGES_PATIENCE
    IMAGES_PATIENCE=$((20 + 4 * $(awk -F '\t' -v figure="$FIRST_START" -v program="$1" \
        '$1 == figure && $2 == program && $3 > most { most = $3 } END { printf "%d", most }' "$LAB_DIR/samples")))
    # It served in the last of them already.
    while ((low < high)); do
        middle=$(((low + high) / 2))
        images_new "$1"
        images_vm "$1" "${IMAGES_LEAST[middle]}"
        if images_until "$1"; then high=$middle; else low=$((middle + 1)); fi
        vm_power_cut
        step "images: $1 in ${IMAGES_LEAST[middle]} MiB: $([[ $high == "$middle" ]] && echo serves || echo does not serve)"
    done
    sample 'least memory that it serves in' "$1" "${IMAGES_LEAST[low]}"
}
