# shellcheck shell=bash
# The kernel path in the appliance itself, whose kernel has the flowtable that a host may lack: a TCP balancer with it and
# (no-flowtable) without it, against plain routing by the same machine without the product. Counted is the processor time of the machine's
# virtual processors alone: what is around them, emulation of devices included, is the same for all.

GUEST_VIP=198.51.100.10
GUEST_SERVER=10.1.1.20

case_guest() {
    local round program
    guest_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in vrouter no-flowtable routing; do
            guest_boot "$program"
            guest_proves "$program"
            guest_measure "$program"
            vm_power_cut
        done
        step "guest: round $round of $ROUNDS"
    done
    local peer
    for peer in routing no-flowtable; do
        row 'L4 in the image, requests per processor second of the machine' 1/s "$peer" "$(guest_bar "$peer")"
        row 'L4 in the image, MiB per processor second of the machine' MiB/s "$peer" "$(guest_bar "$peer")"
        row 'L4 in the image, connections per processor second of the machine' 1/s "$peer" -
    done
}

guest_bar() {
    if [[ $1 == routing ]]; then echo 'ratio >= 0.95'; else echo -; fi
}

# guest_lab: a client and a server, each on a network of the machine's own.
guest_lab() {
    machine_image
    station operator mgmt 52:54:00:00:01:01 192.168.0.1/24
    station client public 52:54:00:00:02:01 198.51.100.1/24
    station server guest fa:aa:00:00:00:20 "$GUEST_SERVER/24"
    inside client ip route add 10.1.1.0/24 via 198.51.100.5
    inside server ip route add default via 10.1.1.1
    truncate -s "$BULK_BYTES" "$LAB_DIR/bulk"
    cat >"$LAB_DIR/server.conf" <<END
daemon off; worker_processes 1; user root; pid $LAB_DIR/server.pid; error_log stderr;
events { worker_connections 1024; }
http {
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h;
    server { listen 80; location / { return 200 "ok\n"; } location = /bulk { root $LAB_DIR; } }
}
END
    start_inside server server nginx -c "$LAB_DIR/server.conf"
}

# guest_boot PROGRAM: the machine with the product, or without it: the same kernel with two addresses that forwards.
guest_boot() {
    local start=120
    VM_DATA=$LAB_DIR/data.ext4
    cp --sparse=always "$OUT/data.ext4" "$VM_DATA"
    if [[ $1 == routing ]]; then
        GUEST_URL=http://$GUEST_SERVER
        # Without a configuration the product writes no rule, and the kernel follows no connections.
        VM_APPEND=vrouter.debug-shell
        VM_CONFIG=
        vm_start "$1"
        vm_until "its console has a shell" "$start" console_ready
        vm_until "it has its addresses" "$start" guest_addresses
    else
        GUEST_URL=http://$GUEST_VIP:8080
        VM_APPEND=vrouter.debug-shell
        VM_CONFIG=$LAB_DIR/$1.json
        guest_document "$1" >"$VM_CONFIG"
        vm_start "$1"
    fi
    vm_until "a client reaches the server" "$start" guest_answers
}

# guest_addresses: gives the machine without the product its two addresses, and lets it forward; whether all of that is so. A
# line that a console loses among the kernel's own is typed again.
guest_addresses() {
    console 'ip link set eth1 up; ip link set eth2 up' >/dev/null
    console 'ip addr replace 198.51.100.5/24 dev eth1; ip addr replace 10.1.1.1/24 dev eth2' >/dev/null
    console 'echo 1 >/proc/sys/net/ipv4/ip_forward' >/dev/null
    console_shows 'ip link show dev eth1' '[<,]UP[,>]' && console_shows 'ip addr show dev eth1' '198\.51\.100\.5/24' &&
        console_shows 'ip link show dev eth2' '[<,]UP[,>]' && console_shows 'ip addr show dev eth2' '10\.1\.1\.1/24' &&
        console_shows 'cat /proc/sys/net/ipv4/ip_forward' '^1'
}

guest_answers() {
    [[ $(inside client curl --silent --max-time 10 "$GUEST_URL/") == ok ]]
}

