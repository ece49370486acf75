# shellcheck shell=bash
# A TCP balancer in the kernel against plain routing without a rule, which is the limit, against one rule of DNAT, which is
# the limit of whoever translates with this kernel, and against haproxy in TCP mode: requests, new connections, bytes,
# and what a byte costs.

L4_PEERS=(haproxy routing DNAT)
# What one download is when processor time is counted, in bytes.
COST_BYTES=$((4 << 30))

case_l4() {
    local round program url
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        # The transfer by itself, without a hop.
        balancer_idle
        l4_cost "http://$DIRECT:$SERVER_PORT"
        L4_ITSELF=$COST
        balancer_stop
        for program in $(balancer_programs "${L4_PEERS[@]}"); do
            case $program in
                vrouter | DNAT) url=http://$VIP:8080 ;;
                haproxy) url=http://$VIP:8081 ;;
                routing) url=http://10.0.1.1:$SERVER_PORT ;;
            esac
            case $program in
                vrouter | haproxy) balancer_start "$program" "$url/" ;;
                routing | DNAT)
                    place_by_hand
                    [[ $program != DNAT ]] || translate_by_hand
                    balancer_idle
                    ;;
            esac
            l4_measure "$program" "$url"
            balancer_stop
        done
        step "l4: round $round of $ROUNDS"
    done
    for program in "${L4_PEERS[@]}"; do
        row 'L4, requests per processor second of all' 1/s "$program" "$(l4_bar "$program")"
        row 'L4, MiB per processor second of all' MiB/s "$program" "$(l4_bar "$program")"
        row 'L4, connections per processor second of all' 1/s "$program" -
        row 'L4, requests' 1/s "$program" -
        row 'L4, request, p99' us "$program" -
        row 'L4, connections' 1/s "$program" -
        row 'L4, bytes' MiB/s "$program" -
        row 'L4, processor time of the hop' ms/GiB "$program" "$(l4_cost_bar "$program")"
    done
}

# l4_bar PEER: load, balancer and servers share the machine; by the processor time of all of them is what does not depend
# on whoever else uses it.
l4_bar() {
    case $1 in
        haproxy) echo 'ratio > 1' ;;
        routing) echo 'ratio >= 0.95' ;;
        *) echo - ;;
    esac
}

l4_cost_bar() {
    if [[ $1 == haproxy ]]; then echo 'ratio <= 0.3333'; else echo -; fi
}

# translate_by_hand: the least that a balancer in this kernel can be.
translate_by_hand() {
    inside router nft -f - <<END
table ip least {
    chain destination_nat {
        type nat hook prerouting priority dstnat;
        ip daddr $VIP tcp dport 8080 dnat to 10.0.1.1:$SERVER_PORT
    }
    chain forward {
        type filter hook forward priority filter;
        ct state established accept
    }
}
END
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
    sample 'L4, requests per processor second of all' "$1" "$(jq ".requests * 1000 / $ALL_MS" "$LAB_DIR/load")"
    sample 'L4, request, p99' "$1" "$(jq .p99_us "$LAB_DIR/load")"
    load "$2/" --header 'Connection: close'
    sample 'L4, connections' "$1" "$(jq '.requests / .seconds' "$LAB_DIR/load")"
    sample 'L4, connections per processor second of all' "$1" "$(jq ".requests * 1000 / $ALL_MS" "$LAB_DIR/load")"
    CONNECTIONS=8 load "$2/bulk"
    sample 'L4, bytes' "$1" "$(jq '.bytes / .seconds / 1048576' "$LAB_DIR/load")"
    l4_cost "$2"
    sample 'L4, MiB per processor second of all' "$1" "$(jq --null-input "1024 * 1000 / $COST")"
    sample 'L4, processor time of the hop' "$1" "$(jq --null-input "$COST - $L4_ITSELF")"
}

# l4_cost URL: COST is the processor time of everybody who takes part in a download, in ms for a GiB: client, server,
# balancer and what the kernel does for them outside of any process.
l4_cost() {
    local before after client
    before=$(jq --null-input "$(run_ms "$BALANCER") + $(others_ms)")
    # shellcheck disable=SC2016  # the inner shell expands it
    client=$(inside public "${CLIENT_CORE[@]}" bash -c 'TIMEFORMAT="%U + %S"
        time curl --silent --fail --output /dev/null "$1/bulk?[1-$2]"' \
        cost "$1" $((COST_BYTES / BULK_BYTES)) 2>&1) || fail "a download failed"
    after=$(jq --null-input "$(run_ms "$BALANCER") + $(others_ms)")
    COST=$(jq --null-input "($after - $before + 1000 * ($client)) * 1073741824 / $COST_BYTES")
}
