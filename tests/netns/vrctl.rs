//! The operator's command line and the real service: what is typed, what is printed, and what runs then.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dhcp::clients::udhcpc;
use crate::lab::{Lab, until};

/// Where the API answers in the router's namespace.
const URL: &str = "http://127.0.0.1:7270";
/// The devices of the example: name, MAC, and the network that it is plugged into.
const MACS: [(&str, &str, &str); 3] = [
    ("eth0", "52:54:00:00:00:01", "office"),
    ("eth1", "52:54:00:00:00:02", "out"),
    ("eth2", "52:54:00:00:00:03", "lan"),
];

/// A router with the three devices of the example, the service in it, and a folder for the operator's files.
struct Site {
    lab: Lab,
    folder: TempDir,
}

/// What was printed, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Site {
    fn new() -> Self {
        let mut lab = Lab::new();
        lab.namespace("router");
        for (device, mac, network) in MACS {
            lab.network(network);
            lab.plug("router", device, mac, network);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (state, socket) = (path("state"), path("api.sock"));
        let daemon = env!("CARGO_BIN_EXE_vrouterd");
        lab.start(
            "router",
            &format!("{daemon} --state-dir {state} --listen 127.0.0.1:7270 --socket {socket}"),
        );
        let site = Self { lab, folder };
        until("the API answers", || (site.vrctl(&["generations"], "").code == Some(0)).then_some(()));
        site
    }

    fn socket(&self) -> String {
        self.folder.path().join("api.sock").display().to_string()
    }

    /// Runs the program over the socket; `-` among the arguments reads `input`.
    fn vrctl(&self, arguments: &[&str], input: &str) -> Said {
        let socket = self.socket();
        self.vrctl_at(&[&["--socket", &socket], arguments].concat(), input)
    }

    fn vrctl_at(&self, arguments: &[&str], input: &str) -> Said {
        let line = [&[env!("CARGO_BIN_EXE_vrctl")], arguments].concat();
        let mut command = self.lab.command("router", &line);
        let command = command.env_remove("VROUTER_URL").env_remove("VROUTER_SOCKET");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not read its input has ended, and tells why below.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs the program, which has to end well, and returns what it printed.
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let said = self.vrctl(arguments, input);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", said.stdout);
        said.stdout
    }

    /// What the kernel holds of the router, and what its service says runs. IPv6 settles by itself meanwhile.
    fn picture(&self) -> [String; 4] {
        let rules = self.lab.ok("router", "nft -s list ruleset");
        let addresses = self.lab.ok("router", "ip -4 -o address show");
        let routes = self.lab.ok("router", "ip -4 route show table all");
        [rules, addresses, routes, self.ok(&["--json", "generations"], "")]
    }
}

fn example() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/router.json")).unwrap()
}

#[test]
fn a_document_is_applied_once() {
    let site = Site::new();
    assert_eq!(site.ok(&["generations"], ""), "nothing was ever configured\n");
    let path = site.folder.path().join("router.json");
    fs::write(&path, example()).unwrap();
    let file = path.to_str().unwrap();

    let planned = site.ok(&["plan", file], "");
    assert!(planned.starts_with("on top of generation 0: "), "{planned}");
    assert!(planned.contains("\n  added  /eips/7f0c\n"), "{planned}");
    assert!(planned.contains("\n  address add 10.1.1.1/24 dev eth2\n"), "{planned}");
    assert_eq!(site.ok(&["generations"], ""), "nothing was ever configured\n", "a plan does nothing");
    assert!(!site.lab.ok("router", "ip -o address show").contains("10.1.1.1"), "a plan does nothing");

    let applied = site.ok(&["apply", file], "");
    let counts = planned.lines().next().unwrap().trim_start_matches("on top of generation 0: ");
    assert!(
        applied.starts_with(&format!("generation 1: {counts} in ")),
        "{applied}\nwas planned as\n{planned}"
    );
    assert!(applied.contains("\n  added  /interfaces/guest\n"), "{applied}");
    assert!(site.lab.ok("router", "ip -o address show dev eth2").contains("10.1.1.1/24"));
    let before = site.picture();

    assert_eq!(site.ok(&["apply", file], ""), "nothing changed; generation 1 runs\n");
    assert_eq!(site.ok(&["plan", file], ""), "nothing would change; generation 1 runs\n");
    assert_eq!(site.ok(&["apply", "-"], &site.ok(&["config"], "")), "nothing changed; generation 1 runs\n");
    assert_eq!(site.picture(), before);
    let over_tcp = site.vrctl_at(&["--url", URL, "apply", file], "");
    assert_eq!((over_tcp.code, over_tcp.stdout.as_str()), (Some(0), "nothing changed; generation 1 runs\n"));
}

