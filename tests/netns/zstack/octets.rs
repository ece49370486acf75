//! Octets that nobody thought of, at every door of a running service: the native port on TCP and on its socket, ZStack's
//! port, and the port of the host. It stays the same process, runs what it ran, and holds no more than it did.
//!
//! `VROUTER_OCTETS` says how many requests are made (3,000), `VROUTER_SEED` has them again.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::node::{CALLBACK, Node};
use super::scene::{Scene, bootstrap, eip, padded};
use crate::appliance::chance::Chance;
use crate::appliance::house::{document, grounds};
use crate::appliance::router::Router;
use crate::lab::{PATIENCE, until};

/// How much more memory may be in use at the end than after the first requests, in octets.
const GROWTH: usize = 24 << 20;
/// How many descriptors more.
const DESCRIPTORS: usize = 8;
/// How long the host's octets are left alone between two pieces: the port is looked at ten times a second.
const PAUSE: Duration = Duration::from_millis(110);

/// Requests to the native API. Whatever is well-formed among them is refused, because ZStack owns the router.
fn native() -> Vec<Vec<u8>> {
    let whole = document().to_string();
    let patch =
        json!({"eips": {"e": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}});
    let trace = json!({"interface": "public", "source": "192.0.2.53", "destination": "198.51.100.7",
                       "protocol": "tcp", "ports": {"source": 4000, "destination": 80}});
    let deep = format!("{}{}", "[".repeat(400), "{\"a\":".repeat(400));
    let mut requests = Vec::new();
    for (method, path, kind, body) in [
        ("POST", "/v1/config", "application/json", whole.as_str()),
        ("PUT", "/v1/config?confirm=60", "application/json", whole.as_str()),
        ("PATCH", "/v1/config", "application/merge-patch+json", &patch.to_string()),
        ("POST", "/v1/plan", "application/json", whole.as_str()),
        ("POST", "/v1/rollback", "application/json", "{\"generation\": 1}"),
        ("POST", "/v1/confirm", "application/json", "{\"generation\": 1}"),
        ("POST", "/v1/trace", "application/json", &trace.to_string()),
        ("POST", "/v1/config", "application/json", &deep),
        ("GET", "/v1/config?generation=1", "", ""),
        ("GET", "/v1/generations/1/diff?to=1", "", ""),
        ("GET", "/v1/status", "", ""),
        ("GET", "/metrics", "", ""),
        ("DELETE", "/v1/balancers/%2e%2e", "", ""),
    ] {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: router\r\nContent-Type: {kind}\r\nIf-Match: \"1\"\r\nContent-Length: {length}\r\n\r\n"
        );
        requests.push([head.as_bytes(), body.as_bytes()].concat());
        let chunked =
            format!("{method} {path} HTTP/1.1\r\nHost: router\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
        requests.push([chunked.as_bytes(), chunk.as_bytes()].concat());
    }
    requests
}

/// What stands for the callback until a request is spoiled: what is left of it is the whole callback or none, so that no
/// answer goes where nobody takes it.
const HERE: &str = "{HERE}";

/// Requests to ZStack's port. Those that are taken are refused by their answers: none has a body that makes sense.
fn commands(task: &str) -> Vec<Vec<u8>> {
    let cut = json!({"eip": eip(100, 20)}).to_string();
    let mut requests = Vec::new();
    for (path, callback, body) in [
        ("/createeip", HERE, &cut[..cut.len() / 2]),
        ("/createvip", HERE, "{\"vips\": [{\"ip\": 7}]}"),
        ("/syncsnat", HERE, "[[[["),
        ("/lb/refresh", HERE, "{\"lbs\": [{\"listenerUuid\": \"x\", \"nicIps\": [\"x\"]}]}"),
        ("/init", "http://203.0.113.99/", "{}"),
        ("/nothing", HERE, "{}"),
        ("/echo", HERE, ""),
    ] {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: router\r\ntaskuuid: {task}\r\ncallbackurl: {callback}\r\nContent-Length: {length}\r\n\r\n"
        );
        requests.push([head.as_bytes(), body.as_bytes()].concat());
    }
    requests
}

/// Octets by chance, or one of these with a few octets spoiled, or the beginning of it, or all of it.
fn spoiled(chance: &mut Chance, of: &[Vec<u8>]) -> Vec<u8> {
    let below =
        |chance: &mut Chance, bound: usize| usize::try_from(chance.below(bound.max(1) as u64)).unwrap();
    let octet = |chance: &mut Chance| u8::try_from(chance.below(256)).unwrap();
    let mut octets = chance.one(of).clone();
    match chance.below(8) {
        0 => (0..below(chance, 4096)).map(|_| octet(chance)).collect(),
        1 => octets,
        2 => {
            octets.truncate(below(chance, octets.len()));
            octets
        }
        _ => {
            for _ in 0..=chance.below(6) {
                let at = below(chance, octets.len());
                match chance.below(3) {
                    0 => octets[at] = octet(chance),
                    1 => drop(octets.remove(at)),
                    _ => octets.insert(at, *chance.one(b"\"{}[],:\0\r\n/%?9- ")),
                }
            }
            octets
        }
    }
}

/// The request with the callback in its place, to the end of its line.
fn answered_here(octets: &[u8]) -> Vec<u8> {
    let here = HERE.as_bytes();
    let Some(at) = octets.windows(here.len()).position(|part| part == here) else { return octets.to_vec() };
    let behind = &octets[at + here.len()..];
    let end = behind.iter().position(|octet| octet.is_ascii_control()).unwrap_or(behind.len());
    [&octets[..at], CALLBACK.as_bytes(), &behind[end..]].concat()
}

