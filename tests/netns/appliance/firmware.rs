//! Updates of the firmware: a machine in a folder, whose boot loader the tests play, and the real service on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::house::{document, grounds};
use super::router::{Answer, Router};
use crate::lab::{Lab, until};

/// The octets of a slot.
const SLOT: usize = 64 << 20;
/// Whose variables those of the boot loader are.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A machine in a folder.
#[derive(Debug)]
pub(crate) struct Machine(TempDir);

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

impl Machine {
    /// One with the disk of the image, on which version 0.1.0 runs from slot A.
    pub(crate) fn new() -> Self {
        let machine = Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
        for folder in ["sys/class/block", "dev", "efi/EFI/Linux", "usr/share/vrouter", "run/vrouter"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for (number, label) in ["esp", "root-a", "root-b", "data"].iter().enumerate() {
            let device = format!("vda{}", number + 1);
            let folder = machine.path("sys/devices/block/vda").join(&device);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("DEVNAME={device}\nPARTNAME={label}\n")).unwrap();
            fs::write(folder.join("size"), format!("{}\n", SLOT / 512)).unwrap();
            symlink(&folder, machine.path("sys/class/block").join(&device)).unwrap();
            fs::File::create(machine.path("dev").join(&device)).unwrap().set_len(SLOT as u64).unwrap();
        }
        let described =
            [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], key(1).public_key().as_ref()]
                .concat();
        let pem = BASE64_STANDARD.encode(described);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
        fs::write(machine.path("usr/share/vrouter/update.pub"), pem).unwrap();
        fs::write(machine.path("efi/EFI/Linux/vrouter_0.1.0.efi"), "0.1.0").unwrap();
        machine.boot("vrouter_0.1.0.efi", "vrouter_0.1.0.efi", "vda2");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The machine starts this entry, which its boot loader gives another name, from this partition.
    fn boot(&self, entry: &str, counted: &str, device: &str) {
        let _ = fs::remove_dir_all(self.path("run"));
        fs::create_dir_all(self.path("run/vrouter")).unwrap();
        let entries = self.path("efi/EFI/Linux");
        fs::rename(entries.join(entry), entries.join(counted)).unwrap();
        let variables = self.path("sys/firmware/efi/efivars");
        fs::create_dir_all(&variables).unwrap();
        let text = entry.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let file: Vec<u8> = [6, 0, 0, 0].into_iter().chain(text).collect();
        fs::write(variables.join(format!("LoaderEntrySelected-{VENDOR}")), file).unwrap();
        let slaves = self.path("sys/class/block/dm-0/slaves");
        let _ = fs::remove_dir_all(&slaves);
        fs::create_dir_all(&slaves).unwrap();
        fs::write(slaves.join(device), "").unwrap();
    }

    /// The boot loader's entries, and whatever else is there.
    fn entries(&self) -> Vec<String> {
        let found = fs::read_dir(self.path("efi/EFI/Linux")).unwrap();
        let mut names: Vec<String> =
            found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_there(&self, name: &str) -> bool {
        self.path("run/vrouter").join(name).exists()
    }

    /// What the service is started with.
    pub(crate) fn arguments(&self) -> [String; 4] {
        let [root, reboot] = ["", "run/vrouter/reboot"].map(|path| self.path(path).display().to_string());
        ["--system-root".to_owned(), root, "--reboot-file".to_owned(), reboot]
    }

    /// A router on this machine.
    pub(crate) fn router(&self, lab: &Lab, more: &[&str]) -> Router {
        let mut router = Router::prepared(lab, "router", "127.0.0.1:7270");
        router.give(
            &self.arguments().iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>(),
        );
        router.launch();
        router
    }
}

/// An update file, signed by the key of this seed.
pub(crate) fn update(version: &str, root: &[u8], uki: &[u8], seed: u8) -> Vec<u8> {
    let part = |octets: &[u8]| {
        let sha256: String =
            digest(&SHA256, octets).as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        json!({"size": octets.len(), "sha256": sha256})
    };
    let manifest = json!({"format": 1, "product": "vrouter", "architecture": "x86_64", "version": version,
                          "root": part(root), "uki": part(uki)})
    .to_string();
    let signed = key(seed).sign(&[b"vrouter update\0", manifest.as_bytes()].concat());
    let length = u32::try_from(manifest.len()).unwrap().to_be_bytes();
    [b"VRUPDATE\x01", &length[..], manifest.as_bytes(), signed.as_ref(), root, uki].concat()
}

fn send(router: &Router, file: &[u8]) -> Answer {
    router.ask("POST", "/v1/system/update", file)
}

/// The kind of a refusal.
fn kind(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["type"].as_str().unwrap().trim_start_matches("urn:vrouter:problem:"))
}

