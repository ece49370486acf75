//! What comes to ZStack's port, over real connections to the real server, ledger and worker: a command that is refused
//! changes nothing, one that is taken is answered once, whatever is sent leaves no task open, and nothing of it is held for
//! ever. An input's first octet says whether it is a path, a line's end and a body, or octets as they are.
//!
//! Commands name NICs of this machine by their MACs: `tests/fuzz/run` gives the target a network namespace that has them.
#![no_main]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use vrouter::plan::facts::Link;
use vrouter::reconcile::Published;
use vrouter::zstack::{Manner, first_document, manner, service};

mod growth;
mod house;
mod node;
#[path = "../../laws/surroundings.rs"]
mod surroundings;

use self::growth::Growth;
use self::house::{House, same};
use self::node::{Node, statuses};

/// What stands for a task's uuid in octets that are sent as they are.
const TASK: &[u8] = b"{TASK}";
/// What stands for the management node's callback there.
const NODE: &[u8] = b"{NODE}";
/// What counts commands that were carried out.
const DONE: &str = "zstack_commands_total{outcome=\"done\"}";
/// A command that changes nothing and waits behind all others.
const LAST: &str = "/getroutes";

static FIRST: LazyLock<Value> = LazyLock::new(|| {
    let told: Value = serde_json::from_slice(include_bytes!("../seeds/virtio_serial/host")).expect("JSON");
    first_document(&told).expect("a host's words")
});

static DOOR: LazyLock<Mutex<Door>> = LazyLock::new(|| Mutex::new(Door::new()));

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let mut door = DOOR.lock().expect("nobody panicked");
    match kind % 4 {
        0 => door.octets(data),
        _ => door.command(data),
    }
    let Door { house, growth, node, .. } = &mut *door;
    growth.watch(|| {
        house.replace(FIRST.clone());
        let open = node.metric("zstack_tasks{state=\"open\"}");
        assert!(open < 1024, "{open} tasks stay open");
    });
});

/// A router under ZStack, and its management node.
struct Door {
    house: House,
    node: Node,
    growth: Growth,
    _servers: (JoinSet<()>, watch::Sender<bool>),
}

impl Door {
    fn new() -> Self {
        let links = surroundings::links(surroundings::ALL).into_iter().zip(0..);
        let links = links.map(|(link, number)| Link { mac: Some([0xfa, 0, 0, 0, 0, number]), ..link });
        let house = House::new(links.collect(), FIRST.clone());
        let (stop, stopping) = watch::channel(false);
        let mut servers = JoinSet::new();
        let port = house.runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
            let port = listener.local_addr().expect("an address");
            let options = service::Options { listen: vec![port], port: PathBuf::from("/nonexistent") };
            let of = (house.handle.clone(), house.reporter.clone());
            let machine = service::Machine { state_dir: house.folder.path(), memory: u64::MAX };
            service::start(options, vec![listener], machine, of, &mut servers, &stopping)
                .await
                .expect("the personality");
            port
        });
        let growth = Growth::of_at_most(32 << 20);
        Self { house, node: Node::of(port), growth, _servers: (servers, stop) }
    }

    /// One command as the management node sends it: a path, and what is behind the end of its line is the body.
    fn command(&mut self, data: &[u8]) {
        let mut parts = data.splitn(2, |octet| *octet == b'\n');
        let path = parts.next().unwrap_or_default();
        let path = match std::str::from_utf8(path) {
            Ok(path) if path.starts_with('/') && path.bytes().all(|octet| octet.is_ascii_graphic()) => path,
            _ => return,
        };
        let (task, before) = (self.node.fresh(), self.house.published());
        let status = self.node.post(&task, path, parts.next().unwrap_or_default());
        let plain = path.split(['?', '#']).next().unwrap_or_default();
        if status != 200 {
            assert!(matches!(status, 400 | 404 | 405 | 503), "{path}: {status}");
            assert!(same(&before, &self.house.published()), "{path}: refused, and something changed");
        } else if manner(plain.trim_end_matches('/')) == Some(Manner::Queued) {
            let answer = self.node.wait(&task);
            self.check(path, &before, &answer);
        } else {
            assert!(same(&before, &self.house.published()), "{path}: it only asks, and something changed");
        }
    }

    /// Octets as they are. What they came to is over once a command behind them is answered.
    fn octets(&mut self, data: &[u8]) {
        let (task, before) = (self.node.fresh(), self.house.published());
        let octets = filled(data, &[(TASK, task.as_bytes()), (NODE, self.node.callback().as_bytes())]);
        let done = self.node.metric(DONE);
        let said = self.node.say(&octets, true).expect("the port takes connections");
        for status in statuses(&said) {
            assert!(status < 500 || matches!(status, 501 | 503 | 505), "{}", String::from_utf8_lossy(&said));
        }
        let last = self.node.fresh();
        assert_eq!(self.node.post(&last, LAST, b"{}"), 200);
        self.node.wait(&last);
        if self.node.metric(DONE) == done + 1 {
            assert!(same(&before, &self.house.published()), "nothing was done, and something changed");
        }
    }

    /// What is refused has a reason and changes nothing; what is done leaves the router ZStack's.
    fn check(&self, path: &str, before: &Published, answer: &Value) {
        let after = self.house.published();
        match answer["success"].as_bool() {
            Some(true) => {
                let owner = after.config.owner().and_then(|owner| owner.zstack.as_ref());
                assert!(owner.is_some(), "{path} gave the router away");
                let one_more = after.generation == before.generation + 1;
                assert!(one_more || same(before, &after), "{path}: {answer}");
            }
            Some(false) => {
                assert!(answer["error"].as_str().is_some_and(|why| !why.is_empty()), "{path}: {answer}");
                assert!(same(before, &after), "{path}: {answer}, and something changed");
            }
            None => panic!("{path}: {answer}"),
        }
    }
}

/// Octets with what stands for something replaced by it.
fn filled(data: &[u8], names: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some((first, behind)) = rest.split_first() {
        let named = names.iter().find_map(|(name, value)| Some((rest.strip_prefix(*name)?, value)));
        rest = match named {
            Some((behind, value)) => {
                octets.extend_from_slice(value);
                behind
            }
            None => {
                octets.push(*first);
                behind
            }
        };
    }
    octets
}
