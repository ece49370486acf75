//! `status`: how the router is.

use std::time::Duration;

use serde_json::{Map, Value};

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, several, since, text, took};
use super::output::{Output, plain};
use super::table::Table;
use crate::clock::Timestamp;

/// How often a status that is watched is asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints the status once.
pub(super) async fn show(json: bool, client: &Client, output: &mut Output<'_>) -> Result<Exit, CliError> {
    let (lines, exit) = ask(json, client).await?;
    output.print(&lines)?;
    Ok(exit)
}

/// Prints the status again and again, until it cannot be printed any more.
pub(super) async fn watch(json: bool, client: &Client, output: &mut Output<'_>) -> Result<Exit, CliError> {
    super::watch::watch(INTERVAL, json, output, async || Ok(ask(json, client).await?.0)).await
}

async fn ask(json: bool, client: &Client) -> Result<(String, Exit), CliError> {
    let answer = client.ask(Question::get("/v1/status")).await?;
    let state = answer.value.get("state").and_then(Value::as_str);
    let exit = match state.ok_or_else(|| answer.nonsense("no `state`"))? {
        "ok" => Exit::Done,
        _ => Exit::NotOk,
    };
    let lines = if json { answer.pretty()? } else { page(&answer.value, answer.time) };
    Ok((lines, exit))
}

