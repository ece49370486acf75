//! Traces and the real way of real packets: what a trace says becomes of a packet is what the wire shows, over
//! configurations and packets by chance; and what somebody else does to the kernel is told.

mod generate;
mod site;
mod wire;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::generate::{BACKEND_PORT, GUESTS, configuration, packet};
use self::site::{Site, question, trace};
use self::wire::{Packet, TCP, UDP};
use super::chance::Chance;
use super::house::House;
use crate::lab::until;

/// By which interfaces packets come in; not much is for the management.
const INTERFACES: [&str; 11] = [
    "mgmt", "public", "public", "public", "guest", "guest", "guest", "public2", "public2", "guest2", "guest2",
];
/// How many configurations there are, and how many packets each meets; `VROUTER_TRACES` has other configurations.
const CONFIGURATIONS: u64 = 6;
const PACKETS: u16 = 120;

#[test]
fn what_a_trace_says_is_what_becomes_of_packets() {
    let site = Site::new();
    let mut chance = Chance::new();
    let configurations = std::env::var("VROUTER_TRACES").map_or(CONFIGURATIONS, |many| many.parse().unwrap());
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut done, mut packets) = (0, 0);
    while done < configurations {
        let document = configuration(&mut chance);
        let answer = site.router.post(&document);
        if answer.status == 422 {
            continue;
        }
        assert_eq!(answer.status, 200, "{answer:#?}");
        done += 1;
        site.lab.ok("router", "conntrack -F");
        site.watch.forget();
        let mut sent = Vec::new();
        // Answers to the packets of before may still be on their way: numbers are not had again soon.
        let first = u16::try_from((done - 1) * u64::from(PACKETS) % 45_000).unwrap();
        for number in first..first + PACKETS {
            let interface = *chance.one(&INTERFACES);
            let packet = packet(&mut chance, &document, interface, number);
            let trace = site.trace(interface, &packet);
            assert_eq!(trace["agrees"], true, "{}: {trace:#}", question(interface, &packet));
            if site.can_be_seen(&trace) {
                let decision = trace["pointer"].as_str().unwrap_or("-");
                let kind = decision.split('/').nth(1).unwrap_or("-");
                *verdicts.entry(format!("{} {kind}", trace["verdict"].as_str().unwrap())).or_default() += 1;
                sent.push((interface, packet, trace));
            }
        }
        packets += sent.len();
        let wrong = site.shows_otherwise(&sent);
        assert!(wrong.is_empty(), "{wrong}\nwith {document:#}");
    }
    eprintln!("{done} configurations, {packets} packets seen: {verdicts:#?}");
    for verdict in ["accepted", "dropped", "rejected", "local"] {
        assert!(verdicts.keys().any(|key| key.starts_with(verdict)), "none was {verdict}: {verdicts:?}");
    }
}

