//! Who reaches whom: guests the router's services alone, the public side what is opened, management the API, and IPv6 nobody.

use serde_json::json;

use super::house::{House, document, grounds};
use super::router::{Router, WITH_TOKEN};
use super::traffic::{Capture, Outcome};
use crate::lab::Lab;

/// The router's addresses on each of its sides.
const OWN: [&str; 5] = ["192.168.0.188", "198.51.100.5", "10.1.1.1", "203.0.113.5", "10.2.2.1"];

/// Every one of the router's addresses with each of these ports.
fn doors(ports: &[u16]) -> Vec<String> {
    OWN.iter().flat_map(|own| ports.iter().map(move |port| format!("{own}:{port}"))).collect()
}

fn silent(lab: &Lab, station: &str, doors: &[String]) {
    lab.silent(station, &doors.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_router_itself_is_reached_for_what_it_serves() {
    let lab = grounds();
    let router = Router::listening(&lab, "router", "0.0.0.0:7270");
    let mut document = document();
    document["dhcp"] = json!({"guest": {"interface": "guest", "domain": "demo.local", "hosts": {
        "web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"}}}});
    document["dns"] = json!({"interfaces": ["guest"]});
    document["eips"] =
        json!({"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}});
    router.configure(&document);
    // Whatever else runs on the router, only a rule that is not there keeps its port open.
    lab.serve("router", 9999);
    lab.serve("router", 22);
    for station in ["web1", "admin", "other"] {
        lab.serve(station, 80);
    }
    // Management: the API and ping.
    let api = "http://192.168.0.188:7270/v1/generations";
    let said = lab.ok("admin", &format!("curl -s {WITH_TOKEN} --max-time 10 {api}"));
    assert!(said.contains("\"current\":1"), "{said}");
    assert!(lab.run("router", "curl -s --max-time 10 http://127.0.0.1:7270/v1/config").success);
    assert!(lab.pings("admin", "192.168.0.188"));
    lab.silent("admin", &["192.168.0.188:9999", "192.168.0.188:22", "192.168.0.188:53", "10.1.1.20:80"]);

    // Guests: ping, names and addresses.
    for station in ["client", "other"] {
        silent(&lab, station, &doors(&[7270, 9999, 22]));
        lab.silent(station, &["192.168.0.10:80"]);
    }
    assert!(lab.pings("client", "10.1.1.1"));
    assert!(lab.pings("other", "10.2.2.1"));
    let named =
        |address: &str| lab.run("client", &format!("dig +short +tries=1 +time=1 @{address} web1.demo.local"));
    assert_eq!(named("10.1.1.1").stdout.trim(), "10.1.1.20");
    lab.silent("other", &["10.2.2.1:53", "10.1.1.1:53", "10.2.2.1:67"]);
    // The public side: nothing but pings, where they are let in, and no guest by its own address.
    for station in ["neighbour", "internet"] {
        silent(
            &lab,
            station,
            &["198.51.100.5", "203.0.113.5"]
                .iter()
                .flat_map(|own| [7270, 9999, 22, 53, 67, 80, 443].map(|port| format!("{own}:{port}")))
                .collect::<Vec<_>>(),
        );
    }
    assert!(lab.pings("neighbour", "198.51.100.5"));
    lab.silent(
        "neighbour",
        &["10.1.1.20:80", "10.2.2.20:80", "192.168.0.10:80", "192.168.0.188:7270", "10.1.1.1:53"],
    );
    // Nor with a guest's address as its source.
    lab.ok("neighbour", "ip address add 10.1.1.77/32 dev eth0");
    lab.ok("neighbour", "ip route replace 198.51.100.7/32 via 198.51.100.5 src 10.1.1.77");
    let mut inside = Capture::start(&lab, "web1", "eth0", "icmp[icmptype] == icmp-echo");
    assert!(lab.pings_in_vain("neighbour", "198.51.100.7"));
    lab.ok("neighbour", "ip route replace 198.51.100.7/32 dev eth0 src 198.51.100.9");
    assert!(lab.pings("neighbour", "198.51.100.7"));
    let first = inside.line("echo request");
    assert!(first.contains("198.51.100.9 > 10.1.1.20"), "{first}");
    // Nor has a guest another network's address.
    lab.ok("client", "ip address add 10.2.2.77/32 dev eth0");
    lab.ok("client", "ip route replace 192.0.2.53/32 via 10.1.1.1 src 10.2.2.77");
    let mut outside = Capture::start(&lab, "upstream", "eth0", "icmp[icmptype] == icmp-echo");
    assert!(!lab.run("client", "ping -c 1 -W 0.5 -s 99 192.0.2.53").success);
    lab.ok("client", "ip route delete 192.0.2.53/32");
    assert!(lab.pings("client", "192.0.2.53"));
    let first = outside.line("echo request");
    assert!(first.contains("198.51.100.5 > 192.0.2.53") && first.contains("length 64"), "{first}");
}

#[test]
fn guest_networks_are_translated_routed_or_on_their_own() {
    let House { router, lab } = House::with(json!({}));
    for station in ["internet", "client", "other"] {
        lab.serve(station, 80);
    }
    lab.ok("internet", "ip route add 10.2.2.0/24 via 192.0.2.1");
    lab.ok("upstream", "ip route add 10.2.2.0/24 via 198.51.100.5");
    lab.reaches("other", "192.0.2.53:80", "198.51.100.5");
    lab.silent("internet", &["10.2.2.20:80"]);
    // Routed: known by its own addresses, and reached by them where a rule says so.
    router.change(json!({"snat": {"guest2": null}}));
    lab.reaches("other", "192.0.2.53:80", "10.2.2.20");
    lab.silent("internet", &["10.2.2.20:80"]);
    router.change(
        json!({"firewall": {"rules": {"in": {"priority": 1, "direction": "ingress", "protocol": "tcp",
        "destinations": ["10.2.2.20"], "destination_ports": ["80"], "action": "accept"}}}}),
    );
    lab.reaches("internet", "10.2.2.20:80", "192.0.2.53");
    // Isolated: the router alone, whatever rules and mappings say.
    let stream = lab.stream("other", "192.0.2.53:80");
    router.change(json!({
        "interfaces": {"guest2": {"isolated": true}},
        "firewall": {"defaults": {"between_guests": "accept"}}
    }));
    stream.stops();
    assert!(lab.pings("other", "10.2.2.1"));
    lab.silent("other", &["192.0.2.53:80", "10.1.1.50:80", "198.51.100.1:80"]);
    lab.silent("client", &["10.2.2.20:80"]);
    lab.silent("internet", &["10.2.2.20:80"]);
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
}

#[test]
fn ipv6_neither_leaks_nor_reaches_the_router() {
    let lab = grounds();
    // A router that forwards IPv6 before anybody configures ours: what vanishes then vanishes by ours.
    lab.ok("router", "sysctl -qw net.ipv6.conf.all.forwarding=1");
    for (station, device, address) in [
        ("router", "eth2", "fd00:1::1/64"),
        ("router", "eth1", "fd00:2::1/64"),
        ("router", "eth0", "fd00:3::1/64"),
        ("admin", "eth0", "fd00:3::10/64"),
        ("client", "eth0", "fd00:1::50/64"),
        ("neighbour", "eth0", "fd00:2::9/64"),
    ] {
        lab.ok(station, &format!("ip link set {device} up"));
        lab.ok(station, &format!("ip address add {address} dev {device} nodad"));
    }
    lab.ok("client", "ip route add default via fd00:1::1");
    lab.ok("neighbour", "ip route add default via fd00:2::1");
    let router = Router::listening(&lab, "router", "[::]:7270");
    let api = |station: &str, host: &str| {
        lab.run(station, &format!("curl -s -g --max-time 1 http://{host}:7270/v1/config")).success
    };
    assert!(lab.pings("client", "fd00:2::9"));
    assert!(api("client", "[fd00:1::1]"));
    router.configure(&document());
    for (station, to) in [
        ("client", "fd00:2::9"),
        ("client", "fd00:1::1"),
        ("neighbour", "fd00:1::50"),
        ("neighbour", "fd00:2::1"),
    ] {
        assert!(lab.pings_in_vain(station, to), "{station} to {to}");
    }
    assert!(lab.pings_in_vain("admin", "fd00:3::1"));
    assert!(!api("admin", "[fd00:3::1]"), "not even management");
    assert!(!api("client", "[fd00:1::1]"));
    assert!(!api("neighbour", "[fd00:2::1]"));
    // The same socket answers where it should.
    assert!(api("admin", "192.168.0.188"));
    assert_eq!(lab.tcp("client", "198.51.100.9:80"), Outcome::Refused, "IPv4 goes on");
}