#[test]
fn a_broken_document_is_refused_with_every_fault() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    let before = site.picture();
    let mut broken: Value = serde_json::from_str(&example()).unwrap();
    broken["eips"]["7f0c"]["address"] = json!("198.51.100.700");
    broken["snat"]["guest"]["interface"] = json!("nowhere");
    broken["colour"] = json!("red");
    for command in ["apply", "plan"] {
        let said = site.vrctl(&[command, "-"], &broken.to_string());
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{}", said.stderr);
        assert!(
            said.stderr.starts_with("The configuration has faults; nothing changed: "),
            "{}",
            said.stderr
        );
    }
    let said = site.vrctl(&["--json", "apply", "-"], &broken.to_string());
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""));
    let problem: Value = serde_json::from_str(&said.stdout).unwrap();
    let faults = problem["faults"].as_array().unwrap();
    assert!(faults.len() >= 2, "{problem:#}");
    let said = site.vrctl(&["apply", "-"], &broken.to_string());
    let lines: Vec<_> = said.stderr.lines().skip(1).collect();
    let expected: Vec<_> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, expected);
    for place in ["/eips/7f0c/address: ", "/colour: "] {
        assert!(lines.iter().any(|line| line.starts_with(place)), "{place} is not in {lines:#?}");
    }
    let said = site.vrctl(&["patch", "-"], "{\"version\":");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("\ndocument: "), "{}", said.stderr);
    assert_eq!(site.picture(), before);
}

#[test]
fn one_object_is_changed_and_an_older_generation_comes_back() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    let first = site.ok(&["config"], "");
    let patch = r#"{"eips":{"7f0c":null},"dns":{"cache_entries":20000}}"#;

    let planned = site.ok(&["plan", "-", "--patch"], patch);
    assert!(planned.starts_with("on top of generation 1: 0 added, 1 changed, 1 removed\n"), "{planned}");
    let outdated = site.vrctl(&["patch", "-", "--if-match", "7"], patch);
    assert_eq!((outdated.code, outdated.stdout.as_str()), (Some(1), ""));
    assert!(outdated.stderr.contains("generation 1 runs, not 7"), "{}", outdated.stderr);
    let patched = site.ok(&["patch", "-", "--if-match", "1"], patch);
    assert!(patched.starts_with("generation 2: 0 added, 1 changed, 1 removed in "), "{patched}");
    assert!(patched.contains("\n  removed  /eips/7f0c\n"), "{patched}");
    assert!(!site.ok(&["config"], "").contains("7f0c"));
    let older = site.ok(&["config", "--generation", "1"], "");
    assert!(older.contains("7f0c"), "{older}");

    let answer: Value = serde_json::from_str(&site.ok(&["--json", "rollback", "1"], "")).unwrap();
    assert_eq!((&answer["generation"], &answer["changes"]["added"]), (&json!(3), &json!(1)));
    assert_eq!(site.ok(&["config"], ""), first);
    assert_eq!(site.ok(&["apply", "-"], &older), "nothing changed; generation 3 runs\n");
    let listed = site.ok(&["generations"], "");
    let words: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["GENERATION", "TIME", "ADDED", "CHANGED", "REMOVED", "AUTHOR", "ORIGIN"]);
    assert_eq!((words[1][0], words[1].last()), ("1", Some(&"replace")), "{listed}");
    assert_eq!((words[2][0], &words[2][2..5]), ("2", &["0", "1", "1"][..]), "{listed}");
    assert_eq!(words[2].last(), Some(&"patch"), "{listed}");
    assert_eq!(words[3][..2], ["*", "3"], "{listed}");
    assert!(listed.trim_end().ends_with("rollback to 1"), "{listed}");

    let changed = site.ok(&["diff", "2"], "");
    assert!(changed.starts_with("from generation 1 to 2: 0 added, 1 changed, 1 removed\n"), "{changed}");
    assert!(
        changed.contains("changed /dns\n  - cache_entries: 10000\n  + cache_entries: 20000\n"),
        "{changed}"
    );
    assert!(changed.contains("removed /eips/7f0c\n  - address: "), "{changed}");
    let same = site.ok(&["diff", "1", "3"], "");
    assert!(same.starts_with("from generation 1 to 3: 0 added, 0 changed, 0 removed\n"), "{same}");

    // What waits is told, kept once it is confirmed, and goes back where it is not.
    let waits = site.ok(&["patch", "-", "--confirm", "60"], patch);
    assert!(waits.contains("\ngeneration 3 comes back at "), "{waits}");
    assert!(site.vrctl(&["status"], "").stdout.contains("\nunconfirmed  generation 3 comes back at "));
    assert_eq!(site.ok(&["confirm", "--generation", "4"], ""), "generation 4 stays\n");
    let twice = site.ok(&["confirm", "--generation", "4"], "");
    assert_eq!(twice, "nothing waited; generation 4 runs and stays\n");
    let nothing = site.vrctl(&["confirm"], "");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(1), ""));
    assert!(nothing.stderr.contains("nothing waits to be confirmed"), "{}", nothing.stderr);
    site.ok(&["rollback", "1", "--confirm", "1"], "");
    let listed = until("it goes back", || {
        let listed = site.ok(&["generations"], "");
        listed.trim_end().ends_with("not confirmed: back to 4").then_some(listed)
    });
    assert!(listed.lines().last().unwrap().starts_with("*  6 "), "{listed}");

    for arguments in [&["rollback", "9"][..], &["config", "--generation", "9"], &["diff", "6", "9"]] {
        let unknown = site.vrctl(arguments, "");
        assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
        assert!(unknown.stderr.contains("generation 9 is not remembered"), "{}", unknown.stderr);
    }
}

