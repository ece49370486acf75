# shellcheck shell=bash
# What becomes of a machine in its life: ended and started in order, moved to another host, paused, its clock set, its
# devices plugged and unplugged, its disk full or dead. Sourced by tests/qemu/run.

# ended_in_order: the machine ends by itself, with nothing left to be mended on its disk.
ended_in_order() {
    local limit=$((SECONDS + 60)) said
    while vm_alive && ((SECONDS < limit)); do
        sleep 0.1
    done
    ! vm_alive || { vm_words && fail "the machine did not end within a minute"; }
    said=$(dumpe2fs -h "$VM_DATA" 2>/dev/null)
    is 'its disk was left in order' clean "$(awk -F ': *' '$1 == "Filesystem state" { print $2 }' <<<"$said")"
    ! grep -q needs_recovery <<<"$said" || fail "its disk has a journal to be gone through"
}

# connect: a connection of the visitor's through SNAT, to somebody in the internet who says back what he hears.
connect() {
    visitor_by_hand
    start_inside internet echo socat TCP-LISTEN:7,fork,reuseaddr EXEC:cat
    vm_until "somebody listens in the internet" "$START" listens internet 7
    coproc CONNECTION { inside visitor socat - TCP:203.0.113.80:7 2>/dev/null; }
    is 'a connection through SNAT' one "$(said_back one)"
}

disconnect() {
    kill "$CONNECTION_PID" 2>/dev/null || true
    wait "$CONNECTION_PID" 2>/dev/null || true
    inside visitor ip address flush dev eth0
}

# guests_by_hand: the guests that balancers send to, so that the router can be well.
guests_by_hand() {
    web1_by_hand
    inside web2 ip address replace 10.1.1.21/24 dev eth0
    inside web2 ip route replace default via 10.1.1.1
}

# What an operator's reboot does.
case_reboot() {
    local before
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    before=$(apply_demo)
    # The answer goes down with the machine.
    printf 'systemctl --no-ask-password reboot\n' | socat -t 1 - "UNIX-CONNECT:$VM_SOCKET" >/dev/null
    ended_in_order
    boot
    is 'it is what it was' "$before" "$(generation)"
}

# migrated: whether QEMU has written all of the machine.
migrated() {
    vm_monitor 'info migrate' | grep -q 'Migration status: completed'
}

# The machine goes on in another QEMU, as if nothing had been, and tells its neighbours.
case_migration() {
    local before started leases
    boot
    before=$(apply_demo)
    vm_until "a guest has its lease" "$START" has_lease
    connect
    leases=$(api GET /v1/leases | jq -c '[.leases[] | [.address, .mac]]')
    started=$(status .started)
    start_inside internet announced tcpdump -l -n -i eth0 'arp and ether src 52:54:00:00:00:02'
    vm_monitor "migrate -d \"exec:cat >$LAB_DIR/machine\"" >/dev/null
    vm_until "the machine is saved" "$START" migrated
    vm_power_cut
    VM_MORE=(-incoming "exec:cat $LAB_DIR/machine")
    vm_start elsewhere
    vm_until "the API answers" "$START" api_answers
    is 'the service has not noticed' "$started" "$(status .started)"
    is 'the connection goes on' two "$(said_back two)"
    is 'the generation is the same' "$before" "$(generation)"
    is 'the leases are' "$leases" "$(api GET /v1/leases | jq -c '[.leases[] | [.address, .mac]]')"
    for address in 198.51.100.5 198.51.100.7; do
        vm_until "$address is announced" 30 grep -qE "(who-has $address .*tell $address|$address is-at)" "$LAB_DIR/announced.log"
    done
    printf '  ok  its neighbours were told where its addresses are now\n'
    vm_until "a guest renews its lease" "$START" has_lease
    printf '  ok  a guest renews its lease\n'
    disconnect
}

# A host that pauses its machines for a while, longer than any watchdog waits.
case_pause() {
    local started
    boot
    apply_demo >/dev/null
    connect
    started=$(status .started)
    vm_monitor stop >/dev/null
    holds 'a machine that is paused does not answer' cannot_be_reached
    sleep 90
    vm_monitor cont >/dev/null
    vm_until "the API answers" "$START" api_answers
    is 'the service was not started anew' "$started" "$(status .started)"
    is 'the connection goes on' two "$(said_back two)"
    guests_by_hand
    vm_until "the router is well" "$START" router_is ok
    printf '  ok  and all is well\n'
    disconnect
}

# router_is STATE: what the status says of the whole.
router_is() {
    [[ $(status .state) == "$1" ]]
}

# set_clock DAYS: sets the machine's wall clock by so many days.
set_clock() {
    console "busybox date -s @\$((\$(busybox date +%s) + $1 * 86400))" >/dev/null
}

