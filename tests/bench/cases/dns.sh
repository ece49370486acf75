# shellcheck shell=bash
# DNS answers for as many local names as the base has hosts, and for names that a forwarder was asked for once. Each
# server has one core and dnsperf the other. Answers by the server's own processor time are what does not depend on
# whoever else uses the machine; answers per second show that they are given.

# How many names are cached: half of what each of the caches holds.
CACHED_NAMES=5000
DNS_SECONDS=3

case_dns() {
    local round kind
    peer_files "$BASE"
    dns_queries
    upstream_start
    fresh_router
    router_start
    post "$(base "$BASE")"
    for ((round = 1; round <= ROUNDS; round++)); do
        router_stop
        router_start "${SERVER_CORE[@]}"
        dns_measure vrouter "$ROUTER"
        router_stop
        dnsmasq_start dns "${SERVER_CORE[@]}"
        dns_measure dnsmasq "$STARTED"
        stop "$STARTED"
        unbound_start "${SERVER_CORE[@]}"
        dns_measure unbound "$STARTED"
        stop "$STARTED"
        step "dns: round $round of $ROUNDS"
    done
    for kind in local cached; do
        row "DNS answers per core, $kind names" 1/s dnsmasq 'ratio >= 1.5'
        row "DNS answers per core, $kind names" 1/s unbound 'ratio > 1'
        row "DNS answers on one core, $kind names" 1/s dnsmasq -
        row "DNS answers on one core, $kind names" 1/s unbound -
    done
}

# dns_queries: what dnsperf asks, in no order that a server could profit from.
dns_queries() {
    jq --raw-output '.dhcp.guest.hosts[] | "\(.hostname).demo.local A"' "$(base "$BASE")" |
        shuf --random-source=<(yes) >"$LAB_DIR/queries-local"
    jq --null-input --raw-output --argjson names "$CACHED_NAMES" 'range($names) | "name\(.).example.com A"' |
        shuf --random-source=<(yes) >"$LAB_DIR/queries-cached"
}

# dns_measure PROGRAM PID: loads the server that runs, after it has been asked each name once.
dns_measure() {
    local kind before after
    until_true "$LAB_DIR/load" "$2" resolves h1.demo.local
    for kind in local cached; do
        dns_load "$kind" -n 1 -q 20
        before=$(cpu_ticks "$2")
        dns_load "$kind" -l "$DNS_SECONDS" -q 100
        after=$(cpu_ticks "$2")
        dns_all_answered "$1" "$kind"
        sample "DNS answers per core, $kind names" "$1" \
            "$(jq --null-input "$(dns_said 'Queries completed') * $TICKS / ($after - $before)")"
        sample "DNS answers on one core, $kind names" "$1" "$(dns_said 'Queries per second')"
    done
}

# dns_load local|cached ARGUMENT...: asks by dnsperf, whose words are in $LAB_DIR/load.
dns_load() {
    inside guest "${CLIENT_CORE[@]}" dnsperf -s "$GUEST_ROUTER" -d "$LAB_DIR/queries-$1" -c 8 "${@:2}" \
        >"$LAB_DIR/load" 2>&1 || fail "dnsperf failed: $(<"$LAB_DIR/load")"
}

# dns_said WHAT: a number of dnsperf's report.
dns_said() {
    awk -v what="$1:" 'index($0, what) { print $(split(what, words, " ") + 1); exit }' "$LAB_DIR/load"
}

# dns_all_answered PROGRAM KIND: nothing but NOERROR counts as an answer.
dns_all_answered() {
    grep -q 'Response codes: *NOERROR [0-9]* (100.00%)' "$LAB_DIR/load" ||
        fail "$1 did not answer for all $2 names: $(grep 'Response codes' "$LAB_DIR/load")"
}
