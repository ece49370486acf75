# shellcheck shell=bash
# A whole configuration from empty, against the programs that would be given the same.

case_apply() {
    local round objects figure
    for ((round = 1; round <= ROUNDS; round++)); do
        for objects in 3000 10000; do
            apply_router "$objects"
            apply_peers "$objects"
        done
        step "apply: round $round of $ROUNDS"
    done
    for objects in 3000 10000; do
        figure="apply $objects EIPs, port forwards, hosts"
        [[ $objects != 10000 ]] || row "$figure" ms - 'value < 1000'
        row "$figure" ms 'nft -f' "$([[ $objects != 10000 ]] && echo - || echo 'ratio <= 1')"
        row "$figure" ms 'nft -f, ip -batch' -
        row "$figure" ms 'nft -f, ip -batch, dnsmasq' -
        row "$figure: took_ms" ms 'nft -f' -
        row "$figure: the ruleset alone" ms 'nft -f' -
    done
}

# The product's time is what its client waits for: everything is in the kernel, read back, durable and served by then.
apply_router() {
    local figure="apply $1 EIPs, port forwards, hosts"
    fresh_router
    router_start
    post "$(base "$1")"
    sample "$figure" vrouter "$TOOK_MS"
    sample "$figure: took_ms" vrouter "$(jq .took_ms "$LAB_DIR/answer")"
    sample "$figure: the ruleset alone" vrouter "$(jq '[.steps[] | select(.step | startswith("nft ")).took_ms] | add' "$LAB_DIR/answer")"
    keep_ruleset "$1"
}

# keep_ruleset OBJECTS: what the product made of a base, for nft and ip to read.
keep_ruleset() {
    [[ ! -s $LAB_DIR/ruleset-$1 ]] || return 0
    inside router nft list table inet vrouter >"$LAB_DIR/ruleset-$1"
    inside router ip -4 route show table local proto "$ROUTE_PROTOCOL" |
        sed -e 's/^/route add /' -e 's/$/ table local proto '"$ROUTE_PROTOCOL"'/' >"$LAB_DIR/routes-$1"
}

apply_peers() {
    local figure="apply $1 EIPs, port forwards, hosts" nft ip dnsmasq
    fresh_peer
    nft=$(timed peer nft -f "$LAB_DIR/ruleset-$1")
    ip=$(timed peer ip -batch "$LAB_DIR/routes-$1")
    router_stop
    peer_files "$1"
    rm -f "$LAB_DIR/peers/dnsmasq.leases"
    dnsmasq=$(dnsmasq_ready)
    sample "$figure" 'nft -f' "$nft"
    sample "$figure: took_ms" 'nft -f' "$nft"
    sample "$figure: the ruleset alone" 'nft -f' "$nft"
    sample "$figure" 'nft -f, ip -batch' "$(sum "$nft" "$ip")"
    sample "$figure" 'nft -f, ip -batch, dnsmasq' "$(sum "$nft" "$ip" "$dnsmasq")"
}

# fresh_peer: the peer's namespace without rules and routes; what the kernel frees later is freed by then.
fresh_peer() {
    inside peer nft flush ruleset
    inside peer ip route flush table all proto "$ROUTE_PROTOCOL"
    sleep 0.3
}

# dnsmasq_ready: prints the ms from its start to the first lease, and ends it.
dnsmasq_ready() {
    local begun=${EPOCHREALTIME/./} ended
    dnsmasq_start both
    leased 1 >/dev/null
    ended=${EPOCHREALTIME/./}
    stop "$STARTED"
    jq --null-input "$((ended - begun)) / 1000"
}

sum() {
    jq --null-input '[$ARGS.positional[] | tonumber] | add' --args "$@"
}
