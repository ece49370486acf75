//! Configurations and packets that meet many of their rules, by chance.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::super::chance::Chance;
use super::super::house::document;
use super::wire::{ICMP, Packet, TCP, UDP};

/// The guests that there are.
pub(super) const GUESTS: [&str; 4] = ["10.1.1.20", "10.1.1.21", "10.1.1.50", "10.2.2.20"];
/// Guests on the second way out and beside the management, where a configuration has some there.
pub(super) const OUTSIDE_GUEST: &str = "10.4.4.20";
pub(super) const MANAGED_GUEST: &str = "10.5.5.20";
/// Where backends listen.
pub(super) const BACKEND_PORT: u16 = 8080;
/// Ports that somebody may ask for, and that something may be on.
const PORTS: [&str; 8] = ["22", "53", "80", "81", "7270", "8080", "9000", "9005"];
const ACTIONS: [&str; 3] = ["accept", "drop", "reject"];
/// Whom rules and balancers know: nets, ranges, addresses, and everybody.
const SOURCES: [&str; 8] = [
    "192.0.2.0/25",
    "192.0.2.64-192.0.2.200",
    "10.1.1.0/24",
    "10.1.1.50",
    "10.2.2.0/24",
    "198.51.100.0/24",
    "198.51.100.5",
    "0.0.0.0/0",
];

/// A configuration; it may have faults. Guests may stand on the second way out and beside the management too.
pub(super) fn configuration(chance: &mut Chance) -> Value {
    let mut document = document();
    let mut guests = GUESTS[..3].to_vec();
    let [isolated, outside, managed] = [4, 3, 3].map(|of| chance.below(of) == 0);
    if isolated {
        document["interfaces"]["guest2"]["isolated"] = json!(true);
    } else {
        guests.push(GUESTS[3]);
    }
    for (merged, interface, own, guest) in
        [(outside, "public2", "10.4.4.1/24", OUTSIDE_GUEST), (managed, "mgmt", "10.5.5.1/24", MANAGED_GUEST)]
    {
        if merged {
            let interface = &mut document["interfaces"][interface];
            interface["roles"].as_array_mut().unwrap().push(json!("guest"));
            interface["addresses"].as_array_mut().unwrap().push(json!(own));
            guests.push(guest);
        }
    }
    // Wide enough for all that is sent.
    let bandwidths = ["198.51.100.5", "198.51.100.7", "203.0.113.10"].map(
        |address| json!({"address": address, "ingress_bits_per_second": 1_000_000_000, "egress_bits_per_second": 1_000_000_000}),
    );
    document["qos"] = if chance.below(2) == 0 { some(chance, &bandwidths) } else { json!({}) };
    document["routes"] = json!({"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.50"}});
    document["dns"] =
        json!({"records": {"lab": {"name": "trace.lab", "type": "A", "values": ["10.1.1.20"]}}});
    document["snat"] = snat(chance, [!isolated, outside, managed]);
    let others = &guests[1..];
    let eip = |address: &str, interface: &str, target: &&str| json!({"address": address, "interface": interface, "target": target});
    let eips = [
        eip("198.51.100.7", "public", &"10.1.1.20"),
        eip("198.51.100.8", "public", chance.one(others)),
        eip("203.0.113.7", "public2", chance.one(others)),
        eip("203.0.113.8", "public2", &"10.1.1.20"),
    ];
    document["eips"] = some(chance, &eips);
    let forwards: Vec<Value> = (0..4).map(|number| forward(chance, &guests, number)).collect();
    document["port_forwards"] = some(chance, &forwards);
    let balancers: Vec<Value> = (0..4).map(|number| balancer(chance, &guests, number)).collect();
    document["load_balancers"] = some(chance, &balancers);
    let rules: Vec<Value> = (0..8).map(|_| rule(chance)).collect();
    let mut action = || *chance.one(&ACTIONS);
    let defaults = json!({"egress": action(), "ingress": action(), "between_guests": action()});
    document["firewall"] = json!({"defaults": defaults, "rules": some(chance, &rules)});
    document
}

/// Some of these, each by a name of its own.
fn some(chance: &mut Chance, all: &[Value]) -> Value {
    let mut found = Map::new();
    for (number, one) in all.iter().enumerate() {
        if chance.below(3) > 0 {
            found.insert(format!("n{number}"), one.clone());
        }
    }
    Value::Object(found)
}

