# shellcheck shell=bash
# Load balancers between clients in the public network and servers in the guest network: the lab, the product, what
# loads it. The product and its peers are given one core each, load and servers the other, and every balancer answers
# behind the ruleset that the product made for the same job. Sourced by tests/bench/run.

VIP=198.51.100.10
# The servers are at 10.0.1.1 to 10.0.1.20.
SERVERS=20
SERVER_PORT=8080
# The same once more, for backends that come later.
SPARE_PORT=8081
# The servers without a router in between: what a transfer costs by itself.
DIRECT=192.0.2.2
# How long each is loaded, in seconds, and by how many connections.
LOAD_SECONDS=3
CONNECTIONS=64
# What a download gives and an upload sends, in bytes.
BULK_BYTES=$((16 << 20))
UPLOAD_BYTES=$((4 << 20))

BALANCER=
BALANCER_LAB=

# balancer_lab: addresses, certificate and servers, once.
balancer_lab() {
    [[ -z $BALANCER_LAB ]] || return 0
    BALANCER_LAB=$LAB_DIR/balancer
    mkdir -p "$BALANCER_LAB"
    ulimit -n "$(ulimit -Hn)"
    (($(ulimit -n) >= 16384)) || fail "no more than $(ulimit -n) files may be open, and 10,000 connections need 16,384"
    local number namespace
    for ((number = 1; number <= SERVERS; number++)); do
        inside guest ip address add "10.0.1.$number/12" dev eth0
    done
    inside public ip link add direct type veth peer name direct netns "$LAB-guest"
    for namespace in public guest; do
        inside "$namespace" ip link set direct up
    done
    inside public ip address add 192.0.2.1/30 dev direct
    inside guest ip address add "$DIRECT/30" dev direct
    inside public ip route add 10.0.1.0/24 via 198.51.100.5
    for namespace in public router guest; do
        inside "$namespace" sh -c 'echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
            echo 16384 >/proc/sys/net/core/somaxconn
            echo 16384 >/proc/sys/net/ipv4/tcp_max_syn_backlog'
    done
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=site.test \
        -addext subjectAltName=DNS:site.test -keyout "$BALANCER_LAB/key.pem" -out "$BALANCER_LAB/chain.pem" 2>/dev/null ||
        fail "openssl made no certificate"
    cat "$BALANCER_LAB/chain.pem" "$BALANCER_LAB/key.pem" >"$BALANCER_LAB/site.pem"
    # The client decides for every server what TLS is: one version, one cipher, one group.
    printf '%s\n' 'openssl_conf = init' '[init]' 'ssl_conf = ssl' '[ssl]' 'system_default = tls' '[tls]' \
        'MinProtocol = TLSv1.3' 'Ciphersuites = TLS_AES_128_GCM_SHA256' 'Groups = X25519' >"$BALANCER_LAB/openssl.cnf"
    balancer_peer_files
    servers_start
}

# servers_start: nginx, which can give more than what is measured takes, on the core of the load.
servers_start() {
    truncate -s "$BULK_BYTES" "$BALANCER_LAB/bulk"
    cat >"$BALANCER_LAB/servers.conf" <<END
daemon off; worker_processes 1; user root; pid $BALANCER_LAB/servers.pid; error_log stderr;
events { worker_connections 15000; }
http {
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h;
    upstream sink { server unix:$BALANCER_LAB/sink; keepalive 64; keepalive_requests 1000000000; }
    server { listen unix:$BALANCER_LAB/sink; return 200 "ok\n"; }
    server {
        listen $SERVER_PORT backlog=16384;
        listen $SPARE_PORT;
        location / { return 200 "ok\n"; }
        location = /bulk { root $BALANCER_LAB; }
        # Only what is passed on is read whole before it is answered.
        location = /upload {
            client_max_body_size 0; client_body_buffer_size $((UPLOAD_BYTES + 4096));
            proxy_set_body ""; proxy_set_header Connection ""; proxy_http_version 1.1; proxy_pass http://sink;
        }
    }
}
END
    start_inside guest servers "${CLIENT_CORE[@]}" nginx -c "$BALANCER_LAB/servers.conf"
    SERVERS_PID=$STARTED
    until_true "$LAB_DIR/servers.log" "$SERVERS_PID" answers "http://$DIRECT:$SERVER_PORT/"
}

# answers URL: whether a client gets 200.
answers() {
    [[ $(inside public curl --silent --insecure --max-time 2 --output /dev/null --write-out '%{http_code}' "$1") == 200 ]]
}

# balancer_document LISTENERS BACKENDS: prints a configuration.
balancer_document() {
    jq --null-input --compact-output --argjson listeners "$1" --argjson backends "$2" --arg vip "$VIP" \
        --rawfile chain "$BALANCER_LAB/chain.pem" --rawfile key "$BALANCER_LAB/key.pem" --from-file "$BENCH_DIR/lib/balancer.jq"
}

