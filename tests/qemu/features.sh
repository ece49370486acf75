# shellcheck shell=bash
# What the guest's kernel can do is used: flowtables, tagged networks, several queues, offloads. Sourced by tests/qemu/run.

# kernel_is_content: no word in the kernel's log that somebody would have to look into.
kernel_is_content() {
    local said
    said=$(console dmesg | grep -aE 'BUG|WARNING|Oops|Call Trace|[Tt]ainted|refused|bad checksum|rx csum failure' || true)
    [[ -z $said ]] || { printf '%s\n' "$said" >&2 && return 1; }
}

# offloaded ADDRESS PORT: whether an established connection to that address as its first packet had it, or as answers have
# it, is in the flowtable.
offloaded() {
    console 'cat /proc/net/nf_conntrack' | grep -aE "(dst|src)=$1 .*dport=$2 " | grep -aq '\[OFFLOAD\]'
}

# tracked ADDRESS PORT: whether there is such a connection at all.
tracked() {
    console 'cat /proc/net/nf_conntrack' | grep -aqE "(dst|src)=$1 .*dport=$2 "
}

# talks NAME STATION ADDRESS:PORT: a connection on which something is said all the time, until lab_end.
talks() {
    # shellcheck disable=SC2016  # the other shell expands it
    start_inside "$2" "talks-$1" sh -c \
        'while sleep 0.1; do echo word; done | socat -t 600 - "TCP:$1" >"$2"' sh "$3" "$LAB_DIR/heard-$1"
}

# heard NAME: whether words come back on it.
heard() {
    local before
    before=$(stat -c %s "$LAB_DIR/heard-$1" 2>/dev/null || echo 0)
    sleep 0.5
    (($(stat -c %s "$LAB_DIR/heard-$1" 2>/dev/null || echo 0) > before))
}

# echoes STATION PORT: a server that says back what it hears.
echoes() {
    start_inside "$1" "echo-$1-$2" socat "TCP-LISTEN:$2,fork,reuseaddr" EXEC:cat
    vm_until "$1 listens on $2" "$START" listens "$1" "$2"
}