fn snat(chance: &mut Chance, [second, outside, managed]: [bool; 3]) -> Value {
    let guest = json!({"source": "10.1.1.0/24", "interface": chance.one(&["public", "public2"])});
    let part = json!({"source": "10.1.1.16/28", "interface": "public", "address": "198.51.100.78"});
    let mut other = json!({"source": "10.2.2.0/24", "interface": chance.one(&["public", "public2"])});
    if other["interface"] == "public2" && chance.below(2) == 0 {
        other["address"] = json!("203.0.113.77");
    }
    let mut all = vec![guest, part];
    let more = [(outside, "10.4.4.0/24"), (managed, "10.5.5.0/24")].into_iter().filter(|(there, _)| *there);
    all.extend(second.then_some(other));
    all.extend(
        more.map(|(_, source)| json!({"source": source, "interface": chance.one(&["public", "public2"])})),
    );
    some(chance, &all)
}

fn forward(chance: &mut Chance, guests: &[&str], number: u16) -> Value {
    let first = 9000 + 20 * number;
    let mut forward = json!({"protocol": chance.one(&["tcp", "udp"]),
        "address": chance.one(&["198.51.100.5", "198.51.100.6", "203.0.113.5"]),
        "ports": format!("{first}-{}", first + 5), "target": chance.one(guests)});
    match chance.below(4) {
        0 => {}
        1 => forward["target_ports"] = json!("100-105"),
        2 => forward["ports"] = json!(first.to_string()),
        _ => {
            forward["ports"] = json!(first.to_string());
            forward["target_ports"] = json!(chance.one(&PORTS));
        }
    }
    if chance.below(3) == 0 {
        forward["allowed_sources"] = sources(chance);
    }
    forward
}

fn sources(chance: &mut Chance) -> Value {
    let many = 1 + chance.below(2);
    json!((0..many).map(|_| *chance.one(&SOURCES)).collect::<Vec<_>>())
}

fn balancer(chance: &mut Chance, guests: &[&str], number: u16) -> Value {
    let algorithm = *chance.one(&["round_robin", "random", "source"]);
    let backends: Map<String, Value> = guests
        .iter()
        .enumerate()
        .filter(|_| chance.below(2) == 0)
        .map(|(number, guest)| {
            (
                format!("b{number}"),
                json!({"address": guest, "port": BACKEND_PORT, "weight": 50 * (number + 1)}),
            )
        })
        .collect();
    let mut balancer = json!({"address": chance.one(&["198.51.100.10", "203.0.113.10"]), "port": 80 + number,
        "protocol": chance.one(&["tcp", "udp", "http"]), "algorithm": algorithm, "pools": {"main": {"backends": backends}}});
    for member in ["denied_sources", "allowed_sources"] {
        if chance.below(4) == 0 {
            balancer[member] = sources(chance);
        }
    }
    if chance.below(4) == 0 && balancer["protocol"] != "http" {
        balancer["stickiness"] = json!({"type": "source"});
    }
    balancer
}

fn rule(chance: &mut Chance) -> Value {
    let direction = *chance.one(&["egress", "ingress", "between_guests"]);
    let mut rule =
        json!({"priority": chance.below(4), "direction": direction, "action": chance.one(&ACTIONS)});
    match chance.below(6) {
        0 | 1 => {
            rule["protocol"] = json!(chance.one(&["tcp", "udp"]));
            rule["destination_ports"] = match chance.below(3) {
                0 => json!([chance.one(&PORTS)]),
                1 => json!(["80-90", "9000-9100"]),
                _ => json!([chance.one(&PORTS), "8000-9999"]),
            };
        }
        2 => {
            rule["protocol"] = json!("icmp");
            if chance.below(2) == 0 {
                rule["icmp_type"] = json!(8);
            }
        }
        3 => rule["protocol"] = json!(47),
        4 => rule["protocol"] = json!("tcp"),
        _ => {}
    }
    if chance.below(2) == 0 {
        rule["sources"] = sources(chance);
    }
    if chance.below(4) == 0 {
        rule["destinations"] = match direction {
            "ingress" => json!([chance.one(&GUESTS)]),
            _ => sources(chance),
        };
    }
    if chance.below(3) == 0 {
        let interfaces: &[&str] =
            if direction == "ingress" { &["public", "public2"] } else { &["guest", "guest2"] };
        rule["interface"] = json!(chance.one(interfaces));
    }
    if direction == "ingress" && chance.below(4) == 0 {
        rule["address"] = json!(chance.one(&["198.51.100.7", "203.0.113.7", "198.51.100.5"]));
    }
    rule
}

