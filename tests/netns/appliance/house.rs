//! The house of these tests: a router between management, two ways out, two guest networks and the stations on them.
//!
//! ```text
//! admin ── management ── eth0 ┌────────┐ eth2 ── guest ── web1 .20, web2 .21, client .50     (10.1.1.0/24)
//! neighbour .9 ─┐             │ router │ eth4 ── guest2 ── other .20                         (10.2.2.0/24)
//!  upstream .1 ── public ──── eth1     │
//! upstream2 .1 ── public2 ─── eth3 ────┘
//!        └── internet .53 (192.0.2.0/24), which knows 198.51.100.0/24 by upstream, 203.0.113.0/24 by upstream2
//! ```
//!
//! The upstreams forward nothing whose source is not theirs to carry, as providers do (RFC 2827).

use serde_json::{Value, json};

use super::router::Router;
use crate::lab::Lab;

/// The router's devices: kernel name, MAC and network.
pub(crate) const DEVICES: [(&str, &str, &str); 5] = [
    ("eth0", "52:54:00:aa:00:01", "management"),
    ("eth1", "52:54:00:aa:00:02", "public"),
    ("eth2", "52:54:00:aa:00:03", "guest"),
    ("eth3", "52:54:00:aa:00:04", "public2"),
    ("eth4", "52:54:00:aa:00:05", "guest2"),
];

/// Stations with one device: name, network, MAC, address and next hop.
const STATIONS: [(&str, &str, &str, &str, &str); 6] = [
    ("admin", "management", "fa:aa:00:00:01:10", "192.168.0.10/24", "192.168.0.188"),
    ("neighbour", "public", "fa:aa:00:00:02:09", "198.51.100.9/24", "198.51.100.5"),
    ("web1", "guest", "fa:aa:00:00:00:20", "10.1.1.20/24", "10.1.1.1"),
    ("web2", "guest", "fa:aa:00:00:00:21", "10.1.1.21/24", "10.1.1.1"),
    ("client", "guest", "fa:aa:00:00:00:50", "10.1.1.50/24", "10.1.1.1"),
    ("other", "guest2", "fa:aa:00:00:03:20", "10.2.2.20/24", "10.2.2.1"),
];

/// The lab with its router. The router ends first.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) router: Router,
    pub(crate) lab: Lab,
}

impl House {
    /// A house whose router has nothing configured.
    pub(crate) fn new() -> Self {
        let lab = grounds();
        Self { router: Router::start(&lab, "router"), lab }
    }

    /// A house that runs its own document with this patch on top.
    pub(crate) fn with(patch: Value) -> Self {
        let house = Self::new();
        house.router.configure(&document());
        if patch != json!({}) {
            house.router.change(patch);
        }
        house
    }
}

/// The lab without a service.
pub(crate) fn grounds() -> Lab {
    let mut lab = Lab::new();
    lab.namespace("router");
    for (device, mac, network) in DEVICES {
        lab.network(network);
        lab.plug("router", device, mac, network);
    }
    lab.network("transit");
    for (name, network, mac, address, gateway) in STATIONS {
        lab.station(name, network, mac, Some(address));
        lab.ok(name, &format!("ip route add default via {gateway}"));
    }
    let upstreams = [
        ("upstream", "public", "fa:aa:00:00:04:01", "198.51.100.1/24", "192.0.2.1/24"),
        ("upstream2", "public2", "fa:aa:00:00:04:02", "203.0.113.1/24", "192.0.2.2/24"),
    ];
    lab.station("internet", "transit", "fa:aa:00:00:04:53", Some("192.0.2.53/24"));
    for (number, (name, network, mac, inside, outside)) in upstreams.into_iter().enumerate() {
        lab.station(name, network, mac, Some(inside));
        lab.plug(name, "eth1", &format!("fa:aa:00:00:05:0{number}"), "transit");
        lab.ok(name, "ip link set eth1 up");
        lab.ok(name, &format!("ip address add {outside} dev eth1"));
        let settings = ["ip_forward=1", "conf.all.rp_filter=1", "conf.eth0.rp_filter=1"];
        for setting in settings {
            lab.ok(name, &format!("sysctl -qw net.ipv4.{setting}"));
        }
        let behind = format!("{}0/24", inside.trim_end_matches("1/24"));
        lab.ok("internet", &format!("ip route add {behind} via {}", outside.trim_end_matches("/24")));
    }
    // Each upstream has the other's networks where the internet is.
    lab.ok("upstream", "ip route add 203.0.113.0/24 via 192.0.2.2");
    lab.ok("upstream2", "ip route add 198.51.100.0/24 via 192.0.2.1");
    lab
}

/// A document with all of the house's interfaces, source translation for both guest networks on the first way out, and
/// pings let in.
pub(crate) fn document() -> Value {
    let interface = |device: usize, role: &str, address: &str| json!({"mac": DEVICES[device].1, "roles": [role], "addresses": [address]});
    let mut document = json!({
        "version": 1,
        "interfaces": {
            "mgmt": interface(0, "management", "192.168.0.188/24"),
            "public": interface(1, "public", "198.51.100.5/24"),
            "guest": interface(2, "guest", "10.1.1.1/24"),
            "public2": interface(3, "public", "203.0.113.5/24"),
            "guest2": interface(4, "guest", "10.2.2.1/24")
        },
        "snat": {
            "guest": {"source": "10.1.1.0/24", "interface": "public"},
            "guest2": {"source": "10.2.2.0/24", "interface": "public"}
        },
        "firewall": {"rules": {
            "ping-in": {"priority": 900, "direction": "ingress", "protocol": "icmp", "icmp_type": 8, "action": "accept"}
        }}
    });
    document["interfaces"]["public"]["gateway"] = json!("198.51.100.1");
    document["interfaces"]["public2"]["gateway"] = json!("203.0.113.1");
    document
}
