//! What users of CloudStack expect of their rules, by the native API: each is created and deleted by its own id, beside
//! others that do not feel it, and a router that has lost everything is told everything anew. Proven by packets.

use serde_json::{Value, json};

use crate::appliance::balancing::web::Web;
use crate::appliance::house::House;
use crate::appliance::traffic::Outcome;
use crate::lab::{Lab, until};

/// A house whose guests and neighbours serve a few ports.
fn house(patch: Value) -> House {
    let house = House::with(patch);
    for station in ["web1", "web2", "internet", "neighbour"] {
        for port in [80, 8080] {
            house.lab.serve(station, port);
        }
    }
    house
}

/// Networks are made with egress allowed or denied; a rule is the exception, for some guests, some destinations and ports.
#[test]
fn an_egress_rule_is_created_and_deleted() {
    let House { router, lab } = house(json!({}));
    let rule = |action: &str| {
        json!({"priority": 100, "direction": "egress", "protocol": "tcp", "sources": ["10.1.1.50/32"],
               "destinations": ["192.0.2.0/24"], "destination_ports": ["8080"], "action": action})
    };
    let rules = |rules: Value| json!({"firewall": {"rules": rules}});
    // Allowed by default: the rule denies what it names.
    router.change(rules(json!({"11": rule("drop")})));
    lab.connects_in_vain("client", "192.0.2.53:8080");
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    lab.reaches("client", "198.51.100.9:8080", "198.51.100.5");
    lab.reaches("web1", "192.0.2.53:8080", "198.51.100.5");
    router.change(rules(json!({"11": null})));
    lab.reaches("client", "192.0.2.53:8080", "198.51.100.5");
    // Denied by default: the rule allows what it names.
    router.change(json!({"firewall": {"defaults": {"egress": "drop"}}}));
    lab.connects_in_vain("client", "192.0.2.53:8080");
    router.change(rules(json!({"12": rule("accept")})));
    lab.reaches("client", "192.0.2.53:8080", "198.51.100.5");
    lab.connects_in_vain("client", "192.0.2.53:80");
    lab.connects_in_vain("client", "198.51.100.9:8080");
    lab.connects_in_vain("web1", "192.0.2.53:8080");
    router.change(rules(json!({"12": null})));
    lab.connects_in_vain("client", "192.0.2.53:8080");
}

/// A public address is shut until a rule of its own opens it, for some sources and ports; static NAT opens nothing.
#[test]
fn an_ingress_rule_is_created_and_deleted() {
    let eip = |last: u8, guest: u8| json!({"address": format!("198.51.100.{last}"), "interface": "public", "target": format!("10.1.1.{guest}")});
    let House { router, lab } = house(json!({"eips": {"one": eip(7, 20), "two": eip(8, 21)}}));
    let rules = |rules: Value| json!({"firewall": {"rules": rules}});
    let rule = json!({"priority": 100, "direction": "ingress", "protocol": "tcp", "address": "198.51.100.7",
                      "sources": ["192.0.2.0/24"], "destination_ports": ["80-90"], "action": "accept"});
    lab.connects_in_vain("internet", "198.51.100.7:80");
    router.change(rules(json!({"21": rule})));
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    lab.connects_in_vain("internet", "198.51.100.7:8080");
    lab.connects_in_vain("neighbour", "198.51.100.7:80");
    lab.connects_in_vain("internet", "198.51.100.8:80");
    // Another rule beside it, which goes without it.
    let more = json!({"priority": 100, "direction": "ingress", "protocol": "all", "address": "198.51.100.7",
                      "sources": ["198.51.100.9/32"], "action": "accept"});
    router.change(rules(json!({"22": more})));
    lab.reaches("neighbour", "198.51.100.7:8080", "198.51.100.9");
    router.change(rules(json!({"22": null})));
    lab.connects_in_vain("neighbour", "198.51.100.7:8080");
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    router.change(rules(json!({"21": null})));
    lab.connects_in_vain("internet", "198.51.100.7:80");
}

/// A range of ports leads to a range of a guest's, a source list says for whom; deleting one ends what came by it alone.
#[test]
fn a_port_forward_is_created_and_deleted() {
    let House { router, lab } = house(json!({}));
    lab.serve("web1", 81);
    let forward = |protocol: &str, ports: &str, target: &str, target_ports: &str| json!({"protocol": protocol, "address": "198.51.100.5", "ports": ports, "target": target, "target_ports": target_ports});
    let forwards = |forwards: Value| json!({"port_forwards": forwards});
    router.change(forwards(json!({
        "31": forward("tcp", "8000-8001", "10.1.1.20", "80-81"), "32": forward("udp", "8000", "10.1.1.21", "8080")
    })));
    lab.reaches("internet", "198.51.100.5:8000", "192.0.2.53");
    lab.reaches("internet", "198.51.100.5:8001", "192.0.2.53");
    lab.reaches_by_udp("internet", "198.51.100.5:8000", "192.0.2.53");
    let stream = lab.stream("internet", "198.51.100.5:8000");
    router.change(forwards(json!({"32": null})));
    stream.goes_on();
    // The same ports, for one source.
    router.change(forwards(json!({"31": {"allowed_sources": ["198.51.100.9/32"]}})));
    lab.reaches("neighbour", "198.51.100.5:8001", "198.51.100.9");
    lab.connects_in_vain("internet", "198.51.100.5:8001");
    router.change(forwards(json!({"31": {"allowed_sources": null}})));
    let stream = lab.stream("internet", "198.51.100.5:8000");
    router.change(forwards(json!({"31": null})));
    stream.stops();
    lab.silent("internet", &["198.51.100.5:8000", "198.51.100.5:8001"]);
}

