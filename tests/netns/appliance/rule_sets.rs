//! Rule sets at interfaces: every one that a packet meets has its say, and then the rules of its direction.

use serde_json::{Value, json};

use super::house::House;
use super::traffic::Outcome;

fn house(sets: Value) -> House {
    let house = House::with(json!({
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "port_forwards": {
            "p": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8080", "target": "10.1.1.21"}
        },
        "firewall": {
            "defaults": {"between_guests": "accept", "ingress": "accept"},
            "rule_sets": sets
        }
    }));
    for station in ["web1", "web2", "other", "client", "internet"] {
        for port in [80, 81, 8080] {
            house.lab.serve(station, port);
        }
    }
    // The provider knows a way to the guests: what comes for them is translated for nobody.
    house.lab.ok("upstream", "ip route add 10.1.1.0/24 via 198.51.100.5");
    house.lab.ok("internet", "ip route add 10.1.1.0/24 via 192.0.2.1");
    house
}

#[test]
fn what_comes_in_is_judged_by_the_set_of_its_interface() {
    let House { router, lab } = house(json!({
        "from-guest": {"interface": "guest", "passage": "in", "rules": {
            "some": {"priority": 1, "protocol": "tcp", "sources": ["10.1.1.50"], "destination_ports": ["81"], "action": "accept"},
            "no-81": {"priority": 2, "protocol": "tcp", "destination_ports": ["81"], "action": "reject"},
            "off": {"priority": 1, "enabled": false, "action": "drop"}
        }}
    }));
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.5");
    assert_eq!(lab.tcp("web2", "192.0.2.53:81"), Outcome::Refused);
    assert_eq!(lab.tcp("web2", "10.2.2.20:81"), Outcome::Refused);
    lab.reaches("client", "192.0.2.53:81", "198.51.100.5");
    lab.reaches("other", "10.1.1.21:81", "10.2.2.20");
    // A connection that goes on is let pass, whatever comes.
    let stream = lab.stream("web2", "192.0.2.53:80");
    router.change(json!({"firewall": {"rule_sets": {"from-guest": {"default": "drop"}}}}));
    lab.silent("web2", &["192.0.2.53:80"]);
    lab.reaches("client", "192.0.2.53:81", "198.51.100.5");
    stream.goes_on();
    router.change(json!({"firewall": {"rule_sets": null}}));
    lab.reaches("web2", "192.0.2.53:81", "198.51.100.5");
    assert!(stream.end() > 0);
}

#[test]
fn all_sets_that_a_packet_meets_have_to_let_it_pass() {
    let House { router, lab } = house(json!({
        "from-guest": {"interface": "guest", "passage": "in", "default": "drop", "rules": {
            "web": {"priority": 1, "protocol": "tcp", "destination_ports": ["80-81"], "action": "accept"}
        }},
        "to-guest2": {"interface": "guest2", "passage": "out", "default": "reject", "rules": {
            "web": {"priority": 1, "protocol": "tcp", "destination_ports": ["80"], "action": "accept"}
        }}
    }));
    lab.reaches("client", "10.2.2.20:80", "10.1.1.50");
    assert_eq!(lab.tcp("client", "10.2.2.20:81"), Outcome::Refused);
    lab.silent("client", &["10.2.2.20:8080"]);
    lab.reaches("client", "192.0.2.53:81", "198.51.100.5");
    // The direction's own rules come last.
    router.change(json!({"firewall": {"defaults": {"between_guests": "drop"}}}));
    lab.silent("client", &["10.2.2.20:80"]);
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
}

#[test]
fn what_is_led_in_is_left_to_its_mapping() {
    let House { router, lab } = house(json!({
        "from-public": {"interface": "public", "passage": "in", "default": "reject", "rules": {
            "routed": {"priority": 1, "protocol": "tcp", "destinations": ["10.1.1.21"], "destination_ports": ["80"], "action": "accept"}
        }}
    }));
    lab.reaches("internet", "10.1.1.21:80", "192.0.2.53");
    assert_eq!(lab.udp("internet", "10.1.1.21:80"), Outcome::Prohibited);
    assert_eq!(lab.tcp("internet", "10.1.1.21:81"), Outcome::Refused);
    lab.reaches("internet", "198.51.100.5:8080", "192.0.2.53");
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    // A rule judges what is led in too, by where it goes.
    router.change(json!({"firewall": {"rule_sets": {"from-public": {"rules": {
        "not-web1": {"priority": 0, "destinations": ["10.1.1.20"], "action": "drop"}
    }}}}}));
    lab.silent("internet", &["198.51.100.7:80"]);
    lab.reaches("internet", "198.51.100.5:8080", "192.0.2.53");
}

#[test]
fn the_lowest_priority_of_a_gateway_is_the_main_way_out() {
    let House { router, lab } = House::with(json!({}));
    let main = || lab.ok("router", "ip -4 route show default table main");
    assert!(main().contains("eth1"), "{}", main());
    router.change(json!({"interfaces": {"public2": {"gateway_priority": 10}}}));
    assert!(main().contains("eth3") && !main().contains("eth1"), "{}", main());
    router.change(json!({"interfaces": {"public": {"gateway_priority": 5}}}));
    assert!(main().contains("eth1"), "{}", main());
    router.change(
        json!({"interfaces": {"public": {"gateway_priority": null}, "public2": {"gateway_priority": null}}}),
    );
    assert!(main().contains("eth1"), "{}", main());
}

#[test]
fn a_router_with_an_owner_is_changed_by_taking_it_over() {
    let House { router, lab: _lab } = House::with(json!({"owner": {"zstack": {"uuid": "9a01"}}}));
    let mut document = router.document();
    let refused = [
        router.patch(&json!({"hostname": "other"})),
        router.patch(&json!({"owner": {"zstack": {"uuid": "9a02"}}})),
        router.post(&document),
        router.ask("POST", "/v1/rollback", br#"{"generation": 1}"#),
    ];
    for answer in refused {
        assert_eq!(answer.status, 409, "{answer:?}");
        assert_eq!(answer.body["type"], "urn:vrouter:problem:owned");
    }
    assert_eq!(router.document(), document);
    let taken = router.patch(&json!({"owner": null, "hostname": "mine"}));
    assert_eq!(taken.status, 200, "{taken:?}");
    document["owner"] = Value::Null;
    assert_eq!(router.post(&document).status, 200);
    assert!(router.document().get("owner").is_none());
}
