//! `console`: what a machine's console says of the router: a few lines at the start, again whenever they change, and when
//! somebody presses Enter, since a serial console shows nothing of what was written before it was opened.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::text;
use super::input::Input;
use super::output::{Output, plain};

/// How often the router is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long lines stay before others are printed by themselves: what flaps is not to fill a host's log.
const QUIET: Duration = Duration::from_secs(10);
/// How long a router that starts is given before anything is said of it.
const STARTS: Duration = Duration::from_secs(30);
/// How many interfaces and reasons are named.
const INTERFACES: usize = 8;
const REASONS: usize = 3;
/// How long a line may be, in characters.
const WIDTH: usize = 118;

/// Prints the lines until they cannot be printed any more.
pub(super) async fn watch(client: &Client, input: &Input, output: &mut Output<'_>) -> Result<Exit, CliError> {
    let mut enter = if input.has_keys() { keys() } else { mpsc::channel(1).1 };
    let begin = Instant::now();
    let mut last: Option<(String, Instant)> = None;
    loop {
        let said = match client.ask(Question::get("/v1/status")).await {
            // A router that is not verified yet changes in a moment.
            Ok(answer) if is_settled(&answer.value) || begin.elapsed() > STARTS => Some(lines(&answer.value)),
            Ok(_) => None,
            Err(_) if last.is_none() && begin.elapsed() < STARTS => None,
            Err(_) => Some(ABSENT.to_owned()),
        };
        if let Some(said) = said {
            let is_news = last.as_ref().is_none_or(|(before, when)| {
                *before != said && when.elapsed() >= QUIET || answers_again(before, &said)
            });
            if is_news {
                output.print(&format!("\n{said}"))?;
                last = Some((said, Instant::now()));
            }
        }
        match timeout(INTERVAL, enter.recv()).await {
            // Nobody is at the keys, or there are none.
            Err(_) => {}
            Ok(None) => sleep(INTERVAL).await,
            Ok(Some(())) => last = None,
        }
    }
}

/// What is said of a router that does not answer. Nothing has to be done for it: the service manager starts it again.
const ABSENT: &str = "vrouter: the service does not answer\n";

/// Whether a router came back: nobody is kept waiting with the news that it is gone.
fn answers_again(before: &str, said: &str) -> bool {
    before == ABSENT && said != ABSENT
}

/// Whether the router has carried out what it knows, or cannot.
fn is_settled(status: &Value) -> bool {
    status.get("state").and_then(Value::as_str) != Some("starting")
}

/// Hears of each line that is typed. Reading a terminal waits, so it has a thread of its own, which ends with the program.
fn keys() -> mpsc::Receiver<()> {
    let (pressed, enter) = mpsc::channel(1);
    thread::spawn(move || {
        let mut typed = [0; 64];
        let mut keys = std::io::stdin().lock();
        while let Ok(length) = keys.read(&mut typed) {
            if length == 0 || pressed.is_closed() {
                return;
            }
            // Somebody who presses it twice is answered once.
            let _ = pressed.try_send(());
        }
    });
    enter
}

