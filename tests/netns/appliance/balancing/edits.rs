//! A thousand random edits under load: no request fails and no connection is cut on what an edit did not remove.

use serde_json::{Value, json};

use super::super::chance::Chance;
use super::super::house::House;
use super::web::Web;
use super::{balancer, certificate};

/// How many edits are made.
const EDITS: u32 = 1000;
/// Balancers that come and go beside those under load.
const OTHERS: u64 = 6;

/// Two of them stay as they are; the third comes, goes, rests and changes.
fn backends() -> Value {
    json!({"a": {"address": "10.1.1.20", "port": 8080}, "b": {"address": "10.1.1.21", "port": 8080}})
}

/// An edit of something: backends, weights, rules, certificates, whole listeners.
fn edit(chance: &mut Chance, pairs: &[Value]) -> Value {
    let of = *chance.one(&["http", "https", "relay", "kernel"]);
    let id = format!("other{}", chance.below(OTHERS));
    let backend = |port: u64| json!({"address": "10.1.1.50", "port": port, "weight": 50});
    let pool = |backends: Value| json!({"load_balancers": {of: {"pools": {"app": {"backends": backends}}}}});
    let is_http = of.starts_with("http");
    match chance.below(14) {
        0 | 1 => pool(json!({"x": backend(8080)})),
        2 => pool(json!({"x": null})),
        3 => {
            let weight = 1 + chance.below(200);
            pool(json!({*chance.one(&["a", "b"]): {"weight": weight}}))
        }
        4 => pool(json!({"a": {"enabled": false}, "b": {"enabled": true}})),
        5 => pool(json!({"a": {"enabled": true}, "b": {"enabled": chance.below(2) == 0}})),
        6 if is_http => {
            let number = format!("r{}", chance.below(5));
            let action = match chance.below(3) {
                0 => json!({"pool": "app"}),
                1 => json!({"set_response_headers": {"x-edit": number}}),
                _ => json!({"redirect": {"location": "/elsewhere", "status": 302}}),
            };
            let matches = if chance.below(2) == 0 {
                json!({"path_prefix": ["/never/"]})
            } else {
                json!({"host": ["never.local"]})
            };
            json!({"load_balancers": {of: {"rules": {number: {"priority": 1 + chance.below(9), "match": matches, "action": action}}}}})
        }
        7 if is_http => json!({"load_balancers": {of: {"rules": {format!("r{}", chance.below(5)): null}}}}),
        8 => json!({"certificates": {"demo": chance.one(pairs)}}),
        9 => json!({"certificates": {"more": chance.one(pairs)},
                    "load_balancers": {"https": {"tls": {"certificates": ["demo", "more"]}}}}),
        10 => json!({"certificates": {"more": null},
                     "load_balancers": {"https": {"tls": {"certificates": ["demo"]}}}}),
        11 | 12 => {
            let protocol = *chance.one(&["http", "tcp", "udp"]);
            let port =
                9000 + u16::try_from(chance.below(20)).unwrap() * 10 + u16::from(id.as_bytes()[5] - b'0');
            json!({"load_balancers": {id: balancer(port, protocol, &backends())}})
        }
        13 => json!({"load_balancers": {id: null}}),
        _ => json!({"load_balancers": {of: {"max_connections": 1000 + chance.below(1000)}}}),
    }
}

#[test]
fn a_thousand_edits_fail_no_request_and_cut_no_connection() {
    let House { router, lab } = House::with(json!({}));
    let webs = ["web1", "web2", "client"].map(|station| Web::start(&lab, station, 8080));
    for station in ["web1", "web2", "client"] {
        lab.serve(station, 7070);
    }
    let echo =
        json!({"a": {"address": "10.1.1.20", "port": 7070}, "b": {"address": "10.1.1.21", "port": 7070}});
    let mut https = balancer(443, "https", &backends());
    https["tls"] = json!({"certificates": ["demo"]});
    let mut relay = balancer(7071, "tcp", &echo);
    relay["algorithm"] = json!("least_connections");
    let pairs = [certificate(&["demo.local"]), certificate(&["*.demo.local", "demo.local"])];
    router.change(json!({
        "certificates": {"demo": pairs[0]},
        "load_balancers": {"http": balancer(80, "http", &backends()), "https": https, "relay": relay,
                           "kernel": balancer(7070, "tcp", &echo)}
    }));
    let clients = [
        lab.wrk("internet", "http://198.51.100.8/", 8),
        lab.wrk("other", "http://198.51.100.8/", 4),
        lab.wrk("internet", "https://198.51.100.8/", 4),
        lab.h2load("internet", "https://198.51.100.8/", 4),
    ];
    let streams = [
        lab.stream("internet", "198.51.100.8:7070"),
        lab.stream("client", "198.51.100.8:7070"),
        lab.stream("internet", "198.51.100.8:7071"),
        lab.stream("other", "198.51.100.8:7071"),
    ];
    let mut chance = Chance::new();
    let mut took = Vec::new();
    for _ in 0..EDITS {
        let edit = edit(&mut chance, &pairs);
        let answer = router.patch(&edit);
        // Two of the others may want one port, or a relay both of its backends resting: that is refused or served so.
        let port_is_taken = answer.status == 422 && edit["load_balancers"].is_object();
        assert!(answer.status == 200 || port_is_taken, "{edit}\n{answer:#?}");
        took.extend(answer.body["took_ms"].as_f64());
    }
    took.sort_by(f64::total_cmp);
    let seen = clients.map(super::load::Load::end);
    let octets: Vec<u64> = streams
        .into_iter()
        .map(|stream| {
            stream.goes_on();
            stream.end()
        })
        .collect();
    let served: Vec<u64> = webs.iter().map(Web::served).collect();
    eprintln!(
        "{EDITS} edits, {:.1} ms each, beside {seen:?} and {octets:?}; served {served:?}",
        took[took.len() / 2]
    );
    assert!(seen.iter().all(|seen| seen.failed == 0 && seen.answered > 500), "{seen:?}");
}