# visitors_lease FIELD: of the lease that the visitor has.
visitors_lease() {
    api GET /v1/leases | jq -r ".leases[] | select(.mac == \"fa:aa:00:00:00:99\") | .$1"
}

# For how long the visitor's lease still is, as whoever reads both times sees it, in hours to the nearest.
lease_lasts() {
    echo $((($(date -d "$(visitors_lease expires)" +%s) - $(date -d "$(status .time)" +%s) + 1800) / 3600))
}

# The clock of a machine is set: by somebody who was wrong, or who puts it right. What was promised for some time lasts that
# time; what ends at a date ends at that date.
case_clock_jump() {
    local address days before
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    apply_demo >/dev/null
    inside visitor ip address flush dev eth0
    vm_until "a visitor has a lease" "$START" visitor_has_lease
    address=$(visitors_lease address)
    openssl req -x509 -newkey rsa:2048 -nodes -days 200 -subj /CN=www.example.net -addext subjectAltName=DNS:www.example.net \
        -keyout "$LAB_DIR/key.pem" -out "$LAB_DIR/chain.pem" 2>/dev/null || fail "no certificate"
    jq -n --rawfile chain "$LAB_DIR/chain.pem" --rawfile key "$LAB_DIR/key.pem" '{certificates: {www: {chain_pem: $chain, key_pem: $key}},
        load_balancers: {tls: {address: "198.51.100.8", port: 443, protocol: "https", tls: {certificates: ["www"]},
            pools: {pages: {backends: {web1: {address: "10.1.1.20", port: 80}}}}}}}' >"$LAB_DIR/tls.json"
    before=$(api PATCH /v1/config "$LAB_DIR/tls.json" | jq -er .generation) || fail "no certificate was taken"
    web1_by_hand
    for days in 400 -900; do
        printf '{"hostname": "vr-%s"}' "${days#-}" >"$LAB_DIR/hostname.json"
        api PATCH '/v1/config?confirm=30' "$LAB_DIR/hostname.json" >/dev/null
        set_clock "$days"
        is "the clock is set by $days days, and the change still waits" "vr-${days#-}" "$(status .hostname)"
        is 'the lease is there' "$address" "$(visitors_lease address)"
        is 'for as long as it was to be' 24 "$(lease_lasts)"
        if ((days > 0)); then
            vm_until "the certificate has expired" "$START" certificate_is_over
            printf '  ok  the certificate has expired by the date\n'
        fi
        vm_until "the change goes back at its time" 60 hostname_is_not "vr-${days#-}"
        printf '  ok  the change goes back at its time\n'
    done
    is 'the visitor renews his lease' "$address" "$(lease visitor | sed 's/address=\([^/]*\).*/\1/')"
    inside web1 ip link set eth0 down
    vm_until "a backend that is gone is seen" 60 backend_is down
    inside web1 ip link set eth0 up
    web1_by_hand
    vm_until "and that it is back" 60 backend_is up
    printf '  ok  health checks go on\n'
    console 'systemctl --no-ask-password restart vrouterd' >/dev/null
    vm_until "the API answers" "$START" api_answers
    is 'a service that is started again knows the lease' "$address" "$(visitors_lease address)"
    is 'as long as it was to be' 24 "$(lease_lasts)"
}

visitor_has_lease() {
    [[ $(lease visitor 2>/dev/null) == *address=10.1.1.1* ]]
}

certificate_is_over() {
    status '.reasons | join(" ")' | grep -q certificate
}

hostname_is_not() {
    [[ $(status .hostname) != "$1" ]]
}

# backend_is STATE: of the balancer that asks web1 for a page.
backend_is() {
    api GET /v1/balancers/site | grep -qE "\"state\": ?\"$1\""
}

