//! Clients of balancers: which backend each gets and how it is seen there, and who may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use super::super::house::House;
use super::super::traffic::SILENCE;
use super::{VIP, backends, balancer, house, web};
use crate::lab::{Lab, PATIENCE, until};

#[test]
fn connections_are_spread_by_weight_and_keep_their_source() {
    let House { router, lab } = house(json!({
        "tcp": balancer(VIP, 80, "tcp", web(7000)),
        "udp": balancer(VIP, 80, "udp", web(7000)),
        "own": balancer("198.51.100.5", 8080, "tcp", web(7000)),
        "inside": balancer("10.1.1.60", 80, "tcp", web(7000)),
        "second": balancer("203.0.113.8", 80, "tcp", web(7000))
    }));
    let expected = BTreeMap::from([("web1".to_owned(), 20), ("web2".to_owned(), 10)]);
    let to = format!("{VIP}:80");
    assert_eq!(backends((0..30).map(|_| lab.ask("internet", &to))), expected, "tcp");
    assert_eq!(backends((0..30).map(|_| lab.ask_by_udp("internet", &to))), expected, "udp");
    // From everywhere; around the corner of one network alone the router stands in for the client.
    for (station, seen) in [
        ("internet", "192.0.2.53"),
        ("neighbour", "198.51.100.9"),
        ("other", "10.2.2.20"),
        ("client", "10.1.1.1"),
        ("web1", "10.1.1.1"),
    ] {
        let seen: Ipv4Addr = seen.parse().unwrap();
        for to in [&*to, "198.51.100.5:8080"] {
            let sources: BTreeSet<_> = (0..3).map(|_| lab.ask(station, to).1).collect();
            assert_eq!(sources, [seen].into(), "{station} to {to}");
        }
        assert_eq!(lab.ask_by_udp(station, &to).1, seen, "{station}");
    }
    // On a free address of the guests' own network, to which the router answers.
    for (station, seen) in [("client", "10.1.1.1"), ("other", "10.2.2.20")] {
        assert_eq!(lab.ask(station, "10.1.1.60:80").1, seen.parse::<Ipv4Addr>().unwrap(), "{station}");
    }
    // By another way in, by which answers leave too.
    for (station, seen) in [("internet", "192.0.2.53"), ("client", "10.1.1.1")] {
        assert_eq!(lab.ask(station, "203.0.113.8:80").1, seen.parse::<Ipv4Addr>().unwrap(), "{station}");
    }
    // Nobody is there: nobody answers, and nothing else does.
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": null}}}}}));
    lab.connects_in_vain("internet", &to);
    lab.ask_by_udp("internet", &to);
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": {
        "spare": {"address": "10.2.2.20", "port": 7000, "backup": true}}}}}}}));
    assert_eq!(lab.ask("internet", &to).0, "other", "who stands by is there where nobody else is");
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": web(7000)}}}}}));
    assert_eq!(backends((0..6).map(|_| lab.ask("internet", &to))).get("other"), None);
}

#[test]
fn clients_keep_their_backend_by_their_address() {
    let House { router, lab } = house(json!({
        "hashed": balancer(VIP, 81, "tcp", web(7000)),
        "sticky": balancer(VIP, 82, "tcp", web(7000))
    }));
    router.change(json!({"load_balancers": {
        "hashed": {"algorithm": "source"},
        "sticky": {"stickiness": {"type": "source", "seconds": 600}}
    }}));
    let sources: Vec<String> = (100..116).map(|last| format!("192.0.2.{last}")).collect();
    for source in &sources {
        lab.ok("internet", &format!("ip address add {source}/24 dev eth0"));
    }
    let (hashed, sticky) = (format!("{VIP}:81"), format!("{VIP}:82"));
    let ask_all = |to: &str| -> Vec<String> {
        sources.iter().map(|source| lab.ask_from("internet", source, to)).collect()
    };
    let by_hash = ask_all(&hashed);
    assert_eq!(by_hash.iter().collect::<BTreeSet<_>>().len(), 2, "{by_hash:?}");
    for _ in 0..3 {
        assert_eq!(ask_all(&hashed), by_hash);
    }
    let by_turns = ask_all(&sticky);
    assert_eq!(by_turns.iter().filter(|backend| *backend == "web2").count(), 5, "{by_turns:?}");
    for _ in 0..3 {
        assert_eq!(ask_all(&sticky), by_turns);
    }
    // An edit leaves those that have a place where they are.
    router.change(json!({"load_balancers": {"sticky": {"algorithm": "random", "max_connections": 1000,
        "stickiness": {"seconds": 300}, "pools": {"main": {"backends": {"web1": {"weight": 1},
        "other": {"address": "10.2.2.20", "port": 7000}}}}}}}));
    assert_eq!(ask_all(&sticky), by_turns);
    // A backend that takes no new ones loses them to others, for good.
    router.change(json!({"load_balancers": {"sticky": {"pools": {"main": {"backends": {"web1": {"enabled": false}}}}}}}));
    let moved = ask_all(&sticky);
    for (before, after) in by_turns.iter().zip(&moved) {
        assert!(after != "web1" && (before == "web1" || before == after), "{before} {after}");
    }
    router.change(
        json!({"load_balancers": {"sticky": {"pools": {"main": {"backends": {"web1": {"enabled": true}}}}}}}),
    );
    assert_eq!(ask_all(&sticky), moved);
    // By the hash, those alone move whose backend goes.
    router.change(json!({"load_balancers": {"hashed": {"pools": {"main": {"backends": {"web2": {"enabled": false}}}}}}}));
    assert_eq!(ask_all(&hashed).into_iter().collect::<BTreeSet<_>>(), ["web1".to_owned()].into());
    router.change(
        json!({"load_balancers": {"hashed": {"pools": {"main": {"backends": {"web2": {"enabled": true}}}}}}}),
    );
    assert_eq!(ask_all(&hashed), by_hash);
}

