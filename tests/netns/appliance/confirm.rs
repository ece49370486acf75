//! Changes that wait to be confirmed: who cuts himself off gets the router back, whatever happens to it meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chance::Chance;
use super::house::{House, document, grounds};
use super::picture::Picture;
use super::router::{Router, TOKEN};
use crate::lab::{Lab, until};

/// How long changes wait here, in seconds: long enough that whoever is cut off can see it.
const WAIT: u64 = 4;
const SHORT_WAIT: u64 = 3;
/// How often the service is killed while a change waits.
const KILLS: usize = 5;
const API: &str = "http://192.168.0.188:7270";

/// The management network as it is at another site: whoever posts this is cut off.
fn elsewhere() -> Value {
    json!({"interfaces": {"mgmt": {"addresses": ["192.168.77.188/24"]}}, "eips": null,
           "firewall": {"rules": {"ping-in": null}}})
}

/// What the operator on the management network is answered, if he is within so many seconds.
fn operator(lab: &Lab, seconds: &str, method: &str, path: &str, body: &str) -> Option<Value> {
    let url = format!("{API}{path}");
    let arguments =
        ["curl", "-s", "--oauth2-bearer", TOKEN, "--max-time", seconds, "-X", method, "-d", body, &url];
    let said = lab.run_all("admin", &arguments);
    serde_json::from_str(&said.stdout).ok().filter(|_| said.success)
}

fn runs(lab: &Lab) -> Option<u64> {
    operator(lab, "1", "GET", "/v1/generations", "")?["current"].as_u64()
}

