# shellcheck shell=bash
# 1,000 listeners with 20 backends each: from nothing to answering, the memory of it, and one backend more while others'
# connections are at work: how long it takes, and how many connections it cuts.

LISTENERS=1000
BACKENDS=20
EDITS=5
# How long clients go on beside them.
EDIT_SECONDS=15

case_listeners() {
    local round program peer
    # shellcheck source=tests/bench/cases/memory.sh
    source "$BENCH_DIR/cases/memory.sh"
    # shellcheck source=tests/bench/cases/idle.sh
    source "$BENCH_DIR/cases/idle.sh"
    balancer_lab
    balancer_document "$LISTENERS" "$BACKENDS" >"$BALANCER_LAB/many.json"
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in $(balancer_programs haproxy nginx); do
            listeners_measure "$program"
        done
        step "listeners: round $round of $ROUNDS"
    done
    # Later cases balance again as before.
    balancer_peer_files
    for peer in haproxy nginx; do
        row "$LISTENERS listeners of $BACKENDS backends, from empty" ms "$peer" -
        row "$LISTENERS listeners of $BACKENDS backends, resident" MiB "$peer" -
        row 'one backend more' ms "$peer" 'value < 10'
        row "connections cut by $EDITS edits of another listener" connections "$peer" 'value = 0'
        row "requests failed by $EDITS edits of another listener" requests "$peer" 'value = 0'
        row "resident after $EDITS edits" MiB "$peer" -
    done
}

# listeners_measure PROGRAM
listeners_measure() {
    local begun edit opened beside
    case $1 in
        vrouter)
            fresh_router
            router_start "${SERVER_CORE[@]}"
            BALANCER=$ROUTER
            post "$BALANCER_LAB/many.json"
            sample "$LISTENERS listeners of $BACKENDS backends, from empty" vrouter "$TOOK_MS"
            ;;
        *)
            [[ -z $PEERS_ALONE ]] || place_by_hand
            many_listeners "$LISTENERS" "$BACKENDS" 0
            begun=${EPOCHREALTIME/./}
            "$1_start" "${SERVER_CORE[@]}"
            BALANCER=$STARTED
            until_true "$LAB_DIR/$1.log" "$BALANCER" marked 0
            sample "$LISTENERS listeners of $BACKENDS backends, from empty" "$1" "$(since "$begun")"
            ;;
    esac
    until_true "$LAB_DIR/${1/vrouter/vrouterd}.log" "$BALANCER" answers "http://$VIP:$((10000 + LISTENERS - 1))/"
    settled_mib "$BALANCER"
    sample "$LISTENERS listeners of $BACKENDS backends, resident" "$1" "$SETTLED_MIB"

    # Others' connections: on a listener that no edit is about.
    start_inside public beside "${CLIENT_CORE[@]}" wrk --threads 1 --connections "$CONNECTIONS" \
        --duration "$EDIT_SECONDS" --script "$BENCH_DIR/lib/load.lua" "http://$VIP:10001/"
    beside=$STARTED
    until_true "$LAB_DIR/beside.log" "$beside" beside_established
    opened=$(connections_opened)
    for ((edit = 1; edit <= EDITS; edit++)); do
        case $1 in
            vrouter) edit_router "$edit" ;;
            haproxy) edit_peer "$edit" USR2 ;;
            nginx) edit_peer "$edit" HUP ;;
        esac
        sample 'one backend more' "$1" "$EDIT_MS"
        sleep 0.5
    done
    kill -0 "$beside" 2>/dev/null || fail "$EDITS edits take $1 longer than $EDIT_SECONDS s"
    wait "$beside" || fail "wrk failed: $(<"$LAB_DIR/beside.log")"
    sample "connections cut by $EDITS edits of another listener" "$1" $(($(connections_opened) - opened))
    sample "requests failed by $EDITS edits of another listener" "$1" \
        "$(tail -n 1 "$LAB_DIR/beside.log" | jq '.errors | add')"
    settled_mib "$BALANCER"
    sample "resident after $EDITS edits" "$1" "$SETTLED_MIB"
    balancer_stop
}

# edit_router NUMBER: EDIT_MS is what the client of a PATCH waits; the new backend is in use by then.
edit_router() {
    local seconds
    jq --null-input --arg id "x$1" --arg address "10.0.1.$1" --argjson port "$SPARE_PORT" \
        '{ load_balancers: { l500: { pools: { web: { backends: { ($id): { address: $address, port: $port } } } } } } }' \
        >"$LAB_DIR/edit"
    seconds=$(api /v1/config --request PATCH --data-binary "@$LAB_DIR/edit" --output "$LAB_DIR/answer" \
        --write-out '%{time_total}') || fail "the router refused an edit: $(head -c 1000 "$LAB_DIR/answer")"
    EDIT_MS=$(jq --null-input "$seconds * 1000")
}

# edit_peer NUMBER SIGNAL: EDIT_MS is from the signal until a client sees the new configuration.
edit_peer() {
    local begun
    many_listeners "$LISTENERS" "$BACKENDS" "$1" "$1"
    begun=${EPOCHREALTIME/./}
    kill "-$2" "$BALANCER"
    until_true "$LAB_DIR/beside.log" "$BALANCER" marked "$1"
    EDIT_MS=$(since "$begun")
}

# marked NUMBER: whether listener 500 serves by that edition of a peer's configuration. Asked from among the servers:
# connections of clients are counted.
marked() {
    inside guest curl --silent --max-time 2 --output /dev/null --dump-header - "http://$VIP:10500/" |
        tr -d '\r' | grep -qix "x-mark: $1"
}

# connections_opened: how many connections clients have opened so far.
connections_opened() {
    inside public cat /proc/net/snmp | awk '$1 == "Tcp:" && $6 ~ /[0-9]/ { print $6 }'
}

beside_established() {
    (($(inside public ss -Htn state established dst "$VIP" | wc -l) >= CONNECTIONS))
}

# since MICROSECONDS: the ms since then.
since() {
    jq --null-input "(${EPOCHREALTIME/./} - $1) / 1000"
}
