# shellcheck shell=bash
# What the appliance's kernel has built in and the router does not configure yet, shown with packets: VRF, VXLAN, WireGuard,
# and SCTP in connection tracking. Sourced by tests/qemu/run, after features.sh.

TUNNEL_NICS=(red=52:54:00:00:05:01 blue=52:54:00:00:05:02)

# Two more networks, and in both of them the same addresses: two stations with a router between their nets.
tunnel_networks() {
    local network number=0 name
    if [[ -z ${TUNNEL_NETWORKS:-} ]]; then
        TUNNEL_NETWORKS=yes
        for network in red blue; do
            number=$((number + 1))
            inside net ip link add "$network" type bridge forward_delay 0 mcast_snooping 0
            inside net ip link set "$network" up
            station "$network-near" "$network" "52:54:00:00:05:${number}1" 10.9.0.2/24
            station "$network-far" "$network" "52:54:00:00:05:${number}2" 10.9.1.2/24
            inside "$network-near" ip route add default via 10.9.0.1
            inside "$network-far" ip route add default via 10.9.1.1
            for name in near far; do
                start_inside "$network-$name" "$network-$name" socat TCP-LISTEN:80,fork,reuseaddr \
                    "EXEC:$IMAGE_DIR/lab/answer $network-$name"
            done
        done
        # What red alone has.
        inside red-far ip address add 10.9.2.2/32 dev lo
    fi
    for network in red blue; do
        tap "$network"
    done
}

# succeeds LINE: whether a line of the machine's shell does; says what it said if not.
succeeds() {
    local said
    said=$(console "$1 && echo succeeded")
    [[ $said == *succeeded ]] || { printf '%s: %s\n' "$1" "$said" >&2 && return 1; }
}

# makes NAMESPACE LINE...: whether ip(8) takes all the lines, in a namespace of the machine.
makes() {
    local namespace=$1
    shift
    succeeds "printf '%s\n' $(printf "'%s' " "$@")| ip -n $namespace -batch -"
}

# within NAMESPACE COMMAND: what a command says in a namespace of the machine.
within() {
    console "ip netns exec $1 $2"
}

# pings NAMESPACE ADDRESS: whether it is answered.
pings() {
    succeeds "ip netns exec $1 ping -q -c 1 -W $PATIENCE $2 >/dev/null"
}

# pings_not NAMESPACE ADDRESS: whether the command ran and no answer came.
pings_not() {
    [[ $(within "$1" "ping -c 1 -W $SILENCE $2") == *' 100% packet loss'* ]]
}

# fetched NAMESPACE ADDRESS: the hash of a file that is had from there, some MiB.
fetched() {
    within "$1" "wget -q -O - http://$2/vrctl | busybox sha256sum"
}

# on_the_wire NAME FILTER: the first packets of a kind that went from one of the machine's two devices to the other.
on_the_wire() {
    tcpdump -nn -c 3 -r "$LAB_DIR/$1.pcap" "ether host ${TUNNEL_NICS[0]#*=} and ether host ${TUNNEL_NICS[1]#*=} and ($2)" \
        2>"$LAB_DIR/$1.read" || cat "$LAB_DIR/$1.read"
}

# seen NAME FILTER: whether there were any.
seen() {
    [[ $(on_the_wire "$@") == *' IP '* ]]
}

# in_the_clear NAME: whether a question of HTTP could be read there.
in_the_clear() {
    grep -aq 'GET /vrctl' "$LAB_DIR/$1.pcap"
}

# watches NAME: writes down how what goes by begins, until lab_end or stops_watching.
watches() {
    start_inside net "$1" tcpdump -U --immediate-mode -s 256 -B 16384 -w "$LAB_DIR/$1.pcap" -i tap-red
    WATCHER=$STARTED
    vm_until "the wire is watched" "$START" grep -q 'listening on' "$LAB_DIR/$1.log"
}

# stops_watching: what was seen is in its file then.
stops_watching() {
    kill -- "-$WATCHER"
    wait "$WATCHER" || true
}

