//! What becomes of those who are in when the configuration does not let them in any more, and of SSH when it cannot be served.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{ROUTER, house, lab_and_router, reaches, said};
use crate::lab::until;

/// Waits until the router has sent a client away, which is long before the client would be given up.
fn sent_away(mut client: Child, why: &str) {
    let begin = Instant::now();
    until(why, || client.try_wait().unwrap().map(|ended| assert_eq!(ended.code(), Some(255), "{why}")));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{why}: {took:?}");
}

#[test]
fn who_is_not_let_in_any_more_is_sent_away() {
    let (house, desk) = house();
    let watch = |key: &str| {
        let mut client = desk.start(&house.lab, ("admin", key), &[], &["status", "--watch"]);
        let mut first = [0; 6];
        client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        client
    };
    let (mut alice, bob) = (watch("alice"), watch("bob"));
    // A change that is not about him concerns nobody.
    house.router.change(json!({"hostname": "vr-2"}));
    house.router.change(json!({"ssh": {"keys": {"bob": {"role": "write"}}}}));
    sent_away(bob, "another role is another way in");
    assert!(alice.try_wait().unwrap().is_none());
    let bob = watch("bob");
    house.router.change(json!({"ssh": {"keys": {"bob": null}}}));
    sent_away(bob, "a key that is gone lets nobody stay");
    assert_eq!(desk.run(&house.lab, "bob", &["config"], b"").code, Some(255));
    house.router.change(json!({"ssh": {"keys": {"alice": {"allowed_sources": ["192.168.0.99"]}}}}));
    sent_away(alice, "neither does a place that is not allowed");
    house.router.change(json!({"ssh": {"keys": {"alice": {"allowed_sources": null}}}}));
    let alice = watch("alice");
    house.router.change(json!({"ssh": {"port": 2222}}));
    sent_away(alice, "nor a port that is not answered at any more");
}

/// Whose key is gone does nothing more in the moments before he is sent away, least of all bring his key back.
#[test]
fn who_is_on_his_way_out_does_nothing_more() {
    let (house, desk) = house();
    let before = house.router.get("/v1/generations").body["current"].clone();
    let mut prompt = desk.start(&house.lab, ("admin", "alice"), &["-T"], &[]);
    let mut held = desk.start(&house.lab, ("admin", "alice"), &[], &["patch", "-"]);
    let (mut typing, mut sending) = (prompt.stdin.take().unwrap(), held.stdin.take().unwrap());
    writeln!(typing, "--json generations").unwrap();
    prompt.stdout.as_mut().unwrap().read_exact(&mut [0; 16]).unwrap();
    until("the other waits for its document", || {
        (house.router.log().matches("a command came over SSH").count() == 2).then_some(())
    });
    let without = house.router.change(json!({"ssh": {"keys": {"alice": null}}}));
    let _ = writeln!(typing, "rollback {before}");
    let _ = sending.write_all(br#"{"ssh": null}"#);
    drop((typing, sending));
    sent_away(prompt, "the prompt");
    let ended = held.wait().unwrap();
    assert!(!ended.success(), "{ended:?}");
    assert_eq!(house.router.get("/v1/generations").body["current"], without);
}

/// A port that SSH gives up can go to another in the same change, and come back.
#[test]
fn a_port_changes_hands_in_one_change() {
    let (house, desk) = house();
    // Management without an address of its own is where the public address is.
    house.router.change(json!({"interfaces": {"public": {"roles": ["management", "public"]}}}));
    let client = desk.start_to(&house.lab, ("neighbour", "alice", "198.51.100.5"), &[], &["config"]);
    assert_eq!(said(client, b"").code, Some(0));
    let balancer = json!({"load_balancers": {"web": {"address": "198.51.100.5", "port": 22, "protocol": "http",
        "algorithm": "round_robin", "pools": {"a": {"backends": {"a": {"address": "10.1.1.20", "port": 80}}}}}}});
    let refused = house.router.patch(&balancer);
    assert_eq!(refused.faults(), ["/ssh/port"], "{refused:#?}");
    let mut both = balancer;
    both["ssh"] = json!(null);
    house.router.change(both);
    house.router.change(json!({"load_balancers": null, "ssh": desk.ssh()}));
    let client = desk.start_to(&house.lab, ("neighbour", "alice", "198.51.100.5"), &[], &["config"]);
    assert_eq!(said(client, b"").code, Some(0));
}

/// The answer to the change that ends the connection still goes out over it.
#[test]
fn who_turns_it_off_is_told_that_it_is_done() {
    let (house, desk) = house();
    let told = desk.run(&house.lab, "alice", &["patch", "-"], br#"{"ssh": null}"#);
    assert!(told.code == Some(0) && told.out.contains("generation "), "{told:#?}");
    assert!(!reaches(&house.lab, "admin", ROUTER));
    assert!(house.router.document().get("ssh").is_none());
}

#[test]
fn a_port_that_is_taken_refuses_the_change_and_nothing_is_lost() {
    let (lab, mut router, desk) = lab_and_router();
    let taken = lab.inside("router", || TcpListener::bind((ROUTER, 2222)).unwrap());
    let before = router.document();
    let refused = router.patch(&json!({"hostname": "vr-9", "ssh": {"port": 2222}}));
    assert_eq!(refused.faults(), ["/ssh/port"], "{refused:#?}");
    assert_eq!(router.document(), before);
    assert_eq!(desk.run(&lab, "alice", &["config"], b"").code, Some(0), "what ran runs on");
    drop(taken);
    router.change(json!({"ssh": {"port": 2222}}));
    assert!(!reaches(&lab, "admin", ROUTER), "the old port is closed");
    let elsewhere = desk.start(&lab, ("admin", "alice"), &["-p", "2222"], &["config"]);
    assert_eq!(said(elsewhere, b"").code, Some(0));
    // Ending the service ends them, soon and in order.
    let mut client = desk.start(&lab, ("admin", "alice"), &["-p", "2222"], &["status", "--watch"]);
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let ended = router.terminate();
    assert!(ended.success(), "{ended:?}");
    assert!(!client.wait().unwrap().success());
}
