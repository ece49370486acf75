//! The firewall: what its rules let through, drop and reject, in which order, and what it writes down.

use serde_json::{Value, json};

use super::house::House;
use super::traffic::Outcome;
use crate::lab::{Lab, until};

fn house(rules: Value) -> House {
    let house = House::with(json!({
        "eips": {
            "web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"},
            "web2": {"address": "198.51.100.8", "interface": "public", "target": "10.1.1.21"},
            "two": {"address": "203.0.113.7", "interface": "public2", "target": "10.1.1.21"}
        },
        "firewall": {"rules": rules}
    }));
    for station in ["web1", "web2", "other", "client", "internet", "neighbour"] {
        for port in [80, 81, 8080, 8085, 8090] {
            house.lab.serve(station, port);
        }
    }
    house
}

fn prohibited(lab: &Lab, station: &str, to: &str) {
    assert_eq!(lab.udp(station, to), Outcome::Prohibited, "{station} to {to} over UDP");
}

#[test]
fn egress_is_judged_by_the_first_rule_that_fits() {
    let House { router, lab } = house(json!({
        "a-accept": {"priority": 50, "direction": "egress", "protocol": "tcp", "destination_ports": ["8090"], "action": "accept"},
        "b-drop": {"priority": 50, "direction": "egress", "protocol": "tcp", "destination_ports": ["8090"], "action": "drop"},
        "client-may": {"priority": 5, "direction": "egress", "protocol": "all", "sources": ["10.1.1.50"], "destinations": ["192.0.2.53"], "action": "accept"},
        "ports": {"priority": 10, "direction": "egress", "protocol": "tcp", "destination_ports": ["81", "8080-8085"], "action": "reject"},
        "datagrams": {"priority": 10, "direction": "egress", "protocol": 17, "interface": "guest", "action": "reject"},
        "no-ping": {"priority": 10, "direction": "egress", "protocol": "icmp", "icmp_type": 8, "sources": ["10.1.1.21-10.1.1.22", "10.7.0.0/16"], "action": "drop"}
    }));
    for port in [80, 8090] {
        lab.reaches("web2", &format!("192.0.2.53:{port}"), "198.51.100.8");
    }
    for port in [81, 8080, 8085] {
        assert_eq!(lab.tcp("web2", &format!("192.0.2.53:{port}")), Outcome::Refused, "{port}");
        // The client's own rule comes first, but for one destination alone.
        lab.reaches("client", &format!("192.0.2.53:{port}"), "198.51.100.5");
        assert_eq!(lab.tcp("client", &format!("198.51.100.9:{port}")), Outcome::Refused, "{port}");
    }
    prohibited(&lab, "web2", "192.0.2.53:80");
    lab.reaches_by_udp("client", "192.0.2.53:80", "198.51.100.5");
    lab.reaches_by_udp("other", "192.0.2.53:80", "198.51.100.5");
    assert!(lab.pings_in_vain("web2", "192.0.2.53"));
    assert!(lab.pings("web1", "192.0.2.53"));
    assert!(lab.pings("client", "192.0.2.53"));

    // Turned around: nothing but what is let out, with what is going on going on.
    let stream = lab.stream("web2", "192.0.2.53:80");
    router.change(
        json!({"firewall": {"defaults": {"egress": "drop"}, "rules": {"a-accept": {"priority": 60}}}}),
    );
    lab.silent("other", &["192.0.2.53:80"]);
    lab.connects_in_vain("web2", "192.0.2.53:8090");
    lab.reaches("client", "192.0.2.53:8090", "198.51.100.5");
    stream.goes_on();
    router.change(json!({"firewall": {"defaults": {"egress": "reject"}}}));
    assert_eq!(lab.tcp("web1", "192.0.2.53:80"), Outcome::Refused);
    prohibited(&lab, "other", "192.0.2.53:80");
    assert_eq!(lab.tcp("web2", "192.0.2.53:81"), Outcome::Refused);
    assert!(stream.end() > 0);
}

