# shellcheck shell=bash
# Requests through an HTTP balancer: on connections that stay, on a new connection each, over TLS, and over HTTP/2.

# How many streams each of h2load's connections has open.
STREAMS=16
H2_CONNECTIONS=16

case_http() {
    local round program peer
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in $(balancer_programs haproxy nginx); do
            balancer_start "$program"
            http_measure "$program"
            balancer_stop
        done
        step "http: round $round of $ROUNDS"
    done
    for peer in haproxy nginx; do
        sampled_rows 'HTTP requests, keep-alive' 1/s "$peer" "$(http_bar "$peer")"
        row 'HTTP requests, keep-alive, p99' us "$peer" "$(http_bar "$peer" less)"
        sampled_rows 'HTTP requests, a connection each' 1/s "$peer" "$(http_bar "$peer")"
        row 'HTTP requests, a connection each, p99' us "$peer" -
        sampled_rows 'HTTPS requests, keep-alive' 1/s "$peer" "$(http_bar "$peer")"
        row 'HTTPS requests, keep-alive, p99' us "$peer" "$(http_bar "$peer" less)"
        sampled_rows 'HTTP/2 requests' 1/s "$peer" "$(http_bar "$peer")"
    done
}

# http_bar PEER [less]: ahead of nginx, and level with haproxy: what two runs of the same program differ by is level.
http_bar() {
    case $1${2:-} in
        nginx) echo 'ratio > 1' ;;
        nginxless) echo 'ratio < 1' ;;
        haproxy) echo 'ratio >= 0.95' ;;
        haproxyless) echo 'ratio <= 1.05' ;;
    esac
}

# http_measure PROGRAM: loads the balancer that runs.
http_measure() {
    load "http://$VIP/"
    sampled 'HTTP requests, keep-alive' "$1" .requests
    sample 'HTTP requests, keep-alive, p99' "$1" "$(jq .p99_us "$LAB_DIR/load")"
    load "http://$VIP/" --header 'Connection: close'
    sampled 'HTTP requests, a connection each' "$1" .requests
    sample 'HTTP requests, a connection each, p99' "$1" "$(jq .p99_us "$LAB_DIR/load")"
    load "https://$VIP/"
    sampled 'HTTPS requests, keep-alive' "$1" .requests
    sample 'HTTPS requests, keep-alive, p99' "$1" "$(jq .p99_us "$LAB_DIR/load")"
    h2_load
    sampled 'HTTP/2 requests' "$1" .requests
}

# h2_load: the same as `load`, by h2load over HTTP/2.
h2_load() {
    local before
    before=$(run_ms "$BALANCER")
    inside public env OPENSSL_CONF="$BALANCER_LAB/openssl.cnf" "${CLIENT_CORE[@]}" h2load --threads=1 \
        --clients="$H2_CONNECTIONS" --max-concurrent-streams="$STREAMS" --duration="$LOAD_SECONDS" --npn-list=h2 \
        "https://$VIP/" >"$LAB_DIR/h2load" 2>&1 || fail "h2load failed: $(<"$LAB_DIR/h2load")"
    RUN_MS=$(jq --null-input "$(run_ms "$BALANCER") - $before")
    grep -q '^Application protocol: h2' "$LAB_DIR/h2load" || fail "there is no HTTP/2: $(<"$LAB_DIR/h2load")"
    # requests: TOTAL total, STARTED started, DONE done, SUCCEEDED succeeded, FAILED failed, ...
    awk -v seconds="$LOAD_SECONDS" '$1 == "requests:" { print "{\"requests\":" $8 ",\"failed\":" $10 ",\"seconds\":" seconds "}" }' \
        "$LAB_DIR/h2load" >"$LAB_DIR/load"
    jq --exit-status '.requests > 0 and .failed == 0' "$LAB_DIR/load" >/dev/null || fail "requests failed: $(<"$LAB_DIR/h2load")"
}
