//! What others do to ours in the kernel: seen, told, put back or left, and never fought over without end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::house::{DEVICES, House};
use super::picture::Picture;
use super::router::Router;
use crate::lab::{Lab, until};

fn drift(router: &Router) -> Value {
    router.get("/v1/status").body["drift"].clone()
}

/// The differences of all events.
fn told(drift: &Value) -> Vec<String> {
    let events = drift["events"].as_array().unwrap();
    let lines = events.iter().flat_map(|event| event["differences"].as_array().unwrap());
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn house() -> House {
    House::with(json!({
        "routes": {"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.254"}},
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}
    }))
}

/// Something that somebody does, a probe that prints something only while it is undone, and what is told of it.
const DEEDS: [(&str, &str, &str); 6] = [
    (
        "nft delete element inet vrouter eips { 198.51.100.7 : 10.1.1.20 }",
        "nft get element inet vrouter eips { 198.51.100.7 }",
        "nft add element eips { 198.51.100.7",
    ),
    (
        "nft flush chain inet vrouter forward",
        "nft list chain inet vrouter forward",
        "nft insert rule forward index 0",
    ),
    (
        "ip address delete 10.2.2.1/24 dev eth4",
        "ip -4 address show to 10.2.2.1",
        "address add 10.2.2.1/24 dev eth4",
    ),
    (
        "ip route delete 10.9.0.0/16",
        "ip route show 10.9.0.0/16",
        "route add 10.9.0.0/16 via 10.1.1.254 dev eth2",
    ),
    (
        "sysctl -qw net.ipv4.ip_forward=0",
        "grep 1 /proc/sys/net/ipv4/ip_forward",
        "sysctl net/ipv4/ip_forward = 1",
    ),
    ("ip link set eth2 down", "ip -br link show up dev eth2", "link eth2 up"),
];

fn holds(lab: &Lab, probe: &str) -> bool {
    let said = lab.run("router", probe);
    // An empty chain is a chain.
    said.success
        && !said.stdout.trim().is_empty()
        && (!probe.contains("chain") || said.stdout.contains("ct state"))
}

#[test]
fn what_somebody_does_to_ours_is_told_and_put_back_within_a_second() {
    let House { router, lab } = house();
    let ours = Picture::of(&lab);
    let mut took = Vec::new();
    for (deed, probe, line) in DEEDS {
        assert!(holds(&lab, probe), "{probe}");
        lab.ok("router", deed);
        let begin = Instant::now();
        // What is asked in between hides nothing.
        let plan = router.ask("POST", "/v1/plan", router.document().to_string().as_bytes());
        assert_eq!(plan.status, 200, "{plan:#?}");
        until(deed, || holds(&lab, probe).then_some(()));
        took.push(begin.elapsed());
        let drift = until("it is told", || {
            let drift = drift(&router);
            told(&drift).iter().any(|told| told.starts_with(line)).then_some(drift)
        });
        let event = drift["events"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&event["generation"], &event["put_back"]), (&json!(2), &json!(true)), "{event:#}");
        assert_eq!(event["cause"], "foreign", "{event:#}");
        let by = event["by"].as_str().unwrap_or_default();
        assert_eq!(by.starts_with("nft (process "), deed.starts_with("nft"), "{event:#}");
        ours.comes_back(&lab, deed);
    }
    eprintln!("put back after {took:?}");
    took.sort_unstable();
    assert!(took[DEEDS.len() / 2] < Duration::from_secs(1), "{took:?}");
    let status = router.get("/v1/status").body;
    assert!(status["repairs"].as_u64().unwrap() >= 6, "{status:#}");
    assert_eq!((&status["state"], &status["drift"]["present"]), (&json!("ok"), &json!(0)), "{status:#}");
    let metrics = router.get("/metrics").body;
    assert!(metrics.as_str().unwrap().contains("vrouter_drift_total "), "{metrics}");
    let log = router.log();
    assert!(
        log.contains("the kernel was not as it should be") && log.contains("address add 10.2.2.1/24"),
        "{log}"
    );
    assert_eq!(router.get("/v1/generations").body["current"], 2, "none of it is a generation");
}

