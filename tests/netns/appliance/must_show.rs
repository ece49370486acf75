//! The example document on a real machine: every service works, and nothing that is right is touched.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::house::{DEVICES, House};
use super::picture::{Picture, Watch};
use super::traffic::Outcome;
use crate::dhcp::clients::{Dhclient, udhcpc};
use crate::dns::upstream::Upstream;
use crate::lab::{Lab, until};

/// The example with the MACs of this house.
fn example() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/router.json");
    let mut document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (id, device) in [("mgmt", 0), ("public", 1), ("guest", 2)] {
        document["interfaces"][id]["mac"] = json!(DEVICES[device].1);
    }
    document
}

fn dig(lab: &Lab, station: &str, question: &str) -> Vec<String> {
    let said = lab.run(station, &format!("dig +short +tries=3 +time=3 @10.1.1.1 {question}"));
    let mut answers: Vec<String> = said.stdout.lines().map(str::to_owned).collect();
    answers.sort();
    answers
}

/// Real clients get what they should; the address that one of them was given out of the range.
fn leases(lab: &Lab) -> String {
    // Clients that are given all they know.
    for station in ["web1", "web2", "client"] {
        lab.ok(station, "ip address flush dev eth0");
    }
    let told = udhcpc(lab, "web1", "", true).unwrap();
    assert_eq!((told["ip"].as_str(), told["router"].as_str()), ("10.1.1.20", "10.1.1.1"));
    let folder = tempfile::tempdir().unwrap();
    let dhclient = Dhclient::start(lab, "web2", &folder.path().join("web2"), "");
    assert_eq!(dhclient.event("BOUND", 0).1["new_ip_address"], "10.1.1.21");
    let told = udhcpc(lab, "client", "", true).unwrap();
    assert!(told["ip"].starts_with("10.1.1.1"), "{told:?}");
    for station in ["web1", "web2", "client"] {
        lab.ok(station, "ip route replace default via 10.1.1.1");
    }
    // Addresses are the next tests' own from here on, and do not end with dhclient.
    lab.ok("client", "ip address flush dev eth0");
    lab.ok("client", "ip address add 10.1.1.50/24 dev eth0");
    lab.ok("client", "ip route replace default via 10.1.1.1");
    told["ip"].clone()
}

fn names(lab: &Lab, forwarder: &Upstream) {
    assert_eq!(dig(lab, "client", "web1.demo.local"), ["10.1.1.20"]);
    assert_eq!(dig(lab, "client", "-x 10.1.1.21"), ["web2.demo.local."]);
    assert_eq!(dig(lab, "client", "db.demo.local +tcp"), ["10.1.1.30", "10.1.1.31"]);
    assert_eq!(dig(lab, "client", "www.example.net"), ["192.0.2.80"]);
    assert_eq!(forwarder.count("www.example.net"), 1);
}

fn packets(lab: &Lab) {
    for (station, port) in [("internet", 80), ("internet", 25), ("web1", 80), ("web1", 8080), ("web2", 22)] {
        lab.serve(station, port);
    }
    lab.serve("web2", 9005);
    lab.serve("web2", 23);
    // Out: through the network's address, and through the EIP where there is one.
    assert!(lab.pings("client", "192.0.2.53"));
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.7");
    // In: by the EIP where a rule opens it, by forwarded ports for those who may.
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    assert!(lab.pings("internet", "198.51.100.7"));
    lab.reaches("neighbour", "198.51.100.5:8022", "198.51.100.9");
    lab.reaches_by_udp("internet", "198.51.100.5:9005", "192.0.2.53");
    lab.reaches("client", "198.51.100.7:80", "10.1.1.1");
    // The firewall holds.
    assert_eq!(lab.tcp("client", "192.0.2.53:25"), Outcome::Refused);
    lab.silent(
        "internet",
        &["198.51.100.7:8080", "198.51.100.5:8022", "198.51.100.5:22", "198.51.100.5:7270"],
    );
}

#[test]
fn the_example_serves_and_survives() {
    let House { mut router, lab } = House::new();
    let forwarder = Upstream::start(&lab, "internet", "192.0.2.53", [192, 0, 2, 80]);
    let document = example();
    let posted = router.post(&document);
    assert_eq!((posted.generation(), &posted.body["changed"]), (1, &json!(true)));
    assert_eq!(router.document()["hostname"], "vr-1");
    let leased = leases(&lab);
    names(&lab, &forwarder);
    packets(&lab);

    // The same again changes nothing and says so; a broken one is refused with all its faults.
    let before = Picture::of(&lab);
    let again = router.post(&document);
    assert_eq!((again.generation(), &again.body["changed"]), (1, &json!(false)));
    assert_eq!((&again.body["steps"], &again.body["step_count"]), (&json!([]), &json!(0)));
    let mut broken = document.clone();
    broken["snat"]["guest"]["interface"] = json!("guest");
    broken["eips"]["7f0c"]["target"] = json!("10.1.1.300");
    broken["dhcp"]["guest"]["hosts"]["web2"]["ip"] = json!("10.7.7.7");
    broken["port_forwards"]["game"]["target_ports"] = json!("9000-9011");
    broken["firewalls"] = json!({});
    let refused = router.post(&broken);
    assert_eq!(refused.status, 422, "{refused:#?}");
    assert!(refused.head.contains("content-type: application/problem+json"), "{}", refused.head);
    let mut faults = refused.faults();
    faults.sort_unstable();
    for pointer in [
        "/dhcp/guest/hosts/web2/ip",
        "/eips/7f0c/target",
        "/firewalls",
        "/port_forwards/game/target_ports",
        "/snat/guest/interface",
    ] {
        assert!(faults.contains(&pointer), "{pointer} is not among {faults:?}");
    }
    assert_eq!(router.document(), router.get("/v1/config?generation=1").body);
    before.is(&lab, "after a document that is there already, and a broken one");

    // What runs goes on while the service is dead, and nothing is touched when it is back.
    let stream = lab.stream("client", "192.0.2.53:80");
    let (handles, watch) = (Picture::with_handles(&lab), Watch::start(&lab));
    router.kill();
    stream.goes_on();
    lab.reaches("internet", "198.51.100.7:80", "192.0.2.53");
    router.relaunch();
    assert_eq!(router.get("/v1/generations").body["current"], 1);
    handles.is(&lab, "after a kill and a restart");
    assert_eq!(watch.end(&lab), [""; 0], "nothing was touched");
    stream.goes_on();
    until("names are served again", || {
        (dig(&lab, "client", "web1.demo.local") == ["10.1.1.20"]).then_some(())
    });
    assert_eq!(udhcpc(&lab, "client", "", false).unwrap()["ip"], leased, "the lease outlives the kill");
    assert!(stream.end() > 0);
}