#[test]
fn a_change_that_cuts_off_the_management_plane_comes_back_by_itself() {
    let lab = grounds();
    let router = Router::listening(&lab, "router", "192.168.0.188:7270");
    router.configure(&document());
    router.change(
        json!({"eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}}),
    );
    let (before, told) = (Picture::of(&lab), router.document());
    assert_eq!(runs(&lab), Some(2));

    // The answer may be lost with the address that it comes from.
    let begin = Instant::now();
    operator(&lab, "1", "PATCH", &format!("/v1/config?confirm={WAIT}"), &elsewhere().to_string());
    until("the operator is cut off", || runs(&lab).is_none().then_some(()));
    until("the operator has his router back", || {
        let now = runs(&lab);
        assert_ne!(now, Some(2), "what comes back has a number of its own");
        (now == Some(4)).then_some(())
    });
    let took = begin.elapsed();
    eprintln!("back after {took:?} of {WAIT} s");
    assert!(took >= Duration::from_secs(WAIT), "{took:?}");
    before.is(&lab, "when it went back");
    assert_eq!(router.document(), told);
    let status = router.get("/v1/status").body;
    assert_eq!(status["went_back"]["why"], "not confirmed", "{status:#}");
    let last = router.get("/v1/generations").body["generations"][3].clone();
    assert_eq!(last["origin"], "not confirmed: back to 2");

    // A change that does no harm is confirmed, and stays.
    let hello = json!({"hostname": "vr-9"}).to_string();
    let answer = operator(&lab, "30", "PATCH", &format!("/v1/config?confirm={WAIT}"), &hello).unwrap();
    assert_eq!(answer["unconfirmed"]["back_to"], 4, "{answer:#}");
    let status = router.get("/v1/status").body;
    assert_eq!(status["unconfirmed"]["back_to"], 4);
    let confirmed = operator(&lab, "30", "POST", "/v1/confirm", r#"{"generation":5}"#).unwrap();
    assert_eq!(confirmed, json!({"generation": 5, "confirmed": true}));
    let log = router.log();
    let audited = |what: &str| log.lines().any(|line| line.contains("audit") && line.contains(what));
    assert!(audited("origin=\"not confirmed: back to 2\""), "{log}");
    assert!(audited("a change was confirmed who=\"token tests\""), "{log}");
    thread::sleep(Duration::from_secs(WAIT));
    assert_eq!(runs(&lab), Some(5));
    assert_eq!(router.document()["hostname"], "vr-9");
}

/// Who is missed needs not be waited for: the deadline is far, and he has his router back.
#[test]
fn an_operator_who_cannot_be_reached_any_more_has_his_router_back_early() {
    let lab = grounds();
    let router = Router::listening(&lab, "router", "192.168.0.188:7270");
    router.configure(&document());
    let before = Picture::of(&lab);
    let begin = Instant::now();
    operator(&lab, "1", "PATCH", "/v1/config?confirm=3600", &elsewhere().to_string());
    let waits = router.get("/v1/status").body["unconfirmed"].clone();
    assert_eq!(
        (&waits["watched"], &waits["author"]["name"]),
        (&json!(true), &json!("token tests")),
        "{waits:#}"
    );
    assert!(waits["author"]["from"].as_str().unwrap().starts_with("192.168.0.10:"), "{waits:#}");
    until("the operator is cut off", || runs(&lab).is_none().then_some(()));
    until("the operator has his router back", || (runs(&lab) == Some(3)).then_some(()));
    eprintln!("back after {:?}", begin.elapsed());
    before.is(&lab, "when it went back");
    let last = router.get("/v1/generations").body["generations"][2].clone();
    assert_eq!(last["origin"], "management plane out of reach: back to 1");
    // Who asks over the socket is on this machine, and only the deadline counts.
    let answer = router.ask("PATCH", "/v1/config?confirm=3600", elsewhere().to_string().as_bytes());
    assert_eq!(answer.body["unconfirmed"]["watched"], false);
    assert_eq!(router.ask("POST", "/v1/confirm", b"").body, json!({"generation": 4, "confirmed": true}));
}

/// The promise holds over kills at any instant, and over any length of being dead.
#[test]
fn what_was_not_confirmed_goes_back_after_a_kill() {
    let mut chance = Chance::new();
    let House { mut router, lab } = House::with(json!({
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}
    }));
    let (before, told) = (Picture::of(&lab), router.document());
    let pings = lab.ping_on("client", "192.0.2.53", 50);
    for kill in 0..KILLS {
        let door = router.door();
        let patch = elsewhere().to_string();
        let begin = Instant::now();
        let posted = thread::spawn(move || {
            door.request("PATCH", &format!("/v1/config?confirm={SHORT_WAIT}"), &[], patch.as_bytes())
        });
        // Some kills fall into the change itself.
        thread::sleep(Duration::from_millis(chance.below(60)));
        router.kill();
        let answered = posted.join().unwrap().is_ok();
        if kill % 2 == 0 {
            // It comes back too late.
            thread::sleep(Duration::from_secs(SHORT_WAIT).saturating_sub(begin.elapsed()));
        }
        router.relaunch();
        until("what was not confirmed goes back", || (router.document() == told).then_some(()));
        until("it is settled", || router.get("/v1/status").body["unconfirmed"].is_null().then_some(()));
        before.comes_back(&lab, "a kill");
        let took = begin.elapsed();
        eprintln!("kill {kill}: answered {answered}, back after {took:?}");
        // What was never made needs not go back; nothing takes longer than was asked, but for the start.
        let generations = router.get("/v1/generations").body;
        assert!(!answered || generations["current"].as_u64().unwrap() > 2, "{generations:#}");
    }
    assert!(pings.end() > 0);
    let status = router.get("/v1/status").body;
    assert_eq!(status["state"], "ok", "{status:#}");
}

/// The operator's machine, seen from the router.
#[test]
fn who_is_unplugged_is_missed() {
    use vrouter::reconcile::{Reach as _, Tcp};
    let House { router, lab } = House::with(json!({}));
    let there = || {
        lab.inside("router", || {
            super::super::kernel::runtime().block_on(Tcp.answers("192.168.0.10:4711".parse().unwrap()))
        })
    };
    assert!(there(), "he refuses, so he is there");
    lab.ok("admin", "ip link set eth0 down");
    assert!(!there());
    lab.ok("admin", "ip link set eth0 up");
    until("he is there again", || there().then_some(()));
    router.change(json!({"interfaces": {"mgmt": {"addresses": ["192.168.77.188/24"]}}}));
    assert!(!there(), "nobody is reached over an address of another network");
}
