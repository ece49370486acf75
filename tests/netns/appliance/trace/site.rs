//! The house with somebody on every network who sends what he likes, and what of it the wire shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::Socket;

use super::super::house::{DEVICES, grounds};
use super::super::router::Router;
use super::super::traffic::SILENCE;
use super::generate::{MANAGED_GUEST, OUTSIDE_GUEST};
use super::wire::{ICMP, Packet, Shown, TCP, UDP, Watch, sender};
use crate::lab::{Lab, PATIENCE};

/// Where packets come in: the interface, its network, the router's address there, and that of whoever sends. A sender gives
/// all that it sends to the router, also what is next to it.
const PROBES: [(&str, &str, &str, &str); 5] = [
    ("mgmt", "management", "192.168.0.188", "192.168.0.200"),
    ("public", "public", "198.51.100.5", "198.51.100.200"),
    ("guest", "guest", "10.1.1.1", "10.1.1.200"),
    ("public2", "public2", "203.0.113.5", "203.0.113.200"),
    ("guest2", "guest2", "10.2.2.1", "10.2.2.200"),
];
/// The neighbours that the router gives packets to.
const NEIGHBOURS: [(&str, &str); 10] = [
    ("192.168.0.10", "fa:aa:00:00:01:10"),
    ("198.51.100.9", "fa:aa:00:00:02:09"),
    ("198.51.100.1", "fa:aa:00:00:04:01"),
    ("203.0.113.1", "fa:aa:00:00:04:02"),
    ("10.1.1.20", "fa:aa:00:00:00:20"),
    ("10.1.1.21", "fa:aa:00:00:00:21"),
    ("10.1.1.50", "fa:aa:00:00:00:50"),
    ("10.2.2.20", "fa:aa:00:00:03:20"),
    (OUTSIDE_GUEST, "fa:aa:00:00:04:02"),
    (MANAGED_GUEST, "fa:aa:00:00:01:10"),
];

