# A configuration with $objects EIPs, as many port forwards and as many DHCP hosts; with 0 the interfaces alone.
# Called with --argjson objects N. The hosts' hardware addresses are what dhcp_load.rs calls its clients.

def hex2: [(. / 16 | floor), . % 16] | map("0123456789abcdef"[.:. + 1]) | add;
def mac: "fa:aa:00:\(. / 65536 | floor | hex2):\(. / 256 % 256 | floor | hex2):\(. % 256 | hex2)";
# Guests fill 10.1.0.0 to 10.4.255.255, the public side of the EIPs 100.64.0.0 and following.
def guest: "10.\(1 + (. / 62500 | floor)).\(. / 250 % 250 | floor).\(. % 250 + 2)";
def eip: "100.\(64 + (. / 62500 | floor)).\(. / 250 % 250 | floor).\(. % 250 + 2)";
def collection(f): [range($objects) | f] | from_entries;

{
  version: 1,
  interfaces: {
    mgmt: { device: "mgmt", roles: ["management"], addresses: ["192.168.0.188/24"] },
    public: { device: "public", roles: ["public"], addresses: ["198.51.100.5/24"], gateway: "198.51.100.1" },
    guest: { device: "guest", roles: ["guest"], addresses: ["10.0.0.1/12"] }
  },
  snat: { guest: { source: "10.0.0.0/12", interface: "public" } },
  dns: { forwarders: ["198.51.100.1"] },
  dhcp: {
    guest: {
      interface: "guest",
      domain: "demo.local",
      hosts: collection({ key: "h\(.)", value: { mac: mac, ip: guest, hostname: "h\(.)" } })
    }
  },
  eips: collection({ key: "e\(.)", value: { address: eip, interface: "public", target: guest } }),
  port_forwards: collection({
    key: "f\(.)",
    value: {
      protocol: "tcp",
      address: "198.51.100.\(100 + . % 100)",
      ports: "\(1000 + (. / 100 | floor))",
      target: guest,
      target_ports: "22"
    }
  })
}
