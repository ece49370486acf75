//! The whole pool as it is run: `vrouter-pool broker` and `vrouter-pool run` beside a real libvirtd, stations that read the
//! signal port as the old ones do, and what must hold when the manager or libvirtd is killed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{define, ok, picture, station, viewer};

/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Calls to libvirtd on a busy machine.
pub(crate) const SLOW_CALLS: &str = "call_seconds = 60\nstart_seconds = 120";

/// Writes the configuration: the number of slots, and what a story needs of its own in these tables.
pub(crate) fn configure(size: usize, clones: &str, session: &str, hypervisor: &str) {
    let config = format!(
        "base = 'kiosk'
[slots]
size = {size}
[signal]
tries = 30
[clones]
overlay_dir = '/run/overlays'
image_dir = '/run/images'
memory_reserve = 0
disk_reserve = 0
{clones}
[session]
{session}
[hypervisor]
{hypervisor}
[console]
broker_socket = '/run/broker.sock'
[control]
socket = '/run/api.sock'
state_dir = '/run/state'
"
    );
    fs::write("/run/pool.toml", config).unwrap();
}

/// Starts one of the program's services.
pub(crate) fn service(command: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
        .args(["--config", "/run/pool.toml", command])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the program says of the pool; nothing while nobody answers.
pub(crate) fn status() -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_vrouter-pool"))
        .args(["--config", "/run/pool.toml", "status", "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits for something, asking again and again.
pub(crate) fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        if began.elapsed() > PATIENCE {
            let log = ok("tail -n 5 /run/libvirtd.log");
            panic!("waited in vain: {what}\n{:#}\n{log}", status().unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The slots in this state.
pub(crate) fn slots(state: &str) -> Vec<String> {
    let status = status().unwrap_or_default();
    let Some(slots) = status["slots"].as_array() else { return Vec::new() };
    let named = slots.iter().filter(|slot| slot["state"] == state);
    named.map(|slot| slot["vm"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The UUIDs of the pool's VMs, by name.
pub(crate) fn uuids() -> Vec<(String, String)> {
    let domains = ok("virsh list --all --uuid --name");
    let words = domains.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let named = words.map(|(uuid, name)| (name.trim().to_owned(), uuid.to_owned()));
    named.filter(|(name, _)| name.starts_with("kiosk-")).collect()
}

/// A station at the signal port, as the old shell loop is, and what it reads.
pub(crate) fn waits(number: u8) -> (Child, impl Iterator<Item = String>) {
    let mut nc = Command::new("ip")
        .args(["netns", "exec", &format!("desk{number}"), "nc", "-i", "1"])
        .args([&format!("10.9.{number}.1"), "5905"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(nc.stdout.take().unwrap()).lines().map_while(Result::ok);
    (nc, lines)
}

/// Reads the signal port from a station until it is told to connect.
pub(crate) fn ask(number: u8) -> Child {
    let (nc, mut lines) = waits(number);
    let ready = lines.any(|line| line == "RULE ADDED, CONNECT NOW!");
    assert!(ready, "the signal port closed before a VM was ready");
    nc
}

pub(crate) fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The host's rules, and whether loopback addresses are routed, which the old scripts switched on for every interface.
fn firewall() -> String {
    ok(
        "iptables-save | grep -v '^#'; sysctl net.ipv4.conf.all.route_localnet net.ipv4.conf.desk1.route_localnet net.ipv4.ip_forward",
    )
}

/// The network of the README: it is there, VMs on it are kept from each other, and libvirt adds no rule for it.
fn network() {
    let before = ok("iptables-save | grep -v '^#' | sort");
    let pool = format!("{} --config /run/pool.toml network", env!("CARGO_BIN_EXE_vrouter-pool"));
    let printed = ok(&pool);
    assert!(ok(&format!("{pool} --define")).contains("network vrouter-pool is defined and runs"));
    assert!(ok("virsh net-list --autostart --name").contains("vrouter-pool"));
    assert!(
        ok("virsh net-dumpxml vrouter-pool").contains("<port isolated='yes'/>")
            && printed.contains("isolated")
    );
    assert!(ok("ip -d link show vrpool0").contains("bridge"));
    assert_eq!(ok("iptables-save | grep -v '^#' | sort"), before, "libvirt's own rules came with it");
    ok("virsh --quiet net-destroy vrouter-pool && virsh --quiet net-undefine vrouter-pool");
}

/// Two stations at the same time, one after the other's VM is gone, a killed manager, a killed libvirtd, an idle end, and
/// the emergency reset.
#[test]
#[ignore = "runs inside of namespaces that another test makes"]
fn inside_whole() {
    define("kiosk", "/run/golden.raw");
    configure(4, "", "idle_seconds = 6\nidle_warning_seconds = 3", SLOW_CALLS);
    for number in 1..=3 {
        station(number);
    }
    let untouched = firewall();
    let broker = service("broker");
    let mut manager = service("run");
    let began = Instant::now();
    until("four clean VMs", || (slots("clean").len() == 4).then_some(()));
    eprintln!("4 slots filled cold in {:?}", began.elapsed());
    let first = uuids();

    // A station asks, sees its VM, and leaves: that VM is gone for ever and another takes its place.
    let began = Instant::now();
    let nc = ask(1);
    assert!(picture(1, "10.9.1.1:5906", None), "the station is told to connect and cannot");
    eprintln!("question to picture in {:?}", began.elapsed());
    end(nc);
    let replaced = Instant::now();
    until("the used VM is replaced", || {
        let now = uuids();
        let gone = first.iter().filter(|vm| !now.contains(vm)).count();
        (gone == 1 && slots("clean").len() == 4).then_some(())
    });
    eprintln!("a used VM was replaced in {:?}", replaced.elapsed());
    assert!(!picture(3, "10.9.3.1:5906", None), "nobody asked for the third station");

    // The host's firewall and routing are as they were: nothing of a VM is opened by them.
    assert_eq!(firewall(), untouched);
    network();

    // Two stations work when the manager is killed; their sessions go on, and it finds them used when it is back.
    let asked = [ask(1), ask(2)];
    let viewers = [viewer(1), viewer(2)];
    until("two sessions", || (slots("used").len() == 2).then_some(()));
    asked.into_iter().for_each(end);
    let used = slots("used");
    manager.kill().unwrap();
    manager.wait().unwrap();
    let established = ok("ss -Htn state established sport = :5906 | wc -l");
    assert!(
        established.trim().parse::<u32>().unwrap() >= 2,
        "sessions ended with the manager: {established}"
    );
    manager = service("run");
    // Nobody touches keyboard or mouse, so both sessions end, and neither VM is handed out again.
    let before = uuids();
    until("idle sessions end and all is clean again", || {
        let now = uuids();
        let again = before.iter().filter(|vm| used.contains(&vm.0) && now.contains(vm)).count();
        (again == 0 && slots("clean").len() == 4).then_some(())
    });
    viewers.into_iter().for_each(end);

    // libvirtd is killed: the signal port goes on answering, and the pool goes on when libvirtd is back.
    ok("kill -9 $(cat /run/libvirtd.pid)");
    let (nc, mut lines) = waits(3);
    assert!(lines.next().is_some(), "the signal port is silent");
    ok("/usr/sbin/libvirtd --daemon --pid-file /run/libvirtd.pid");
    assert!(lines.any(|line| line == "RULE ADDED, CONNECT NOW!"));
    assert!(picture(3, "10.9.3.1:5906", None));
    end(nc);
    until("all is clean again", || (slots("clean").len() == 4).then_some(()));

    // The emergency reset: nothing of the pool is left but what it makes anew, and nothing foreign is touched.
    manager.kill().unwrap();
    manager.wait().unwrap();
    ok(&format!("{} --config /run/pool.toml clear", env!("CARGO_BIN_EXE_vrouter-pool")));
    assert_eq!(ok("virsh list --all --name").trim(), "kiosk");
    assert_eq!(fs::read_dir("/run/overlays").unwrap().count(), 0);
    end(broker);
}
