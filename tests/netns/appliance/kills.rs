//! `kill -9` at random instants of a storm of changes: what was acknowledged runs, and what is forwarded never stops.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use vrouter::config::Config;
use vrouter::merge_patch;

use super::chance::Chance;
use super::house::House;
use super::picture::Picture;
use super::router::Door;
use crate::lab::Lab;

/// How often the service is killed.
const KILLS: usize = 12;
/// The longest time between the first change of a life and its end.
const LIFE_MS: u64 = 250;

/// The longest time that a start is left to itself which is not to be finished.
const START_MS: u64 = 80;

/// A change that is never none: each has a number of its own in it.
fn patch(chance: &mut Chance, number: u64) -> Value {
    let slot = chance.below(8);
    let (id, last) = (format!("s{slot}"), 100 + slot);
    let port = 10_000 + number % 50_000;
    let own = json!({"protocol": "udp", "address": "198.51.100.5", "ports": format!("{port}"),
                     "target": "10.1.1.21", "target_ports": format!("{port}")});
    let mut patch = json!({"port_forwards": {"number": own}});
    match chance.below(6) {
        0 => {
            patch["eips"] = json!({id: {"address": format!("198.51.100.{last}"), "interface": "public",
                                         "target": format!("10.1.1.{last}")}})
        }
        1 => patch["eips"] = json!({id: null}),
        2 => {
            patch["firewall"] = json!({"rules": {id: {"priority": 500 + slot, "direction": "egress",
            "protocol": "tcp", "destination_ports": [format!("{port}")], "action": "reject"}}})
        }
        3 => patch["firewall"] = json!({"rules": {id: null}}),
        4 => {
            patch["interfaces"] =
                json!({"guest2": {"addresses": ["10.2.2.1/24", format!("10.3.{slot}.1/24")]}})
        }
        _ => {
            patch["routes"] =
                json!({"branch": {"destination": format!("10.9.{slot}.0/24"), "via": "10.1.1.254"}})
        }
    }
    patch
}

/// What a client knows: the document of the last answer, and the one that it asked for without an answer.
struct Client {
    generation: u64,
    document: Value,
    unanswered: Option<Value>,
    number: u64,
}

impl Client {
    /// Sends changes until the service does not answer any more.
    fn storm(&mut self, door: &Door, chance: &mut Chance, stop: &AtomicBool, answered: &AtomicU64) {
        while !stop.load(Ordering::Relaxed) {
            self.number += 1;
            let patch = patch(chance, self.number);
            let mut document = self.document.clone();
            merge_patch::merge(&mut document, patch.clone());
            self.unanswered = Some(document);
            let Ok(answer) = door.request("PATCH", "/v1/config", &[], patch.to_string().as_bytes()) else {
                return;
            };
            assert_eq!(answer.generation(), self.generation + 1, "{patch}");
            self.generation += 1;
            self.document = self.unanswered.take().unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The service is back: it runs what was acknowledged, or the one change whose answer did not come through.
    fn compare(&mut self, generation: u64, document: &Value) {
        if generation == self.generation + 1 {
            self.document = self.unanswered.take().expect("no change was under way");
            self.generation = generation;
        }
        assert_eq!(generation, self.generation, "the generation that was acknowledged last runs");
        // As the service writes it, with defaults stated.
        let expected = Config::default().replace(self.document.clone()).unwrap().to_json();
        assert_eq!(*document, expected, "generation {generation}");
        self.unanswered = None;
    }
}

/// What the kernel maps is what the document says: no mapping of a change that was never made is left behind.
fn mapped(lab: &Lab, document: &Value) {
    let map = |name: &str| lab.ok("router", &format!("nft list map inet vrouter {name}"));
    let (eips, forwards) = (map("eips"), map("forwards"));
    let wanted = document["eips"].as_object().unwrap();
    assert_eq!(eips.matches(" : 10.1.1.").count(), wanted.len(), "{eips}");
    for eip in wanted.values() {
        let element = format!("{} : {}", eip["address"].as_str().unwrap(), eip["target"].as_str().unwrap());
        assert!(eips.contains(&element), "{element} is not in {eips}");
    }
    let port = document["port_forwards"]["number"]["ports"].as_str();
    assert_eq!(forwards.matches(" : 10.1.1.").count(), usize::from(port.is_some()), "{forwards}");
    assert!(
        port.is_none_or(|port| forwards.contains(&format!("udp . {port} :"))),
        "{port:?} is not in {forwards}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_and_forwarding_never_stops() {
    let mut chance = Chance::new();
    let House { mut router, lab } = House::with(json!({
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        "firewall": {"rules": {"web-in": {"priority": 20, "direction": "ingress", "protocol": "tcp",
            "address": "198.51.100.7", "destination_ports": ["80"], "action": "accept"}}}
    }));
    for station in ["internet", "web1"] {
        lab.serve(station, 80);
    }
    let pings = [lab.ping_on("client", "192.0.2.53", 50), lab.ping_on("internet", "198.51.100.7", 50)];
    let streams = [lab.stream("client", "192.0.2.53:80"), lab.stream("internet", "198.51.100.7:80")];
    let mut client = Client { generation: 2, document: router.document(), unanswered: None, number: 0 };
    let (mut acknowledged, mut unseen) = (0, 0);
    for _ in 0..KILLS {
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let pause = Duration::from_millis(chance.below(LIFE_MS));
        let door = router.door();
        thread::scope(|scope| {
            let storm = scope.spawn(|| client.storm(&door, &mut chance, &stop, &answered));
            thread::sleep(pause);
            router.kill();
            stop.store(true, Ordering::Relaxed);
            storm.join().unwrap();
        });
        acknowledged += answered.load(Ordering::Relaxed);
        // Some are killed once more while they take over.
        if chance.below(2) == 0 {
            router.launch_and_kill(Duration::from_millis(chance.below(START_MS)));
        }
        let before = client.generation;
        router.relaunch();
        client.compare(router.get("/v1/generations").body["current"].as_u64().unwrap(), &router.document());
        unseen += client.generation - before;
        mapped(&lab, &client.document);
        for stream in &streams {
            stream.goes_on();
        }
    }
    let pings: Vec<u64> = pings.into_iter().map(super::traffic::Pings::end).collect();
    let bytes: Vec<u64> = streams.into_iter().map(super::traffic::Stream::end).collect();
    eprintln!(
        "{KILLS} kills, {acknowledged} changes acknowledged, {unseen} without an answer, {pings:?} pings, {bytes:?} octets"
    );
    assert!(acknowledged > 0);
    // What runs is what a service that knows nothing makes of the same document.
    let survived = Picture::of(&lab);
    router.kill();
    fs::remove_dir_all(router.state()).unwrap();
    router.relaunch();
    router.configure(&client.document);
    survived.is(&lab, "made anew");
}