#[test]
fn a_balancer_that_remembers_is_asked_what_it_remembers() {
    let site = Site::new();
    let mut document = super::house::document();
    let backends: Value =
        GUESTS.iter().map(|guest| (*guest, json!({"address": guest, "port": BACKEND_PORT}))).collect();
    document["load_balancers"] = json!({"web": {"address": "198.51.100.10", "port": 80, "protocol": "tcp",
        "stickiness": {"type": "source"}, "pools": {"main": {"backends": backends}}}});
    site.router.configure(&document);
    let packet = |number| Packet {
        number,
        source: "192.0.2.9".parse().unwrap(),
        destination: "198.51.100.10".parse().unwrap(),
        protocol: TCP,
        detail: (80, 0),
    };
    let candidates = |traced: &Value| traced["decisions"][0]["candidates"].as_array().unwrap().len();
    assert_eq!(candidates(&site.trace("public", &packet(1))), GUESTS.len());
    for number in 1..5 {
        let traced = site.trace("public", &packet(number));
        assert_eq!(candidates(&traced), if number == 1 { GUESTS.len() } else { 1 }, "{traced:#}");
        let wrong = site.shows_otherwise(&[("public", packet(number), traced)]);
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn what_somebody_else_does_to_the_kernel_is_told() {
    let House { router, lab } = House::with(json!({
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}
    }));
    let out = json!({"interface": "guest", "source": "10.1.1.50", "destination": "192.0.2.53", "protocol": "tcp",
                     "ports": {"destination": 80}});
    let into = json!({"interface": "public", "source": "192.0.2.53", "destination": "198.51.100.7", "protocol": "icmp"});
    let traced = trace(&router, &out);
    assert_eq!(
        (&traced["agrees"], &traced["route"]["via"]),
        (&json!(true), &json!("198.51.100.1")),
        "{traced:#}"
    );
    // A route of somebody else's is left alone, and it counts.
    lab.ok("router", "ip route add 192.0.2.53/32 via 198.51.100.9 dev eth1");
    let traced = trace(&router, &out);
    assert_eq!(traced["agrees"], false, "{traced:#}");
    let expected = json!([{"what": "the kernel's way", "wanted": "by 198.51.100.1 on `public`",
                           "observed": "by 198.51.100.9 on `public`"}]);
    assert_eq!(traced["differences"], expected);
    lab.ok("router", "ip route del 192.0.2.53/32 via 198.51.100.9");
    assert_eq!(trace(&router, &out)["agrees"], true);
    // A rule of the router's own is put back; until then, a trace tells that it is not there.
    assert_eq!(trace(&router, &into)["agrees"], true);
    let before = router.get("/v1/status").body["repairs"].clone();
    lab.ok("router", "nft flush chain inet vrouter ingress_public");
    let traced = trace(&router, &into);
    if traced["agrees"] == false {
        let told = traced["differences"].to_string();
        assert!(told.contains("dropped"), "{told}");
        assert_eq!(traced["verdict"], "accepted");
    }
    // What was asked in between hides nothing from the loop.
    until("the rules are back", || (trace(&router, &into)["agrees"] == true).then_some(()));
    assert!(lab.pings("internet", "198.51.100.7"), "{before}");
    // A cable that is pulled.
    lab.ok("guest", "ip link set port3 down");
    until("the cable is missed", || {
        let traced = trace(&router, &into);
        traced["differences"].to_string().contains("without a carrier").then_some(())
    });
    lab.ok("guest", "ip link set port3 up");
    until("the cable is back", || (trace(&router, &into)["agrees"] == true).then_some(()));
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_place() {
    let House { router, lab: _lab } = House::with(json!({}));
    for (question, status, pointer) in [
        ("{", 400, ""),
        ("[]", 422, ""),
        (
            r#"{"interface": "none", "source": "10.1.1.50", "destination": "192.0.2.53", "protocol": "icmp"}"#,
            422,
            "/interface",
        ),
        (
            r#"{"interface": "guest", "source": "10.1.1.50", "destination": "::1", "protocol": "icmp"}"#,
            422,
            "/destination",
        ),
        (
            r#"{"interface": "guest", "source": "10.1.1.50", "destination": "192.0.2.53", "protocol": "tcp"}"#,
            422,
            "/ports",
        ),
    ] {
        let answer = router.ask("POST", "/v1/trace", question.as_bytes());
        assert_eq!(answer.status, status, "{question}: {answer:#?}");
        assert_eq!(answer.body["type"], "urn:vrouter:problem:invalid-question", "{answer:#?}");
        assert_eq!(answer.faults(), [pointer], "{question}");
    }
}

/// A connection that is refused before it has a source of its own was silent where the network is translated and its EIP is
/// on another way out: the reset was taken for a segment of a connection that nobody knows.
#[test]
fn a_refusal_is_heard_by_whichever_way_the_connection_came() {
    let site = Site::new();
    let mut document = super::house::document();
    document["eips"] = json!({
        "one": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"},
        "two": {"address": "203.0.113.8", "interface": "public2", "target": "10.1.1.21"}});
    document["firewall"] = json!({"defaults": {"ingress": "reject"}});
    site.router.configure(&document);
    let mut number = 0;
    for interface in ["public", "public2"] {
        for destination in ["198.51.100.7", "203.0.113.8", "10.1.1.50"] {
            for protocol in [TCP, UDP] {
                number += 1;
                let (source, destination) = ("192.0.2.9".parse().unwrap(), destination.parse().unwrap());
                let packet = Packet { number, source, destination, protocol, detail: (81, 0) };
                let traced = site.trace(interface, &packet);
                assert_eq!(traced["verdict"], "rejected", "{traced:#}");
                let wrong = site.shows_otherwise(&[(interface, packet, traced)]);
                assert!(wrong.is_empty(), "{wrong}");
            }
        }
    }
}