#[test]
fn ingress_is_judged_by_the_address_that_was_asked() {
    let House { router, lab } = house(json!({
        "one": {"priority": 10, "direction": "ingress", "protocol": "tcp", "address": "198.51.100.7", "destination_ports": ["80"], "action": "accept"},
        "behind": {"priority": 10, "direction": "ingress", "protocol": "udp", "destinations": ["10.1.1.21"], "destination_ports": ["80-90"], "sources": ["192.0.2.0/24"], "action": "accept"},
        "way": {"priority": 10, "direction": "ingress", "protocol": "tcp", "interface": "public2", "destination_ports": ["81"], "action": "accept"},
        "not-him": {"priority": 5, "direction": "ingress", "protocol": "all", "sources": ["198.51.100.9"], "address": "198.51.100.7", "action": "reject"},
        "ping-in": null
    }));
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    lab.silent("internet", &["198.51.100.7:81", "198.51.100.8:8080"]);
    assert_eq!(lab.tcp("neighbour", "198.51.100.7:80"), Outcome::Refused);
    prohibited(&lab, "neighbour", "198.51.100.7:80");
    lab.reaches_by_udp("internet", "198.51.100.8:80", "192.0.2.53");
    lab.reaches_by_udp("internet", "203.0.113.7:81", "192.0.2.53");
    lab.silent("neighbour", &["198.51.100.8:80"]);
    // By the way that is opened, and not by the other.
    lab.reaches("internet", "203.0.113.7:81", "192.0.2.53");
    lab.silent("internet", &["203.0.113.7:8080"]);
    for address in ["198.51.100.5", "198.51.100.7", "203.0.113.5", "203.0.113.7"] {
        assert!(lab.pings_in_vain("internet", address), "{address}");
    }
    router.change(json!({"firewall": {"rules": {"ping-one": {"priority": 1, "direction": "ingress",
        "protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "interface": "public2", "action": "accept"}}}}));
    for address in ["203.0.113.5", "203.0.113.7"] {
        assert!(lab.pings("internet", address), "{address}");
    }
    assert!(lab.pings_in_vain("internet", "198.51.100.7"));
    // Whoever is meant by the address that a guest network is known by is that network, around the corner.
    lab.silent("client", &["198.51.100.8:8090"]);
    router.change(
        json!({"firewall": {"rules": {"own": {"priority": 1, "direction": "ingress", "protocol": "all",
        "sources": ["198.51.100.5"], "address": "198.51.100.8", "action": "accept"}}}}),
    );
    lab.reaches("client", "198.51.100.8:8090", "10.1.1.1");
    lab.silent("neighbour", &["198.51.100.8:8090"]);
    // Everything but what is refused.
    router.change(json!({"firewall": {"defaults": {"ingress": "accept"}}}));
    lab.reaches("internet", "198.51.100.8:8085", "192.0.2.53");
    assert_eq!(lab.tcp("neighbour", "198.51.100.7:80"), Outcome::Refused);
    assert!(lab.pings("internet", "198.51.100.7"));
}

#[test]
fn guest_networks_meet_where_a_rule_says_so() {
    let House { router, lab } = house(json!({}));
    lab.silent("client", &["10.2.2.20:80"]);
    lab.silent("other", &["10.1.1.20:80"]);
    assert!(lab.pings_in_vain("client", "10.2.2.20"));
    router.change(json!({"firewall": {"rules": {"meet": {"priority": 1, "direction": "between_guests",
        "interface": "guest", "protocol": "tcp", "sources": ["10.1.1.50"], "destinations": ["10.2.2.0/24"],
        "destination_ports": ["80"], "action": "accept"}}}}));
    lab.reaches("client", "10.2.2.20:80", "10.1.1.50");
    lab.silent("client", &["10.2.2.20:81"]);
    lab.silent("web1", &["10.2.2.20:80"]);
    lab.silent("other", &["10.1.1.50:80"]);
    router.change(json!({"firewall": {"defaults": {"between_guests": "reject"}}}));
    assert_eq!(lab.tcp("other", "10.1.1.50:80"), Outcome::Refused);
    router.change(json!({"firewall": {"defaults": {"between_guests": "accept"}}}));
    lab.reaches("other", "10.1.1.50:80", "10.2.2.20");
    lab.reaches_by_udp("web1", "10.2.2.20:80", "10.1.1.20");
}

#[test]
fn what_a_rule_logs_is_told_with_its_id() {
    let House { router, lab } = house(json!({
        "ping-in": {"log": true},
        "smtp": {"priority": 1, "direction": "egress", "protocol": "tcp", "destination_ports": ["81"], "action": "reject", "log": true},
        "meet": {"priority": 1, "direction": "between_guests", "protocol": "udp", "action": "drop", "log": true}
    }));
    let ruleset = lab.ok("router", "nft list table inet vrouter");
    if !ruleset.contains("log prefix") {
        crate::lab::skip("firewall logs: this kernel has no log groups, and status says so");
        return;
    }
    assert!(lab.pings("internet", "198.51.100.7"));
    assert_eq!(lab.tcp("client", "192.0.2.53:81"), Outcome::Refused);
    lab.silent("client", &["10.2.2.20:80"]);
    for words in [
        ["\"ping-in\"", "accept", "ingress", "192.0.2.53"],
        ["\"smtp\"", "reject", "egress", "10.1.1.50"],
        ["\"meet\"", "drop", "between_guests", "10.2.2.20"],
    ] {
        until(&format!("{words:?} are told"), || {
            let log = router.log();
            let found = log
                .lines()
                .any(|line| line.contains("firewall") && words.iter().all(|word| line.contains(word)));
            found.then_some(())
        });
    }
}
