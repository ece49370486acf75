# The router's interfaces with load balancers in front of the servers in the guest network. Called with --argjson
# listeners N and --argjson backends N, --arg vip ADDRESS, --arg chain PEM and --arg key PEM. With 0 listeners: one of
# each kind that the cases load, on the ports that the peers listen on as well.

def backends: [range($backends) | { key: "b\(.)", value: { address: "10.0.1.\(. + 1)", port: 8080 } }] | from_entries;
def pools: { web: { backends: backends } };
# Connections that do nothing yet, or any more, stay for ten minutes, as with the peers.
def listener($port; $protocol): {
  address: $vip, port: $port, protocol: $protocol, algorithm: "round_robin", pools: pools
} + if $protocol == "tcp" then {} else { timeouts: { client_header_ms: 600000, client_idle_ms: 600000 } } end;

{
  version: 1,
  interfaces: {
    mgmt: { device: "mgmt", roles: ["management"], addresses: ["192.168.0.188/24"] },
    public: { device: "public", roles: ["public"], addresses: ["198.51.100.5/24"], gateway: "198.51.100.1" },
    guest: { device: "guest", roles: ["guest"], addresses: ["10.0.0.1/12"] }
  }
}
+ if $listeners == 0 then {
    certificates: { site: { chain_pem: $chain, key_pem: $key } },
    load_balancers: {
      http: listener(80; "http"),
      https: (listener(443; "https") + { tls: { certificates: ["site"], min_version: "1.3", alpn: ["h2", "http/1.1"] } }),
      # The kernel translates this one; the next is relayed, because the kernel cannot count connections.
      "tcp-kernel": listener(8080; "tcp"),
      "tcp-proxy": (listener(8081; "tcp") + { algorithm: "least_connections" })
    }
  } else {
    load_balancers: [range($listeners) | { key: "l\(.)", value: listener(10000 + .; "http") }] | from_entries
  } end
