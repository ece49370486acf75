//! EIPs and port forwards: from outside, from inside and around the corner; who may use them, and how they end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::house::House;
use super::traffic::Outcome;
use crate::lab::Lab;

/// A house with an EIP for `web1`, forwards to `web2`, and ports that are served.
fn house() -> House {
    let house = House::with(json!({
        "eips": {
            "web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"},
            "other": {"address": "198.51.100.8", "interface": "public", "target": "10.2.2.20"}
        },
        "port_forwards": {
            "web2": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8080",
                     "target": "10.1.1.21", "target_ports": "80"},
            "names": {"protocol": "udp", "address": "198.51.100.5", "ports": "5353",
                      "target": "10.1.1.21", "target_ports": "80"},
            "span": {"protocol": "tcp", "address": "198.51.100.5", "ports": "9000-9010",
                     "target": "10.1.1.21", "target_ports": "9000-9010"},
            "shifted": {"protocol": "udp", "address": "198.51.100.6", "ports": "7000-7005",
                        "target": "10.1.1.21", "target_ports": "9005-9010"},
            "limited": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8022",
                        "target": "10.1.1.21", "target_ports": "80",
                        "allowed_sources": ["192.0.2.0/24", "198.51.100.20-198.51.100.30"]}
        },
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "all",
            "address": "198.51.100.7", "action": "accept"},
            "other-in": {"priority": 2, "direction": "ingress", "protocol": "tcp",
            "address": "198.51.100.8", "destination_ports": ["80"], "action": "accept"}}}
    }));
    for station in ["web1", "web2", "other", "internet", "neighbour"] {
        house.lab.serve(station, 80);
    }
    for port in [9000, 9005, 9010] {
        house.lab.serve("web2", port);
    }
    house
}

/// The connections that the router tracks and that mention both of these.
pub(super) fn tracked(lab: &Lab, one: &str, other: &str) -> usize {
    let said = lab.ok("router", "conntrack -L");
    let mentions = |line: &&str, word: &str| line.split(' ').any(|own| own.ends_with(word));
    said.lines().filter(|line| mentions(line, one) && mentions(line, other)).count()
}

#[test]
fn public_addresses_and_ports_lead_in_from_everywhere() {
    let House { router: _router, lab } = house();
    // From outside, from behind an upstream and from the public network itself.
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    lab.reaches_by_udp("internet", "198.51.100.7:80", "192.0.2.53");
    lab.reaches("neighbour", "198.51.100.7:80", "198.51.100.9");
    lab.reaches("internet", "198.51.100.5:8080", "192.0.2.53");
    lab.reaches_by_udp("internet", "198.51.100.5:5353", "192.0.2.53");
    for port in [9000, 9005, 9010] {
        lab.reaches("internet", &format!("198.51.100.5:{port}"), "192.0.2.53");
    }
    lab.reaches_by_udp("neighbour", "198.51.100.6:7000", "198.51.100.9");
    lab.reaches_by_udp("neighbour", "198.51.100.6:7005", "198.51.100.9");
    // Around the corner: from the same network as the target, from another, and from the target itself.
    for (station, own) in [("client", "10.1.1.1"), ("other", "10.2.2.20"), ("web1", "10.1.1.1")] {
        lab.reaches(station, "198.51.100.7:80", own);
        lab.reaches_by_udp(station, "198.51.100.7:80", own);
        assert!(lab.pings(station, "198.51.100.7"), "{station}");
    }
    for (station, own) in [("client", "10.1.1.1"), ("other", "10.2.2.20"), ("web2", "10.1.1.1")] {
        lab.reaches(station, "198.51.100.5:8080", own);
        lab.reaches_by_udp(station, "198.51.100.5:5353", own);
        lab.reaches(station, "198.51.100.5:9010", own);
    }
    // One EIP to another, of the same network and across.
    lab.reaches("web1", "198.51.100.8:80", "10.1.1.20");
    for (station, to) in
        [("client", "198.51.100.7:80"), ("other", "198.51.100.5:8080"), ("web1", "198.51.100.7:80")]
    {
        let stream = lab.stream(station, to);
        stream.goes_on();
        assert!(stream.end() > 0);
    }
    // Out, each is known by its own address.
    for (station, own) in [("web1", "198.51.100.7"), ("other", "198.51.100.8"), ("web2", "198.51.100.5")] {
        lab.reaches(station, "192.0.2.53:80", own);
        lab.reaches_by_udp(station, "192.0.2.53:80", own);
        lab.reaches(station, "198.51.100.9:80", own);
        assert!(lab.pings(station, "192.0.2.53"));
    }
    // For those alone who may; and nothing beside what is said.
    lab.reaches("internet", "198.51.100.5:8022", "192.0.2.53");
    lab.silent(
        "neighbour",
        &[
            "198.51.100.5:8022",
            "198.51.100.5:80",
            "198.51.100.5:8999",
            "198.51.100.5:9011",
            "198.51.100.6:7006",
            "198.51.100.6:9005",
            "198.51.100.6:80",
            "198.51.100.8:9000",
        ],
    );
    lab.ok("neighbour", "ip address add 198.51.100.25/24 dev eth0");
    lab.ok("neighbour", "ip route replace 198.51.100.5/32 dev eth0 src 198.51.100.25");
    lab.reaches("neighbour", "198.51.100.5:8022", "198.51.100.25");
}