#[test]
fn the_status_follows_a_device_that_goes() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    let well = until("the router is ok", || {
        let said = site.vrctl(&["status"], "");
        (said.code == Some(0)).then_some(said.stdout)
    });
    let words = |page: &str, name: &str| -> Vec<String> {
        let line = page.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words(&well, "router")[1..3], ["vr-1,", "vrouter"], "{well}");
    assert_eq!(words(&well, "state"), ["state", "ok"], "{well}");
    assert_eq!(words(&well, "generation")[1..3], ["1,", "verified"], "{well}");
    assert_eq!(words(&well, "dhcp")[1], "ok", "{well}");
    assert_eq!(words(&well, "guest")[1], "up", "{well}");
    assert!(words(&well, "guest").contains(&"eth2".to_owned()), "{well}");
    site.lab.ok("router", "ip link del eth2");
    let ailing = until("the device is missed", || {
        let said = site.vrctl(&["status"], "");
        (said.code == Some(5) && words(&said.stdout, "guest")[1] == "absent").then_some(said.stdout)
    });
    assert_eq!(words(&ailing, "state"), ["state", "degraded"], "{ailing}");
    let json = site.vrctl(&["--json", "status"], "");
    let status: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &status["state"]), (Some(5), &json!("degraded")));
}

#[test]
fn a_lease_is_listed_while_it_lasts() {
    let mut site = Site::new();
    site.lab.station("web1", "lan", "fa:aa:00:00:00:20", None);
    site.ok(&["apply", "-"], &example());
    assert_eq!(site.ok(&["leases"], ""), "no leases\n");
    assert_eq!(udhcpc(&site.lab, "web1", "", false).unwrap()["ip"], "10.1.1.20");
    let listed = site.ok(&["leases"], "");
    let lines: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!(lines[1][..4], ["10.1.1.20", "guest", "static", "fa:aa:00:00:00:20"], "{listed}");
    assert!(listed.contains("  23h 59m  ") || listed.contains("  1d 0h  "), "{listed}");
    assert_eq!(site.ok(&["leases", "--network", "other"], ""), "no leases\n");
    assert_eq!(site.ok(&["leases", "--network", "guest"], "").lines().count(), 2);
    let answer: Value = serde_json::from_str(&site.ok(&["--json", "leases"], "")).unwrap();
    assert_eq!(answer["leases"][0]["address"], "10.1.1.20");
}