/// A connection to one of the doors.
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Says it, hangs up in one direction, and hears what is said until the service hangs up as well; or is gone at once.
    fn say(self, octets: &[u8], stays: bool) -> Vec<u8> {
        let mut said = Vec::new();
        // Whoever is told nonsense may hang up before all of it was said.
        match self {
            Self::Tcp(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let written = stream.write_all(octets);
                if stays && written.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
                    let _ = stream.read_to_end(&mut said);
                }
            }
            Self::Unix(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let written = stream.write_all(octets);
                if stays && written.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
                    let _ = stream.read_to_end(&mut said);
                }
            }
        }
        said
    }
}

/// What the service holds: resident octets and descriptors.
fn held(router: &Router) -> (usize, usize) {
    let pid = router.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (resident << 10, fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
fn octets_by_chance_at_every_door_change_nothing() {
    let requests = std::env::var("VROUTER_OCTETS").map_or(3000, |count| count.parse().unwrap());
    let mut chance = Chance::new();
    let Scene { router, node, lab } = &Scene::booted();
    let (pid, before) = (router.pid(), router.get("/v1/config"));
    let (socket, natives) = (router.socket(), native());
    let mut settled = (0, 0);
    let (mut answers, mut refusals) = (0, 0);
    for number in 0..requests {
        let door = chance.below(3);
        let octets = match door {
            2 => answered_here(&spoiled(&mut chance, &commands(&format!("octets-{number}")))),
            _ => spoiled(&mut chance, &natives),
        };
        let stays = chance.below(4) > 0;
        let said = lab.inside("router", || {
            let connection = match door {
                0 => Connection::Tcp(TcpStream::connect("127.0.0.1:7270").unwrap()),
                1 => Connection::Unix(UnixStream::connect(&socket).unwrap()),
                _ => Connection::Tcp(TcpStream::connect("127.0.0.1:7272").unwrap()),
            };
            connection.say(&octets, stays)
        });
        let status =
            std::str::from_utf8(said.get(9..12).unwrap_or_default()).ok().and_then(|text| text.parse().ok());
        if let Some(status) = status {
            let status: u16 = status;
            assert!(!matches!(status, 500 | 502 | 507), "{}", String::from_utf8_lossy(&said));
            answers += 1;
            refusals += u32::from(status >= 400);
        }
        if number == requests / 4 {
            settled = held(router);
        }
    }
    eprintln!("{requests} requests, {answers} answers, {refusals} of them refusals");
    assert!(answers > requests / 4 && refusals > answers / 3, "{answers} answers, {refusals} refusals");
    // A task whose sender is gone is over all the same.
    until("no task stays open", || (node.metric(lab, "zstack_tasks{state=\"open\"}") == 0.0).then_some(()));
    let after = router.get("/v1/config");
    assert_eq!(router.pid(), pid);
    let etag = |head: &str| head.lines().find(|line| line.starts_with("etag: ")).map(str::to_owned);
    assert_eq!((etag(&after.head), etag(&before.head)), (Some("etag: \"1\"".to_owned()), etag(&after.head)));
    assert_eq!(after.body, before.body);
    let (resident, descriptors) = until("what was opened is closed", || {
        let held = held(router);
        (held.1 <= settled.1 + DESCRIPTORS).then_some(held)
    });
    eprintln!(
        "resident {} KiB, then {} KiB; descriptors {}, then {descriptors}",
        settled.0 >> 10,
        resident >> 10,
        settled.1
    );
    assert!(resident < settled.0 + GROWTH, "{settled:?}, then {resident}");
    assert!(!router.log().contains("panicked"), "{}", router.log());
    assert_eq!(node.ping(lab)["success"], true, "it does what it did");
}

#[test]
fn octets_by_chance_from_the_host_are_no_configuration() {
    let mut chance = Chance::new();
    let lab = grounds();
    let mut router = Router::for_zstack(&lab, "router");
    let told = padded(&bootstrap()).into_bytes();
    // Beginnings of it and what is no object: nothing of that is a configuration, however it is put together.
    let beginnings: Vec<Vec<u8>> = (1..40).map(|number| told[..number * 20].to_vec()).collect();
    fs::write(router.vport(), b"").unwrap();
    router.launch();
    let pid = router.pid();
    let write = |octets: &[u8]| {
        fs::OpenOptions::new().append(true).open(router.vport()).unwrap().write_all(octets).unwrap();
    };
    let settled = held(&router);
    for _ in 0..30 {
        for _ in 0..chance.below(20) {
            let piece = spoiled(&mut chance, &beginnings);
            write(&piece.into_iter().filter(|octet| *octet != b'}').collect::<Vec<_>>());
        }
        std::thread::sleep(PAUSE);
        assert_eq!(router.get("/v1/generations").body["current"], 0, "{}", router.log());
    }
    // More than is taken of one object ends whatever began, and what is said then counts.
    write(&vec![b'x'; (1 << 20) + 8192]);
    until("it is nonsense", || {
        router.log().contains("what came by the port is no configuration").then_some(())
    });
    until("the machine is what its host says", || {
        write(&told);
        std::thread::sleep(PAUSE);
        (router.get("/v1/generations").body["current"] == 1).then_some(())
    });
    assert_eq!(router.pid(), pid);
    let (resident, descriptors) = held(&router);
    assert!(
        resident < settled.0 + GROWTH && descriptors <= settled.1 + DESCRIPTORS + 8,
        "{settled:?}, {resident}"
    );
    assert!(!router.log().contains("panicked"), "{}", router.log());
    Node::start(&lab).until_there(&lab);
}