/// What of a configuration a packet may be for: a protocol, an address and a port that something is on, or an address alone.
fn aims(document: &Value) -> Vec<(Option<u8>, Ipv4Addr, Option<u16>)> {
    let of = |collection: &str| document[collection].as_object().into_iter().flat_map(Map::values);
    let address = |object: &Value| object["address"].as_str().unwrap().parse().unwrap();
    let protocol = |object: &Value| Some(if object["protocol"] == "udp" { UDP } else { TCP });
    let first = |object: &Value| object["ports"].as_str()?.split('-').next()?.parse().ok();
    let balancers = of("load_balancers").map(|one| {
        let port = one["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        (protocol(one), address(one), port)
    });
    let forwards = of("port_forwards").map(|one| (protocol(one), address(one), first(one)));
    balancers.chain(forwards).chain(of("eips").map(|one| (None, address(one), None))).collect()
}

/// A packet that comes in by an interface. A stranger's number is the packet's own, so that protocols without ports have
/// connections of their own too.
pub(super) fn packet(chance: &mut Chance, document: &Value, interface: &str, number: u16) -> Packet {
    let stranger = Ipv4Addr::new(192, 0, 2, u8::try_from(number % 250).unwrap() + 1);
    let far = Ipv4Addr::new(100, 64, 0, u8::try_from(number % 250).unwrap() + 1);
    let near: &[&str] = match interface {
        "mgmt" => &["192.168.0.10", "192.168.0.200", MANAGED_GUEST],
        "public" => &["198.51.100.9", "198.51.100.200"],
        "public2" => &["203.0.113.1", "203.0.113.200", OUTSIDE_GUEST, OUTSIDE_GUEST],
        "guest" => &["10.1.1.20", "10.1.1.21", "10.1.1.50", "10.1.1.50"],
        _ => &["10.2.2.20"],
    };
    let anybody =
        ["10.1.1.20", "10.2.2.20", "192.168.0.10", "198.51.100.9", "10.9.1.1", "10.1.1.1", "198.51.100.5"];
    let outside = interface.starts_with("public");
    let address = |text: &&str| text.parse::<Ipv4Addr>().unwrap();
    let source = match chance.below(10) {
        0 => address(chance.one(&anybody)),
        1..=6 if outside => stranger,
        1 => stranger,
        _ => address(chance.one(near)),
    };
    let destinations = [
        "198.51.100.5",
        "198.51.100.5",
        "203.0.113.5",
        "198.51.100.6",
        "198.51.100.7",
        "198.51.100.7",
        "198.51.100.8",
        "203.0.113.7",
        "203.0.113.8",
        "198.51.100.10",
        "198.51.100.10",
        "203.0.113.10",
        "10.1.1.1",
        "10.2.2.1",
        "192.168.0.188",
        "192.168.0.10",
        "198.51.100.1",
        "198.51.100.9",
        "203.0.113.1",
        "10.9.1.1",
        "198.51.100.77",
        "10.1.1.20",
        "10.1.1.50",
        "10.2.2.20",
        "10.2.2.20",
        "10.4.4.1",
        "10.5.5.1",
        OUTSIDE_GUEST,
        MANAGED_GUEST,
    ];
    let destination = if chance.below(5) == 0 { far } else { address(chance.one(&destinations)) };
    let port = match chance.below(4) {
        0 => 9000 + u16::try_from(chance.below(80)).unwrap(),
        1 => 80 + u16::try_from(chance.below(4)).unwrap(),
        _ => chance.one(&PORTS).parse().unwrap(),
    };
    let (protocol, detail) = match chance.below(20) {
        0..=8 => (TCP, (port, 0)),
        9..=14 => (UDP, (port, 0)),
        15..=17 => (ICMP, (8, 0)),
        18 => (ICMP, (*chance.one(&[0, 3, 11, 13]), 0)),
        _ => (47, (0, 0)),
    };
    let aims = aims(document);
    let (protocol, destination, detail) = match chance.below(2) {
        0 if !aims.is_empty() => {
            let (aimed, address, port) = *chance.one(&aims);
            let detail = port.map_or(detail, |port| (port + u16::from(chance.below(8) == 0), 0));
            (aimed.unwrap_or(protocol), address, detail)
        }
        _ => (protocol, destination, detail),
    };
    // Two connections without ports between the same two, once translated, would be one.
    let (source, destination) = match protocol {
        47 if outside => (stranger, destination),
        47 => (source, far),
        _ => (source, destination),
    };
    Packet { number, source, destination, protocol, detail }
}
