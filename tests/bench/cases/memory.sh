# shellcheck shell=bash
# What the service holds of the machine's memory, and what the peers hold who do the same jobs: as many hosts as the
# base has, each with a lease, each a name, and as many cached names as `dns` asks for.

case_memory() {
    local round
    # shellcheck source=tests/bench/cases/dns.sh
    source "$BENCH_DIR/cases/dns.sh"
    peer_files "$BASE"
    dns_queries
    upstream_start
    # The documented example, on the devices of this lab.
    jq '.interfaces |= with_entries(.value |= del(.mac) | .value.device = .key)' \
        "$TOP/tests/examples/router.json" >"$LAB_DIR/example.json"
    for ((round = 1; round <= ROUNDS; round++)); do
        memory_router
        memory_peers
        step "memory: round $round of $ROUNDS"
    done
    row 'resident, idle' MiB - 'value < 40'
    row 'resident, with the documented example' MiB - 'value < 40'
    row "resident, $BASE of each and leases" MiB - 'value < 40'
    row "resident, $BASE of each and leases" MiB 'Kea + unbound' -
    row "resident, $BASE of each and leases" MiB dnsmasq -
    row "proportional, $BASE of each and leases" MiB 'Kea + unbound' -
    row "proportional, $BASE of each and leases" MiB dnsmasq -
    row 'resident, at its most while it got there' MiB - -
}

memory_router() {
    fresh_router
    router_start
    sample 'resident, idle' vrouter "$(status_mib VmRSS "$ROUTER")"
    post "$LAB_DIR/example.json"
    sample 'resident, with the documented example' vrouter "$(status_mib VmRSS "$ROUTER")"
    fresh_router
    router_start
    post "$(base "$BASE")"
    memory_load "$ROUTER" local cached
    memory_settled "$ROUTER"
    sample "resident, $BASE of each and leases" vrouter "$(status_mib VmRSS "$ROUTER")"
    sample "proportional, $BASE of each and leases" vrouter "$(proportional_mib "$ROUTER")"
    sample 'resident, at its most while it got there' vrouter "$(status_mib VmHWM "$ROUTER")"
    router_stop
}

# memory_load PID [KIND...]: every host has its lease, and every name has been asked for.
memory_load() {
    local kind
    leased "$BASE" >/dev/null
    for kind in "${@:2}"; do
        until_true "$LAB_DIR/load" "$1" resolves h1.demo.local
        dns_load "$kind" -n 1 -q 20
    done
}

memory_peers() {
    local kea unbound kea_resident
    kea_start
    kea=$STARTED
    memory_load "$kea"
    unbound_start
    unbound=$STARTED
    until_true "$LAB_DIR/unbound.log" "$unbound" resolves h1.demo.local
    dns_load local -n 1 -q 20
    dns_load cached -n 1 -q 20
    memory_settled "$kea"
    memory_settled "$unbound"
    kea_resident=$(status_mib VmRSS "$kea")
    sample "resident, $BASE of each and leases" 'Kea + unbound' \
        "$(jq --null-input "$kea_resident + $(status_mib VmRSS "$unbound")")"
    sample "proportional, $BASE of each and leases" 'Kea + unbound' "$(proportional_mib "$kea" "$unbound")"
    stop "$kea"
    stop "$unbound"

    # At its rate it would take minutes to give the leases one by one.
    jq --raw-output '.dhcp.guest.hosts[] | "\(now + 86400 | floor) \(.mac) \(.ip) \(.hostname) *"' \
        "$(base "$BASE")" >"$LAB_DIR/peers/dnsmasq.leases"
    dnsmasq_start both
    until_true "$LAB_DIR/dnsmasq.log" "$STARTED" resolves h1.demo.local
    dns_load local -n 1 -q 20
    dns_load cached -n 1 -q 20
    memory_settled "$STARTED"
    sample "resident, $BASE of each and leases" dnsmasq "$(status_mib VmRSS "$STARTED")"
    sample "proportional, $BASE of each and leases" dnsmasq "$(proportional_mib "$STARTED")"
    stop "$STARTED"
}

# memory_settled PID: waits until a process keeps what it holds; what it needed to get there is no part of it.
memory_settled() {
    local before='' quiet=0 limit=$((SECONDS + PATIENCE))
    while ((quiet < 4 && SECONDS < limit)); do
        sleep 0.5
        if [[ $(status_mib VmRSS "$1") == "$before" ]]; then
            quiet=$((quiet + 1))
        else
            quiet=0
            before=$(status_mib VmRSS "$1")
        fi
    done
}

# status_mib FIELD PID: a field of /proc/PID/status.
status_mib() {
    awk -v field="$1:" '$1 == field { print $2 / 1024 }' "/proc/$2/status"
}

# proportional_mib PID...: memory that is shared counts by its share.
proportional_mib() {
    local pid
    for pid in "$@"; do
        cat "/proc/$pid/smaps_rollup"
    done | awk '$1 == "Pss:" { sum += $2 } END { print sum / 1024 }'
}
