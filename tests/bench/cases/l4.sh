# shellcheck shell=bash
# A TCP balancer in the kernel against plain routing without a rule, which is the limit, and against haproxy in TCP mode:
# requests, new connections, bytes, and what a byte costs.

L4_PROGRAMS=(haproxy routing)
# What one download is when processor time is counted, in bytes.
COST_BYTES=$((4 << 30))

case_l4() {
    local round program
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        # The transfer by itself, without a hop.
        balancer_idle
        l4_cost "http://$DIRECT:$SERVER_PORT"
        L4_ITSELF=$COST
        for program in $(balancer_programs "${L4_PROGRAMS[@]}"); do
            case $program in
                vrouter) balancer_start vrouter && l4_measure vrouter "http://$VIP:8080" ;;
                haproxy) balancer_start haproxy && l4_measure haproxy "http://$VIP:8081" ;;
                routing)
                    balancer_idle
                    place_by_hand
                    l4_measure routing "http://10.0.1.1:$SERVER_PORT"
                    ;;
            esac
            balancer_stop
        done
        step "l4: round $round of $ROUNDS"
    done
    for program in haproxy routing; do
        row 'L4, requests' 1/s "$program" "$(l4_bar "$program")"
        row 'L4, request, p99' us "$program" -
        row 'L4, connections' 1/s "$program" -
        row 'L4, bytes' MiB/s "$program" "$(l4_bar "$program")"
        row 'L4, processor time of the hop' ms/GiB "$program" "$(l4_cost_bar "$program")"
    done
}

l4_bar() {
    if [[ $1 == routing ]]; then echo 'ratio >= 0.95'; else echo 'ratio > 1'; fi
}

l4_cost_bar() {
    if [[ $1 == haproxy ]]; then echo 'ratio <= 0.3333'; else echo -; fi
}

# balancer_idle: nothing is balanced; what load() asks the processor time of is a process that does nothing.
balancer_idle() {
    start_inside router idle sleep infinity
    BALANCER=$STARTED
}

# l4_measure PROGRAM URL: loads what is there.
l4_measure() {
    until_true "$LAB_DIR/servers.log" "$SERVERS_PID" answers "$2/"
    load "$2/"
    sample 'L4, requests' "$1" "$(jq '.requests / .seconds' "$LAB_DIR/load")"
    sample 'L4, request, p99' "$1" "$(jq .p99_us "$LAB_DIR/load")"
    load "$2/" --header 'Connection: close'
    sample 'L4, connections' "$1" "$(jq '.requests / .seconds' "$LAB_DIR/load")"
    CONNECTIONS=8 load "$2/bulk"
    sample 'L4, bytes' "$1" "$(jq '.bytes / .seconds / 1048576' "$LAB_DIR/load")"
    l4_cost "$2"
    sample 'L4, processor time of the hop' "$1" "$(jq --null-input "$COST - $L4_ITSELF")"
}

# l4_cost URL: COST is the processor time of everybody who takes part in a download, in ms for a GiB: client, server,
# balancer and what the kernel does for them outside of any process.
l4_cost() {
    local before after client
    before=$(run_ms "$SERVERS_PID" "$BALANCER")
    before=$(jq --null-input "$before + $(soft_ms)")
    # shellcheck disable=SC2016  # the inner shell expands it
    client=$(inside public "${CLIENT_CORE[@]}" bash -c 'TIMEFORMAT="%U + %S"
        time curl --silent --fail --output /dev/null "$1/bulk?[1-$2]"' \
        cost "$1" $((COST_BYTES / BULK_BYTES)) 2>&1) || fail "a download failed"
    after=$(run_ms "$SERVERS_PID" "$BALANCER")
    COST=$(jq --null-input "($after + $(soft_ms) - $before + 1000 * ($client)) * 1073741824 / $COST_BYTES")
}

# soft_ms: the processor time of the kernel's own threads for packets.
soft_ms() {
    pgrep ksoftirqd | sed 's|.*|/proc/&/schedstat|' | xargs cat | awk '{ sum += $1 } END { print sum / 1000000 }'
}
