# shellcheck shell=bash
# What a balancer holds of the machine's memory for 10,000 connections of clients that have asked once and stay.

IDLE_CONNECTIONS=10000

case_idle() {
    local round program peer scheme
    # shellcheck source=tests/bench/cases/memory.sh
    source "$BENCH_DIR/cases/memory.sh"
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in $(balancer_programs haproxy nginx); do
            for scheme in http https; do
                balancer_start "$program"
                idle_measure "$program" "$scheme"
                balancer_stop
            done
        done
        step "idle: round $round of $ROUNDS"
    done
    for peer in haproxy nginx; do
        row 'resident, a balancer of no connections' MiB "$peer" -
        for scheme in http https; do
            row "resident, $IDLE_CONNECTIONS idle $scheme connections" MiB "$peer" -
        done
    done
}

# idle_measure PROGRAM SCHEME: the balancer that runs, before and while the connections are there.
idle_measure() {
    local client attempt
    sample 'resident, a balancer of no connections' "$1" "$(sessions_mib "$BALANCER")"
    start_inside public idle-client env OPENSSL_CONF="$BALANCER_LAB/openssl.cnf" "${CLIENT_CORE[@]}" wrk --threads 1 \
        --connections "$IDLE_CONNECTIONS" --duration 10m --timeout 10m --script "$BENCH_DIR/lib/load.lua" "$2://$VIP/" \
        -- once "$IDLE_CONNECTIONS"
    client=$STARTED
    # A connection that has said nothing yet looks like one that has been answered: both hold still only at the end. What
    # was needed to get there is no part of it.
    for ((attempt = 1; attempt <= 5; attempt++)); do
        until_true "$LAB_DIR/idle-client.log" "$client" idle_established
        settled_mib "$BALANCER"
        ! idle_established || break
    done
    idle_established || fail "$1 does not keep $IDLE_CONNECTIONS connections that do nothing"
    sample "resident, $IDLE_CONNECTIONS idle $2 connections" "$1" "$SETTLED_MIB"
    stop "$client"
}

# idle_established: whether all of them are open, and have been answered.
idle_established() {
    (($(inside public ss -Htn state established dst "$VIP" | awk '$1 == 0 && $2 == 0' | wc -l) == IDLE_CONNECTIONS))
}

# sessions_mib PID: proportional memory of a session of processes: what a master and its worker share counts once.
sessions_mib() {
    # shellcheck disable=SC2046  # a list of numbers
    proportional_mib $(pgrep --session "$1")
}

# settled_mib PID: SETTLED_MIB is what they hold as soon as it stays so, but for a hundredth.
settled_mib() {
    local before=0 quiet=0 limit=$((SECONDS + PATIENCE))
    while ((quiet < 3 && SECONDS < limit)); do
        sleep 0.5
        SETTLED_MIB=$(sessions_mib "$1")
        if awk "BEGIN { exit !($SETTLED_MIB < 1.01 * $before && $before < 1.01 * $SETTLED_MIB) }"; then
            quiet=$((quiet + 1))
        else
            quiet=0
        fi
        before=$SETTLED_MIB
    done
}
