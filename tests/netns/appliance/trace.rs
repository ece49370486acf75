//! Traces and the real way of real packets: what a trace says becomes of a packet is what the wire shows, over
//! configurations and packets by chance; and what somebody else does to the kernel is told.

mod generate;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::Socket;

use self::generate::{BACKEND_PORT, GUESTS, MANAGED_GUEST, OUTSIDE_GUEST, configuration, packet};
use self::wire::{ICMP, Packet, Shown, TCP, UDP, Watch, sender};
use super::chance::Chance;
use super::house::{DEVICES, House, grounds};
use super::router::Router;
use super::traffic::SILENCE;
use crate::lab::{Lab, until};

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
/// By which interfaces packets come in; not much is for the management.
const INTERFACES: [&str; 11] = [
    "mgmt", "public", "public", "public", "guest", "guest", "guest", "public2", "public2", "guest2", "guest2",
];
/// How many configurations there are, and how many packets each meets; `VROUTER_TRACES` has other configurations.
const CONFIGURATIONS: u64 = 6;
const PACKETS: u16 = 120;

fn mac(text: &str) -> [u8; 6] {
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// The house with somebody on every network who sends what he likes.
struct Site {
    router: Router,
    senders: BTreeMap<&'static str, Socket>,
    neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    watch: Watch,
    lab: Lab,
}

impl Site {
    fn new() -> Self {
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

    fn trace(&self, interface: &str, packet: &Packet) -> Value {
        trace(&self.router, &question(interface, packet))
    }

    fn send(&self, interface: &str, packet: &Packet) {
        let to = SocketAddrV4::new(packet.destination, 0).into();
        self.senders[interface].send_to(&packet.octets(), &to).unwrap();
    }

    /// Whether what the trace says can be seen: whom a packet is given to is there, and whoever is answered is.
    fn can_be_seen(&self, trace: &Value) -> bool {
        let told = |pointer: &str| trace.pointer(pointer).and_then(Value::as_str)?.parse::<Ipv4Addr>().ok();
        match trace["verdict"].as_str().unwrap() {
            "accepted" => {
                let next = told("/route/via").or_else(|| told("/translated/destination")).unwrap();
                self.neighbours.contains_key(&next)
            }
            _ => true,
        }
    }
}

fn question(interface: &str, packet: &Packet) -> Value {
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

fn trace(router: &Router, question: &Value) -> Value {
    let answer = router.ask("POST", "/v1/trace", question.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{question}: {answer:#?}");
    answer.body
}

/// Whether the wire shows what a trace says, and nothing else.
fn fits(site: &Site, trace: &Value, packet: &Packet, shown: &BTreeSet<Shown>) -> bool {
    let forwarded: Vec<_> = shown.iter().filter(|one| matches!(one, Shown::Forwarded { .. })).collect();
    match trace["verdict"].as_str().unwrap() {
        "accepted" => matches!(forwarded.as_slice(), [one] if fits_way(site, trace, packet, one)),
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

fn fits_way(site: &Site, trace: &Value, packet: &Packet, shown: &Shown) -> bool {
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
    let way = (probe.1 == *network || several) && site.neighbours.get(&next) == Some(neighbour);
    way && (address(&translated["source"]) == *source || several)
        && ends.contains(&(*destination, u64::from(*port)))
}

#[test]
fn what_a_trace_says_is_what_becomes_of_packets() {
    let site = Site::new();
    let mut chance = Chance::new();
    let configurations = std::env::var("VROUTER_TRACES").map_or(CONFIGURATIONS, |many| many.parse().unwrap());
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = String::new();
    let mut done = 0;
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
        for (interface, packet, _) in &sent {
            site.send(interface, packet);
        }
        // What must be seen is waited for, and what must not has its time too.
        let patient = |trace: &Value| trace["verdict"] != "dropped";
        let begin = Instant::now();
        let all_seen = || {
            let mut expected = sent.iter().filter(|(_, _, trace)| patient(trace));
            expected.all(|(_, packet, trace)| fits(&site, trace, packet, &site.watch.of(packet)))
        };
        while !all_seen() && begin.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(SILENCE);
        for (interface, packet, trace) in &sent {
            let shown = site.watch.of(packet);
            if !fits(&site, trace, packet, &shown) {
                let asked = question(interface, packet);
                let _ = writeln!(wrong, "{asked}\n  shown {shown:?}\n  trace {trace:#}");
            }
        }
        assert!(wrong.is_empty(), "{wrong}\nwith {document:#}");
    }
    eprintln!("{verdicts:#?}");
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
        site.send("public", &packet(number));
        until("the packet goes where the trace says", || {
            fits(&site, &traced, &packet(number), &site.watch.of(&packet(number))).then_some(())
        });
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
                site.send(interface, &packet);
                until("the refusal is heard", || {
                    site.watch.of(&packet).contains(&Shown::Refused).then_some(())
                });
            }
        }
    }
}
