//! A thousand changes beside traffic that none of them touches: no packet and no byte of it is lost.

use serde_json::{Value, json};

use super::house::House;

/// How many changes are made.
const CHANGES: u32 = 1000;

/// Two of the house's own EIPs and forwards stay; everything else comes and goes, and nothing of it is their traffic's.
fn change(number: u32) -> Value {
    let id = format!("storm-{}", number / 12);
    let last = 100 + number / 12 % 80;
    let host = json!({"mac": format!("fa:bb:00:00:00:{:02x}", number / 12 % 256), "ip": format!("10.1.1.{last}"),
                      "hostname": format!("host-{last}")});
    match number % 12 {
        0 => json!({"eips": {id: {"address": format!("198.51.100.{last}"), "interface": "public",
                                  "target": format!("10.1.1.{last}")}}}),
        1 => json!({"port_forwards": {id: {"protocol": "tcp", "address": "198.51.100.5",
                    "ports": format!("{}", 20_000 + number), "target": "10.1.1.20", "target_ports": "22",
                    "allowed_sources": ["192.0.2.0/24"]}}}),
        2 => json!({"dhcp": {"guest": {"hosts": {id: host}}}}),
        3 => json!({"dns": {"records": {id: {"name": format!("r{number}.demo.local"), "type": "A",
                                             "values": ["10.1.1.30"]}}}}),
        4 => json!({"firewall": {"rules": {id: {"priority": 10, "direction": "ingress", "protocol": "udp",
                    "destination_ports": ["7000-7010", "8000"], "action": "accept", "log": true}}}}),
        5 => json!({"eips": {id: {"target": "10.1.1.99"}}}),
        6 => json!({"firewall": {"rules": {id: {"priority": 30, "action": "reject"}}}}),
        7 => json!({"port_forwards": {id.clone(): null}, "dns": {"records": {id: null}}}),
        8 => json!({"routes": {"branch": {"destination": format!("10.9.{last}.0/24"), "via": "10.1.1.254"}}}),
        9 => json!({"interfaces": {"guest2": {"addresses": ["10.2.2.1/24", format!("10.3.{last}.1/24")]}}}),
        10 => json!({"snat": {"guest2": {"address": format!("198.51.100.{}", 200 + number / 12 % 50)}}}),
        _ => json!({"eips": {id.clone(): null}, "firewall": {"rules": {id.clone(): null}},
                    "dhcp": {"guest": {"hosts": {id: null}}}, "routes": {"branch": null}}),
    }
}

#[test]
fn a_thousand_changes_touch_nothing_else() {
    let House { router, lab } = House::with(json!({
        "dhcp": {"guest": {"interface": "guest", "domain": "demo.local", "hosts": {}}},
        "dns": {"interfaces": ["guest"]},
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "port_forwards": {"web2": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8080",
                                   "target": "10.1.1.21", "target_ports": "80"}},
        "firewall": {"rules": {"web-in": {"priority": 20, "direction": "ingress", "protocol": "tcp",
            "address": "198.51.100.7", "destination_ports": ["80"], "action": "accept"}}}
    }));
    for station in ["internet", "web1", "web2"] {
        lab.serve(station, 80);
    }
    let pings = [
        lab.ping_on("client", "192.0.2.53", 100),
        lab.ping_on("web1", "192.0.2.53", 100),
        lab.ping_on("internet", "198.51.100.7", 100),
    ];
    let streams = [
        lab.stream("client", "192.0.2.53:80"),
        lab.stream("internet", "198.51.100.7:80"),
        lab.stream("internet", "198.51.100.5:8080"),
        lab.stream("client", "198.51.100.7:80"),
    ];
    let before = router.get("/v1/generations").body["current"].as_u64().unwrap();
    for number in 0..CHANGES {
        let answer = router.patch(&change(number));
        assert_eq!(answer.generation(), before + u64::from(number) + 1, "{}", change(number));
    }
    let pings: Vec<u64> = pings.into_iter().map(super::traffic::Pings::end).collect();
    let bytes: Vec<u64> = streams
        .into_iter()
        .map(|stream| {
            stream.goes_on();
            stream.end()
        })
        .collect();
    eprintln!("{CHANGES} changes beside {pings:?} pings and {bytes:?} octets there and back");
    assert!(pings.iter().all(|count| *count > 100), "{pings:?}");
}
