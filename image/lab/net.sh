# shellcheck shell=bash
# A lab of network namespaces: three networks, stations that are plugged into them, and taps for a machine.
# Sourced by image/run and tests/qemu/run. All of it is named after LAB and gone after lab_end; nothing is made outside.

LAB=vr$$
LAB_NAMESPACES=()
LAB_GROUPS=()
LAB_PORTS=0

# lab_begin: one namespace that holds the networks as bridges, and a folder for logs.
lab_begin() {
    LAB_DIR=$(mktemp -d /tmp/vrouter-lab.XXXXXX)
    lab_namespace net
    local network
    for network in "$@"; do
        # A bridge that forwards at once and speaks no protocol by itself.
        inside net ip link add "$network" type bridge forward_delay 0 mcast_snooping 0
        inside net ip link set "$network" up
    done
}

# lab_end: ends every program that the lab started, then its namespaces and its folder. Safe to call at any time.
lab_end() {
    local group name
    for group in "${LAB_GROUPS[@]}"; do
        kill -KILL -- "-$group" 2>/dev/null || true
    done
    for group in "${LAB_GROUPS[@]}"; do
        wait "$group" 2>/dev/null || true
    done
    for name in "${LAB_NAMESPACES[@]}"; do
        ip netns del "$name" 2>/dev/null || true
    done
    LAB_GROUPS=()
    LAB_NAMESPACES=()
    [[ -z ${LAB_DIR:-} ]] || rm -rf "$LAB_DIR"
}

# lab_namespace NAME: a namespace with its loopback up.
lab_namespace() {
    ip netns add "$LAB-$1" || fail "cannot make a network namespace; image/run needs root and a kernel with namespaces"
    LAB_NAMESPACES+=("$LAB-$1")
    inside "$1" ip link set lo up
}

# inside NAME COMMAND...: runs a command in a namespace of the lab.
inside() {
    local name=$1
    shift
    ip netns exec "$LAB-$name" "$@"
}

# station NAME NETWORK MAC [ADDRESS...]: a namespace with one device, eth0, in a network. An address that is no part of
# a network, a /32, is put on its loopback: something farther away than the wire.
station() {
    local name=$1 network=$2 mac=$3 address device port
    shift 3
    lab_namespace "$name"
    LAB_PORTS=$((LAB_PORTS + 1))
    port=port$LAB_PORTS
    inside net ip link add "$port" type veth peer name eth0 address "$mac" netns "$LAB-$name"
    inside net ip link set "$port" master "$network" up
    inside "$name" ip link set eth0 up
    for address in "$@"; do
        device=eth0
        [[ $address != */32 ]] || device=lo
        inside "$name" ip address add "$address" dev "$device"
    done
}

# tap NETWORK [multi_queue]: the device by which a machine stands in a network, made anew where it is there.
tap() {
    [[ -c /dev/net/tun ]] || fail "there is no /dev/net/tun; load the tun module: modprobe tun"
    inside net ip link delete "tap-$1" 2>/dev/null || true
    inside net ip tuntap add "tap-$1" mode tap ${2:+"$2"}
    inside net ip link set "tap-$1" master "$1" up
}

# start_inside NAME LOG COMMAND...: starts a program that runs until lab_end; its pid is in STARTED.
start_inside() {
    local name=$1 log=$2
    shift 2
    # A session of its own: Ctrl-C at the terminal is ours to handle, and its children end with it.
    ip netns exec "$LAB-$name" setsid "$@" >"$LAB_DIR/$log.log" 2>&1 </dev/null &
    STARTED=$!
    LAB_GROUPS+=("$STARTED")
}
