//! The API's door with the real service behind it: who is refused, why, and that nothing changes then.

use std::net::UdpSocket;
use std::thread;

use serde_json::{Value, json};

use super::house::{House, document, grounds};
use super::picture::{Picture, Watch};
use super::router::{Answer, Router};
use crate::lab::until;

/// The status of a problem document, and that it is one.
fn problem(answer: &Answer) -> u16 {
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:#?}");
    assert_eq!(answer.body["status"], answer.status);
    for member in ["type", "title", "detail"] {
        assert!(answer.body[member].as_str().is_some_and(|text| !text.is_empty()), "{answer:#?}");
    }
    answer.status
}

#[test]
fn what_is_not_understood_is_refused_and_changes_nothing() {
    let House { router, lab } = House::with(json!({}));
    let (document, before) = (router.document(), Picture::of(&lab));
    let request = |method, path, headers: &[(&str, &str)], body: &[u8]| {
        router.request(method, path, headers, body).unwrap()
    };
    let refused = |method, path, body: &[u8]| problem(&request(method, path, &[], body));
    assert_eq!(refused("POST", "/v1/config", b"{\"version\": 1, "), 400);
    assert_eq!(refused("POST", "/v1/config", b"\xff\xfe"), 400);
    assert_eq!(refused("POST", "/v1/config", b""), 400);
    assert_eq!(refused("POST", "/v1/config", b"{\"version\": 1, \"version\": 1}"), 422);
    assert_eq!(refused("PATCH", "/v1/config", b"{\"snat\": {\"a\": null, \"a\": null}}"), 422);
    assert_eq!(refused("POST", "/v1/config", &b"[".repeat(1 << 20)), 422);
    assert_eq!(refused("POST", "/v1/config", b"[]"), 422);
    assert_eq!(refused("GET", "/v1/config?generation=many", b""), 400);
    assert_eq!(refused("GET", "/v1/config?generation=77", b""), 404);
    assert_eq!(refused("GET", "/v2/config", b""), 404);
    assert_eq!(refused("DELETE", "/v1/config", b""), 405);
    assert_eq!(refused("POST", "/v1/rollback", b"{\"generation\": 77}"), 404);
    assert_eq!(refused("POST", "/v1/config", &vec![b' '; (64 << 20) + 1]), 413);
    let patch =
        br#"{"eips": {"new": {"address": "198.51.100.8", "interface": "public", "target": "10.1.1.20"}}}"#;
    for (tag, status) in [("\"0\"", 412), ("\"2\"", 412), ("yesterday", 400)] {
        assert_eq!(problem(&request("PATCH", "/v1/config", &[("If-Match", tag)], patch)), status, "{tag}");
    }
    assert_eq!(router.document(), document);
    before.is(&lab, "after refusals");
    let made = request("PATCH", "/v1/config", &[("If-Match", "\"1\"")], patch);
    assert_eq!((made.generation(), made.head.contains("etag: \"2\"")), (2, true), "{made:#?}");
    // A rollback is a new generation with an older document.
    let back = request("POST", "/v1/rollback", &[], b"{\"generation\": 1}");
    assert_eq!((back.generation(), router.document()), (3, document));
    before.is(&lab, "after a rollback");
    assert_eq!(router.get("/v1/config?generation=2").body["eips"]["new"]["target"], "10.1.1.20");
}

#[test]
fn changes_of_many_clients_come_one_after_the_other() {
    let House { router, lab } = House::with(json!({}));
    let doors: Vec<_> = (0..16).map(|_| router.door()).collect();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = |(number, door): (usize, super::router::Door)| {
            let patch = json!({"port_forwards": {format!("p{number}"): {
                "protocol": "tcp", "address": "198.51.100.5", "ports": format!("{}", 8000 + number),
                "target": "10.1.1.20", "target_ports": "80"}}});
            let patch = patch.to_string();
            scope.spawn(move || door.request("PATCH", "/v1/config", &[], patch.as_bytes()).unwrap())
        };
        let workers: Vec<_> = doors.into_iter().enumerate().map(ask).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut generations: Vec<u64> = answers.iter().map(Answer::generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, (2..18).collect::<Vec<_>>(), "each change is a generation of its own");
    assert_eq!(router.document()["port_forwards"].as_object().unwrap().len(), 16);
    lab.serve("web1", 80);
    lab.reaches("neighbour", "198.51.100.5:8015", "198.51.100.9");
    // Of those that believe in the same generation, one is right.
    let doors: Vec<_> = (0..8).map(|_| router.door()).collect();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |(number, door): (usize, super::router::Door)| {
            let patch = json!({"port_forwards": {format!("p{number}"): null}}).to_string();
            scope.spawn(move || {
                let headers = [("If-Match", "\"17\"")];
                door.request("PATCH", "/v1/config", &headers, patch.as_bytes()).unwrap().status
            })
        };
        let workers: Vec<_> = doors.into_iter().enumerate().map(ask).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(412)), (1, 7), "{statuses:?}");
}

