//! A disk that is full: changes are refused with a sentence, and the router runs on.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::house::{document, grounds};
use super::picture::Picture;
use super::router::Router;
use crate::lab::until;

/// The disk: room for a few generations.
const OCTETS: usize = 512 << 10;

/// More than the last page of a file may have left.
fn many_eips() -> Value {
    let eip = |last: u8| json!({"address": format!("198.51.100.{last}"), "interface": "public", "target": format!("10.1.1.{last}")});
    json!({"eips": (100..180).map(|last| (format!("e{last}"), eip(last))).collect::<Map<_, _>>()})
}

/// Takes all the room that there is.
fn fill(router: &Router) -> PathBuf {
    let path = router.state().join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_stops_changes_and_nothing_else() {
    let lab = grounds();
    let mut router = Router::on_small_disk(&lab, "router", OCTETS);
    router.configure(&document());
    let before = Picture::of(&lab);
    let filler = fill(&router);
    let eips = many_eips();
    for (path, says) in [("/v1/config", "generations.journal"), ("/v1/config?confirm=60", "confirm.journal")]
    {
        let answer = router.ask("PATCH", path, eips.to_string().as_bytes());
        assert_eq!((answer.status, &answer.body["type"]), (507, &json!("urn:vrouter:problem:not-stored")));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("No space left on device") && detail.contains(says), "{detail}");
        assert!(detail.ends_with("generation 1 runs on"), "{detail}");
        before.is(&lab, "nothing of it is left");
    }
    assert!(lab.pings("client", "192.0.2.53"), "what runs, runs on");
    let status = router.get("/v1/status").body;
    assert_eq!((&status["generation"], &status["unconfirmed"]), (&json!(1), &json!(null)), "{status:#}");
    // It also starts on a full disk.
    router.kill();
    router.relaunch();
    before.is(&lab, "after a restart on a full disk");
    fs::remove_file(filler).unwrap();
    assert_eq!(router.change(eips), 2);
}

#[test]
fn what_is_not_confirmed_goes_back_though_the_disk_is_full() {
    let lab = grounds();
    let mut router = Router::on_small_disk(&lab, "router", OCTETS);
    router.configure(&document());
    router.change(many_eips());
    let before = Picture::of(&lab);
    let patch = json!({"interfaces": {"guest2": {"addresses": ["10.9.9.1/24"]}}, "eips": null});
    let answer = router.ask("PATCH", "/v1/config?confirm=2", patch.to_string().as_bytes());
    assert_eq!(answer.generation(), 3);
    let filler = fill(&router);
    before.comes_back(&lab, "a change that nobody confirmed");
    let status = until("the status says what is owed", || {
        let status = router.get("/v1/status").body;
        status["went_back"]["not_stored"].is_string().then_some(status)
    });
    assert_eq!((&status["state"], &status["generation"]), (&json!("degraded"), &json!(2)), "{status:#}");
    let refused = router.patch(&json!({"hostname": "vr-9"}));
    assert_eq!(refused.status, 507, "{refused:#?}");
    // Not even a kill makes it come again.
    router.kill();
    router.launch();
    before.comes_back(&lab, "a kill");
    fs::remove_file(filler).unwrap();
    until("it is stored", || (router.get("/v1/generations").body["current"] == 4).then_some(()));
    before.is(&lab, "when it is stored");
    assert_eq!(router.change(json!({"hostname": "vr-9"})), 5);
}
