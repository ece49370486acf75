//! How sessions end, on a real libvirtd with VMs: by the guest's own shutting down or restarting, because nobody touches
//! anything, with the warning before, and by an operator who keeps the VM.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::desk::{define, ok, serial};
use crate::spice::{INPUTS, MAIN, view};
use crate::trouble::{gone, used};
use crate::whole::{SLOW_CALLS, configure, end, service, slots, status, until, uuids};
use crate::within::within;

/// The host is a station itself: what matters is who connects, not how far away.
const STATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// How often a visitor touches a key.
const KEYS: Duration = Duration::from_millis(300);

#[test]
fn sessions_end_with_their_guest_with_idleness_and_by_order() {
    within("ends::inside_ends");
}

/// Somebody at a station that stays at the signal port, with a viewer, who types or does not.
struct Visitor {
    lines: Box<dyn Iterator<Item = String>>,
    typing: Arc<AtomicBool>,
    at_work: JoinHandle<()>,
    runtime: Runtime,
}

impl Visitor {
    fn come() -> Self {
        let mut stream = TcpStream::connect((STATION, 5905)).unwrap();
        stream.write_all(b"STAY\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "RULE ADDED, CONNECT NOW!"), "the signal port closed");
        let runtime = Runtime::new().unwrap();
        let typing = Arc::new(AtomicBool::new(true));
        let console = SocketAddr::from((STATION, 5906));
        let main = runtime.block_on(view(console, IpAddr::V4(STATION), 0, MAIN, None)).unwrap();
        let number = main.session;
        let inputs = runtime.block_on(view(console, IpAddr::V4(STATION), number, INPUTS, None)).unwrap();
        let at_work = runtime.spawn({
            let typing = typing.clone();
            async move {
                // The session lasts as long as this does. A viewer that does not read is taken for one that is gone.
                let mut main = main.stream;
                let mut news = vec![0; 65_536];
                let (mut from, mut to) = inputs.stream.into_split();
                let mut buffer = [0; 256];
                let mut beat = tokio::time::interval(KEYS);
                loop {
                    tokio::select! {
                        read = main.read(&mut news) => if !matches!(read, Ok(1..)) { return },
                        read = from.read(&mut buffer) => if !matches!(read, Ok(1..)) { return },
                        _ = beat.tick() => if typing.load(Ordering::Relaxed) && to.write_all(&key()).await.is_err() { return },
                    }
                }
            }
        });
        Self { lines: Box::new(lines), typing, at_work, runtime }
    }

    /// Reads until a line begins like this; how many lines were before it, of which none may begin like the other.
    fn told(&mut self, word: &str, never: &str) -> usize {
        for (count, line) in self.lines.by_ref().enumerate() {
            if line.starts_with(word) {
                return count;
            }
            assert!(!line.starts_with(never), "{line}");
        }
        panic!("the signal port closed before it said: {word}");
    }

    /// Waits until the viewer is cut off.
    fn cut_off(self) {
        self.runtime.block_on(self.at_work).unwrap();
    }
}

/// The key `a` down and up, on a channel with short headers (`SPICE_MSGC_INPUTS_KEY_DOWN` and `_UP` with a scan code).
fn key() -> Vec<u8> {
    let message =
        |kind: u16, code: u32| [&kind.to_le_bytes()[..], &4u32.to_le_bytes(), &code.to_le_bytes()].concat();
    [message(101, 0x1e), message(102, 0x9e)].concat()
}

fn all_clean(what: &str) {
    until(what, || (slots("clean").len() == 2).then_some(()));
    assert_eq!(uuids().len(), 2, "{what}");
    // What does something in its guest waits until that is up.
    for (vm, _) in uuids() {
        until("a guest is up", || serial(&vm).contains("ALIVE").then_some(()));
    }
}

/// Why the session in the VM of this UUID ended, as the journal says.
fn why(uuid: &str) -> String {
    let record = until("a record", || {
        let journal = fs::read_to_string("/run/state/sessions.jsonl").unwrap_or_default();
        let line = journal.lines().find(|line| line.contains(uuid)).map(str::to_owned);
        line.and_then(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
    });
    record["why"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "runs inside of namespaces that another test makes"]
fn inside_ends() {
    define("kiosk", "/run/golden.raw");
    configure(2, "", "idle_seconds = 8\nidle_warning_seconds = 4", SLOW_CALLS);
    let broker = service("broker");
    let mut manager = service("run");
    all_clean("two clean VMs");

    // What the guest does is told to it by the size of its disk (`tests/pool/golden`).
    for (size, what) in [("66M", "shuts down"), ("68M", "restarts")] {
        let visitor = Visitor::come();
        let (vm, uuid, _) = used();
        let began = Instant::now();
        ok(&format!("virsh --quiet blockresize {vm} vda {size}"));
        until("the VM whose guest ended is gone", || gone(&uuid));
        eprintln!("a guest that {what} by itself was gone after {:?}", began.elapsed());
        // The console's end and libvirt's word race; either says what happened.
        assert!(why(&uuid).contains("guest shut down or "), "{}", why(&uuid));
        visitor.cut_off();
        all_clean(what);
    }

    idle();
    manager = kept(manager);
    end(manager);
    end(broker);
}

/// Keys that are touched keep a session for longer than one may be idle; then nobody touches any.
fn idle() {
    let mut visitor = Visitor::come();
    let (_, uuid, _) = used();
    let began = Instant::now();
    // What says nothing new is said every five seconds.
    for _ in 0..4 {
        visitor.told("SESSION: ", "WARNING");
    }
    assert!(
        began.elapsed() > Duration::from_secs(8),
        "it is not shown that keys matter: {:?}",
        began.elapsed()
    );
    let idle =
        status().unwrap()["slots"].as_array().unwrap().iter().find_map(|slot| slot["idle_seconds"].as_u64());
    assert!(idle.is_some_and(|idle| idle < 4), "somebody types, and is idle for {idle:?} s");
    visitor.typing.store(false, Ordering::Relaxed);
    let still = Instant::now();
    visitor.told("WARNING: nobody touches anything; the session ends in ", "SESSION OVER");
    let warned = still.elapsed();
    visitor.told("SESSION OVER", "SESSION: ");
    eprintln!("idle: warned after {warned:?}, ended after {:?}", still.elapsed());
    assert!(
        warned < Duration::from_secs(8) && still.elapsed() > Duration::from_secs(7),
        "there was no warning in time"
    );
    visitor.cut_off();
    until("the idle VM is gone", || gone(&uuid));
    assert_eq!(why(&uuid), "nobody touched anything for 8 s");
    all_clean("an idle session ended");
}

/// A VM that an operator keeps: cut off, its console closed to the password of its session, through a restart of the manager,
/// until it is recycled.
fn kept(mut manager: std::process::Child) -> std::process::Child {
    let pool =
        |order: &str| ok(&format!("{} --config /run/pool.toml {order}", env!("CARGO_BIN_EXE_vrouter-pool")));
    let visitor = Visitor::come();
    let (vm, uuid, _) = used();
    let console = || ok(&format!("virsh dumpxml --security-info {vm} | grep '<graphics'"));
    let before = console();
    assert!(!before.contains("passwdValidTo"), "{before}");
    let password = before.split("passwd='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    pool(&format!("quarantine {vm}"));
    visitor.cut_off();
    until("it is kept, and closed", || {
        (slots("quarantined") == [vm.clone()] && console().contains("passwdValidTo='1970-01-01T00:00:01'"))
            .then_some(())
    });
    assert!(!console().contains(&password), "the session's password is left");
    let port = vm.rsplit_once('-').unwrap().1;
    let line =
        format!("timeout 30 spicy-screenshot --uri=spice://127.0.0.1:{port} -w {password} -o /run/kept.ppm");
    let tried = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(!tried.status.success(), "whoever was in it can come back");
    manager.kill().unwrap();
    manager.wait().unwrap();
    // As if it had been killed before the console was closed.
    ok(&format!(
        "virsh dumpxml --security-info {vm} | sed -n '/<graphics/,/<.graphics>/p' | \
         sed \"s/passwdValidTo='[^']*'//\" >/run/graphics.xml && virsh --quiet update-device --live {vm} /run/graphics.xml"
    ));
    assert!(!console().contains("passwdValidTo"));
    manager = service("run");
    until("a manager that starts closes it", || {
        (slots("quarantined") == [vm.clone()] && console().contains("passwdValidTo='1970")).then_some(())
    });
    assert_eq!(gone(&uuid), None, "it was to be kept");
    pool(&format!("recycle {port}"));
    until("it is gone", || gone(&uuid));
    all_clean("recycled");
    manager
}
