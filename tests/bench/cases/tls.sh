# shellcheck shell=bash
# TLS handshakes per second, each with a request: full ones, and those that take up a session where an earlier
# connection left it. TLS 1.3 with one cipher, one group and the same ECDSA certificate for all.

# openssl s_time opens one connection after the other; so many of them run at once.
HANDSHAKERS=4

case_tls() {
    local round program peer kind
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in $(balancer_programs haproxy nginx); do
            balancer_start "$program"
            for kind in full resumed; do
                handshakes "$kind"
                sampled "TLS handshakes, $kind" "$program" .handshakes
            done
            balancer_stop
        done
        step "tls: round $round of $ROUNDS"
    done
    for peer in haproxy nginx; do
        for kind in full resumed; do
            sampled_rows "TLS handshakes, $kind" 1/s "$peer" -
        done
    done
}

# handshakes full|resumed: the balancer that runs is asked by s_time; what came of it is in $LAB_DIR/load.
handshakes() {
    local before number way=-new workers=()
    [[ $1 == full ]] || way=-reuse
    before=$(run_ms "$BALANCER")
    for ((number = 1; number <= HANDSHAKERS; number++)); do
        inside public env OPENSSL_CONF="$BALANCER_LAB/openssl.cnf" "${CLIENT_CORE[@]}" openssl s_time \
            -connect "$VIP:443" "$way" -www / -time "$LOAD_SECONDS" >"$LAB_DIR/handshakes-$number" 2>&1 &
        workers+=($!)
    done
    wait "${workers[@]}" || fail "openssl s_time failed: $(tail -n 5 "$LAB_DIR/handshakes-1")"
    RUN_MS=$(jq --null-input "$(run_ms "$BALANCER") - $before")
    # The line of marks has a character for each connection: * for a full handshake, r for a resumed one. The first
    # connection of each worker, before its clock starts, is full.
    cat "$LAB_DIR"/handshakes-? | awk -v seconds="$LOAD_SECONDS" '
        /^[*rt]+/ { full += gsub(/[*t]/, "x"); resumed += gsub(/r/, "x") }
        END { print "{\"full\":" full + 0 ",\"resumed\":" resumed + 0 ",\"handshakes\":" full + resumed ",\"seconds\":" seconds "}" }' \
        >"$LAB_DIR/load"
    jq --exit-status ".$1 >= .handshakes * 0.99 and .handshakes > 0" "$LAB_DIR/load" >/dev/null ||
        fail "handshakes were not $1: $(<"$LAB_DIR/load")"
}