case_tunnels() {
    local nics=("${VM_NICS[@]}")
    tunnel_networks
    VM_NICS+=("${TUNNEL_NICS[@]}")
    boot_with_shell
    VM_NICS=("${nics[@]}")
    vm_until "its console has a shell" "$START" console_ready
    # Two routers of their own in the machine, of which the service knows nothing: what they do is the kernel's doing. A
    # station's way leads back into the network that it came from, and it is not to be told of a shorter one.
    for name in here there; do
        holds "a namespace: $name" succeeds "ip netns add $name"
        holds 'that forwards' succeeds \
            "ip netns exec $name sysctl -q net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0"
    done
    holds 'both devices are its own' succeeds 'ip link set eth3 netns here && ip link set eth4 netns here'
    vrf_keeps_apart
    # The two devices are two routers' ends of one wire now.
    holds 'the other router has the other device' makes here 'link delete red' 'link delete blue' 'address flush dev eth3' \
        'link set eth4 netns there' 'address add 198.18.0.1/24 dev eth3'
    holds 'and an address' makes there 'address add 198.18.0.2/24 dev eth4' 'link set eth4 up' 'link set lo up'
    inside net ip link set tap-blue master red
    vm_until "they reach each other" "$START" pings here 198.18.0.2
    vxlan_carries
    wireguard_carries
    sctp_is_followed
    is 'nothing failed' 0 "$DEMO_FAILED"
    holds 'the kernel complains of nothing' kernel_is_content
}

# The same addresses in two tables; each station reaches its own kind, by the same router.
vrf_keeps_apart() {
    holds 'the kernel makes VRFs' makes here 'link add red type vrf table 101' 'link add blue type vrf table 102' \
        'link set red up' 'link set blue up'
    holds 'devices join them' makes here 'link set eth3 master red up' 'link set eth4 master blue up'
    for device in eth3 eth4; do
        holds "with addresses, the same in both: $device" makes here "address add 10.9.0.1/24 dev $device" "address add 10.9.1.1/24 dev $device"
    done
    holds 'one has a route that the other has not' makes here 'route add 10.9.2.2/32 via 10.9.1.2 vrf red'
    shows 'red reaches red' 'red-far answers 10\.9\.0\.2' http red-near http://10.9.1.2/
    shows 'blue reaches blue under the same address' 'blue-far answers 10\.9\.0\.2' http blue-near http://10.9.1.2/
    shows 'and back' 'blue-near answers 10\.9\.1\.2' http blue-far http://10.9.0.2/
    shows "red's route leads on" 'red-far answers 10\.9\.0\.2' http red-near http://10.9.2.2/
    shows 'of which blue knows nothing, and is told so' 'From 10\.9\.0\.1 .*Net Unreachable' inside blue-near ping -c 1 -W "$SILENCE" 10.9.2.2
}

# A network through another one: frames in datagrams, of one number and no other.
vxlan_carries() {
    local tunnel='type vxlan dstport 4789'
    holds 'the kernel makes VXLANs' makes here "link add frames $tunnel id 42 local 198.18.0.1 remote 198.18.0.2 dev eth3" \
        'address add 10.42.0.1/24 dev frames' 'link set frames up'
    holds 'at both ends' makes there "link add frames $tunnel id 42 local 198.18.0.2 remote 198.18.0.1 dev eth4" \
        'address add 10.42.0.2/24 dev frames' 'link set frames up'
    watches vxlan
    holds 'what goes in is answered' pings here 10.42.0.2
    holds 'something serves behind it' succeeds 'ip netns exec there busybox httpd -p 10.42.0.2:80 -h /usr/bin'
    is 'a file comes through whole' "$(sha256sum <"$OUT/root-debug.tree/usr/bin/vrctl")" "$(fetched here 10.42.0.2)"
    stops_watching
    holds 'in frames of its number' seen vxlan 'udp port 4789 and udp[8] == 8 and udp[12:4] == 42 << 8'
    is 'and in nothing else but what finds neighbours' '' "$(on_the_wire vxlan 'not arp and not udp port 4789 and not ip6')"
    holds 'readable by everybody' in_the_clear vxlan
    holds 'other numbers' makes here "link add other $tunnel id 43 local 198.18.0.1 remote 198.18.0.2 dev eth3" \
        'address add 10.43.0.1/24 dev other' 'link set other up'
    holds 'that are not the same' makes there "link add other $tunnel id 44 local 198.18.0.2 remote 198.18.0.1 dev eth4" \
        'address add 10.43.0.2/24 dev other' 'link set other up'
    holds 'are other networks' pings_not here 10.43.0.2
    for name in here there; do
        holds "the tunnels are taken away: $name" makes "$name" 'link delete frames' 'link delete other'
    done
}