# guest_document PROGRAM: its configuration. Where anything is bounded, here an address that nobody uses, flows stay with the rules.
guest_document() {
    jq --null-input --arg vip "$GUEST_VIP" --arg server "$GUEST_SERVER" --arg program "$1" '{
        version: 1,
        interfaces: {
            mgmt: {mac: "52:54:00:00:00:01", roles: ["management"], addresses: ["192.168.0.188/24"]},
            public: {mac: "52:54:00:00:00:02", roles: ["public"], addresses: ["198.51.100.5/24"], gateway: "198.51.100.1"},
            guest: {mac: "52:54:00:00:00:03", roles: ["guest"], addresses: ["10.1.1.1/24"]}
        },
        load_balancers: {site: {address: $vip, port: 8080, protocol: "tcp",
            pools: {site: {backends: {server: {address: $server, port: 80}}}}}}
    } + if $program == "no-flowtable"
        then {qos: {nobody: {address: "198.51.100.99", ingress_bits_per_second: 1000000}}} else {} end'
}

# guest_proves PROGRAM: a download is in the flowtable of the machine that has one, and in that of no other.
guest_proves() {
    local found=no load
    [[ $1 != routing ]] || return 0
    vm_until "its console has a shell" 120 console_ready
    start_inside client "proves-$1" curl --silent --output /dev/null --limit-rate 1M "$GUEST_URL/bulk?[1-32]"
    load=$STARTED
    vm_until "a download is established" 60 guest_tracked 'ESTABLISHED|\[OFFLOAD\]'
    # It would be there with its next packet.
    sleep 2
    ! guest_tracked '\[OFFLOAD\]' || found=yes
    kill -KILL -- "-$load" 2>/dev/null || true
    wait "$load" 2>/dev/null || true
    case $1-$found in
        vrouter-yes | no-flowtable-no) ;;
        *) fail "$1: a connection is in the flowtable: $found" ;;
    esac
}

# guest_tracked PATTERN: whether the machine follows such a connection to the balancer.
guest_tracked() {
    console 'cat /proc/net/nf_conntrack' | grep -aE "dst=$GUEST_VIP " | grep -aqE "$1"
}

# guest_measure PROGRAM: requests and new connections by wrk, bytes by curl.
guest_measure() {
    local before
    # What runs for the first time is translated first where the machine is emulated, and a machine that has just
    # started has more to do.
    guest_wrk
    guest_wrk --header 'Connection: close'
    before=$(guest_ms)
    guest_wrk
    sample 'L4 in the image, requests per processor second of the machine' "$1" \
        "$(jq ".requests * 1000 / ($(guest_ms) - $before)" "$LAB_DIR/load")"
    before=$(guest_ms)
    guest_wrk --header 'Connection: close'
    sample 'L4 in the image, connections per processor second of the machine' "$1" \
        "$(jq ".requests * 1000 / ($(guest_ms) - $before)" "$LAB_DIR/load")"
    before=$(guest_ms)
    inside client curl --silent --fail --output /dev/null "$GUEST_URL/bulk?[1-32]" || fail "a download failed"
    sample 'L4 in the image, MiB per processor second of the machine' "$1" \
        "$(jq --null-input "32 * $BULK_BYTES / 1048576 * 1000 / ($(guest_ms) - $before)")"
}

guest_wrk() {
    inside client wrk --threads 1 --connections 32 --duration $((2 * LOAD_SECONDS)) --timeout 10 \
        --script "$BENCH_DIR/lib/load.lua" "$@" "$GUEST_URL/" >"$LAB_DIR/wrk" 2>&1 || fail "wrk failed: $(<"$LAB_DIR/wrk")"
    tail -n 1 "$LAB_DIR/wrk" >"$LAB_DIR/load"
    jq --exit-status '.requests > 0 and .errors.connect + .errors.status + .errors.timeout == 0' "$LAB_DIR/load" >/dev/null ||
        fail "requests failed: $(<"$LAB_DIR/load")"
}

# guest_ms: the processor time of the machine's virtual processors since its start.
guest_ms() {
    local thread
    for thread in /proc/"$VM_PID"/task/*; do
        [[ $(<"$thread/comm") != CPU* ]] || cat "$thread/schedstat"
    done | awk '{ sum += $1 } END { print sum / 1000000 }'
}
