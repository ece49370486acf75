# shellcheck shell=bash
# What running connections notice of 1,000 changes that are about others, on the whole base: a ping from the world to a
# guest behind its EIP, a hundred times a second, and a stream from a guest to the world through SNAT, compared byte by
# byte. The stream's guest has no EIP, so that it is SNAT that translates it.

FLOW_CHANGES=1000
# A host of the base and its EIP, which an ingress rule opens to the ping.
FLOW_GUEST=10.1.0.2
FLOW_EIP=100.64.0.2

case_flows() {
    local round
    inside guest ip address add "$FLOW_GUEST/12" dev eth0
    flow_changes
    for ((round = 1; round <= ROUNDS; round++)); do
        flow_round
        step "flows: round $round of $ROUNDS"
    done
    inside guest ip address del "$FLOW_GUEST/12" dev eth0
    row "pings lost in $FLOW_CHANGES changes" packets - 'value = 0'
    row "bytes lost or wrong in $FLOW_CHANGES changes" bytes - 'value = 0'
    row "TCP segments sent again in $FLOW_CHANGES changes" segments - 'value = 0'
    row 'changes beside running flows' 1/s - -
}

# flow_changes: requests for one connection; each object is added, changed and removed, EIPs, port forwards, firewall
# rules and DHCP hosts by turns.
flow_changes() {
    jq --null-input --argjson changes "$FLOW_CHANGES" '
        def change: . as $number | (. / 3 | floor) as $object | ($object % 200 + 1) as $low
            | [
                { eips: { f: { address: "198.51.101.\($low)", interface: "public", target: "10.15.0.\($low)" } } },
                { eips: { f: { target: "10.15.1.\($low)" } } },
                { eips: { f: null } },
                { port_forwards: { f: { protocol: "tcp", address: "198.51.100.99", ports: "\($low + 2000)",
                    target: "10.15.0.\($low)", target_ports: "22" } } },
                { port_forwards: { f: { target_ports: "80" } } },
                { port_forwards: { f: null } },
                { firewall: { rules: { f: { priority: 200, direction: "ingress", interface: "public",
                    protocol: "tcp", destination_ports: ["\($low)"], action: "accept" } } } },
                { firewall: { rules: { f: { action: "reject" } } } },
                { firewall: { rules: { f: null } } },
                { dhcp: { guest: { hosts: { f: { mac: "fe:aa:00:00:00:01", ip: "10.15.2.\($low)" } } } } },
                { dhcp: { guest: { hosts: { f: { hostname: "f\($low)" } } } } },
                { dhcp: { guest: { hosts: { f: null } } } }
            ][$number % 12];
        range($changes) | change' | requests >"$LAB_DIR/changes"
}

flow_round() {
    local ping stream listener begun ended resent
    fresh_router
    router_start
    post "$(base "$BASE")"
    api /v1/config --request PATCH --output /dev/null --data '{ "firewall": { "rules": { "ping": { "priority": 1,
        "direction": "ingress", "interface": "public", "protocol": "icmp", "icmp_type": 8, "action": "accept" } } } }'
    until_true "$LAB_DIR/vrouterd.log" "$ROUTER" inside public ping -c 1 -W 1 "$FLOW_EIP"

    rm -f "$LAB_DIR/sent" "$LAB_DIR/received"
    start_inside public received nc -l -N "$PUBLIC_GATEWAY" 5001
    listener=$STARTED
    until_true "$LAB_DIR/received.log" "$listener" listens
    # shellcheck disable=SC2016  # the inner shell expands it
    start_inside guest sent bash -c '
        until [[ -e $1/enough ]]; do head -c 65536 /dev/urandom; sleep 0.01; done |
            tee "$1/sent" | nc -N -s "$2" "$3" 5001' stream "$LAB_DIR" "$GUEST_CLIENT" "$PUBLIC_GATEWAY"
    stream=$STARTED
    start_inside public ping ping -i 0.01 -q "$FLOW_EIP"
    ping=$STARTED
    until_true "$LAB_DIR/sent.log" "$stream" test -s "$LAB_DIR/received.log"

    resent=$(resent_segments)
    begun=${EPOCHREALTIME/./}
    send_requests "$LAB_DIR/changes" "$FLOW_CHANGES"
    ended=${EPOCHREALTIME/./}

    kill -INT "$ping"
    wait "$ping" 2>/dev/null || true
    touch "$LAB_DIR/enough"
    wait "$stream" || fail "the stream was cut"
    wait "$listener" || fail "the stream was cut"
    rm "$LAB_DIR/enough"
    sample "pings lost in $FLOW_CHANGES changes" vrouter \
        "$(awk '/packets transmitted/ { print $1 - $4 }' "$LAB_DIR/ping.log")"
    sample "bytes lost or wrong in $FLOW_CHANGES changes" vrouter "$(different_bytes)"
    sample "TCP segments sent again in $FLOW_CHANGES changes" vrouter "$(($(resent_segments) - resent))"
    sample 'changes beside running flows' vrouter \
        "$(jq --null-input "$FLOW_CHANGES * 1000000 / $((ended - begun))")"
    router_stop
}

listens() {
    [[ -n $(inside public ss -Hltn 'sport = 5001') ]]
}

resent_segments() {
    inside guest cat /proc/net/snmp | awk '$1 == "Tcp:" && $13 ~ /[0-9]/ { print $13 }'
}

# different_bytes: how many bytes did not arrive, or arrived as others.
different_bytes() {
    local sent received wrong
    sent=$(stat --format %s "$LAB_DIR/sent")
    received=$(stat --format %s "$LAB_DIR/received.log")
    wrong=$({ cmp --verbose "$LAB_DIR/sent" "$LAB_DIR/received.log" 2>/dev/null || true; } | wc -l)
    printf '%s\n' $((wrong + (sent > received ? sent - received : received - sent)))
}
