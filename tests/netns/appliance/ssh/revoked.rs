//! What becomes of those who are in when the configuration does not let them in any more, and of SSH when it cannot be served.

use std::io::Read as _;
use std::net::TcpListener;

use serde_json::json;

use super::client::{ROUTER, house, lab_and_router, reaches};
use crate::lab::until;

#[test]
fn who_is_not_let_in_any_more_is_sent_away() {
    let (house, desk) = house();
    let watch = |key: &str| {
        let mut client = desk.start(&house.lab, ("admin", key), &[], &["status", "--watch"]);
        let mut first = [0; 6];
        client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        client
    };
    let (mut alice, mut bob) = (watch("alice"), watch("bob"));
    // A change that is not about him concerns nobody.
    house.router.change(json!({"hostname": "vr-2"}));
    house.router.change(json!({"ssh": {"keys": {"bob": {"role": "write"}}}}));
    until("another role is another way in", || {
        bob.try_wait().unwrap().map(|ended| assert!(!ended.success()))
    });
    assert!(alice.try_wait().unwrap().is_none());
    let mut bob = watch("bob");
    house.router.change(json!({"ssh": {"keys": {"bob": null}}}));
    until("a key that is gone lets nobody stay", || {
        bob.try_wait().unwrap().map(|ended| assert!(!ended.success()))
    });
    assert_eq!(desk.run(&house.lab, "bob", &["config"], b"").code, Some(255));
    house.router.change(json!({"ssh": {"keys": {"alice": {"allowed_sources": ["192.168.0.99"]}}}}));
    until("neither does a place that is not allowed", || alice.try_wait().unwrap());
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
    assert_eq!(super::client::said(elsewhere, b"").code, Some(0));
    // Ending the service ends them, soon and in order.
    let mut client = desk.start(&lab, ("admin", "alice"), &["-p", "2222"], &["status", "--watch"]);
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let ended = router.terminate();
    assert!(ended.success(), "{ended:?}");
    assert!(!client.wait().unwrap().success());
}