#[test]
fn an_update_streams_to_the_slot_that_does_not_run() {
    let (lab, machine) = (grounds(), Machine::new());
    let router = machine.router(&lab, &[]);
    let before = router.get("/v1/system").body;
    assert_eq!(
        (&before["version"], &before["slot"], &before["no_updates"]),
        (&json!("0.1.0"), &json!("a"), &json!(null))
    );
    let (root, uki) = (vec![7; 48 << 20], vec![8; 9 << 20]);
    let memory = router.memory("VmHWM");
    let answer = send(&router, &update("0.2.0", &root, &uki, 1));
    assert_eq!((answer.status, &answer.body["slot"]), (200, &json!("b")), "{answer:#?}");
    let grown = router.memory("VmHWM") - memory;
    assert!(grown < 16 << 10, "57 MiB went through, and took {grown} KiB");
    assert!(fs::read(machine.path("dev/vda3")).unwrap().starts_with(&root));
    assert_eq!(fs::read(machine.path("efi/EFI/Linux/vrouter_0.2.0+3.efi")).unwrap(), uki);
    assert_eq!(machine.entries(), ["vrouter_0.1.0.efi", "vrouter_0.2.0+3.efi"]);
    assert!(
        fs::read(machine.path("dev/vda2")).unwrap().iter().all(|octet| *octet == 0),
        "what runs is untouched"
    );
    let after = router.get("/v1/system").body;
    assert_eq!(
        (&after["version"], &after["last_update"]["outcome"]),
        (&json!("0.1.0"), &json!("waits")),
        "{after:#}"
    );
    assert!(router.log().contains("an update is there"), "{}", router.log());
}