/// The status on a page. `now` is what time it is for the router, unless the status says so itself.
fn page(status: &Value, now: Timestamp) -> String {
    let now = super::field::time(status, "time").unwrap_or(now);
    let parts = [head(status, now), services(status, now), interfaces(status, now), lacks(status)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn head(status: &Value, now: Timestamp) -> String {
    let mut table = Table::new([]);
    let mut line = |name: &str, said: String| table.row([name.to_owned(), said]);
    line("router", format!("{}, vrouter {}", text(status, "hostname"), text(status, "version")));
    line("state", text(status, "state"));
    for reason in status.get("reasons").and_then(Value::as_array).into_iter().flatten() {
        line("", reason.as_str().unwrap_or(NOTHING).to_owned());
    }
    if let Some(system) = status.get("system").filter(|system| text(system, "slot") != NOTHING) {
        let [version, slot, trial] = ["version", "slot", "trial"].map(|field| text(system, field));
        line("firmware", format!("{version} in slot {slot}, {trial}"));
    }
    let verified = match since(status, "verified", now).as_str() {
        NOTHING => "not verified".to_owned(),
        age => format!("verified {age} ago"),
    };
    line("generation", format!("{}, {verified}", text(status, "generation")));
    let changed = match status.get("last_change") {
        Some(change) if change.is_object() => {
            let steps = change.get("steps").and_then(Value::as_u64);
            let steps = steps.map_or_else(|| NOTHING.to_owned(), |steps| several(steps, "step"));
            format!("{steps} in {}", took(change, "took_ms"))
        }
        _ => "none since it runs".to_owned(),
    };
    line("last change", changed);
    if let Some(waits) = status.get("unconfirmed").filter(|waits| waits.is_object()) {
        let [back_to, until] = ["back_to", "until"].map(|field| text(waits, field));
        line("unconfirmed", format!("generation {back_to} comes back at {until}"));
    }
    if let Some(went) = status.get("went_back").filter(|went| went.is_object()) {
        let [from, back_to, why] = ["from", "back_to", "why"].map(|field| text(went, field));
        line("went back", format!("from {from} to {back_to}, {} ago: {why}", since(went, "time", now)));
    }
    if let Some(told) = status.get("told").filter(|told| told.is_object()) {
        let outcome = match told.get("outcome").and_then(Value::as_str) {
            Some("taken") => "its first configuration",
            Some("refused") => "refused",
            _ => "not needed, the router remembers what it was",
        };
        line("told by", format!("{}: {outcome}", text(told, "source")));
        for note in told.get("notes").and_then(Value::as_array).into_iter().flatten() {
            line("", format!("left out: {}", note.as_str().unwrap_or(NOTHING)));
        }
    }
    if let Some(ssh) = status.pointer("/services/ssh").filter(|ssh| text(ssh, "listeners") != NOTHING) {
        line("ssh", format!("at {}, host key {}", text(ssh, "listeners"), text(ssh, "host_key")));
    }
    line("repairs", text(status, "repairs"));
    let last = status.pointer("/drift/events").and_then(Value::as_array).and_then(|events| events.last());
    if let Some(event) = last {
        let what = event.pointer("/differences/0").and_then(Value::as_str).unwrap_or(NOTHING);
        let more = event.get("count").and_then(Value::as_u64).unwrap_or(1).saturating_sub(1);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let done = if event.get("put_back") == Some(&Value::Bool(true)) { "put back" } else { "left so" };
        line("last drift", format!("{} ago, {done}: {what}{more}", since(event, "time", now)));
    }
    if let Some(connections) = status.pointer("/kernel/connections").filter(|found| found.is_object()) {
        line("connections", format!("{} of {}", text(connections, "count"), text(connections, "limit")));
    }
    line("runs for", format!("{}, since {}", since(status, "started", now), text(status, "started")));
    table.text()
}

fn services(status: &Value, now: Timestamp) -> String {
    let services = members(status, "services");
    if services.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["SERVICE", "STATE", "FOR", "OBSERVED", "WHY"]);
    for (name, service) in services {
        let of = match [text(service, "observed"), text(service, "wanted")] {
            [observed, wanted] if observed == NOTHING && wanted == NOTHING => observed,
            [observed, wanted] => format!("{observed} of {wanted}"),
        };
        let [state, why] = ["state", "why"].map(|field| text(service, field));
        table.row([name.to_owned(), state, since(service, "since", now), of, why]);
    }
    table.text()
}

fn interfaces(status: &Value, now: Timestamp) -> String {
    let interfaces = members(status, "interfaces");
    if interfaces.is_empty() {
        return "no interfaces are configured\n".to_owned();
    }
    let headings = ["INTERFACE", "STATE", "FOR", "DEVICE", "MAC", "MTU", "ROLES", "ADDRESSES", "WHY"];
    let mut table = Table::new(headings);
    for (name, interface) in interfaces {
        let [state, device, mac, mtu] = ["state", "device", "mac", "mtu"].map(|field| text(interface, field));
        let [roles, addresses, why] = ["roles", "addresses", "why"].map(|field| text(interface, field));
        let age = since(interface, "since", now);
        table.row([name.to_owned(), state, age, device, mac, mtu, roles, addresses, why]);
    }
    table.text()
}

/// What the kernel cannot do, and what follows from it.
fn lacks(status: &Value) -> String {
    let missing = status.pointer("/kernel/missing").and_then(Value::as_array);
    let mut lines = String::new();
    for lack in missing.into_iter().flatten() {
        let line = format!("{}: {}", text(lack, "feature"), text(lack, "effect"));
        lines.push_str(&format!("  {}\n", plain(&line)));
    }
    if lines.is_empty() { lines } else { format!("The kernel lacks:\n{lines}") }
}

/// The members of a member, by name.
fn members<'a>(object: &'a Value, name: &str) -> Vec<(&'a str, &'a Value)> {
    let members = object.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter);
    members.map(|(name, value)| (name.as_str(), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_router_is_told_on_a_page() {
        let status = json!({
            "version": "0.1.0", "hostname": "vr-1", "time": "2026-11-21T02:00:00Z",
            "started": "2026-11-18T00:00:00Z", "generation": 7, "verified": "2026-11-21T01:59:57Z",
            "state": "degraded", "reasons": ["interface guest: no device has its MAC", "dns: 0 of 1"],
            "last_change": {"took_ms": 1.74, "steps": 1}, "repairs": 2,
            "unconfirmed": {"back_to": 5, "until": "2026-11-21T02:01:00Z"},
            "went_back": {"time": "2026-11-21T00:00:00Z", "from": 4, "back_to": 3, "why": "not confirmed"},
            "told": {"source": "NoCloud disk /dev/vdb", "outcome": "taken", "notes": ["user-data: it is a script"]},
            "drift": {"events": [{"time": "2026-11-21T01:59:00Z", "count": 2, "put_back": true,
                                  "differences": ["link eth2 up", "route add 10.9.0.0/16 via 10.1.1.254 dev eth2"]}]},
            "kernel": {"flowtable": false, "vlan": true, "connections": {"count": 12, "limit": 65536},
                       "missing": [{"feature": "flowtable", "effect": "every packet is looked up"}]},
            "interfaces": {
                "guest": {"state": "absent", "since": "2026-11-21T01:59:00Z", "why": "no device has its MAC",
                          "device": null, "mac": null, "mtu": null, "roles": ["guest"], "addresses": []},
                "public": {"state": "up", "since": "2026-11-18T00:00:01Z", "why": null, "device": "eth1",
                           "mac": "52:54:00:00:00:02", "mtu": 1500, "roles": ["management", "public"],
                           "addresses": ["198.51.100.5/24", "198.51.100.7/24"]},
            },
            "services": {
                "dhcp": {"state": "ok", "since": "2026-11-18T00:00:02Z", "why": null, "wanted": 1, "observed": 1,
                         "leases": 3},
                "dns": {"state": "degraded", "since": "2026-11-21T01:59:00Z", "why": "not bound", "wanted": 1,
                        "observed": 0},
                "snat": {"state": "off"},
            },
        });
        let expected = "\
router       vr-1, vrouter 0.1.0
state        degraded
             interface guest: no device has its MAC
             dns: 0 of 1
generation   7, verified 3s ago
last change  1 step in 1.7 ms
unconfirmed  generation 5 comes back at 2026-11-21T02:01:00Z
went back    from 4 to 3, 2h 0m ago: not confirmed
told by      NoCloud disk /dev/vdb: its first configuration
             left out: user-data: it is a script
repairs      2
last drift   1m 0s ago, put back: link eth2 up (and 1 more)
connections  12 of 65536
runs for     3d 2h, since 2026-11-18T00:00:00Z

SERVICE  STATE     FOR    OBSERVED  WHY
dhcp     ok        3d 1h  1 of 1    -
dns      degraded  1m 0s  0 of 1    not bound
snat     off       -      -         -

INTERFACE  STATE   FOR    DEVICE  MAC                MTU   ROLES               ADDRESSES                         WHY
guest      absent  1m 0s  -       -                  -     guest               -                                 no device has its MAC
public     up      3d 1h  eth1    52:54:00:00:00:02  1500  management, public  198.51.100.5/24, 198.51.100.7/24  -

The kernel lacks:
  flowtable: every packet is looked up
";
        assert_eq!(page(&status, Timestamp::default()), expected);
    }

    #[test]
    fn a_router_that_tells_little_is_told_all_the_same() {
        let status = json!({"state": "starting", "verified": null, "last_change": null, "kernel": {"connections": null},
            "started": "2026-11-21T00:00:00Z", "reasons": [], "services": {}, "interfaces": {}});
        let expected = "\
router       -, vrouter -
state        starting
generation   -, not verified
last change  none since it runs
repairs      -
runs for     5s, since 2026-11-21T00:00:00Z

no interfaces are configured
";
        assert_eq!(page(&status, "2026-11-21T00:00:05Z".parse().unwrap()), expected);
    }
}