/// Everybody who is in the list answers, and nobody else.
fn answer(lab: &Lab, names: &[&str]) {
    until(&format!("{names:?} answer and nobody else"), || {
        let get = |_| lab.run("internet", "curl -s -m 5 http://198.51.100.8/").stdout.trim().to_owned();
        let mut seen: Vec<String> = (0..6).map(get).collect();
        seen.sort();
        seen.dedup();
        (seen == names).then_some(())
    });
}

fn backend(last: u8) -> Value {
    json!({"address": format!("10.1.1.{last}"), "port": 8088})
}

fn balancer(protocol: &str) -> Value {
    json!({"address": "198.51.100.8", "port": 80, "protocol": protocol, "algorithm": "round_robin",
           "pools": {"app": {"backends": {"a": backend(20)}}}})
}

/// A guest is assigned to a balancer and removed from it, and its algorithm is another one, while it serves.
#[test]
fn a_balancer_is_created_assigned_to_removed_from_updated_and_deleted() {
    let House { router, lab } = house(json!({}));
    let _webs = ["web1", "web2"].map(|station| Web::start(&lab, station, 8088));
    let change = |of: Value| router.change(json!({"load_balancers": {"41": of}}));
    for protocol in ["tcp", "http"] {
        change(balancer(protocol));
        answer(&lab, &["web1"]);
        change(json!({"pools": {"app": {"backends": {"b": backend(21)}}}}));
        answer(&lab, &["web1", "web2"]);
        change(json!({"pools": {"app": {"backends": {"a": null}}}}));
        answer(&lab, &["web2"]);
        change(json!({"pools": {"app": {"backends": {"a": backend(20)}}}}));
        answer(&lab, &["web1", "web2"]);
        change(json!({"algorithm": "source"}));
        let get = || lab.run("internet", "curl -s -m 5 http://198.51.100.8/").stdout;
        until("one client has one backend", || {
            let first = get();
            (!first.is_empty() && (0..10).all(|_| get() == first)).then_some(())
        });
        change(json!({"algorithm": "least_connections"}));
        answer(&lab, &["web1", "web2"]);
        change(Value::Null);
        until("it is gone", || (lab.tcp("neighbour", "198.51.100.8:80") != Outcome::Connected).then_some(()));
        lab.connects_in_vain("internet", "198.51.100.8:80");
    }
}

/// A router that is restarted with cleanup has nothing, is told everything in one document and does all of it; told again,
/// nothing changes and nothing that is under way ends.
#[test]
fn a_reconnect_applies_everything_again() {
    let House { mut router, lab } = house(json!({
        "eips": {"51": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.21"}},
        "port_forwards": {"52": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8000", "target": "10.1.1.20",
                                 "target_ports": "80"}},
        "load_balancers": {"53": balancer("http")},
        "firewall": {"rules": {
            "54": {"priority": 100, "direction": "ingress", "protocol": "tcp", "address": "198.51.100.7",
                   "destination_ports": ["80"], "action": "accept"},
            "55": {"priority": 100, "direction": "egress", "protocol": "tcp", "destination_ports": ["8080"], "action": "reject"}
        }}
    }));
    let _web = Web::start(&lab, "web1", 8088);
    let proven = || {
        lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
        lab.reaches("internet", "198.51.100.5:8000", "192.0.2.53");
        lab.reaches("web1", "192.0.2.53:80", "198.51.100.5");
        answer(&lab, &["web1"]);
        lab.connects_in_vain("internet", "198.51.100.7:8080");
        assert_eq!(lab.tcp("client", "192.0.2.53:8080"), Outcome::Refused);
    };
    proven();
    let everything = router.document();
    let stream = lab.stream("internet", "198.51.100.7:80");
    let again = router.post(&everything);
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)), "{again:#?}");
    stream.goes_on();
    // Without its memory, and with what somebody else left in the kernel.
    router.kill();
    std::fs::remove_dir_all(router.state()).unwrap();
    lab.ok("router", "nft flush ruleset");
    router.launch();
    assert!(!matches!(lab.tcp("internet", "198.51.100.7:80"), Outcome::Answered(_)), "it knows of nothing");
    router.configure(&everything);
    proven();
}
