# A document's DHCP network as Kea's configuration, with leases in $leases.
{
  Dhcp4: {
    "interfaces-config": { interfaces: ["guest"], "dhcp-socket-type": "udp" },
    "lease-database": { type: "memfile", persist: true, name: $leases },
    "valid-lifetime": 86400,
    "subnet4": [
      {
        id: 1,
        subnet: "10.0.0.0/12",
        "reservations-in-subnet": true,
        "reservations-global": false,
        "option-data": [
          { name: "routers", data: "10.0.0.1" },
          { name: "domain-name-servers", data: "10.0.0.1" },
          { name: "domain-name", data: "demo.local" }
        ],
        reservations: [.dhcp.guest.hosts[] | { "hw-address": .mac, "ip-address": .ip, hostname: .hostname }]
      }
    ],
    loggers: [{ name: "kea-dhcp4", severity: "ERROR", output_options: [{ output: "stderr" }] }]
  }
}