#[test]
fn the_end_of_the_service_is_not_the_end_of_forwarding() {
    let House { mut router, lab } = House::with(json!({
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20",
                         "on_remove": "keep"}},
        "port_forwards": {"limited": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8000-8010",
            "target": "10.1.1.20", "target_ports": "8000-8010", "allowed_sources": ["192.0.2.0/24"]}},
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "tcp", "log": true,
            "address": "198.51.100.7", "destination_ports": ["80", "90-99"], "action": "accept"}}}
    }));
    for station in ["internet", "web1"] {
        lab.serve(station, 80);
    }
    let stream = lab.stream("client", "192.0.2.53:80");
    let before = Picture::with_handles(&lab);
    let watch = Watch::start(&lab);
    assert!(router.terminate().success());
    before.is(&lab, "after the end");
    stream.goes_on();
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    assert!(lab.pings("client", "192.0.2.53"));
    router.relaunch();
    before.is(&lab, "after the start");
    assert_eq!(watch.end(&lab), [""; 0], "nothing was touched");
    assert_eq!(router.get("/v1/generations").body["current"], 2);
    // What was said of the EIP before the restart counts after it.
    let kept = lab.stream("internet", "198.51.100.7:80");
    router.change(json!({"eips": {"web": null}}));
    kept.goes_on();
    lab.silent("internet", &["198.51.100.7:80"]);
    assert!(stream.end() > 0);
}

/// Two services on one memory would write over each other: the second does not come up, and the first does not mind.
#[test]
fn a_memory_serves_one_service() {
    let lab = grounds();
    let router = Router::start(&lab, "router");
    router.configure(&document());
    let second = router.command();
    let arguments: Vec<String> =
        second.get_args().map(|argument| argument.to_string_lossy().replace("7270", "7271")).collect();
    let mut second = std::process::Command::new("ip")
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = until("the second ends", || second.try_wait().unwrap());
    assert!(!status.success());
    router.change(json!({"snat": {"guest2": null}}));
    let running: Value = router.document();
    assert!(running["snat"]["guest2"].is_null());
    assert!(lab.pings("client", "192.0.2.53"));
}

/// A port that somebody else has refuses the service that needs it, with nothing changed; where it is taken while the
/// router is dead, everything else comes back, and the service follows by itself.
#[test]
fn a_port_that_is_taken_costs_one_service() {
    let House { mut router, lab } = House::with(json!({}));
    lab.serve("internet", 80);
    let taken = || lab.inside("router", || UdpSocket::bind("10.1.1.1:53").unwrap());
    let socket = taken();
    let before = Picture::of(&lab);
    let dns = json!({"dns": {"interfaces": ["guest"],
                             "records": {"a": {"name": "a.demo.local", "type": "A", "values": ["10.1.1.9"]}}}});
    let refused = router.patch(&dns);
    assert_eq!(problem(&refused), 409);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("dns") && detail.contains("10.1.1.1 port 53"), "{detail}");
    before.is(&lab, "after the refusal");
    assert_eq!(router.get("/v1/generations").body["current"], 1);
    drop(socket);
    let ask = || lab.run("client", "dig +short +tries=1 +time=1 @10.1.1.1 a.demo.local").stdout;
    assert_eq!(router.change(dns), 2);
    assert_eq!(ask().trim(), "10.1.1.9");
    router.kill();
    let socket = taken();
    lab.ok("router", "nft delete table inet vrouter");
    router.launch();
    until("the table is back", || lab.run("router", "nft list table inet vrouter").success.then_some(()));
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    assert_ne!(ask().trim(), "10.1.1.9");
    drop(socket);
    until("names are served again", || (ask().trim() == "10.1.1.9").then_some(()));
}
