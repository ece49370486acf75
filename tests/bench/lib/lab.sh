# shellcheck shell=bash
# The router's namespace between its guests and the world, the product in it, and peers in its place.
# Sourced by tests/bench/run, after image/lab/net.sh.

# The router's addresses, those of whoever asks it, and the forwarder, which is the public gateway as well.
GUEST_ROUTER=10.0.0.1
GUEST_CLIENT=10.15.255.254
PUBLIC_GATEWAY=198.51.100.1
# How long anything that must happen may take, in seconds.
PATIENCE=60

# bench_lab: the namespaces and their devices. `peer` has the same devices as `router` and nobody on the other end.
bench_lab() {
    local network
    LAB_DIR=$(mktemp -d /var/tmp/vrouter-bench.XXXXXX)
    for network in router peer mgmt public guest; do
        lab_namespace "$network"
    done
    for network in mgmt public guest; do
        inside router ip link add "$network" type veth peer name eth0 netns "$LAB-$network"
        inside router ip link set "$network" up
        inside "$network" ip link set eth0 up
        inside peer ip link add "$network" type veth peer name "far-$network"
        inside peer ip link set "$network" up
        inside peer ip link set "far-$network" up
    done
    inside guest ip address add "$GUEST_CLIENT/12" dev eth0
    inside guest ip route add default via "$GUEST_ROUTER"
    inside public ip address add "$PUBLIC_GATEWAY/24" dev eth0
    # The EIPs are routed to the router, as a provider does.
    inside public ip route add 100.64.0.0/10 via 198.51.100.5
}

# machine_image: the debugging image of what is measured, the networks that it stands in, and what starts it.
machine_image() {
    # shellcheck source=image/lab/vm.sh
    source "$IMAGE_DIR/lab/vm.sh"
    # shellcheck source=tests/qemu/console.sh
    source "$TOP/tests/qemu/console.sh"
    local given=()
    # shellcheck disable=SC2153  # run sets it
    [[ ! -x $BINARIES/vrctl ]] || given=(--binaries "$BINARIES")
    "$IMAGE_DIR/build" --debug "${given[@]}"
    need_packages qemu-system-x86 socat
    machine_networks
    VM_NICS=(mgmt=52:54:00:00:00:01 public=52:54:00:00:00:02 guest=52:54:00:00:00:03)
    # shellcheck disable=SC2034  # vm.sh reads it
    VM_ROOT=$OUT/root-debug.erofs
}

# machine_networks: the networks that a booted image stands in, with a tap each; made once for all cases.
machine_networks() {
    local network
    [[ " ${LAB_NAMESPACES[*]} " != *" $LAB-net "* ]] || return 0
    lab_namespace net
    for network in mgmt public guest; do
        inside net ip link add "$network" type bridge forward_delay 0 mcast_snooping 0
        inside net ip link set "$network" up
        tap "$network"
    done
}

# document OBJECTS: prints a configuration.
document() {
    jq --null-input --compact-output --argjson objects "$1" --from-file "$BENCH_DIR/lib/document.jq"
}

# base OBJECTS: the file that holds that configuration.
base() {
    local file=$LAB_DIR/base-$1.json
    [[ -s $file ]] || document "$1" >"$file"
    printf '%s\n' "$file"
}

# fresh_router: nothing of an earlier run is left in the router's namespace; its state directory is empty.
fresh_router() {
    router_stop
    rm -rf "$LAB_DIR/state"
    mkdir "$LAB_DIR/state"
    inside router nft flush ruleset
    inside router ip route flush table all proto "$ROUTE_PROTOCOL"
    local device
    for device in mgmt public guest; do
        inside router ip address flush dev "$device"
    done
}

# The number that the product's routes are known by.
ROUTE_PROTOCOL=118
ROUTER=

# router_start [COMMAND...]: starts vrouterd, under a command if one is given, and waits until it answers.
router_start() {
    start_inside router vrouterd "$@" "$BINARIES/vrouterd" --state-dir "$LAB_DIR/state" --socket "$LAB_DIR/api.sock"
    ROUTER=$STARTED
    until_true "$LAB_DIR/vrouterd.log" "$ROUTER" api /v1/config
}

# router_stop: the kernel goes on forwarding.
router_stop() {
    [[ -z $ROUTER ]] || stop "$ROUTER"
    ROUTER=
}

# stop PID: ends a program that start_inside has started.
stop() {
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# until_true LOG PID COMMAND...: waits for a condition while a program is alive.
until_true() {
    local log=$1 pid=$2 limit=$((SECONDS + PATIENCE))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || { tail -n 5 "$log" >&2 && fail "a program ended early; its last words are above"; }
        ((SECONDS < limit)) || { tail -n 5 "$log" >&2 && fail "waited in vain for: $*"; }
        sleep 0.02
    done
}

# api PATH [CURL ARGUMENT...]: asks the router by its socket and prints the body; a refusal is a failure.
api() {
    local path=$1
    shift
    curl --silent --show-error --fail-with-body --max-time "$PATIENCE" --unix-socket "$LAB_DIR/api.sock" \
        "$@" "http://router$path"
}

# post FILE: applies a document. The answer is in $LAB_DIR/answer, the wall time that the client saw in TOOK_MS.
post() {
    local seconds
    seconds=$(api /v1/config --data-binary "@$1" --output "$LAB_DIR/answer" --write-out '%{time_total}') ||
        { head -c 1000 "$LAB_DIR/answer" >&2 && fail "the router refused $1"; }
    TOOK_MS=$(jq --null-input "$seconds * 1000")
}

# requests: merge patches on standard input become requests of one connection to the router.
requests() {
    jq --raw-output --arg socket "$LAB_DIR/api.sock" --arg answer "$LAB_DIR/answer" \
        --from-file "$BENCH_DIR/lib/requests.jq" | sed 1d
}

# send_requests FILE COUNT: sends them; each has to be accepted. Status and seconds of each are in $LAB_DIR/answers.
send_requests() {
    curl --config "$1" >"$LAB_DIR/answers" || fail "the router does not answer"
    [[ $(grep -c '^200 ' "$LAB_DIR/answers") == "$2" ]] ||
        fail "a change was refused; the last answer was: $(head -c 1000 "$LAB_DIR/answer")"
}

# timed NAMESPACE COMMAND...: runs a command and prints its wall time in ms, without what it takes to enter a namespace.
timed() {
    local name=$1
    shift
    # shellcheck disable=SC2016  # the inner shell expands it
    inside "$name" bash -c '
        set -e
        begun=${EPOCHREALTIME/./}
        "$@" >/dev/null
        ended=${EPOCHREALTIME/./}
        printf "%d.%03d\n" $(((ended - begun) / 1000)) $(((ended - begun) % 1000))
    ' timed "$@"
}

# cpu_ticks PID...: what processes have used of the processor since they started, in ticks of which TICKS are a second.
cpu_ticks() {
    local pid
    for pid in "$@"; do
        sed 's/.*) //' "/proc/$pid/stat"
    done | awk '{ ticks += $12 + $13 } END { print ticks }'
}
TICKS=$(getconf CLK_TCK)

# A server and whoever loads it have a core each, where there are two.
SERVER_CORE=()
CLIENT_CORE=()
if (($(nproc) > 1)); then
    SERVER_CORE=(taskset --cpu-list 0)
    CLIENT_CORE=(taskset --cpu-list 1)
fi