#[test]
fn not_everybody_may_use_a_balancer_and_not_all_at_once() {
    let mut limited = balancer(VIP, 80, "tcp", web(7000));
    limited["allowed_sources"] = json!(["192.0.2.0/24", "198.51.100.5"]);
    limited["denied_sources"] = json!(["192.0.2.100-192.0.2.110"]);
    let mut few = balancer(VIP, 81, "tcp", web(7000));
    few["max_connections"] = json!(2);
    let House { router, lab } = house(json!({"limited": limited, "few": few}));
    let to = format!("{VIP}:80");
    for last in [100, 111] {
        lab.ok("internet", &format!("ip address add 192.0.2.{last}/24 dev eth0"));
    }
    lab.ask("internet", &to);
    lab.ask_from("internet", "192.0.2.111", &to);
    assert!(lab.open("internet", Some("192.0.2.100"), &to, SILENCE).is_none(), "it is denied");
    lab.connects_in_vain("neighbour", &to);
    // Guests are meant by their public address.
    lab.ask("client", &to);
    router.change(json!({"load_balancers": {"limited": {"denied_sources": ["198.51.100.5"]}}}));
    lab.connects_in_vain("client", &to);

    let few = format!("{VIP}:81");
    let held: Vec<_> = (0..2).map(|_| lab.open("internet", None, &few, PATIENCE).unwrap().0).collect();
    lab.connects_in_vain("internet", &few);
    lab.connects_in_vain("neighbour", &few);
    drop(held);
    // What was told nothing asks again, and finds room.
    until("there is room", || lab.open("internet", None, &few, Duration::from_secs(1)).map(drop));
    router.change(json!({"load_balancers": {"few": {"max_connections": null}}}));
    let _many: Vec<_> = (0..5).map(|_| lab.open("internet", None, &few, PATIENCE).unwrap().0).collect();
}

/// What a port does that somebody may use: it takes connections, or says that nobody listens.
fn is_open(lab: &Lab, station: &str, to: &str) -> bool {
    match lab.connect(station, to, SILENCE) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

#[test]
fn listeners_of_the_proxy_are_open_to_clients_alone() {
    let mut limited = balancer(VIP, 81, "http", web(7000));
    limited["allowed_sources"] = json!(["192.0.2.0/24", "10.1.1.0/24"]);
    limited["denied_sources"] = json!(["10.1.1.20"]);
    let House { router, lab } = house(json!({
        "web": balancer(VIP, 80, "http", web(7000)),
        "limited": limited,
        "own": balancer("198.51.100.5", 8080, "http", web(7000)),
        "inside": balancer("10.1.1.60", 80, "http", web(7000))
    }));
    lab.ok("admin", "ip route replace 198.51.100.0/24 via 192.168.0.188");
    for station in ["internet", "neighbour", "client", "other"] {
        for to in ["198.51.100.8:80", "198.51.100.5:8080"] {
            assert!(is_open(&lab, station, to), "{station} to {to}");
        }
    }
    for (station, may) in [("internet", true), ("client", true), ("web1", false), ("neighbour", false)] {
        assert_eq!(is_open(&lab, station, "198.51.100.8:81"), may, "{station}");
    }
    assert!(is_open(&lab, "client", "10.1.1.60:80") && is_open(&lab, "other", "10.1.1.60:80"));
    for to in ["198.51.100.8:80", "198.51.100.5:8080"] {
        assert!(!is_open(&lab, "admin", to), "the management has no part in it: {to}");
    }
    for to in ["198.51.100.8:82", "198.51.100.5:80", "10.1.1.60:81"] {
        assert!(!is_open(&lab, "client", to), "{to}");
    }
    // Guests who reach the router alone do not reach others through it.
    router.change(json!({"interfaces": {"guest2": {"isolated": true}}}));
    assert!(!is_open(&lab, "other", "198.51.100.8:80") && is_open(&lab, "client", "198.51.100.8:80"));
    router.change(json!({"load_balancers": null}));
    assert!(!is_open(&lab, "internet", "198.51.100.8:80"));
}
