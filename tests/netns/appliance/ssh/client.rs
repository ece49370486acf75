//! Operators with keys of their own, and the client that they use.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::appliance::house::{House, document, grounds};
use crate::appliance::router::Router;
use crate::lab::{Lab, PATIENCE};

/// Where operators find the router.
pub(super) const ROUTER: &str = "192.168.0.188";

/// A folder of keys, and what the client knows of hosts.
#[derive(Debug)]
pub(super) struct Desk(TempDir);

/// What the client said, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Desk {
    /// Keys of Alice, who may change, Bob, who may look, and Mallory, whom nobody knows.
    pub(super) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for (name, kind) in [("alice", "ed25519"), ("bob", "ecdsa"), ("mallory", "ed25519")] {
            let file = desk.path(name);
            let line = ["-q", "-N", "", "-C", "a comment", "-t", kind, "-f"];
            let made = Command::new("ssh-keygen").args(line).arg(file).status().unwrap();
            assert!(made.success());
        }
        desk
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The public half of a key, as it stands in its file.
    pub(super) fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    /// What turns SSH on for Alice and Bob.
    pub(super) fn ssh(&self) -> Value {
        json!({"keys": {
            "alice": {"public_key": self.public("alice"), "role": "write"},
            "bob": {"public_key": self.public("bob"), "role": "read"}
        }})
    }

    /// The client's command line, up to the router.
    pub(super) fn line(&self, key: &str, options: &[&str]) -> Vec<String> {
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let key = self.path(key).display().to_string();
        let fixed = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", &known];
        let more = ["-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=5", "-i", &key];
        let words = fixed.iter().chain(&more).chain(options).map(|word| (*word).to_owned());
        words.collect()
    }

    /// A client at a station, started.
    pub(super) fn start(
        &self,
        lab: &Lab,
        (station, key): (&str, &str),
        options: &[&str],
        command: &[&str],
    ) -> Child {
        self.start_to(lab, (station, key, ROUTER), options, command)
    }

    /// The same to any address.
    pub(super) fn start_to(
        &self,
        lab: &Lab,
        (station, key, router): (&str, &str, &str),
        options: &[&str],
        command: &[&str],
    ) -> Child {
        let mut words = self.line(key, options);
        words.push(format!("anybody@{router}"));
        words.extend(command.iter().map(|word| (*word).to_owned()));
        // Nobody waits for ever for a client that does.
        let patience = PATIENCE.as_secs().to_string();
        let mut line = vec!["timeout", "-k", "1", &patience];
        line.extend(words.iter().map(String::as_str));
        let mut client = lab.command(station, &line);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What comes of a command of somebody at the management network, with this on standard input.
    pub(super) fn run(&self, lab: &Lab, key: &str, command: &[&str], input: &[u8]) -> Said {
        said(self.start(lab, ("admin", key), &[], command), input)
    }
}

/// Gives a client its input and waits for its end.
pub(super) fn said(mut client: Child, input: &[u8]) -> Said {
    let mut stdin = client.stdin.take().unwrap();
    let input = input.to_vec();
    let giving = std::thread::spawn(move || {
        // A client that ends early takes no more of it.
        let _ = stdin.write_all(&input);
    });
    let output = client.wait_with_output().unwrap();
    giving.join().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A house whose router lets Alice and Bob in.
pub(super) fn house() -> (House, Desk) {
    let desk = Desk::new();
    let house = House::with(json!({"hostname": "vr-1", "ssh": desk.ssh()}));
    (house, desk)
}

/// The same, of which the service can be stopped and started.
pub(super) fn lab_and_router() -> (Lab, Router, Desk) {
    let (lab, desk) = (grounds(), Desk::new());
    let router = Router::start(&lab, "router");
    let mut document = document();
    document["ssh"] = desk.ssh();
    router.configure(&document);
    (lab, router, desk)
}

/// How many operators are connected, as the router tells it.
pub(super) fn operators(router: &Router) -> Option<u64> {
    router.get("/v1/status").body["services"]["ssh"]["operators"].as_u64()
}

/// Whether a station reaches the router's port at an address.
pub(super) fn reaches(lab: &Lab, station: &str, address: &str) -> bool {
    lab.run_all(station, &["nc", "-z", "-w", "2", address, "22"]).success
}
