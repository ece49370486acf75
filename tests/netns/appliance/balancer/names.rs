//! Balancers of names: port 53, beside the router's own DNS.

use serde_json::json;

use super::super::house::House;
use super::{VIP, balancer, web};

#[test]
fn names_are_balanced_beside_the_routers_own() {
    let House { router: _router, lab } = {
        let house = House::with(json!({
            "dns": {"records": {"a": {"name": "here.local", "type": "A", "values": ["10.1.1.30"]}}},
            "load_balancers": {
                "udp": balancer(VIP, 53, "udp", web(53)),
                "tcp": balancer(VIP, 53, "tcp", web(53)),
                "inside-udp": balancer("10.1.1.53", 53, "udp", web(53)),
                "inside-tcp": balancer("10.1.1.53", 53, "tcp", web(53))
            }
        }));
        for station in ["web1", "web2"] {
            house.lab.introduce(station, 53);
        }
        house
    };
    let own = |client: &str, transport: &str| {
        let said = lab.ok(client, &format!("dig +short +time=5 {transport} @10.1.1.1 here.local"));
        assert_eq!(said.trim(), "10.1.1.30", "{client} {transport}");
    };
    for client in ["client", "web1"] {
        for transport in ["+notcp", "+tcp"] {
            own(client, transport);
        }
    }
    for to in ["198.51.100.8:53", "10.1.1.53:53"] {
        for client in ["client", "other"] {
            assert!(lab.ask(client, to).0.starts_with("web"));
            assert!(lab.ask_by_udp(client, to).0.starts_with("web"));
        }
    }
    assert!(lab.ask_by_udp("internet", "198.51.100.8:53").0.starts_with("web"));
    lab.silent("internet", &["198.51.100.5:53"]);
    own("client", "+notcp");
}
