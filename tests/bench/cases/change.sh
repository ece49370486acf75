# shellcheck shell=bash
# One object more, less or other: the round trip of a PATCH on a connection that stays, against one transaction of nft
# on the same table, its start included. On the whole base and on none: it must not grow.

# How often each change is made in a round, each time on another object.
CHANGES=50

case_change() {
    local round objects
    for ((round = 1; round <= ROUNDS; round++)); do
        for objects in 0 "$BASE"; do
            change_router "$objects"
            change_peer "$objects"
        done
        step "change: round $round of $ROUNDS"
    done
    for objects in "$BASE" 0; do
        row "EIP added, on $objects" ms 'nft -f' "$(change_bar "$objects")"
        row "EIP retargeted, on $objects" ms 'nft -f' "$(change_bar "$objects")"
        row "EIP removed, on $objects" ms 'nft -f' "$(change_bar "$objects")"
        row "port forward added, on $objects" ms 'nft -f' "$(change_bar "$objects")"
        row "DHCP host added, on $objects" ms - "$(change_bar "$objects")"
    done
}

change_bar() {
    if (($1 == BASE)); then echo 'value < 10'; else echo -; fi
}

change_router() {
    fresh_router
    router_start
    post "$(base "$1")"
    inside router nft list table inet vrouter >"$LAB_DIR/ruleset-$1"
    patches "EIP added, on $1" '{ eips: { "c\(.)": { address: "198.51.101.\(.)", interface: "public", target: "10.15.0.\(.)" } } }'
    patches "EIP retargeted, on $1" '{ eips: { "c\(.)": { target: "10.15.1.\(.)" } } }'
    patches "EIP removed, on $1" '{ eips: { "c\(.)": null } }'
    patches "port forward added, on $1" '{ port_forwards: { "c\(.)": {
        protocol: "tcp", address: "198.51.100.99", ports: "\(. + 2000)", target: "10.15.0.\(.)", target_ports: "22" } } }'
    patches "DHCP host added, on $1" '{ dhcp: { guest: { hosts: { "c\(.)": {
        mac: "fe:aa:00:00:00:\(. + 10)",
        ip: "10.15.0.\(.)", hostname: "c\(.)" } } } } }'
    router_stop
}

# patches FIGURE PATCH: sends a patch, a jq program of a number, for each number in turn and takes the time of each.
patches() {
    local ms
    jq --null-input --argjson changes "$CHANGES" "range(1; \$changes + 1) | $2" | requests >"$LAB_DIR/patches"
    send_requests "$LAB_DIR/patches" "$CHANGES"
    while read -r _ ms; do
        sample "$1" vrouter "$ms"
    done < <(awk '{ print $1, $2 * 1000 }' "$LAB_DIR/answers")
}

change_peer() {
    inside peer nft flush ruleset
    inside peer nft -f "$LAB_DIR/ruleset-$1"
    transactions "EIP added, on $1" 'add element inet vrouter eip_ingress { 198.51.101.N : goto ingress_public }
        add element inet vrouter eip_sources_public { 10.15.0.N : 198.51.101.N }
        add element inet vrouter eips { 198.51.101.N : 10.15.0.N }'
    transactions "EIP retargeted, on $1" 'delete element inet vrouter eips { 198.51.101.N }
        add element inet vrouter eips { 198.51.101.N : 10.15.1.N }
        delete element inet vrouter eip_sources_public { 10.15.0.N }
        add element inet vrouter eip_sources_public { 10.15.1.N : 198.51.101.N }'
    transactions "EIP removed, on $1" 'delete element inet vrouter eip_ingress { 198.51.101.N }
        delete element inet vrouter eip_sources_public { 10.15.1.N }
        delete element inet vrouter eips { 198.51.101.N }'
    transactions "port forward added, on $1" \
        'add element inet vrouter forwards { 198.51.100.99 . tcp . 20N : 10.15.0.N . 22 }'
}

# transactions FIGURE COMMANDS: nft's time for commands with a number in place of N, for each number in turn.
transactions() {
    local number times ms
    mkdir -p "$LAB_DIR/transactions"
    for ((number = 1; number <= CHANGES; number++)); do
        printf '%s\n' "${2//N/$number}" >"$LAB_DIR/transactions/$number"
    done
    # shellcheck disable=SC2016  # the inner shell expands it
    times=$(inside peer bash -c '
        set -e
        for ((number = 1; number <= $2; number++)); do
            begun=${EPOCHREALTIME/./}
            nft -f "$1/$number"
            echo $((${EPOCHREALTIME/./} - begun))
        done
    ' transactions "$LAB_DIR/transactions" "$CHANGES")
    while read -r ms; do
        sample "$1" 'nft -f' "$ms"
    done < <(awk '{ print $1 / 1000 }' <<<"$times")
}