fn mac(text: &str) -> [u8; 6] {
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// The house with somebody on every network who sends what he likes.
pub(super) struct Site {
    pub(super) router: Router,
    senders: BTreeMap<&'static str, Socket>,
    neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    pub(super) watch: Watch,
    pub(super) lab: Lab,
}

impl Site {
    pub(super) fn new() -> Self {
        let mut lab = grounds();
        let mut neighbours: BTreeMap<Ipv4Addr, [u8; 6]> =
            NEIGHBOURS.iter().map(|(address, own)| (address.parse().unwrap(), mac(own))).collect();
        let mut senders = BTreeMap::new();
        for (number, (interface, network, router, own)) in PROBES.into_iter().enumerate() {
            let (probe, hardware) = (format!("probe-{interface}"), format!("fa:aa:00:00:09:0{number}"));
            lab.station(&probe, network, &hardware, Some(&format!("{own}/32")));
            lab.ok(&probe, &format!("ip route add default via {router} dev eth0 onlink"));
            senders.insert(interface, sender(&lab, &probe));
            neighbours.insert(own.parse().unwrap(), mac(&hardware));
        }
        for (station, guest) in [("upstream2", OUTSIDE_GUEST), ("admin", MANAGED_GUEST)] {
            lab.ok(station, &format!("ip address add {guest}/24 dev eth0"));
        }
        // Refusals are told as often as there are some.
        lab.run("router", "sysctl -qw net.ipv4.icmp_ratelimit=0");
        lab.run("router", "sysctl -qw net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=100000");
        let devices = DEVICES.map(|(_, own, network)| (network, mac(own)));
        let watch = Watch::start(&lab, &devices);
        let router = Router::listening(&lab, "router", "192.168.0.188:7270");
        Self { router, senders, neighbours, watch, lab }
    }

    pub(super) fn trace(&self, interface: &str, packet: &Packet) -> Value {
        trace(&self.router, &question(interface, packet))
    }

    fn send(&self, interface: &str, packet: &Packet) {
        let to = SocketAddrV4::new(packet.destination, 0).into();
        self.senders[interface].send_to(&packet.octets(), &to).unwrap();
    }

    /// Sends packets, each with the interface that it comes in by and what a trace says of it, and waits until the wire shows
    /// that. What it shows otherwise is told; nothing where it shows all of it, and nothing else.
    pub(super) fn shows_otherwise(&self, sent: &[(&str, Packet, Value)]) -> String {
        let (begin, before) = (Instant::now(), dropped_by_machine());
        let (mut times, mut dropped, mut last) = (1, before, begin);
        sent.iter().for_each(|(interface, packet, _)| self.send(interface, packet));
        loop {
            let to_be_seen = sent.iter().filter(|(_, _, trace)| trace["verdict"] != "dropped");
            let missed: Vec<_> =
                to_be_seen.filter(|(_, packet, trace)| !self.fits(trace, packet, times)).collect();
            if missed.is_empty() || begin.elapsed() > PATIENCE {
                break;
            }
            // What is missed while the machine dropped something of anybody's is sent again.
            let now = dropped_by_machine();
            if now > dropped && last.elapsed() > SILENCE {
                (times, dropped, last) = (times + 1, now, Instant::now());
                missed.iter().for_each(|(interface, packet, _)| self.send(interface, packet));
            }
            thread::sleep(Duration::from_millis(50));
        }
        // What must not be seen has its time too.
        thread::sleep(SILENCE);
        let mut wrong = String::new();
        for (interface, packet, trace) in sent {
            if !self.fits(trace, packet, times) {
                let (asked, shown) = (question(interface, packet), self.watch.of(packet));
                let _ = writeln!(wrong, "{asked}\n  shown {shown:?}\n  trace {trace:#}");
            }
        }
        if !wrong.is_empty() {
            let (took, dropped) = (begin.elapsed(), dropped_by_machine() - before);
            let _ = writeln!(
                wrong,
                "after {took:?}, sent {times} times, {dropped} packets dropped by the machine"
            );
        }
        wrong
    }

    /// Whether what the trace says can be seen: whom a packet is given to is there, and whoever is answered is.
    pub(super) fn can_be_seen(&self, trace: &Value) -> bool {
        let told = |pointer: &str| trace.pointer(pointer).and_then(Value::as_str)?.parse::<Ipv4Addr>().ok();
        match trace["verdict"].as_str().unwrap() {
            "accepted" => {
                let next = told("/route/via").or_else(|| told("/translated/destination")).unwrap();
                self.neighbours.contains_key(&next)
            }
            _ => true,
        }
    }

    /// Whether the wire shows what a trace says, and nothing else, of a packet that was sent so many times.
    fn fits(&self, trace: &Value, packet: &Packet, times: usize) -> bool {
        let shown = self.watch.of(packet);
        let forwarded: Vec<_> = shown.iter().filter(|one| matches!(one, Shown::Forwarded { .. })).collect();
        match trace["verdict"].as_str().unwrap() {
            // Of a packet that is sent again, a balancer may have another opinion.
            "accepted" => {
                (1..=times).contains(&forwarded.len())
                    && forwarded.iter().all(|one| self.fits_way(trace, packet, one))
            }
            "rejected" => forwarded.is_empty() && shown.contains(&Shown::Refused),
            // Where the router has nothing on a port, its own stack refuses as a firewall does.
            "local" if trace["service"] != "load_balancer" && packet.protocol == TCP => {
                forwarded.is_empty() && !shown.is_empty()
            }
            "local" => forwarded.is_empty() && shown.contains(&Shown::Answered),
            "dropped" => shown.is_empty(),
            other => panic!("{other}"),
        }
    }

    fn fits_way(&self, trace: &Value, packet: &Packet, shown: &Shown) -> bool {
        let Shown::Forwarded { network, neighbour, source, destination, port } = shown else { return false };
        let address = |text: &Value| text.as_str().unwrap().parse::<Ipv4Addr>().unwrap();
        let probe = PROBES.iter().find(|(interface, ..)| trace["route"]["interface"] == *interface).unwrap();
        let translated = &trace["translated"];
        let ported = matches!(packet.protocol, TCP | UDP);
        let port_of = |place: &Value| if ported { place.as_u64().unwrap() } else { 0 };
        let candidates = trace["decisions"].as_array().unwrap().iter().flat_map(|decision| {
            let all = decision.get("candidates").and_then(Value::as_array);
            all.into_iter().flatten().map(|one| (address(&one["address"]), one["port"].as_u64().unwrap()))
        });
        let mut ends: Vec<(Ipv4Addr, u64)> = candidates.collect();
        if ends.is_empty() {
            ends.push((address(&translated["destination"]), port_of(&translated["ports"]["destination"])));
        }
        let next = match trace["route"].get("via") {
            Some(via) => address(via),
            None => *destination,
        };
        // Where there are several candidates, another one than the first may be in another network.
        let several = ends.len() > 1;
        let way = (probe.1 == *network || several) && self.neighbours.get(&next) == Some(neighbour);
        way && (address(&translated["source"]) == *source || several)
            && ends.contains(&(*destination, u64::from(*port)))
    }
}

pub(super) fn question(interface: &str, packet: &Packet) -> Value {
    let Packet { source, destination, protocol, detail, .. } = packet;
    let mut question = json!({"interface": interface, "source": source, "destination": destination});
    match *protocol {
        TCP | UDP => {
            question["protocol"] = json!(if *protocol == TCP { "tcp" } else { "udp" });
            question["ports"] = json!({"source": packet.source_port(), "destination": detail.0});
        }
        ICMP => {
            question["protocol"] = json!("icmp");
            question["icmp"] = json!({"type": detail.0, "code": detail.1});
        }
        other => question["protocol"] = json!(other),
    }
    question
}

pub(super) fn trace(router: &Router, question: &Value) -> Value {
    let answer = router.ask("POST", "/v1/trace", question.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{question}: {answer:#?}");
    answer.body
}

/// How many packets the machine dropped between namespaces because it was busy: it keeps no more than a thousand of all of
/// them waiting (`net/core/dev.c`: `netdev_max_backlog`), and counts the rest.
fn dropped_by_machine() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap();
    let dropped = text.lines().map(|processor| processor.split_whitespace().nth(1).unwrap());
    dropped.map(|count| u64::from_str_radix(count, 16).unwrap()).sum()
}