# The same with keys: a handshake, packets that nobody on the way can read, and no answer to whose key is not known.
wireguard_carries() {
    local end
    for end in here there; do
        holds "a key: $end" succeeds "(umask 077 && wg genkey >/run/$end.key) && wg pubkey </run/$end.key >/run/$end.pub"
        holds 'the kernel makes WireGuard devices' makes "$end" 'link add wg0 type wireguard'
    done
    holds 'an end' succeeds "ip netns exec here wg set wg0 private-key /run/here.key listen-port 51820 \
peer \$(cat /run/there.pub) allowed-ips 10.44.0.2/32 endpoint 198.18.0.2:51820"
    holds 'and the other, which waits for it' succeeds "ip netns exec there wg set wg0 private-key /run/there.key listen-port 51820 \
peer \$(cat /run/here.pub) allowed-ips 10.44.0.1/32"
    holds 'with an address' makes here 'address add 10.44.0.1/24 dev wg0' 'link set wg0 up'
    holds 'each' makes there 'address add 10.44.0.2/24 dev wg0' 'link set wg0 up'
    is 'no handshake yet' 0 "$(handshake there)"
    watches wireguard
    holds 'what goes in is answered' pings here 10.44.0.2
    holds 'after a handshake' test "$(handshake there)" -gt 0
    holds 'something serves behind it' succeeds 'ip netns exec there busybox httpd -p 10.44.0.2:80 -h /usr/bin'
    is 'a file comes through whole' "$(sha256sum <"$OUT/root-debug.tree/usr/bin/vrctl")" "$(fetched here 10.44.0.2)"
    stops_watching
    # The first octet tells the kind: the handshake's question, its answer, data.
    for kind in 1 2 4; do
        holds "messages of kind $kind are seen" seen wireguard "udp port 51820 and udp[8:4] == $kind << 24"
    done
    is 'and nothing else but what finds neighbours' '' "$(on_the_wire wireguard 'not arp and not udp port 51820 and not ip6')"
    holds 'of which nobody can read anything' reads_nothing wireguard
    holds 'a key that is not known any more' succeeds "ip netns exec there wg set wg0 peer \$(cat /run/here.pub) remove"
    holds 'is not answered' pings_not here 10.44.0.2
}

reads_nothing() {
    ! in_the_clear "$1"
}

# handshake NAMESPACE: when the last one was, in seconds since 1970; 0 for never.
handshake() {
    within "$1" 'wg show wg0 latest-handshakes' | awk 'NF == 2 { print $2 }'
}

# Associations through the router's own SNAT, which the kernel follows from their first packet to the last.
sctp_is_followed() {
    local association input other established
    apply_demo >/dev/null
    visitor_by_hand
    guests_by_hand
    start_inside internet sctp "$TOP/tests/qemu/sctp" serve 203.0.113.80 7014
    coproc ASSOCIATION { inside visitor "$TOP/tests/qemu/sctp" ask 203.0.113.80 7014 7015; }
    is 'an SCTP association through SNAT, its data and checksums' '198.51.100.5 port 7015' "$(association_says "${ASSOCIATION[0]}")"
    established='ESTABLISHED src=203.0.113.80 dst=198.51.100.5 sport=7014 dport=7015 [ASSURED]'
    is 'is tracked' "$established" "$(sctp_tracked 10.1.1.99 7015)"
    other=$(inside web2 "$TOP/tests/qemu/sctp" ask 203.0.113.80 7014 7015 </dev/null) || fail "another guest has no association"
    is "another guest's from the same port" '198.51.100.5 port' "${other% *}"
    holds "is told apart: ${other##* }" test "${other##* }" != 7015
    vm_until "it is seen to end" "$START" sctp_ended 10.1.1.21 7015
    is 'while the first goes on' "$established" "$(sctp_tracked 10.1.1.99 7015)"
    association=$ASSOCIATION_PID
    input=${ASSOCIATION[1]}
    exec {input}>&-
    wait "$association" || fail "the association did not end in order"
    vm_until "it is seen to end as well" "$START" sctp_ended 10.1.1.99 7015
    printf '  ok  and both are seen to end\n'
    refuses 'packets with wrong checksums begin none' inside visitor timeout "$SILENCE" "$TOP/tests/qemu/sctp" ask 203.0.113.80 7014 7016 spoilt
    is 'nor are they tracked' '' "$(sctp_tracked 10.1.1.99 7016)"
}

# association_says DESCRIPTOR: the next line that is said there.
association_says() {
    local line
    read -r -t "$START" line <&"$1" || line=nothing
    printf '%s\n' "$line"
}

# sctp_tracked ADDRESS PORT: in which state the association is that began there, and how its answers come back.
sctp_tracked() {
    local connections
    connections=$(console 'cat /proc/net/nf_conntrack && echo whole')
    [[ $connections == *whole ]] || { echo 'the connections cannot be read' && return; }
    sed -nE -e 's/ (packets|bytes)=[0-9]+//g' -e "s/.*sctp +132 +[0-9]+ ([A-Z_]+) src=$1 dst=203\.0\.113\.80 sport=$2 dport=7014 (.*\[[A-Z]+\]).*/\1 \2/p" \
        <<<"$connections"
}

# sctp_ended ADDRESS PORT: whether it is tracked as closed, or has been for so long that it is forgotten.
sctp_ended() {
    [[ $(sctp_tracked "$@") =~ ^(CLOSED .*)?$ ]]
}
