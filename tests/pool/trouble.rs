//! What goes wrong on a host, on a real libvirtd with VMs: a disk that is full, a golden image that changes, a libvirtd that
//! hangs, a broker that is killed, a guest that restarts, and a host that loses its power. A visitor works all the while.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{define, ok, picture, station, viewer};
use crate::whole::{ask, configure, end, service, slots, status, until, uuids, waits};
use crate::within::within;

const READY: &str = "RULE ADDED, CONNECT NOW!";
/// What the log says of a call to a libvirtd that hangs.
const UNANSWERED: &str = "is libvirtd alive?";
const LOG: &str = "/run/manager.log";
const FILLER: &str = "/run/overlays/filler";

#[test]
fn whatever_goes_wrong_nobody_inherits_a_vm() {
    within("trouble::inside_trouble");
}

/// The VM that somebody works in: its name, UUID and golden version.
pub(crate) fn used() -> (String, String, String) {
    until("a session", || {
        let status = status()?;
        let slot = status["slots"].as_array()?.iter().find(|slot| slot["state"] == "used")?.clone();
        let name = slot["vm"].as_str()?.to_owned();
        let uuid = uuids().into_iter().find(|vm| vm.0 == name)?.1;
        Some((name, uuid, slot["golden"].as_str()?.to_owned()))
    })
}

fn all_clean(what: &str) {
    until(what, || (slots("clean").len() == 3).then_some(()));
    assert_eq!(uuids().len(), 3);
    assert_eq!(ok("ls /run/overlays | grep -c 'vrouter-pool.qcow2$'").trim(), "3", "{what}: orphans");
    for (vm, _) in uuids() {
        let text = ok(&format!("virsh dumpxml --security-info {vm}"));
        assert!(text.contains("passwdValidTo='1970-01-01T00:00:01'"), "the console of {vm} is open: {text}");
    }
}

pub(crate) fn gone(uuid: &str) -> Option<()> {
    (!uuids().iter().any(|vm| vm.1 == uuid)).then_some(())
}

/// Reads until a line has this in it; nothing before it may be the word to connect.
fn told(lines: &mut impl Iterator<Item = String>, part: &str) {
    for line in lines {
        assert_ne!(line, READY);
        if line.contains(part) {
            return;
        }
    }
    panic!("the signal port closed before it said: {part}");
}

fn session(number: u8) -> (Child, String) {
    let nc = ask(number);
    let viewer = viewer(number);
    let (_, uuid, _) = used();
    end(nc);
    (viewer, uuid)
}

