//! What packets look like on the way: sizes fitted, errors translated, neighbours told.

use serde_json::json;

use super::house::{DEVICES, House};
use super::traffic::{Capture, Outcome};
use crate::lab::until;

#[test]
fn sizes_fit_the_path_and_errors_find_whoever_asked() {
    let House { router, lab } = House::with(json!({
        "interfaces": {"guest": {"mtu": 1450}},
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "port_forwards": {"shut": {"protocol": "udp", "address": "198.51.100.5", "ports": "4445",
                                   "target": "10.1.1.21", "target_ports": "4444"}},
        "firewall": {"rules": {"all-in": {"priority": 1, "direction": "ingress", "protocol": "all",
            "address": "198.51.100.7", "action": "accept"}}}
    }));
    for station in ["internet", "web1", "neighbour"] {
        lab.serve(station, 80);
    }
    // The largest segment: of what goes out by the smaller device, and of what comes in by it.
    let mut syns = Capture::start(&lab, "internet", "eth0", "tcp[tcpflags] & tcp-syn != 0");
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    let out = syns.line("> 192.0.2.53.80");
    assert!(out.contains("198.51.100.5") && out.contains("mss 1410"), "{out}");
    for (way, size) in
        [("192.0.2.53.80 > 198.51.100.5", 1460), ("> 198.51.100.7.80", 1460), ("198.51.100.7.80 > ", 1410)]
    {
        let line = syns.line(way);
        assert!(line.contains(&format!("mss {size}")), "{line}");
    }
    let mut syns_inside = Capture::start(&lab, "web1", "eth0", "tcp[tcpflags] == tcp-syn");
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    assert!(syns_inside.line("> 10.1.1.20.80").contains("mss 1410"));
    router.change(json!({"interfaces": {"guest": {"mtu": 1500}}}));
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    assert!(syns_inside.line("mss 1460").contains("> 10.1.1.20.80"), "one size, and nothing to be fitted");
    router.change(json!({"interfaces": {"guest": {"mtu": 1450}}}));

    // A closed port, behind an EIP, behind a forward, and outside.
    let mut errors = Capture::start(&lab, "internet", "eth0", "icmp");
    assert_eq!(lab.udp("internet", "198.51.100.7:4444"), Outcome::Refused);
    errors.line("198.51.100.7 > 192.0.2.53: ICMP 198.51.100.7 udp port 4444 unreachable");
    assert_eq!(lab.udp("internet", "198.51.100.5:4445"), Outcome::Refused);
    errors.line("198.51.100.5 > 192.0.2.53: ICMP 198.51.100.5 udp port 4445 unreachable");
    for station in ["client", "web1"] {
        assert_eq!(lab.udp(station, "192.0.2.53:4444"), Outcome::Refused, "{station}");
    }
    assert_eq!(lab.udp("client", "198.51.100.7:4444"), Outcome::Refused, "around the corner");

    // Too big: for the guests' device on the way in, for somebody farther away on the way out.
    let big = |station: &str, size: u32, to: &str| {
        lab.run(station, &format!("ping -M do -c 2 -i 0.2 -W 5 -s {size} {to}")).stdout
    };
    let said = big("internet", 1472, "198.51.100.7");
    assert!(said.contains("From 198.51.100.7") && said.contains("mtu = 1450"), "{said}");
    errors.line("198.51.100.7 unreachable - need to frag (mtu 1450)");
    lab.ok("upstream", "ip link set eth1 mtu 1300");
    for station in ["client", "web1"] {
        let said = big(station, 1400, "192.0.2.53");
        assert!(said.contains("From 198.51.100.1") && said.contains("mtu = 1300"), "{station}: {said}");
    }
    let streams = [lab.stream("client", "192.0.2.53:80"), lab.stream("internet", "198.51.100.7:80")];
    for stream in streams {
        stream.goes_on();
        assert!(stream.end() > 0);
    }
    // The way, hop by hop.
    for (hops, hop) in [(1, "From 10.1.1.1 "), (2, "From 198.51.100.1 ")] {
        for station in ["client", "web1"] {
            let said = lab.run(station, &format!("ping -c 1 -W 5 -t {hops} 192.0.2.53")).stdout;
            assert!(said.contains(hop) && said.contains("Time to live exceeded"), "{station}: {said}");
        }
    }
}

#[test]
fn neighbours_learn_where_an_address_is() {
    let House { router, lab } = House::with(json!({}));
    let own = DEVICES[1].1;
    for address in ["198.51.100.7", "198.51.100.8", "198.51.100.9"] {
        lab.ok(
            "upstream",
            &format!("ip neighbour replace {address} lladdr fa:ff:00:00:00:99 dev eth0 nud stale"),
        );
    }
    let mut announcements = Capture::start(&lab, "upstream", "eth0", "arp and ether dst ff:ff:ff:ff:ff:ff");
    router.change(json!({
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "port_forwards": {"web": {"protocol": "tcp", "address": "198.51.100.8", "ports": "80",
                                  "target": "10.1.1.20", "target_ports": "80"}}
    }));
    for address in ["198.51.100.7", "198.51.100.8"] {
        let line = announcements.line(&format!("who-has {address}"));
        assert!(line.contains(&format!("tell {address}")), "{line}");
        until("the neighbour has learnt it", || {
            let said = lab.ok("upstream", &format!("ip neighbour show {address} dev eth0"));
            said.contains(own).then_some(())
        });
    }
    // A second address of the interface itself, and all of them when the cable is plugged in again.
    router.change(json!({"interfaces": {"public": {"addresses": ["198.51.100.5/24", "198.51.100.6/24"]}}}));
    announcements.line("who-has 198.51.100.6");
    let mut announcements = Capture::start(&lab, "upstream", "eth0", "arp and ether dst ff:ff:ff:ff:ff:ff");
    let port = lab.ok("public", "ip -o link show type veth");
    let port = port.lines().next().unwrap().split(['@', ' ']).nth(1).unwrap();
    for state in ["down", "up"] {
        lab.ok("public", &format!("ip link set {port} {state}"));
        until("the cable is seen", || {
            let carrier = lab.run("router", "cat /sys/class/net/eth1/carrier").stdout;
            (carrier.trim() == if state == "up" { "1" } else { "0" }).then_some(())
        });
    }
    for address in ["198.51.100.5", "198.51.100.7", "198.51.100.8"] {
        announcements.line(&format!("who-has {address} tell {address}"));
    }
    let said = lab.ok("upstream", "ip neighbour show 198.51.100.9 dev eth0");
    assert!(said.contains("fa:ff:00:00:00:99"), "what is not the router's is left alone: {said}");
}