/// The lines on one status. What changes by itself all the time, times and counters, is not among them.
fn lines(status: &Value) -> String {
    let name = status.get("hostname").and_then(Value::as_str).map(|name| format!("{name}, "));
    let mut lines = vec![format!(
        "{}vrouter {}: {}",
        name.unwrap_or_default(),
        text(status, "version"),
        text(status, "state")
    )];
    let interfaces = status.get("interfaces").and_then(Value::as_object);
    let interfaces: BTreeMap<_, _> = interfaces.into_iter().flat_map(Map::iter).collect();
    if interfaces.is_empty() {
        lines.push("  nothing is configured".to_owned());
    }
    for (id, interface) in interfaces.iter().take(INTERFACES) {
        lines.push(one(id, interface));
    }
    if let Some(more @ 1..) = interfaces.len().checked_sub(INTERFACES) {
        lines.push(format!("  and {more} interfaces more"));
    }
    let reasons = status.get("reasons").and_then(Value::as_array).into_iter().flatten();
    let reasons: Vec<_> = reasons.filter_map(Value::as_str).collect();
    lines.extend(reasons.iter().take(REASONS).map(|reason| format!("  ! {reason}")));
    if let Some(more @ 1..) = reasons.len().checked_sub(REASONS) {
        lines.push(format!("  ! and {more} reasons more"));
    }
    lines.extend(reached(status));
    lines.extend(ssh(status));
    let lines = lines.iter().map(|line| cut(&plain(line)));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// An interface: its first address, how many it has more, what it is for, and what is wrong with it.
fn one(id: &str, interface: &Value) -> String {
    let addresses = interface.get("addresses").and_then(Value::as_array).map_or(0, Vec::len);
    let first = interface.pointer("/addresses/0").and_then(Value::as_str).unwrap_or("no address");
    let more = if addresses > 1 { format!(" and {} more", addresses - 1) } else { String::new() };
    let [state, device, roles] = ["state", "device", "roles"].map(|field| text(interface, field));
    let state = if state == "up" { String::new() } else { format!(", {state}") };
    format!("  {id}: {first}{more} ({roles}; {device}{state})")
}

/// Where the router takes orders.
fn reached(status: &Value) -> Option<String> {
    let api = status.get("api")?.as_array()?;
    let is_near = |address: &&Value| {
        address.as_str().is_some_and(|text| text.starts_with("127.") || text.starts_with("[::1]"))
    };
    match api.iter().filter(|address| !is_near(address)).count() {
        0 => Some("  its API answers on the machine itself alone".to_owned()),
        _ => Some(format!("  its API answers management networks at {}", text(status, "api"))),
    }
}

/// Where operators find the router over SSH, and how they know that it is this one.
fn ssh(status: &Value) -> Option<String> {
    let ssh = status.pointer("/services/ssh")?;
    let listens = ssh.get("listeners")?.as_array().is_some_and(|addresses| !addresses.is_empty());
    listens.then(|| format!("  SSH at {}, host key {}", text(ssh, "listeners"), text(ssh, "host_key")))
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_router_is_told_in_a_few_lines() {
        let status = json!({
            "version": "0.1.0", "hostname": "vr-1", "state": "degraded", "generation": 7,
            "reasons": ["interface `guest`: no device has its MAC"], "api": ["0.0.0.0:7270"],
            "services": {"ssh": {"listeners": ["192.168.0.188:22"], "host_key": "SHA256:abc"}},
            "interfaces": {
                "guest": {"state": "absent", "device": null, "roles": ["guest"], "addresses": []},
                "public": {"state": "up", "device": "eth1", "roles": ["management", "public"],
                           "addresses": ["198.51.100.5/24", "198.51.100.7/24", "198.51.100.8/24"]},
            },
        });
        let expected = "\
vr-1, vrouter 0.1.0: degraded
  guest: no address (guest; -, absent)
  public: 198.51.100.5/24 and 2 more (management, public; eth1)
  ! interface `guest`: no device has its MAC
  its API answers management networks at 0.0.0.0:7270
  SSH at 192.168.0.188:22, host key SHA256:abc
";
        assert_eq!(lines(&status), expected);
    }

    #[test]
    fn a_router_with_much_or_nothing_to_tell_takes_no_more() {
        let status = json!({"version": "0.1.0", "hostname": null, "state": "ok", "reasons": [], "interfaces": {},
            "api": ["127.0.0.1:7270"]});
        let expected = "\
vrouter 0.1.0: ok
  nothing is configured
  its API answers on the machine itself alone
";
        assert_eq!(lines(&status), expected);
        let interface =
            json!({"state": "up", "device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]});
        let many: Map<_, _> = (0..100).map(|number| (format!("i{number}"), interface.clone())).collect();
        let reasons: Vec<_> = (0..100).map(|number| "x".repeat(1000 + number)).collect();
        let told = lines(&json!({"interfaces": many, "reasons": reasons, "version": "\u{1b}[2J"}));
        assert_eq!(told.lines().count(), 1 + INTERFACES + 1 + REASONS + 1);
        assert!(told.lines().all(|line| line.chars().count() <= WIDTH + 1 && !line.contains('\u{1b}')));
    }
}