/// Takes every octet of the overlays' filesystem, also those that become free.
fn fill() -> (Arc<AtomicBool>, JoinHandle<()>) {
    let on = Arc::new(AtomicBool::new(true));
    let going = on.clone();
    let mut file = OpenOptions::new().create(true).append(true).open(FILLER).unwrap();
    let writer = thread::spawn(move || {
        while going.load(Ordering::Relaxed) {
            if file.write_all(&[1; 4096]).is_err() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    (on, writer)
}

fn free((on, writer): (Arc<AtomicBool>, JoinHandle<()>)) {
    on.store(false, Ordering::Relaxed);
    writer.join().unwrap();
    fs::remove_file(FILLER).unwrap();
}

/// The disk is full: that is said, to operators and stations.
fn no_room() {
    let full = |status: Value| {
        status["hindrance"]
            .as_str()
            .is_some_and(|hindrance| hindrance.contains("No space left"))
            .then_some(())
    };
    until("the full disk is said", || full(status()?));
    let text = ok(&format!("{} --config /run/pool.toml status", env!("CARGO_BIN_EXE_vrouter-pool")));
    assert!(text.contains("! no VM can be made") && text.contains("No space left"), "{text}");
}

#[test]
#[ignore = "runs inside of namespaces that another test makes"]
fn inside_trouble() {
    define("kiosk", "/run/golden.raw");
    configure(3, "overlay_limit = 0", "idle_seconds = 0", "call_seconds = 5\nstart_seconds = 60");
    for number in 1..=3 {
        station(number);
    }
    ok("mkdir -p /run/overlays && mount -t tmpfs -o size=32m tmpfs /run/overlays");
    let mut broker = service("broker");
    let filling = fill();
    let mut manager = logged_manager();
    no_room();
    let (nc, mut lines) = waits(3);
    told(&mut lines, "WAIT");
    assert!(slots("clean").is_empty());
    end(nc);
    free(filling);
    all_clean("there is room, so the pool fills");

    let (left, first) = session(1);
    versions(&first);
    hangs(&manager);
    assert_eq!(used().1, first, "a session ended with libvirtd's silence");

    // The disk is full when a session ends: its VM goes nevertheless, and none comes.
    let filling = fill();
    end(left);
    until("the used VM is gone", || gone(&first));
    no_room();
    free(filling);
    all_clean("there is room again");

    let (left, second) = session(1);
    end(broker);
    broker = service("broker");
    until("a session without its broker is over", || gone(&second));
    end(left);
    all_clean("the broker is back");

    // A guest that restarts: what would come up is what its visitor left.
    let (left, restarted) = session(1);
    let (vm, ..) = used();
    ok(&format!("virsh --quiet reset {vm}"));
    until("the VM that restarted is gone", || gone(&restarted));
    end(left);
    all_clean("a guest restarted");

    let (left, third) = session(1);
    let before = uuids();
    manager.kill().unwrap();
    ok("for file in /run/libvirtd.pid /run/libvirt/qemu/kiosk-*.pid; do kill -9 $(cat $file); done");
    end(broker);
    end(manager);
    end(left);
    // What a host forgets when its power is cut.
    ok("rm -rf /run/libvirt/* /run/*.sock");
    ok("/usr/sbin/libvirtd --daemon --pid-file /run/libvirtd.pid");
    assert!(uuids().iter().any(|vm| vm.1 == third), "the used VM is defined still");
    broker = service("broker");
    manager = service("run");
    until("nothing of before is left", || before.iter().all(|vm| gone(&vm.1).is_some()).then_some(()));
    all_clean("the host is back");
    let journal = fs::read_to_string("/run/state/sessions.jsonl").unwrap();
    for uuid in [first, second, restarted, third] {
        assert!(journal.contains(&uuid), "{uuid} is not in {journal}");
    }
    end(manager);
    end(broker);
}

/// A new golden version: clean VMs are replaced one by one, the used one is not.
fn versions(first: &str) {
    let (_, _, old) = used();
    ok(
        "virsh dumpxml --inactive kiosk | sed 's/panic=-1/panic=-1 loglevel=1/' >/run/new.xml && virsh --quiet define /run/new.xml",
    );
    let mut fewest = 2;
    until("clean VMs are of the new version", || {
        let status = status()?;
        let slots = status["slots"].as_array()?;
        let clean: Vec<_> = slots.iter().filter(|slot| slot["state"] == "clean").collect();
        fewest = fewest.min(clean.len());
        (clean.len() == 2 && clean.iter().all(|slot| slot["golden"] != old.as_str())).then_some(())
    });
    assert_eq!(fewest, 1, "they were not replaced one by one");
    let (_, uuid, golden) = used();
    assert_eq!((uuid.as_str(), golden), (first, old), "the used VM was replaced");
}

/// A manager whose log is kept.
fn logged_manager() -> Child {
    let log = fs::File::create(LOG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouter-pool"));
    command.args(["--config", "/run/pool.toml", "run"]).stdin(Stdio::null()).stderr(log).spawn().unwrap()
}

/// How often the manager's log says this.
fn logged(part: &str) -> usize {
    fs::read_to_string(LOG).unwrap().matches(part).count()
}

/// libvirtd hangs, for longer than its library's keepalive would allow and with many calls under way: the signal port answers,
/// operators are answered, calls do not pile up, and all goes on when libvirtd does, or another one comes in its place.
fn hangs(manager: &Child) {
    for dies in [false, true] {
        ok("kill -STOP $(cat /run/libvirtd.pid)");
        let (began, before) = (Instant::now(), logged(UNANSWERED));
        let (nc, mut lines) = waits(2);
        told(&mut lines, "WAIT");
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "the signal port was silent for {:?}",
            began.elapsed()
        );
        told(&mut lines, "the host's hypervisor does not answer");
        answered();
        let unanswered = |count| {
            until("calls are not answered", || (logged(UNANSWERED) >= before + count).then_some(()));
        };
        unanswered(if dies { 4 } else { 12 });
        assert!(
            dies || began.elapsed() > Duration::from_secs(25),
            "too short to say anything: {:?}",
            began.elapsed()
        );
        answered();
        let threads = ok(&format!("grep Threads /proc/{}/status", manager.id()));
        let threads: usize = threads.split_whitespace().last().and_then(|count| count.parse().ok()).unwrap();
        // Sixteen calls may hang; the rest are the runtime's and the library's.
        assert!(threads < 40, "{threads} threads");
        told(&mut lines, "the host's hypervisor does not answer");
        if dies {
            ok("kill -9 $(cat /run/libvirtd.pid) && rm -f /run/libvirtd.pid && \
                /usr/sbin/libvirtd --daemon --pid-file /run/libvirtd.pid");
        } else {
            ok("kill -CONT $(cat /run/libvirtd.pid)");
        }
        let back = Instant::now();
        assert!(lines.any(|line| line == READY), "the pool did not go on");
        eprintln!(
            "libvirtd hung for {:?} and {}; a station was served {:?} later",
            back - began,
            if dies { "was killed" } else { "went on" },
            back.elapsed()
        );
        assert!(picture(2, "10.9.2.1:5906", None));
        end(nc);
        until("two are clean again", || (slots("clean").len() == 2).then_some(()));
    }
}

/// Operators are answered, and told that libvirt does not answer.
fn answered() {
    let asked = Instant::now();
    assert_eq!(status().expect("operators are not answered")["hypervisor"], false);
    assert!(asked.elapsed() < Duration::from_secs(3));
}
