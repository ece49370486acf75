//! Elements of the kernel's sets and maps: what an edit changes there, and nothing beside it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::super::house::House;
use super::super::traffic::SILENCE;
use super::{VIP, backends, balancer, even, house};
use crate::lab::until;

/// What an edit of one backend is on the wire, as everybody sees it who listens.
#[test]
fn an_edit_of_a_backend_is_one_element() {
    let House { router, lab } = house(json!({
        "web": balancer(VIP, 80, "tcp", even(7000)),
        "else": balancer(VIP, 81, "udp", even(7000))
    }));
    let mut child = lab
        .command("router", &["nft", "-n", "monitor"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    // It listens once it tells of something.
    until("it listens", || {
        lab.ok("router", "nft add table inet probe");
        lab.ok("router", "nft delete table inet probe");
        lines.recv_timeout(Duration::from_millis(100)).ok()
    });
    while lines.recv_timeout(SILENCE).is_ok() {}
    router.change(json!({"load_balancers": {"web": {"pools": {"main": {"backends": {"web1": {"address": "10.2.2.20"}}}}}}}));
    let mut told: Vec<String> = Vec::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(2)) {
        if !line.starts_with('#') {
            told.push(line.trim().to_owned());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told.sort();
    assert_eq!(
        told,
        [
            "create element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.1.1.20 . 7000 : 0x00000002 }",
            "create element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.2.2.20 . 7000 : 0x00000001 }",
            "create element inet vrouter balancer_slots_web { 0 : 10.2.2.20 . 7000 }",
            "delete element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.1.1.20 . 7000 : 0x00000001 }",
            "delete element inet vrouter balancer_slots_web { 0 : 10.1.1.20 . 7000 }",
        ],
        "nothing beside it"
    );
    assert_eq!(
        backends((0..4).map(|_| lab.ask("internet", &format!("{VIP}:80")))),
        BTreeMap::from([("other".to_owned(), 2), ("web2".to_owned(), 2)])
    );
}