#[test]
fn what_is_refused_leaves_everything_as_it_was() {
    let (lab, machine) = (grounds(), Machine::new());
    let router = machine.router(&lab, &[]);
    let good = update("0.2.0", &[7; 5 << 20], &[8; 1 << 20], 1);
    let mut damaged = good.clone();
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    for (file, refusal) in [
        (&update("0.2.0", &[7; 5 << 20], b"uki", 2)[..], (422, "refused-update")),
        (&damaged, (422, "refused-update")),
        (&good[..good.len() - 9], (400, "bad-request")),
        (&[&good[..], b"!"].concat(), (422, "refused-update")),
        (&update("0.1.0", b"root", b"uki", 1), (409, "not-newer")),
        (&update("0.0.9", b"root", b"uki", 1), (409, "not-newer")),
        (b"#!/bin/sh\n", (422, "refused-update")),
        (b"", (400, "bad-request")),
    ] {
        let answer = send(&router, file);
        assert_eq!(kind(&answer), refusal, "{answer:#?}");
        assert_eq!(machine.entries(), ["vrouter_0.1.0.efi"], "{answer:#?}");
    }
    let path = machine.path("large");
    let large = update("0.2.0", &vec![7; SLOT + 1], b"uki", 1);
    assert_eq!(kind(&send(&router, &large[..4096])), (413, "too-large"));
    // A sender who goes in the middle.
    let mut stream = UnixStream::connect(router.socket()).unwrap();
    let head =
        format!("POST /v1/system/update HTTP/1.1\r\nHost: router\r\nContent-Length: {}\r\n\r\n", good.len());
    stream.write_all(&[head.as_bytes(), &good[..3 << 20]].concat()).unwrap();
    until("the first part is written", || {
        let system = router.get("/v1/system").body;
        (system["receiving"]["version"] == "0.2.0").then_some(())
    });
    // Nobody else may come in between.
    assert_eq!(kind(&send(&router, &good)), (409, "update-in-progress"));
    assert_eq!(kind(&router.ask("POST", "/v1/system/reboot", b"")), (409, "update-in-progress"));
    assert_eq!(router.configure(&document()), 1, "changes go on");
    drop(stream);
    until("it is noticed", || router.get("/v1/system").body["receiving"].is_null().then_some(()));
    assert_eq!(machine.entries(), ["vrouter_0.1.0.efi"]);
    // By the command line.
    fs::write(&path, update("0.2.0", &[7; 5 << 20], b"uki", 2)).unwrap();
    let (code, stdout, stderr) = router.vrctl(&lab, &["system", "update", path.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("the signature is of none of the keys that this router trusts"), "{stderr}");
    assert_eq!(send(&router, &good).status, 200);
}

#[test]
fn an_update_that_works_becomes_good_and_one_that_does_not_goes_back() {
    let (mut lab, machine) = (grounds(), Machine::new());
    let mut router = machine.router(&lab, &["--trial-seconds", "8"]);
    router.configure(&document());
    until("the router is ok", || (router.get("/v1/status").body["state"] == "ok").then_some(()));
    let file = machine.path("update");
    fs::write(&file, update("0.2.0", b"root 2", b"uki 2", 1)).unwrap();
    let (code, stdout, stderr) =
        router.vrctl(&lab, &["system", "update", file.to_str().unwrap(), "--reboot"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(
        stdout,
        "0.2.0 is in slot b and starts with the machine's next start; 0.1.0 runs until then\n\
                        the machine starts again, with vrouter_0.2.0+3.efi\n"
    );
    assert!(machine.is_there("reboot"));

    router.kill();
    machine.boot("vrouter_0.2.0+3.efi", "vrouter_0.2.0+2-1.efi", "vda3");
    router.relaunch();
    let system = router.get("/v1/system").body;
    assert_eq!(system["version"], "0.2.0");
    until("it is good", || machine.is_there("trial-over").then_some(()));
    assert_eq!(machine.entries(), ["vrouter_0.1.0.efi", "vrouter_0.2.0.efi"]);
    assert!(!machine.is_there("reboot"));
    let system = router.get("/v1/system").body;
    assert_eq!(
        (&system["trial"]["state"], &system["last_update"]["outcome"]),
        (&json!("good"), &json!("good"))
    );

    // The next one has no driver for an interface that had a device.
    assert_eq!(send(&router, &update("0.3.0", b"root 3", b"uki 3", 1)).status, 200);
    assert_eq!(machine.entries(), ["vrouter_0.2.0.efi", "vrouter_0.3.0+3.efi"]);
    router.kill();
    machine.boot("vrouter_0.3.0+3.efi", "vrouter_0.3.0+0-3.efi", "vda2");
    lab.ok("router", "ip link del eth2");
    router.relaunch();
    until("its time is over", || machine.is_there("reboot").then_some(()));
    assert_eq!(machine.entries(), ["vrouter_0.2.0.efi", "vrouter_0.3.0+0-3.efi"]);
    assert!(router.log().contains("did not show in time that it is good"), "{}", router.log());
    router.kill();
    machine.boot("vrouter_0.2.0.efi", "vrouter_0.2.0.efi", "vda3");
    lab.plug("router", "eth2", "52:54:00:aa:00:03", "guest");
    router.relaunch();
    let last = router.get("/v1/system").body["last_update"].clone();
    assert_eq!((&last["version"], &last["outcome"]), (&json!("0.3.0"), &json!("went_back")), "{last:#}");
    assert_eq!(last["why"], "interface `guest` has no device, and had one before the update");
    let (_, shown, _) = router.vrctl(&lab, &["system", "show"]);
    assert!(shown.contains("from 0.2.0 to 0.3.0, ") && shown.contains("went back\n"), "{shown}");
    let metrics = router.get("/metrics").body;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "vrouter_firmware{version=\"0.2.0\",slot=\"b\"} 1",
        "vrouter_firmware_trial{state=\"good\"} 1",
        "vrouter_firmware_update{version=\"0.3.0\",outcome=\"went_back\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_machine_without_slots_takes_no_updates_and_says_so() {
    let lab = grounds();
    let router = Router::start(&lab, "router");
    let answer = send(&router, &update("9.0.0", b"root", b"uki", 1));
    assert_eq!(kind(&answer), (409, "no-updates"), "{answer:#?}");
    assert!(
        answer.body["detail"].as_str().unwrap().starts_with("this machine takes no updates: "),
        "{answer:#?}"
    );
    assert_eq!(kind(&router.ask("POST", "/v1/system/reboot", b"")), (409, "no-reboot"));
    let system = router.get("/v1/system").body;
    assert_eq!(
        (&system["version"], &system["trial"]["state"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!("off"))
    );
    assert!(system["no_updates"].is_string() && system["entries"] == Value::Array(vec![]), "{system:#}");
    let (code, shown, _) = router.vrctl(&lab, &["system", "show"]);
    assert!(code == Some(0) && shown.contains("updates  none: "), "{shown}");
    assert!(
        Path::new("/run/vrouter/trial-over").symlink_metadata().is_err(),
        "nothing of this machine is touched"
    );
}

/// A later version ran, was changed, and went back: what this one cannot read makes way for what it can, and is kept.
#[test]
fn a_generation_of_a_later_version_makes_way_for_the_last_that_is_understood() {
    let lab = grounds();
    let mut router = Router::start(&lab, "router");
    router.configure(&document());
    router.change(json!({"hostname": "vr-2"}));
    router.kill();
    let path = router.state().join("generations.journal");
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.lines().last().unwrap()[9..].split_once('\t').unwrap();
    let head = head.replace("\"generation\":2", "\"generation\":3,\"of_a_later_version\":1");
    let record = format!("{head}\t{}", json!({"hostname": "vr-3", "of_a_later_version": {"on": true}}));
    let line = format!("{:08x} {record}\n", crc32fast::hash(record.as_bytes()));
    fs::write(&path, text + &line).unwrap();
    for _ in 0..2 {
        router.launch();
        let status = until("it is carried out", || {
            let status = router.get("/v1/status").body;
            (status["state"] == "ok").then_some(status)
        });
        assert_eq!((&status["generation"], &status["hostname"]), (&json!(4), &json!("vr-2")), "{status:#}");
        router.kill();
    }
    router.launch();
    let known = router.get("/v1/generations").body["generations"].clone();
    assert_eq!(known[3]["origin"], "not understood by this version: back to 2", "{known:#}");
    assert_eq!(router.patch(&json!({"hostname": "vr-5"})).generation(), 5);
    assert_eq!(
        router.ask("POST", "/v1/rollback", b"{\"generation\": 3}").status,
        422,
        "it is still not understood"
    );
    assert_eq!(router.ask("POST", "/v1/rollback", b"{\"generation\": 1}").generation(), 6);
    assert!(fs::read_to_string(&path).unwrap().contains("of_a_later_version"), "it is kept");
}