# Established connections of every kind are in the flowtable, and none where packets have to pass the rules.
case_flowtable() {
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    # What is built into the kernel makes no device by itself.
    is 'the devices that were given, and no other' 'eth0 eth1 eth2 lo' "$(console 'ls -1 /sys/class/net' | grep . | tr '\n' ' ' | sed 's/ *$//')"
    apply_demo >/dev/null
    web1_by_hand
    visitor_by_hand
    is 'the kernel has flowtables' true "$(status "$STATUS_FLOWTABLE")"
    echoes internet 7007
    echoes web1 81
    cat >"$LAB_DIR/more.json" <<'JSON'
{"port_forwards": {"echo": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8181", "target": "10.1.1.20", "target_ports": "81"}},
 "load_balancers": {"echo": {"address": "198.51.100.8", "port": 8282, "protocol": "tcp", "algorithm": "round_robin",
   "pools": {"echo": {"backends": {"web1": {"address": "10.1.1.20", "port": 81}}}}}},
 "firewall": {"rules": {"echo-in": {"priority": 90, "direction": "ingress", "interface": "public", "protocol": "tcp",
   "address": "198.51.100.7", "destination_ports": ["81"], "action": "accept"}}}}
JSON
    api PATCH /v1/config "$LAB_DIR/more.json" | jq -e .generation >/dev/null || fail "the configuration was refused"
    talks snat visitor 203.0.113.80:7007
    talks eip internet 198.51.100.7:81
    talks forward internet 198.51.100.5:8181
    talks balancer internet 198.51.100.8:8282
    vm_until "a connection through SNAT is in the flowtable" "$START" offloaded 203.0.113.80 7007
    vm_until "one to an EIP is" "$START" offloaded 198.51.100.7 81
    vm_until "one to a forwarded port is" "$START" offloaded 198.51.100.5 8181
    vm_until "one to a balancer is" "$START" offloaded 198.51.100.8 8282
    holds 'the router says so itself' told_offloaded 198.51.100.8 8282
    for name in snat eip forward balancer; do
        holds "the flowtable carries what is said: $name" heard "$name"
    done
    # Where anything is bounded, every packet has to pass the rules: a new connection stays with them.
    cat >"$LAB_DIR/bounded.json" <<'JSON'
{"qos": {"nobody": {"address": "198.51.100.99", "ingress_bits_per_second": 1000000}}}
JSON
    api PATCH /v1/config "$LAB_DIR/bounded.json" | jq -e .generation >/dev/null || fail "the configuration was refused"
    echoes internet 7008
    talks bounded visitor 203.0.113.80:7008
    vm_until "a connection is tracked" "$START" tracked 203.0.113.80 7008
    holds 'it is heard' heard bounded
    holds 'and is in no flowtable' not_offloaded 203.0.113.80 7008
    for name in snat eip forward balancer; do
        holds "those of before go on: $name" heard "$name"
    done
    holds 'the kernel complains of nothing' kernel_is_content
}

# told_offloaded ADDRESS PORT: whether the router tells of such a connection.
told_offloaded() {
    api GET "/v1/connections?address=$1&protocol=tcp&port=$2" |
        jq -e '.total == (.connections | length) and any(.connections[]; .offloaded and .translated != null)' >/dev/null
}

# not_offloaded ADDRESS PORT: whether such a connection is there, and is not.
not_offloaded() {
    tracked "$1" "$2" && ! offloaded "$1" "$2"
}

# access_port STATION NETWORK VLAN MAC [ADDRESS...]: a station on an access port of a tagged network.
access_port() {
    local name=$1 network=$2 vlan=$3 mac=$4 address
    shift 4
    lab_namespace "$name"
    inside net ip link add "plain-$name" type veth peer name eth0 address "$mac" netns "$LAB-$name"
    inside net ip link add "trunk-$name" type veth peer name "port-$name"
    inside net ip link set "trunk-$name" master "$network"
    # Nothing is put off to a device that is none.
    inside net ethtool -K "trunk-$name" tx off tso off gso off txvlan off >/dev/null
    inside "$name" ethtool -K eth0 tx off tso off gso off >/dev/null
    for device in "plain-$name" "port-$name" "trunk-$name"; do
        inside net ip link set "$device" up
    done
    inside "$name" ip link set eth0 up
    for address in "$@"; do
        inside "$name" ip address add "$address" dev eth0
    done
    start_inside net "tagger-$name" /usr/bin/python3 "$TOP/tests/qemu/tagger" "plain-$name" "port-$name" "$vlan"
}

# Two networks on the guests' device, one of them tagged, and a way out that is tagged: DHCP, names, translation, flowtable,
# and what comes of a change and of a power cut.
case_vlan() {
    local before
    access_port red guest 110 fa:aa:00:00:01:10
    access_port beyond public 7 52:54:00:00:02:07 192.0.3.1/24 203.0.113.90/32
    start_inside beyond beyond-80 socat TCP-LISTEN:80,fork,reuseaddr "EXEC:$IMAGE_DIR/lab/answer beyond"
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    apply_demo >/dev/null
    cat >"$LAB_DIR/vlan.json" <<'JSON'
{"interfaces": {
   "red": {"mac": "52:54:00:00:00:03", "vlan": 110, "roles": ["guest"], "addresses": ["10.1.2.1/24"]},
   "beyond": {"mac": "52:54:00:00:00:02", "vlan": 7, "roles": ["public"], "addresses": ["192.0.3.5/24"]}},
 "routes": {"beyond": {"destination": "203.0.113.90/32", "via": "192.0.3.1"}},
 "dhcp": {"red": {"interface": "red", "domain": "demo.local", "ranges": ["10.1.2.100-10.1.2.199"],
   "hosts": {"red": {"mac": "fa:aa:00:00:01:10", "ip": "10.1.2.20", "hostname": "red"}}}},
 "dns": {"interfaces": ["guest", "red"]},
 "snat": {"red": {"source": "10.1.2.0/24", "interface": "public", "address": "198.51.100.5"},
          "red-beyond": {"source": "10.1.2.0/24", "interface": "beyond", "address": "192.0.3.5"}}}
JSON
    api PATCH /v1/config "$LAB_DIR/vlan.json" >"$LAB_DIR/answer.json"
    before=$(jq -er .generation "$LAB_DIR/answer.json") || fail "the configuration was refused: $(<"$LAB_DIR/answer.json")"
    is 'the interface is up' up "$(status .interfaces.red.state)"
    is 'on a device of its own' eth2.110 "$(status .interfaces.red.device)"
    is 'which is VLAN 110' 110 "$(status .interfaces.red.vlan)"
    holds 'and the kernel says so' console_shows 'cat /proc/net/vlan/eth2.110' 'VID: 110'
    shows 'a station of the tagged network gets its lease' 'address=10\.1\.2\.20/24 gateway=10\.1\.2\.1' lease red
    lease web1 >/dev/null
    shows 'and names' '10\.1\.2\.20' inside red dig +short +time=2 +tries=1 @10.1.2.1 red.demo.local
    shows 'it goes out by the untagged way' 'internet answers 198\.51\.100\.5' http red http://203.0.113.80/
    shows 'and by the tagged one' 'beyond answers 192\.0\.3\.5' http red http://203.0.113.90/
    refuses 'the networks of guests are apart' http red http://10.1.1.20/
    echoes internet 7009
    talks red red 203.0.113.80:7009
    vm_until "a connection of the tagged network is in the flowtable" "$START" offloaded 203.0.113.80 7009
    holds 'which carries what is said' heard red
    # What somebody takes away comes back, and what is not wanted any more goes.
    console 'ip link delete eth2.110' >/dev/null
    vm_until "the device is back" "$START" console_shows 'cat /proc/net/vlan/eth2.110' 'VID: 110'
    vm_until "and serves" "$START" http red http://203.0.113.80/
    vm_power_cut
    vm_start again
    vm_until "the API answers" "$START" api_answers
    vm_until "the same generation runs" "$START" generation_is "$before"
    vm_until "the tagged network is served again" "$START" http red http://203.0.113.80/
    vm_until "its console has a shell" "$START" console_ready
    printf '{"interfaces": {"red": null, "beyond": null}, "routes": null, "dhcp": {"red": null}, "dns": {"interfaces": ["guest"]}, "snat": {"red": null, "red-beyond": null}}' \
        >"$LAB_DIR/gone.json"
    api PATCH /v1/config "$LAB_DIR/gone.json" | jq -e .generation >/dev/null || fail "the configuration was refused"
    is 'both devices are gone' '' "$(console 'ls /proc/net/vlan | grep eth')"
    is 'nothing failed' 0 "$DEMO_FAILED"
    holds 'the kernel complains of nothing' kernel_is_content
}

# Devices with several queues: each has its own interrupt on a processor of its own, and takes part in the work.
case_queues() {
    local queue before after cpus
    VM_QUEUES=2
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    apply_demo >/dev/null
    visitor_by_hand
    is 'queues of a device' 'rx-0 rx-1 tx-0 tx-1' "$(console 'ls /sys/class/net/eth2/queues' | tr -s '\n' ' ' | sed 's/^ *//; s/ *$//')"
    echoes internet 7010
    before=$(queue_interrupts)
    for queue in 1 2 3 4 5 6 7 8; do
        talks "queue$queue" visitor 203.0.113.80:7010
    done
    for queue in 1 2 3 4 5 6 7 8; do
        vm_until "connection $queue is heard" "$START" heard "queue$queue"
    done
    vm_until "both queues of a device have work" "$START" queues_work "$before"
    after=$(queue_interrupts)
    printf '  ok  interrupts of each queue before: %s, after: %s\n' "$(tr '\n' ' ' <<<"$before")" "$(tr '\n' ' ' <<<"$after")"
    cpus=$(for queue in $(console 'cat /proc/interrupts' | awk -F : '/virtio[0-9]+-input\./ { print $1 + 0 }'); do
        console "cat /proc/irq/$queue/effective_affinity_list"
    done | tr -d ' ' | grep . | sort -u | tr '\n' ' ')
    is 'the queues are spread over the processors' '0 1 ' "$cpus"
    is 'each processor sends by a queue of its own' '1 2' \
        "$(console 'cat /sys/class/net/eth2/queues/tx-0/xps_cpus /sys/class/net/eth2/queues/tx-1/xps_cpus' | grep -E . | tr '\n' ' ' | sed 's/ *$//')"
    is 'so no packet is handed to another one' '0 0' \
        "$(console 'cat /sys/class/net/eth2/queues/rx-0/rps_cpus /sys/class/net/eth2/queues/rx-1/rps_cpus' | grep -E . | tr '\n' ' ' | sed 's/ *$//')"
    holds 'the kernel complains of nothing' kernel_is_content
}

# queue_interrupts: how often each input queue of the guests' device has interrupted, a line for each.
queue_interrupts() {
    console 'cat /proc/interrupts' | awk -v device="$(guest_virtio)-input." 'index($NF, device) == 1 { print $2 + $3 }'
}

# guest_virtio: the virtio device of eth2.
guest_virtio() {
    console 'ls -l /sys/class/net/eth2/device' | grep -o 'virtio[0-9]*' | tail -n 1
}

# queues_work BEFORE: whether each queue interrupted since.
queues_work() {
    paste <(printf '%s\n' "$1") <(queue_interrupts) | awk '$2 <= $1 + 5 { idle = 1 } END { exit idle || NR != 2 }'
}

# Large pieces go through whole: what segmentation, its reverse and checksums left to devices make of them is right.
case_offloads() {
    local bytes=16777216 station
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    apply_demo >/dev/null
    web1_by_hand
    head -c "$bytes" /dev/urandom >"$LAB_DIR/sent"
    start_inside internet gives socat "TCP-LISTEN:7011,fork,reuseaddr" "OPEN:$LAB_DIR/sent,rdonly"
    start_inside web1 gives-in socat "TCP-LISTEN:80,fork,reuseaddr" "OPEN:$LAB_DIR/sent,rdonly"
    vm_until "it is served" "$START" listens internet 7011
    is 'checksums are left to the host' on "$(offload eth1 tx-checksumming)"
    is 'so is cutting what is sent' on "$(offload eth1 tcp-segmentation-offload)"
    is 'what is received in one is known to be' on "$(offload eth1 rx-checksumming)"
    is 'the kernel puts packets together' on "$(offload eth1 generic-receive-offload)"
    is 'and only in ways that can be undone' off "$(offload eth1 large-receive-offload)"
    is 'a download through SNAT' "$(sha256sum <"$LAB_DIR/sent")" "$(inside web1 socat -u TCP:203.0.113.80:7011 - | sha256sum)"
    is 'an upload through it' "$(sha256sum <"$LAB_DIR/sent")" "$(upload web1 internet 203.0.113.80 7012)"
    is 'no packet had to be cut on the way' 0 "$(console 'cat /proc/net/snmp' | counter Ip FragCreates)"
    for station in web1 internet; do
        is "no checksum was wrong: $station" 0 "$(inside "$station" cat /proc/net/snmp | counter Tcp InCsumErrors)"
    done
    is 'and none at the router' 0 "$(console 'cat /proc/net/snmp' | counter Tcp InCsumErrors)"
    # What is larger than a frame and no TCP is cut by its sender, put together and cut again by the router.
    start_inside internet datagrams socat -b 8192 UDP-LISTEN:7013,bind=203.0.113.80,fork EXEC:cat
    vm_until "it is listened for" "$START" takes_datagrams internet 7013
    head -c 6000 "$LAB_DIR/sent" | base64 -w 0 | head -c 5000 >"$LAB_DIR/datagram"
    is 'a datagram of several frames there and back' "$(sha256sum <"$LAB_DIR/datagram")" \
        "$(inside web1 socat -t 10 -T 10 -b 8192 - UDP:203.0.113.80:7013 <"$LAB_DIR/datagram" | sha256sum)"
    holds 'the kernel complains of nothing' kernel_is_content
}

# offload DEVICE FEATURE: on or off, as the machine's kernel has it.
offload() {
    console "ethtool -k $1" | awk -v feature="$2:" '$1 == feature { print $2 }'
}

# takes_datagrams STATION PORT: whether a station waits for datagrams there.
takes_datagrams() {
    [[ -n $(inside "$1" ss -Hlun "sport = $2") ]]
}

# upload FROM TO ADDRESS PORT: what arrives there of what is sent, as a hash.
upload() {
    start_inside "$2" takes socat -u "TCP-LISTEN:$4,reuseaddr" "OPEN:$LAB_DIR/received,creat,trunc"
    vm_until "somebody takes it" "$START" listens "$2" "$4"
    inside "$1" socat -u "OPEN:$LAB_DIR/sent,rdonly" "TCP:$3:$4"
    wait "$STARTED" || fail "the upload was not taken whole"
    sha256sum <"$LAB_DIR/received"
}

# counter GROUP NAME: one of /proc/net/snmp, from standard input.
counter() {
    awk -v group="$1:" -v name="$2" '
        $1 == group && !seen { for (i = 2; i <= NF; i++) if ($i == name) column = i; seen = 1; next }
        $1 == group { print $column }'
}