#[test]
fn a_mapping_that_goes_ends_its_connections_and_no_others() {
    let House { router, lab } = house();
    router.change(json!({"eips": {"other": {"on_remove": "keep"}}}));
    let web = lab.stream("internet", "198.51.100.7:80");
    let web_out = lab.stream("web1", "192.0.2.53:80");
    let web_corner = lab.stream("client", "198.51.100.7:80");
    let kept = lab.stream("internet", "198.51.100.8:80");
    let forward = lab.stream("internet", "198.51.100.5:8080");
    let span = lab.stream("internet", "198.51.100.5:9005");
    let limited = lab.stream("internet", "198.51.100.5:8022");
    let guest = lab.stream("client", "192.0.2.53:80");
    let others = [&kept, &forward, &span, &limited, &guest];
    let go_on = |streams: &[&super::traffic::Stream]| {
        for stream in streams {
            stream.goes_on();
        }
    };
    go_on(&others);
    let of_web = || tracked(&lab, "=198.51.100.7", "=10.1.1.20");
    assert!(of_web() >= 3, "in, out and around the corner:\n{}", lab.ok("router", "conntrack -L"));
    let of_others =
        || tracked(&lab, "src=192.0.2.53", "=ESTABLISHED") + tracked(&lab, "ESTABLISHED", "dst=198.51.100.5");
    let before = of_others();

    // Elsewhere: what was connected to the old target ends, what comes from now on reaches the new one.
    router.change(json!({"eips": {"web1": {"target": "10.1.1.21"}}}));
    for stream in [&web, &web_out, &web_corner] {
        stream.stops();
    }
    let of_old = || tracked(&lab, "=198.51.100.7", "=10.1.1.20");
    // What the stations still send may be tracked anew, but nothing of it is translated as before.
    assert_eq!(of_old(), 0, "{}", lab.ok("router", "conntrack -L"));
    assert_eq!(of_others(), before);
    go_on(&others);
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.7");
    let moved = lab.stream("internet", "198.51.100.7:80");
    moved.goes_on();

    // Gone: with its connections, unless they are to be kept.
    router.change(json!({"eips": {"web1": null, "other": null}}));
    moved.stops();
    go_on(&others);
    lab.silent("internet", &["198.51.100.7:80", "198.51.100.8:80"]);

    // A forward that goes elsewhere, one that goes, and one whose sources change beside one that stays.
    router.change(json!({"port_forwards": {"web2": {"target": "10.1.1.20"}}}));
    forward.stops();
    go_on(&[&kept, &span, &limited, &guest]);
    lab.reaches("internet", "198.51.100.5:8080", "192.0.2.53");
    router.change(json!({"port_forwards": {"span": null}}));
    span.stops();
    go_on(&[&kept, &limited, &guest]);
    assert_eq!(tracked(&lab, "dport=9005", "ESTABLISHED"), 0);
    router.change(json!({"port_forwards": {"limited": {"allowed_sources": ["198.51.100.0/24"]}}}));
    assert_eq!(
        tracked(&lab, "dport=8022", "ESTABLISHED"),
        1,
        "the mapping is the same, so its connections stay"
    );
    lab.silent("internet", &["198.51.100.5:8022"]);
    lab.reaches("neighbour", "198.51.100.5:8022", "198.51.100.9");
    go_on(&[&kept, &limited, &guest]);
    for stream in [kept, limited, guest] {
        assert!(stream.end() > 0);
    }
}

/// A server that goes on talking does not bring its connection back by what it sends: that leaves by the very address and
/// port that the client knows.
#[test]
fn a_server_cannot_revive_what_was_ended() {
    let House { router, lab } = house();
    let (mut heard, mut talking) = {
        let listener = lab.inside("web2", || TcpListener::bind("10.1.1.21:2222").unwrap());
        router.change(json!({"port_forwards": {"talk": {"protocol": "tcp", "address": "198.51.100.5",
            "ports": "2222", "target": "10.1.1.21", "target_ports": "2222"}}}));
        let heard = lab.connect("internet", "198.51.100.5:2222", Duration::from_millis(500)).unwrap();
        (heard, listener.accept().unwrap().0)
    };
    talking.set_nonblocking(true).unwrap();
    let stop = AtomicBool::new(false);
    let mut buffer = [0; 4096];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = talking.write(b"still there");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        heard.read_exact(&mut buffer).unwrap();
        router.change(json!({"port_forwards": {"talk": null}}));
        // What was on its way is heard yet; then there is silence.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(3) && heard.read(&mut buffer).is_ok() {}
        stop.store(true, Ordering::Relaxed);
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "it goes on:\n{}",
            lab.ok("router", "conntrack -L")
        );
    });
    assert_eq!(tracked(&lab, "dport=2222", "ESTABLISHED"), 0);
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.5");
}

/// An EIP between two guests of one network that changes hands in one change never leads to both.
#[test]
fn mappings_trade_places_in_one_change() {
    let House { router, lab } = house();
    router.change(json!({
        "eips": {"web1": {"target": "10.2.2.20"}, "other": {"target": "10.1.1.20"}},
        "port_forwards": {"web2": {"ports": "8022"}, "limited": {"ports": "8080"}}
    }));
    lab.reaches("other", "192.0.2.53:80", "198.51.100.7");
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.8");
    lab.reaches("neighbour", "198.51.100.5:8022", "198.51.100.9");
    lab.silent("neighbour", &["198.51.100.5:8080"]);
    // A closed port behind an EIP says so to whoever asks, as the address that was asked.
    assert_eq!(lab.tcp("internet", "198.51.100.7:81"), Outcome::Refused);
    assert!(lab.connect("internet", "198.51.100.8:81", Duration::from_millis(500)).is_err());
}
