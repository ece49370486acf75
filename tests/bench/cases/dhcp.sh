# shellcheck shell=bash
# DHCP exchanges per second with as many configured hosts as the base has, each lease on its way to the disk.

# How many clients wait for an answer at a time, and how long they go on, in seconds.
IN_FLIGHT=128
DHCP_SECONDS=4

case_dhcp() {
    local round
    peer_files "$BASE"
    fresh_router
    router_start
    post "$(base "$BASE")"
    for ((round = 1; round <= ROUNDS; round++)); do
        router_stop
        rm -f "$LAB_DIR"/state/leases*
        router_start
        dhcp_measure vrouter "$ROUTER"
        router_stop
        kea_start
        dhcp_measure Kea "$STARTED"
        stop "$STARTED"
        rm -f "$LAB_DIR/peers/dnsmasq.leases"
        dnsmasq_start dhcp
        dhcp_measure dnsmasq "$STARTED"
        stop "$STARTED"
        step "dhcp: round $round of $ROUNDS"
    done
    row 'DHCP exchanges, leases on disk' 1/s Kea 'ratio >= 5'
    row 'DHCP exchanges, leases on disk' 1/s dnsmasq 'ratio >= 10'
    row 'DHCP exchanges, by its processor time' 1/s Kea -
    row 'DHCP exchanges, by its processor time' 1/s dnsmasq -
    row 'DHCP exchange, median' us Kea -
    row 'DHCP exchange, median' us dnsmasq -
}

# dhcp_measure PROGRAM PID: loads the server that runs.
dhcp_measure() {
    local before after
    leased 1 >/dev/null
    before=$(cpu_ticks "$2")
    inside guest "${CLIENT_CORE[@]}" "$LOAD" "$GUEST_CLIENT" "$GUEST_ROUTER" "$BASE" "$IN_FLIGHT" "$DHCP_SECONDS" \
        >"$LAB_DIR/load"
    after=$(cpu_ticks "$2")
    jq --exit-status '.exchanges > 0 and .refused == 0 and .moved == 0' "$LAB_DIR/load" >/dev/null ||
        fail "$1 did not serve every host its address: $(<"$LAB_DIR/load")"
    sample 'DHCP exchanges, leases on disk' "$1" "$(jq '.exchanges / .seconds' "$LAB_DIR/load")"
    sample 'DHCP exchanges, by its processor time' "$1" \
        "$(jq ".exchanges * $TICKS / ($after - $before)" "$LAB_DIR/load")"
    sample 'DHCP exchange, median' "$1" "$(jq .p50_us "$LAB_DIR/load")"
}
