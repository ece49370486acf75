//! Who may speak at the port: the management network, and this machine. The protocol knows no password, so where somebody
//! stands is all that can be asked. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::config::Config;
use crate::config::interface::Role;
use crate::config::layout::Zone;

/// Whether `source` is this machine or in the management network: the subnets of management interfaces, and what static
/// routes have behind them, such as the management node's own network. A default route is no such network. Where the
/// interface is also the way out or the guests', subnets of theirs are not the management's, unless there is no other.
#[must_use]
pub(super) fn lets_in(config: &Config, source: IpAddr) -> bool {
    match source.to_canonical() {
        source if source.is_loopback() => true,
        IpAddr::V4(source) => is_management(config, source),
        IpAddr::V6(_) => false,
    }
}

/// Whether an answer may be posted to `address` on behalf of `peer`: to whoever asked, or into the management network, and
/// never to the router itself, which trusts what comes from there. A router that posts wherever it is told to would be a
/// tool for others.
#[must_use]
pub(super) fn may_hear(config: &Config, peer: IpAddr, address: IpAddr) -> bool {
    let (peer, address) = (peer.to_canonical(), address.to_canonical());
    let own = |(_, interface): (&crate::config::Id, &std::sync::Arc<crate::config::interface::Interface>)| {
        interface.addresses.iter().any(|own| IpAddr::V4(own.address()) == address)
    };
    if address.is_loopback() {
        return peer.is_loopback();
    }
    !config.interfaces().iter().any(own) && (address == peer || lets_in(config, address))
}

fn is_management(config: &Config, source: Ipv4Addr) -> bool {
    let management = || config.interfaces().iter().filter(|(_, interface)| interface.is(Role::Management));
    let is_local = |address: Ipv4Addr| {
        config
            .layout()
            .zones()
            .filter(|(_, zone)| zone.management)
            .any(|(_, zone)| subnets(zone).iter().any(|net| net.contains(&address)))
    };
    let leads_there = |route: &crate::config::route::Route| {
        let by_name = route.hop.interface().map(|id| management().any(|(named, _)| named == id));
        by_name.unwrap_or_else(|| route.hop.via().is_some_and(|via| is_local(via.get())))
    };
    is_local(source)
        || config.routes().values().any(|route| {
            let destination = route.destination.net();
            destination.prefix_len() > 0 && destination.contains(&source) && leads_there(route)
        })
}

/// The subnets of an interface that are its management's.
fn subnets(zone: &Zone) -> Vec<Ipv4Net> {
    let of = |is_meant: &dyn Fn(Ipv4Net) -> bool| -> Vec<Ipv4Net> {
        zone.addresses.iter().map(|own| own.subnet()).filter(|net| is_meant(*net)).collect()
    };
    let own = of(&|net| zone.management_addresses().any(|own| own.subnet() == net));
    // What the next hop of a way in that is no way out is in, is the management's as well.
    let beside_guests = of(&|net| !zone.guests.contains(&net));
    match (own.is_empty() || !zone.public, beside_guests.is_empty()) {
        (false, _) => own,
        (true, false) => beside_guests,
        (true, true) => of(&|_| true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_management_network_and_loopback_may_speak() {
        let document = json!({
            "version": 1,
            "interfaces": {
                "mgmt": {"mac": "52:54:00:00:00:01", "roles": ["management"],
                         "addresses": ["192.168.0.188/24"], "gateway": "192.168.0.1"},
                "public": {"mac": "52:54:00:00:00:02", "roles": ["public"],
                           "addresses": ["198.51.100.5/24"], "gateway": "198.51.100.1"},
                "guest": {"mac": "52:54:00:00:00:03", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}
            },
            "routes": {
                "mn": {"destination": "172.20.0.0/16", "via": "192.168.0.1"},
                "mn2": {"destination": "172.21.0.0/16", "via": "192.168.0.1", "interface": "mgmt"},
                "far": {"destination": "203.0.113.0/24", "via": "198.51.100.1"},
                "all": {"destination": "0.0.0.0/0", "via": "192.168.0.1", "metric": 100}
            }
        });
        let config = Config::default().replace(document).unwrap();
        for source in ["127.0.0.1", "::1", "::ffff:192.168.0.10", "192.168.0.10", "172.20.9.9", "172.21.0.1"]
        {
            assert!(lets_in(&config, source.parse().unwrap()), "{source}");
        }
        for source in ["10.1.1.20", "198.51.100.9", "203.0.113.1", "192.168.1.10", "8.8.8.8", "fe80::1"] {
            assert!(!lets_in(&config, source.parse().unwrap()), "{source}");
        }
        assert!(!lets_in(&Config::default(), "192.168.0.10".parse().unwrap()), "nothing is configured");

        // Where networks share the NIC, the management's own subnet is meant, and the shared one where it has none.
        let shared = |addresses: &[&str]| {
            let one = json!({"mac": "52:54:00:00:00:01", "roles": ["management", "public", "guest"],
                             "addresses": addresses, "gateway": "198.51.100.1"});
            let snat = json!({"guest": {"source": "10.1.1.0/24", "interface": "one"}});
            let document = json!({"version": 1, "interfaces": {"one": one}, "snat": snat});
            Config::default().replace(document).unwrap()
        };
        let apart = shared(&["192.168.0.188/24", "198.51.100.5/24", "10.1.1.1/24"]);
        let merged = shared(&["198.51.100.5/24"]);
        for (source, of_apart, of_merged) in [
            ("192.168.0.10", true, false),
            ("198.51.100.9", false, true),
            ("10.1.1.20", false, false),
            ("192.0.2.53", false, false),
        ] {
            let source = source.parse().unwrap();
            assert_eq!(
                (lets_in(&apart, source), lets_in(&merged, source)),
                (of_apart, of_merged),
                "{source}"
            );
        }

        let may_hear =
            |peer: &str, address: &str| may_hear(&config, peer.parse().unwrap(), address.parse().unwrap());
        assert!(may_hear("192.168.0.10", "192.168.0.10") && may_hear("192.168.0.10", "172.20.0.9"));
        assert!(may_hear("127.0.0.1", "127.0.0.1"));
        for elsewhere in ["127.0.0.1", "::1", "192.168.0.188", "10.1.1.20", "198.51.100.5", "0.0.0.0"] {
            assert!(!may_hear("192.168.0.10", elsewhere), "{elsewhere}");
        }
    }
}
