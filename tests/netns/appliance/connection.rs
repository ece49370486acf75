//! Connections one by one: found by either end, before and after translation, in words of HTTP and of the command line.

use std::collections::BTreeSet;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::house::House;

/// The connections that are asked for.
fn asked(house: &House, query: &str) -> (Vec<Value>, u64) {
    let answer = house.router.get(&format!("/v1/connections{query}"));
    assert_eq!(answer.status, 200, "{answer:#?}");
    let connections = answer.body["connections"].as_array().unwrap().clone();
    (connections, answer.body["total"].as_u64().unwrap())
}

#[test]
fn a_connection_is_found_by_any_of_its_ends_and_told_as_it_leaves() {
    let house = House::with(json!({
        "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "all",
            "address": "198.51.100.7", "action": "accept"}}}
    }));
    house.lab.serve("internet", 80);
    house.lab.serve("web1", 80);
    let held = house.lab.inside("web1", || TcpStream::connect("192.0.2.53:80").unwrap());
    let (found, total) = asked(&house, "?address=10.1.1.20&protocol=tcp&port=80");
    assert_eq!((found.len(), total), (1, 1), "{found:#?}");
    let one = &found[0];
    assert_eq!((&one["source"], &one["destination"]), (&json!("10.1.1.20"), &json!("192.0.2.53")));
    assert_eq!(one["translated"]["source"], "198.51.100.7", "{one:#}");
    assert_eq!((&one["tcp_state"], &one["answered"]), (&json!("established"), &json!(true)));
    assert!(one["seconds_left"].as_u64().unwrap() > 60, "{one:#}");
    // By each address and port that it has anywhere, and by none that it has not.
    let port = one["ports"]["source"].as_u64().unwrap();
    for query in ["address=198.51.100.7", "address=192.0.2.53", &format!("port={port}")] {
        let (others, total) = asked(&house, &format!("?{query}"));
        assert_eq!((total, &others[0]["ports"]), (1, &one["ports"]), "{query}: {others:#?}");
    }
    assert_eq!(asked(&house, "?address=10.1.1.20&protocol=udp"), (vec![], 0));
    // What the kernel follows is what is told, whole, and more than is asked for is counted.
    for _ in 0..20 {
        house.lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    }
    assert!(house.lab.pings("web1", "192.0.2.53"));
    let (all, total) = asked(&house, "");
    let listed = house.lab.ok("router", "conntrack -L");
    let ports = |text: &str| -> BTreeSet<String> {
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix("sport="));
        words.map(str::to_owned).collect()
    };
    let told: BTreeSet<String> =
        all.iter().filter_map(|one| Some(one["ports"]["source"].as_u64()?.to_string())).collect();
    assert!(told.is_subset(&ports(&listed)) && told.len() >= 21, "{told:?}\n{listed}");
    assert!(all.iter().any(|one| one["protocol"] == "icmp" && one["ports"].is_null()), "{all:#?}");
    assert_eq!(all.len() as u64, total);
    let (few, total) = asked(&house, "?address=198.51.100.7&protocol=tcp&limit=3");
    assert!(few.len() == 3 && total >= 21, "{total}");
    // The same by hand.
    let port_text = port.to_string();
    let line = ["connections", "--address", "192.0.2.53", "--port", &port_text];
    let (code, said, _) = house.router.vrctl(&house.lab, &line);
    assert_eq!(code, Some(0));
    let line = said.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let expected = [
        "tcp".to_owned(),
        format!("10.1.1.20:{port}"),
        "192.0.2.53:80".to_owned(),
        format!("198.51.100.7:{port}"),
        "192.0.2.53:80".to_owned(),
        "established".to_owned(),
    ];
    assert_eq!(words[..6], expected, "{said}");
    drop(held);
}