#[test]
fn balancers_are_shown_as_they_are_configured() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    assert_eq!(site.ok(&["balancers"], ""), "no load balancers are configured\n");
    let web = json!({"address": "198.51.100.8", "port": 80, "protocol": "http", "pools": {"app": {"backends": {
        "a": {"address": "10.1.1.20", "port": 80},
        "b": {"address": "10.1.1.21", "port": 80, "enabled": false, "weight": 50}}}}});
    site.ok(&["patch", "-"], &json!({"load_balancers": {"web": web}}).to_string());
    let listed = site.ok(&["balancers"], "");
    let lines: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines.iter().map(|line| line[0]).collect::<Vec<_>>(),
        ["NAME", "web", "app", "a", "b"],
        "{listed}"
    );
    assert_eq!((lines[1][1], &lines[1][3..6]), ("up", &["198.51.100.8:80", "http", "1/2"][..]), "{listed}");
    assert_eq!((lines[3][1], lines[4][1]), ("up", "disabled"), "{listed}");
    assert_eq!(site.ok(&["balancers", "web"], ""), listed);
    let one: Value = serde_json::from_str(&site.ok(&["--json", "balancers", "web"], "")).unwrap();
    assert_eq!(one["pools"]["app"]["backends"]["b"]["state"], "disabled");
    let none = site.vrctl(&["balancers", "none"], "");
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
    assert!(none.stderr.contains("there is no balancer `none`"), "{}", none.stderr);
    let status = site.ok(&["--json", "status"], "");
    let status: Value = serde_json::from_str(&status).unwrap();
    let told = &status["services"]["load_balancers"];
    assert_eq!((&told["state"], &told["configured"], &told["up"]), (&json!("ok"), &json!(1), &json!(1)));
}

#[test]
fn two_thousand_backends_are_shown_to_the_last() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    let backend =
        |index: u8| (format!("node-{index:02}"), json!({"address": format!("10.1.1.{index}"), "port": 80}));
    let backends: serde_json::Map<String, Value> = (31..51).map(backend).collect();
    let balancer = |number: u16| {
        let pools = json!({"app": {"backends": backends}});
        let noun =
            json!({"address": "198.51.100.8", "port": 2000 + number, "protocol": "tcp", "pools": pools});
        (format!("lb{number:03}"), noun)
    };
    let balancers: serde_json::Map<String, Value> = (0..100).map(balancer).collect();
    site.ok(&["patch", "-"], &json!({"load_balancers": balancers}).to_string());
    // An answer of this length is written while it is sent.
    let json = site.ok(&["--json", "balancers"], "");
    assert!(json.len() > 1_000_000, "{} octets", json.len());
    let statistics: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(statistics["balancers"].as_object().unwrap().len(), 100);
    let listed = site.ok(&["balancers"], "");
    assert_eq!(listed.lines().count(), 1 + 100 * (1 + 1 + 20), "{listed}");
    let metrics = site.lab.ok("router", &format!("curl -sS {URL}/metrics"));
    assert!(metrics.len() > 500_000 && metrics.ends_with("# EOF\n"), "{} octets", metrics.len());
}

#[test]
fn a_packet_is_traced() {
    let site = Site::new();
    site.ok(&["apply", "-"], &example());
    let told = site.ok(&["trace", "guest", "10.1.1.20", "192.0.2.53:80"], "");
    assert!(told.starts_with("accepted: "), "{told}");
    assert!(
        told.contains("  out  198.51.100.7 -> 192.0.2.53:80  by 198.51.100.1 on public (eth1)\n"),
        "{told}"
    );
    assert!(told.contains("/eips/7f0c") && told.ends_with("the kernel agrees\n"), "{told}");
    let json = site.ok(&["trace", "guest", "10.1.1.20", "192.0.2.53", "--json"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["verdict"], &json["agrees"]), (&json!("accepted"), &json!(true)));
    // Somebody else's route: the command ends with another code.
    site.lab.ok("router", "ip route add 192.0.2.53/32 via 198.51.100.9 dev eth1");
    let said = site.vrctl(&["trace", "guest", "10.1.1.20", "192.0.2.53"], "");
    assert_eq!(said.code, Some(5), "{}", said.stdout);
    assert!(said.stdout.contains("the kernel does otherwise:\n"), "{}", said.stdout);
    let said = site.vrctl(&["trace", "nowhere", "10.1.1.20", "192.0.2.53"], "");
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stderr.contains("/interface: there is no interface `nowhere`"), "{}", said.stderr);
}
