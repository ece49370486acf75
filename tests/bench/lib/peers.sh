# shellcheck shell=bash
# The peers, configured for what the product does with the same document. They run in the router's namespace after the
# product has stopped, so that every server answers behind the same ruleset. Sourced by tests/bench/run.

# peer_files OBJECTS: what the peers read, made of the product's document.
peer_files() {
    local file
    file=$(base "$1")
    mkdir -p "$LAB_DIR/peers"
    jq --raw-output '.dhcp.guest.hosts[] | "\(.mac),\(.ip),\(.hostname)"' "$file" >"$LAB_DIR/peers/dnsmasq.dhcp"
    jq --raw-output '.dhcp.guest.hosts[] | "\(.ip) \(.hostname).demo.local"' "$file" >"$LAB_DIR/peers/dnsmasq.hosts"
    jq --raw-output '.dhcp.guest.hosts[]
        | "local-data: \"\(.hostname).demo.local. 60 IN A \(.ip)\"\nlocal-data-ptr: \"\(.ip) 60 \(.hostname).demo.local\""' \
        "$file" >"$LAB_DIR/peers/unbound.local"
    jq --arg leases "$LAB_DIR/peers/kea.csv" --from-file "$BENCH_DIR/lib/kea.jq" "$file" >"$LAB_DIR/peers/kea.json"
    cat >"$LAB_DIR/peers/unbound.conf" <<END
server:
  interface: $GUEST_ROUTER
  access-control: 10.0.0.0/12 allow
  num-threads: 1
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "$LAB_DIR/peers"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-ip6: no
  local-zone: "demo.local." static
  local-zone: "10.in-addr.arpa." static
  include: $LAB_DIR/peers/unbound.local
forward-zone:
  name: "."
  forward-addr: $PUBLIC_GATEWAY
remote-control:
  control-enable: no
END
}

# dnsmasq_start dhcp|dns|both: as dnsmasq serves a network of guests, its leases in a file.
dnsmasq_start() {
    local arguments=(--keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts
        --bind-interfaces --interface=guest --except-interface=lo --domain=demo.local)
    [[ $1 == dns ]] || arguments+=(
        "--dhcp-leasefile=$LAB_DIR/peers/dnsmasq.leases" "--dhcp-hostsfile=$LAB_DIR/peers/dnsmasq.dhcp"
        '--dhcp-range=10.0.0.0,static,255.240.0.0,86400' --dhcp-lease-max=20000 --dhcp-authoritative --no-ping
        --quiet-dhcp)
    if [[ $1 == dhcp ]]; then
        arguments+=(--port=0)
    else
        arguments+=("--addn-hosts=$LAB_DIR/peers/dnsmasq.hosts" --local-ttl=60 --cache-size=10000
            "--server=$PUBLIC_GATEWAY" --dns-forward-max=1000)
    fi
    start_inside router dnsmasq "${@:2}" dnsmasq "${arguments[@]}"
}

# kea_start [COMMAND...]: Kea's DHCPv4 server with its threads as they are by default and its lease file.
kea_start() {
    rm -f "$LAB_DIR"/peers/kea.csv*
    start_inside router kea env KEA_PIDFILE_DIR="$LAB_DIR/peers" KEA_LOCKFILE_DIR="$LAB_DIR/peers" \
        "$@" kea-dhcp4 -c "$LAB_DIR/peers/kea.json"
}

# unbound_start [COMMAND...]: unbound with one thread.
unbound_start() {
    start_inside router unbound "$@" unbound -d -c "$LAB_DIR/peers/unbound.conf"
}

# upstream_start: who answers every name for a forwarder, at the public gateway.
upstream_start() {
    start_inside public upstream dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root \
        --no-resolv --no-hosts --bind-interfaces "--listen-address=$PUBLIC_GATEWAY" \
        --address=/example.com/203.0.113.80 --local-ttl=3600
}

# leased ADDRESS-COUNT: whether that many clients get their addresses.
leased() {
    inside guest "$LOAD" "$GUEST_CLIENT" "$GUEST_ROUTER" "$1" 64 once
}

# resolves NAME: whether the router's address answers for a name.
resolves() {
    [[ -n $(inside guest dig +short +tries=1 +timeout=1 "@$GUEST_ROUTER" "$1" A) ]]
}
