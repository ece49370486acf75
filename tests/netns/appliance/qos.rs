//! Bandwidths of public addresses: floods of datagrams, and how much of them gets through.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::house::House;
use crate::lab::{Lab, until};

/// What is sent at once, and in what pieces.
const DATAGRAMS: u64 = 4000;
const OCTETS: usize = 1000;
/// With the headers of UDP and IP.
const PACKET: u64 = OCTETS as u64 + 28;
/// A megabyte each second.
const RATE: u64 = 1_000_000;
/// What may come at once: a second's worth, and a large packet.
const BURST: u64 = RATE + 64 * 1024;

fn house() -> House {
    House::with(json!({
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "all",
            "address": "198.51.100.7", "action": "accept"}}}
    }))
}

fn bounded(port: Option<u16>, direction: &str) -> Value {
    let mut entry = json!({"address": "198.51.100.7", "port": port});
    entry[direction] = json!(8 * RATE);
    json!({"qos": {"web1": entry}})
}

/// Packets that a station has received, whoever they are for.
fn received(lab: &Lab, station: &str) -> u64 {
    let said = lab.ok(station, "cat /proc/net/snmp");
    let line = said.lines().filter(|line| line.starts_with("Ip: ")).nth(1).unwrap();
    line.split(' ').nth(3).unwrap().parse().unwrap()
}

/// Sends a flood, and returns how many of its packets came through, and how many may have by the rate.
fn flood(lab: &Lab, from: &str, to: &str, at: &str) -> (u64, u64) {
    let before = received(lab, at);
    let begun = Instant::now();
    lab.inside(from, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(to).unwrap();
        for _ in 0..DATAGRAMS {
            // A refusal of an earlier one is told here.
            let _ = socket.send(&[0; OCTETS]);
        }
    });
    let mut last = u64::MAX;
    let there = until("the flood is over", || {
        let there = received(lab, at);
        let settled = last == there;
        last = there;
        thread::sleep(Duration::from_millis(50));
        settled.then_some(there)
    });
    let allowed = BURST + RATE * u64::try_from(begun.elapsed().as_millis()).unwrap() / 1000;
    (there - before, allowed / PACKET)
}

/// What nobody bounds comes through, but for what a busy machine loses.
fn is_free((came, allowed): (u64, u64)) {
    assert!(came > DATAGRAMS * 3 / 4, "{came} of {DATAGRAMS} came, a bound would let {allowed} through");
}

fn is_bounded((came, allowed): (u64, u64)) {
    // Others say a little as well: who has this address, and that a port is closed.
    assert!(came <= allowed + 20, "{came} came, {allowed} may");
    assert!(came * PACKET >= BURST / 2, "{came} came, {allowed} may");
}

#[test]
fn what_comes_for_an_address_is_bounded_and_nothing_else() {
    let House { router, lab } = house();
    is_free(flood(&lab, "internet", "198.51.100.7:5000", "web1"));
    router.change(bounded(None, "ingress_bits_per_second"));
    is_bounded(flood(&lab, "internet", "198.51.100.7:5000", "web1"));
    is_free(flood(&lab, "web1", "192.0.2.53:5000", "internet"));
    // One port of it.
    router.change(bounded(Some(5000), "ingress_bits_per_second"));
    is_bounded(flood(&lab, "internet", "198.51.100.7:5000", "web1"));
    is_free(flood(&lab, "internet", "198.51.100.7:5001", "web1"));
    router.change(json!({"qos": null}));
    is_free(flood(&lab, "internet", "198.51.100.7:5000", "web1"));
    assert!(!lab.ok("router", "nft list ruleset").contains("qos"));
}

#[test]
fn what_leaves_from_an_address_is_bounded() {
    let House { router, lab } = house();
    router.change(bounded(None, "egress_bits_per_second"));
    is_bounded(flood(&lab, "web1", "192.0.2.53:5000", "internet"));
    is_free(flood(&lab, "internet", "198.51.100.7:5000", "web1"));
    // The router's other guests are known by another address.
    is_free(flood(&lab, "web2", "192.0.2.53:5000", "internet"));
}

#[test]
fn a_bandwidth_that_cannot_be_is_refused() {
    let House { router, .. } = house();
    let answer = router.patch(&json!({"qos": {
        "none": {"address": "198.51.100.7"},
        "slow": {"address": "198.51.100.8", "ingress_bits_per_second": 100, "port": 0},
        "guest": {"address": "10.1.1.20", "egress_bits_per_second": 8000},
        "one": {"address": "198.51.100.9", "egress_bits_per_second": 8000},
        "two": {"address": "198.51.100.9", "ingress_bits_per_second": 8000}
    }}));
    let faults = answer.faults();
    for pointer in ["/qos/none", "/qos/slow/ingress_bits_per_second", "/qos/slow/port"] {
        assert!(faults.contains(&pointer), "{faults:?}");
    }
    let answer = router.patch(&json!({"qos": {
        "guest": {"address": "10.1.1.20", "egress_bits_per_second": 8000},
        "one": {"address": "198.51.100.9", "egress_bits_per_second": 8000},
        "two": {"address": "198.51.100.9", "ingress_bits_per_second": 8000}
    }}));
    assert_eq!(answer.faults(), ["/qos/guest/address", "/qos/two/address"]);
}