#[test]
fn what_is_only_to_be_reported_is_left_as_it_is() {
    let House { router, mut lab } = house();
    router.change(json!({"drift": "report"}));
    let ours = Picture::of(&lab);
    let mut expected = Vec::new();
    for (deed, probe, line) in &DEEDS[..5] {
        lab.ok("router", deed);
        expected.push(*line);
        let drift = until("it is told", || {
            let drift = drift(&router);
            expected
                .iter()
                .all(|line| told(&drift).iter().any(|told| told.starts_with(line)))
                .then_some(drift)
        });
        let event = drift["events"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&event["generation"], &event["put_back"]), (&json!(3), &json!(false)), "{event:#}");
        assert!(!holds(&lab, probe), "`{deed}` was undone");
    }
    // Each once, however often something else happens.
    for _ in 0..3 {
        lab.ok("router", "ip route add 10.77.0.0/16 via 10.1.1.254");
        lab.ok("router", "ip route delete 10.77.0.0/16");
        lab.ok("router", "nft add table inet alien");
        lab.ok("router", "nft delete table inet alien");
    }
    let status = until("it has looked", || {
        let status = router.get("/v1/status").body;
        (status["drift"]["present"].as_u64().unwrap() >= 5).then_some(status)
    });
    let times = |line: &str| told(&status["drift"]).iter().filter(|told| told.starts_with(line)).count();
    assert_eq!(expected.iter().map(|line| times(line)).collect::<Vec<_>>(), [1; 5], "{status:#}");
    assert_eq!((&status["state"], &status["repairs"]), (&json!("degraded"), &json!(0)), "{status:#}");
    let reasons = status["reasons"].to_string();
    assert!(reasons.contains("the kernel differs from generation 3 in"), "{reasons}");
    // What is put back by hand is no difference any more, and may be one again.
    lab.ok("router", "sysctl -qw net.ipv4.ip_forward=1");
    let present = status["drift"]["present"].as_u64().unwrap();
    until("less is there", || (drift(&router)["present"].as_u64().unwrap() < present).then_some(()));
    lab.ok("router", "sysctl -qw net.ipv4.ip_forward=0");
    until("it is told again", || {
        (told(&drift(&router)).iter().filter(|told| told.contains("ip_forward")).count() == 2).then_some(())
    });
    // A device that comes back is configured, as that is no drift; everything else is carried out with it.
    lab.ok("router", "ip link delete eth4");
    lab.plug("router", "eth4", DEVICES[4].1, "guest2");
    until("the device is configured", || holds(&lab, "ip -4 address show to 10.2.2.1").then_some(()));
    let status = until("all is as it should be", || {
        let status = router.get("/v1/status").body;
        (status["drift"]["present"] == 0 && status["state"] == "ok").then_some(status)
    });
    let last = status["drift"]["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["cause"], &last["put_back"]), (&json!("devices"), &json!(true)), "{last:#}");
    // Whoever wants it put back after all says so.
    lab.ok("router", "ip route delete 10.9.0.0/16");
    until("it is told", || (drift(&router)["present"] == 1).then_some(()));
    assert!(!holds(&lab, "ip route show 10.9.0.0/16"));
    router.change(json!({"drift": "repair"}));
    assert!(holds(&lab, "ip route show 10.9.0.0/16"));
    drop(ours);
}

#[test]
fn whoever_fights_is_told_of_and_costs_little() {
    let House { router, mut lab } = house();
    let ours = Picture::of(&lab);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("fighter");
    fs::write(&script, "#!/bin/sh\nwhile :; do nft flush chain inet vrouter forward; ip route delete 10.9.0.0/16; done 2>/dev/null\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let fighter = lab.start("router", script.to_str().unwrap());
    let status = until("the fight is told of", || {
        let status = router.get("/v1/status").body;
        status["drift"]["fight_since"].is_string().then_some(status)
    });
    let reasons = status["reasons"].to_string();
    assert!(reasons.contains("somebody changes what is ours faster than it is put back"), "{reasons}");
    let (begin, before) = (Instant::now(), status["drift"]["total"].as_u64().unwrap());
    // It answers, and changes can be made, while somebody fights.
    router.ask("POST", "/v1/plan", router.document().to_string().as_bytes());
    std::thread::sleep(Duration::from_secs(5));
    let after = drift(&router)["total"].as_u64().unwrap();
    let seconds = begin.elapsed().as_secs();
    eprintln!("{} events in {seconds} s of a fight, {before} before", after - before);
    assert!(after > before && after - before <= seconds + 2, "{before} and {after} after {seconds} s");
    lab.kill(fighter);
    ours.comes_back(&lab, "a fight");
    until("the fight is over", || drift(&router)["fight_since"].is_null().then_some(()));
    until("all is well", || (router.get("/v1/status").body["state"] == "ok").then_some(()));
    assert!(router.log().contains("nobody fights over what is ours any more"));
}
