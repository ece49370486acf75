//! Who comes in: with a key of the configuration, on a management interface, from where it is allowed, and nobody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Desk, ROUTER, house, lab_and_router, reaches, said};
use crate::appliance::house::House;

#[test]
fn nothing_listens_unless_the_configuration_says_so() {
    let house = House::with(json!({}));
    let listening = || house.lab.ok("router", "ss -Hltn sport = :22");
    assert_eq!(listening(), "");
    assert!(!reaches(&house.lab, "admin", ROUTER));
    let status = house.router.get("/v1/status").body;
    assert_eq!(status["services"]["ssh"]["state"], "off", "{status:#}");
    assert!(!house.router.state().join("ssh_host_ed25519_key").exists(), "nobody needed a host key yet");
    // A document without anybody who could come in is refused, and changes nothing.
    let refused = house.router.patch(&json!({"ssh": {"keys": {}}}));
    assert_eq!((refused.status, refused.faults()), (422, vec!["/ssh/keys"]), "{refused:#?}");
    let desk = Desk::new();
    house.router.change(json!({"ssh": desk.ssh()}));
    assert!(
        listening().contains("192.168.0.188:22") && !listening().contains("0.0.0.0:22"),
        "{}",
        listening()
    );
    assert_eq!(desk.run(&house.lab, "alice", &["config"], b"").code, Some(0));
    house.router.change(json!({"ssh": null}));
    assert_eq!(listening(), "");
    assert!(!reaches(&house.lab, "admin", ROUTER));
}

#[test]
fn only_keys_of_the_configuration_come_in() {
    let (house, desk) = house();
    for key in ["alice", "bob"] {
        let told = desk.run(&house.lab, key, &["config"], b"");
        assert_eq!(told.code, Some(0), "{told:#?}");
    }
    let told = desk.run(&house.lab, "mallory", &["config"], b"");
    assert_eq!((told.code, told.out.as_str()), (Some(255), ""), "{told:#?}");
    assert!(told.err.contains("Permission denied (publickey)."), "a key is all that is asked for: {told:#?}");
    // Other ways in are not offered, also to who insists on them.
    for method in ["password", "keyboard-interactive", "hostbased", "none"] {
        let preferred = format!("PreferredAuthentications={method}");
        let client = desk.start(&house.lab, ("admin", "alice"), &["-o", &preferred], &["config"]);
        let told = said(client, b"");
        assert_eq!((told.code, told.out.as_str()), (Some(255), ""), "{method}: {told:#?}");
    }
    let status = house.router.get("/v1/status").body["services"]["ssh"].clone();
    assert_eq!(
        (&status["state"], &status["keys"], &status["admitted"]),
        (&json!("ok"), &json!(2), &json!(2))
    );
    crate::lab::until("every connection is counted", || {
        let status = house.router.get("/v1/status").body["services"]["ssh"].clone();
        (status["operators"] == 0 && status["refused"].as_u64() >= Some(5)).then_some(())
    });
    let log = house.router.log();
    assert!(log.contains("an operator came in over SSH who=\"ssh key alice\" from=192.168.0.10:"), "{log}");
}

#[test]
fn guests_and_the_public_side_do_not_reach_it() {
    let (house, _desk) = house();
    assert!(reaches(&house.lab, "admin", ROUTER));
    for (station, address) in [
        ("web1", "10.1.1.1"),
        ("web1", ROUTER),
        ("web1", "198.51.100.5"),
        ("neighbour", "198.51.100.5"),
        ("neighbour", ROUTER),
        ("other", "10.2.2.1"),
    ] {
        assert!(!reaches(&house.lab, station, address), "{station} reaches {address}");
    }
    // The trace knows it, and says the same as the kernel.
    for (way, expected) in [(["mgmt", "192.168.0.10"], "local (ssh)"), (["guest", "10.1.1.20"], "dropped")] {
        let destination = "192.168.0.188:22";
        let line = ["trace", way[0], way[1], destination];
        let (code, told, _) = house.router.vrctl(&house.lab, &line);
        assert!(code == Some(0) && told.contains(expected), "{way:?}: {told}");
    }
}

#[test]
fn a_key_may_be_bound_to_where_it_is_used() {
    let (house, desk) = house();
    house.router.change(json!({"ssh": {"keys": {"bob": {"allowed_sources": ["192.168.0.11"]}}}}));
    assert_eq!(desk.run(&house.lab, "bob", &["config"], b"").code, Some(255));
    assert_eq!(desk.run(&house.lab, "alice", &["config"], b"").code, Some(0));
    house.lab.ok("admin", "ip address add 192.168.0.11/24 dev eth0");
    let client = desk.start(&house.lab, ("admin", "bob"), &["-b", "192.168.0.11"], &["config"]);
    assert_eq!(said(client, b"").code, Some(0));
}

#[test]
fn clients_know_the_router_again_after_it_was_killed() {
    let (lab, mut router, desk) = lab_and_router();
    assert_eq!(desk.run(&lab, "alice", &["config"], b"").code, Some(0));
    let told = router.get("/v1/status").body["services"]["ssh"]["host_key"].clone();
    let seen = lab.run_all(
        "admin",
        &["sh", "-c", "ssh-keyscan -t ed25519 192.168.0.188 2>/dev/null | ssh-keygen -lf -"],
    );
    let shown = seen.stdout.split_whitespace().nth(1).unwrap_or_default().to_owned();
    assert_eq!(told, shown.as_str(), "what people compare is what the client sees: {seen:?}");
    router.kill();
    router.relaunch();
    let options = ["-o", "StrictHostKeyChecking=yes"];
    let told = said(desk.start(&lab, ("admin", "alice"), &options, &["config"]), b"");
    assert_eq!(told.code, Some(0), "{told:#?}");
}

#[test]
fn strangers_take_no_places_for_long_and_no_address_takes_them_all() {
    let (house, desk) = house();
    let begin = Instant::now();
    let connect = || house.lab.inside("admin", || TcpStream::connect((ROUTER, 22)).unwrap());
    let mut silent: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut banner = [0; 16];
        stream.read_exact(&mut banner).unwrap();
        assert_eq!(&banner, b"SSH-2.0-vrouter\r");
    }
    let mut one_more = connect();
    one_more.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut said_to_him = Vec::new();
    let _ = one_more.read_to_end(&mut said_to_him);
    assert!(said_to_him.is_empty(), "an address has eight connections at once");
    // Another address has its own.
    house.lab.ok("admin", "ip address add 192.168.0.12/24 dev eth0");
    let client = desk.start(&house.lab, ("admin", "alice"), &["-b", "192.168.0.12"], &["config"]);
    assert_eq!(said(client, b"").code, Some(0));
    // Nonsense ends a connection, and nobody fills the journal with it.
    let mut nonsense = silent.pop().unwrap();
    nonsense.write_all(b"SSH-2.0-x\r\n").unwrap();
    let _ = nonsense.write_all(&[0xff; 4096]);
    let _ = nonsense.read_to_end(&mut Vec::new());
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    for stream in &mut silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let waited = begin.elapsed();
    assert!(
        waited < Duration::from_secs(45),
        "who says nothing for half a minute is not waited for: {waited:?}"
    );
    let log = house.router.log();
    assert!(!log.contains("russh"), "{log}");
    assert_eq!(desk.run(&house.lab, "alice", &["config"], b"").code, Some(0));
}