# balancer_programs PEER...: the product and its peers, less what is not to be measured.
balancer_programs() {
    [[ -n $PEERS_ALONE ]] || echo vrouter
    printf '%s\n' "$@"
}

# balancer_start PROGRAM [URL]: the product or a peer balances, and answers there; its pid is in BALANCER.
balancer_start() {
    case $1 in
        vrouter)
            [[ -s $BALANCER_LAB/document.json ]] || balancer_document 0 2 >"$BALANCER_LAB/document.json"
            fresh_router
            # shellcheck disable=SC2153  # lab.sh sets it
            router_start "${SERVER_CORE[@]}"
            post "$BALANCER_LAB/document.json"
            BALANCER=$ROUTER
            ;;
        *)
            [[ -z $PEERS_ALONE ]] || place_by_hand
            "$1_start" "${SERVER_CORE[@]}"
            BALANCER=$STARTED
            ;;
    esac
    until_true "$LAB_DIR/${1/vrouter/vrouterd}.log" "$BALANCER" answers "${2:-http://$VIP/}"
}

# balancer_stop: what the product made of the kernel stays, and its peers answer behind it.
balancer_stop() {
    stop "$BALANCER"
    BALANCER=
    ROUTER=
}

# place_by_hand: the router's namespace without the product: addresses, and no rule at all.
place_by_hand() {
    inside router nft flush ruleset
    inside router ip address replace 198.51.100.5/24 dev public
    inside router ip address replace 10.0.0.1/12 dev guest
    inside router ip address replace "$VIP/32" dev lo
    inside router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# run_ms PID...: the processor time of sessions of processes, in ms, by the scheduler's clock.
run_ms() {
    local session process
    for session in "$@"; do
        for process in $(pgrep --session "$session"); do
            cat "/proc/$process/task"/*/schedstat 2>/dev/null || true
        done
    done | awk '{ sum += $1 } END { print sum / 1000000 }'
}

# load URL [wrk ARGUMENT...] [-- load.lua ARGUMENT...]: loads by wrk; what it found is in $LAB_DIR/load, the balancer's
# processor time in RUN_MS, everybody's in ALL_MS: load, balancer, servers and the kernel's own threads for packets.
load() {
    local url=$1 balancer others client arguments=()
    shift
    while [[ $# -gt 0 && $1 != -- ]]; do
        arguments+=("$1")
        shift
    done
    balancer=$(run_ms "$BALANCER")
    others=$(others_ms)
    # shellcheck disable=SC2016  # the inner shell expands it
    client=$(inside public env OPENSSL_CONF="$BALANCER_LAB/openssl.cnf" "${CLIENT_CORE[@]}" bash -c 'TIMEFORMAT="%U + %S"
        log=$1 && shift
        time "$@" >"$log" 2>&1' load "$LAB_DIR/wrk" wrk --threads 1 --connections "$CONNECTIONS" --duration "$LOAD_SECONDS" \
        --timeout 10 --script "$BENCH_DIR/lib/load.lua" "${arguments[@]}" "$url" "$@" 2>&1) || fail "wrk failed: $(<"$LAB_DIR/wrk")"
    RUN_MS=$(jq --null-input "$(run_ms "$BALANCER") - $balancer")
    ALL_MS=$(jq --null-input "$RUN_MS + $(others_ms) - $others + 1000 * ($client)")
    tail -n 1 "$LAB_DIR/wrk" >"$LAB_DIR/load"
    jq --exit-status '.requests > 0 and .errors.connect + .errors.status + .errors.timeout == 0' "$LAB_DIR/load" >/dev/null ||
        fail "requests failed: $(<"$LAB_DIR/load")"
}

# others_ms: the processor time of the servers, and of what the kernel does outside of any process.
others_ms() {
    local threads
    threads=$(pgrep ksoftirqd | sed 's|.*|/proc/&/schedstat|' | xargs cat | awk '{ sum += $1 } END { print sum / 1000000 }')
    jq --null-input "$(run_ms "$SERVERS_PID") + $threads"
}

# sampled FIGURE PROGRAM WHAT: a rate of the last load, and the same by the balancer's own processor time; WHAT is a jq
# expression of what was done.
sampled() {
    sample "$1, on one core" "$2" "$(jq "($3) / .seconds" "$LAB_DIR/load")"
    sample "$1, per core" "$2" "$(jq "($3) * 1000 / $RUN_MS" "$LAB_DIR/load")"
}

# sampled_rows FIGURE UNIT PEER BAR: its lines in the table. By its own processor time is what does not depend on whoever
# else uses the machine, so that is what is promised.
sampled_rows() {
    row "$1, per core" "$2" "$3" "$4"
    row "$1, on one core" "$2" "$3" -
}