# A NIC that the configuration names and the host plugs in later.
case_hot_plug() {
    VM_MORE=(-device 'pcie-root-port,id=port1,chassis=1,slot=1')
    if [[ -z ${HOT_PLUG_NETWORK:-} ]]; then
        HOT_PLUG_NETWORK=yes
        inside net ip link add late type bridge forward_delay 0 mcast_snooping 0
        inside net ip link set late up
        station latecomer late 52:54:00:00:04:01 10.9.9.2/24
        tap late
    fi
    boot
    apply_demo >/dev/null
    cat >"$LAB_DIR/late.json" <<'END'
{"interfaces": {"late": {"mac": "52:54:00:00:00:04", "roles": ["guest"], "addresses": ["10.9.9.1/24"]}}}
END
    api PATCH /v1/config "$LAB_DIR/late.json" >/dev/null
    is 'an interface whose NIC is not there is accepted' absent "$(status .interfaces.late.state)"
    holds 'and degrades the router' test "$(status '.reasons | map(select(contains("late"))) | length')" -ge 1
    vm_until "the console says so" "$START" console_says 'late: .*absent'
    vm_monitor 'netdev_add tap,id=late,ifname=tap-late,script=no,downscript=no' >/dev/null
    vm_monitor 'device_add virtio-net-pci,id=nic-late,netdev=late,mac=52:54:00:00:00:04,bus=port1,romfile=' >/dev/null
    vm_until "the NIC comes up" "$START" late_is up
    vm_until "it is reached" "$START" inside latecomer ping -c 1 -W 1 10.9.9.1
    printf '  ok  the NIC that is plugged in is the interface, and is reached\n'
    guests_by_hand
    vm_until "the router is well" "$START" router_is ok
    vm_monitor 'device_del nic-late' >/dev/null
    vm_until "its absence is told" "$START" late_is absent
    printf '  ok  unplugged, it is absent again\n'
    vm_monitor 'netdev_del late' >/dev/null
    web1_by_hand
    vm_until "the others go on" "$START" translated
    printf '  ok  and the others go on\n'
}

late_is() {
    [[ $(status .interfaces.late.state) == "$1" ]]
}

# refused_with STATUS FILE: whether a patch is refused so.
refused_with() {
    local found
    found=$(http_status operator "$API/v1/config" --oauth2-bearer "$VM_TOKEN" --max-time 60 --request PATCH \
        --header 'Content-Type: application/merge-patch+json' --data-binary "@$2" | cut -d ' ' -f 1)
    [[ $found == "$1" ]] || { step "wanted $1, found $found" && return 1; }
}

# A disk without room refuses changes, and nothing else.
case_disk_full() {
    local before
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    before=$(apply_demo)
    vm_until "a guest has its lease" "$START" has_lease
    console '(busybox dd if=/dev/zero of=/var/fill bs=65536; busybox dd if=/dev/zero of=/var/fill2 bs=1024) >/dev/null 2>&1 & true' >/dev/null
    vm_until "the disk is full" "$START" console_shows 'busybox df -k /var | busybox tail -n 1' ' 0 +100% /var'
    vm_until "and nothing fills it any more" "$START" console_shows 'ps | grep -c "[d]d if="' '^0'
    # Greater than what room there may be in the last block.
    jq -n '{dns: {records: [range(2000) | {key: "r\(.)", value: {name: "r\(.).demo.local", type: "A", values: ["10.1.1.30"]}}] |
        from_entries}}' >"$LAB_DIR/much.json"
    holds 'a change is refused' refused_with 507 "$LAB_DIR/much.json"
    is 'what ran runs' "$before" "$(generation)"
    vm_until "a guest is translated" "$START" translated
    holds 'and a guest keeps its lease' has_lease
    console 'busybox rm /var/fill /var/fill2' >/dev/null
    is 'with room again, the same change is taken' $((before + 1)) "$(api PATCH /v1/config "$LAB_DIR/much.json" | jq -r .generation)"
    guests_by_hand
    vm_until "the router is well" "$START" router_is ok
}

# leases_are_not_kept: whether the status says of DHCP that its disk refuses.
leases_are_not_kept() {
    has_lease
    status '.reasons | join(" ")' | grep -q 'dhcp: '
}

# A disk that dies under a running router: it goes on, refuses what it cannot keep, and says so.
case_disk_dies() {
    local before server disk=$VM_DATA socket=$LAB_DIR/disk.socket
    start_inside net disk qemu-nbd --socket "$socket" --format raw --persistent "$disk"
    # shellcheck disable=SC2153  # by start_inside
    server=$STARTED
    VM_DATA=
    VM_MORE=(-drive "if=none,id=data,driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=$socket,werror=report,rerror=report"
        -device 'virtio-blk-pci,drive=data')
    boot
    holds 'state is on the disk' console_says 'state is kept on /dev/vdb'
    before=$(apply_demo)
    vm_until "a guest has its lease" "$START" has_lease
    kill -KILL -- "-$server"
    wait "$server" 2>/dev/null || true
    printf '{"hostname": "vr-9"}' >"$LAB_DIR/hostname.json"
    holds 'a change that cannot be kept is refused' refused_with 507 "$LAB_DIR/hostname.json"
    is 'what ran runs' "$before" "$(generation)"
    vm_until "a guest is translated" "$START" translated
    holds 'and keeps its lease' has_lease
    vm_until "the status says so" "$START" leases_are_not_kept
    printf '  ok  the status says that leases are not kept\n'
    vm_power_cut
    VM_MORE=()
    VM_DATA=$disk
    boot
    is 'with the disk again it is what was acknowledged' "$before" "$(generation)"
}
