# shellcheck shell=bash
# From the kernel's start to the first DHCP answer, in the image and with a stored configuration, against the same kernel,
# first program and init that start an empty unit instead. Both say the same on the console, so that costs both the same.

BOOT_ROUTER=10.1.1.1
BOOT_CLIENT=10.1.1.250

case_boot() {
    local round
    boot_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        boot_empty
        boot_router
        step "boot: round $round of $ROUNDS"
    done
    row 'kernel start to the first DHCP answer (empty unit: to its line)' ms empty "ratio <= $(budget boot answer_ratio)"
    row '  of these, the kernel' ms empty -
    row '  the first program' ms empty -
    row '  systemd, and the router or the empty unit' ms empty -
}

# boot_lab: the networks, a client that can ask at any time, and a data disk on which the configuration is stored.
boot_lab() {
    machine_image
    station boot-client guest fa:aa:00:00:00:fa "$BOOT_CLIENT/24"
    # Nobody answers for the router's address before it is there, and a kernel that asked in vain waits with its next try.
    inside boot-client ip neighbour replace "$BOOT_ROUTER" lladdr 52:54:00:00:00:03 dev eth0 nud permanent
    # Without `quiet` the kernel says when it hands over to the first program.
    VM_APPEND=loglevel=7
    VM_DATA=$LAB_DIR/stored.ext4
    cp --sparse=always "$OUT/data.ext4" "$VM_DATA"
    # Longer ones do not pass: of what the firmware hands over, the service manager reads one page.
    VM_CONFIG=$LAB_DIR/boot.json
    jq --compact-output . "$IMAGE_DIR/demo.json" >"$VM_CONFIG"
    vm_start stored
    vm_until "it has stored its configuration" 120 boot_asks
    vm_power_cut
    VM_CONFIG=
}

# boot_asks: one client's whole exchange.
boot_asks() {
    inside boot-client "$LOAD" "$BOOT_CLIENT" "$BOOT_ROUTER" 1 1 once
}

# boot_start NAME [WORD]: starts the machine on a copy of the stored disk, and writes down when each line reaches the console.
boot_start() {
    VM_DATA=$LAB_DIR/data.ext4
    cp --sparse=always "$LAB_DIR/stored.ext4" "$VM_DATA"
    VM_APPEND="loglevel=7${2:+ $2}"
    : >"$LAB_DIR/$1.console"
    boot_stamp "$LAB_DIR/$1.console" >"$LAB_DIR/stamps" &
    BOOT_STAMP=$!
    vm_start "$1"
}

# boot_stamp FILE: its lines as they come, each behind the time in microseconds.
boot_stamp() {
    local line
    tail -n +1 -F "$1" 2>/dev/null | while IFS= read -r line; do
        printf '%s %s\n' "${EPOCHREALTIME/./}" "$line"
    done
}

# boot_when PATTERN: when the first line that matches came, in microseconds; the kernel's own clock is in brackets.
boot_when() {
    grep -aE "$1" "$LAB_DIR/stamps" | head -n 1 | cut -d ' ' -f 1
}

boot_said() {
    grep -aqE "$1" "$LAB_DIR/stamps"
}

boot_empty() {
    boot_start empty systemd.unit=vrouter-empty.service
    vm_until "the empty unit ran" 120 boot_said 'NAME=vrouter'
    boot_end empty "$(boot_when 'NAME=vrouter')"
}

boot_router() {
    boot_start vrouter
    until boot_asks >"$LAB_DIR/boot.asked" 2>&1; do
        vm_alive || { vm_words && fail "the machine ended before it answered"; }
    done
    boot_end vrouter "${EPOCHREALTIME/./}"
}

# boot_end PROGRAM TIME: ends the machine and notes how long it took until TIME, and its phases.
boot_end() {
    local program=$1 end=$2 init state born
    vm_until "the console is read" 30 boot_said 'vrouter: state is'
    init=$(boot_when 'Run /init')
    state=$(boot_when 'vrouter: state is')
    # The kernel's clock began with it.
    born=$(awk -v now="$init" '/Run \/init/ { sub(/.*\[ */, ""); printf "%.0f", now - $1 * 1000000; exit }' "$LAB_DIR/stamps")
    vm_power_cut
    pkill -P "$BOOT_STAMP" 2>/dev/null || true
    wait "$BOOT_STAMP" 2>/dev/null || true
    boot_sample 'kernel start to the first DHCP answer (empty unit: to its line)' "$program" "$born" "$end"
    boot_sample '  of these, the kernel' "$program" "$born" "$init"
    boot_sample '  the first program' "$program" "$init" "$state"
    boot_sample '  systemd, and the router or the empty unit' "$program" "$state" "$end"
}

# boot_sample FIGURE PROGRAM FROM TO: microseconds as milliseconds.
boot_sample() {
    sample "$1" "$2" "$(jq --null-input "($4 - $3) / 1000")"
}
