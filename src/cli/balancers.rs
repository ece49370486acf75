//! `balancers`: what each load balancer, its pools and their backends do.

use std::time::Duration;

use serde_json::{Map, Value};

use super::client::{Answer, Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, count, octets, since, span, text, time, took};
use super::output::Output;
use super::table::Table;
use crate::clock::Timestamp;

const HEADINGS: [&str; COLUMNS] = [
    "NAME", "STATE", "FOR", "ENDPOINT", "UP", "OPEN", "PEAK", "TOTAL", "IN", "OUT", "REQUESTS", "2XX", "3XX",
    "4XX", "5XX", "ERRORS", "RETRIES", "QUEUE", "WHY",
];

const COLUMNS: usize = 19;

/// Prints one balancer, or all of them.
pub(super) async fn show(
    id: Option<&str>,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    output.print(&ask(id, json, client).await?)?;
    Ok(Exit::Done)
}

/// Prints them again every so many seconds, until they cannot be printed any more.
pub(super) async fn watch(
    id: Option<&str>,
    seconds: u64,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let interval = Duration::from_secs(seconds);
    super::watch::watch(interval, json, output, async || ask(id, json, client).await).await
}

async fn ask(id: Option<&str>, json: bool, client: &Client) -> Result<String, CliError> {
    // An id holds nothing that would have to be escaped here.
    let target = id.map_or_else(|| "/v1/balancers".into(), |id| format!("/v1/balancers/{id}"));
    let answer = client.ask(Question::get(target)).await?;
    if json {
        return answer.pretty();
    }
    page(id, &answer)
}

fn page(id: Option<&str>, answer: &Answer) -> Result<String, CliError> {
    let Answer { value, time: now, .. } = answer;
    let lacks = |name: &str| answer.nonsense(format!("no `{name}`"));
    match id {
        Some(id) => {
            members(value, "pools").ok_or_else(|| lacks("pools"))?;
            Ok(balancers(&[(id, value)], *now))
        }
        None => {
            let all = members(value, "balancers").ok_or_else(|| lacks("balancers"))?;
            let parts = [balancers(&all, *now), certificates(value, *now)];
            Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// A line for each balancer, below it one for each pool, below that one for each backend.
fn balancers(all: &[(&str, &Value)], now: Timestamp) -> String {
    if all.is_empty() {
        return "no load balancers are configured\n".to_owned();
    }
    let mut table = Table::new(HEADINGS);
    for (id, balancer) in all {
        let pools = members(balancer, "pools").unwrap_or_default();
        let within: Vec<&Value> =
            pools.iter().flat_map(|(_, pool)| backends(pool)).map(|(_, one)| one).collect();
        let speaks = format!("{} {}", text(balancer, "endpoint"), text(balancer, "protocol"));
        let queued: u64 = pools.iter().map(|(_, pool)| count(pool, "queued")).sum();
        let all = Sums { traffic: vec![balancer], requests: vec![balancer], backends: &within };
        table.row(line((*id).to_owned(), balancer, speaks, all, queued.to_string(), now));
        for (id, pool) in pools {
            let within: Vec<&Value> = backends(pool).into_iter().map(|(_, one)| one).collect();
            let all = Sums { traffic: within.clone(), requests: within.clone(), backends: &within };
            table.row(line(format!("  {id}"), pool, NOTHING.to_owned(), all, text(pool, "queued"), now));
            for (id, backend) in backends(pool) {
                let backup = if backend.get("backup") == Some(&Value::Bool(true)) { " backup" } else { "" };
                let place = format!("{}{backup}", text(backend, "endpoint"));
                let all = Sums { traffic: vec![backend], requests: vec![backend], backends: &[backend] };
                let name = format!("    {id}");
                table.row(line(name, backend, place, all, NOTHING.to_owned(), now));
            }
        }
    }
    table.text()
}

/// What the numbers of a line are the sums of.
struct Sums<'a> {
    traffic: Vec<&'a Value>,
    requests: Vec<&'a Value>,
    backends: &'a [&'a Value],
}

fn line(
    name: String,
    of: &Value,
    endpoint: String,
    sums: Sums<'_>,
    queued: String,
    now: Timestamp,
) -> [String; COLUMNS] {
    let traffic = |field: &str| -> u64 {
        sums.traffic.iter().filter_map(|one| one.get("traffic")).map(|one| count(one, field)).sum()
    };
    // What was open at once in several places was so at different times.
    let peak = match sums.traffic.as_slice() {
        [one] => one.get("traffic").map_or_else(|| NOTHING.to_owned(), |one| text(one, "peak")),
        _ => NOTHING.to_owned(),
    };
    let asked: Vec<&Value> =
        sums.requests.iter().filter_map(|one| one.get("requests")).filter(|one| one.is_object()).collect();
    let requests = |read: &dyn Fn(&Value) -> u64| match asked.as_slice() {
        [] => NOTHING.to_owned(),
        asked => asked.iter().map(|one| read(one)).sum::<u64>().to_string(),
    };
    let class = |class: usize| {
        let of = move |one: &Value| one.pointer(&format!("/by_class/{}", class - 1)).and_then(Value::as_u64);
        requests(&move |one| of(one).unwrap_or(0))
    };
    let up = sums.backends.iter().filter(|one| serves(one)).count();
    let of_all = match of.get("endpoint").is_some() && of.get("pools").is_none() {
        true => format!("weight {}", text(of, "weight")),
        false => format!("{up}/{}", sums.backends.len()),
    };
    let pools = members(of, "pools").unwrap_or_default();
    let unserved: u64 = pools.iter().map(|(_, pool)| count(pool, "queue_failures")).sum();
    let failures: u64 = sums.backends.iter().map(|one| count(one, "failures")).sum();
    // Each of these is there in one kind of line alone.
    let errors = failures + unserved + count(of, "refused") + count(of, "queue_failures");
    let retries: u64 = sums.backends.iter().map(|one| count(one, "retries")).sum();
    [
        name,
        text(of, "state"),
        since(of, "since", now),
        endpoint,
        of_all,
        traffic("current").to_string(),
        peak,
        traffic("connections").to_string(),
        octets(traffic("bytes_in")),
        octets(traffic("bytes_out")),
        requests(&|one| count(one, "total")),
        class(2),
        class(3),
        class(4),
        class(5),
        errors.to_string(),
        retries.to_string(),
        queued,
        why(of, now),
    ]
}

/// The reason; of a backend also what its last check took, and when that was.
fn why(of: &Value, now: Timestamp) -> String {
    match time(of, "checked") {
        Some(checked) => {
            format!("{} ({}, {} ago)", text(of, "reason"), took(of, "check_ms"), span(now.since(checked)))
        }
        None => text(of, "reason"),
    }
}

fn serves(backend: &Value) -> bool {
    count(backend, "weight") > 0 && matches!(text(backend, "state").as_str(), "up" | "unchecked")
}

fn certificates(answer: &Value, now: Timestamp) -> String {
    let all = members(answer, "certificates").unwrap_or_default();
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["CERTIFICATE", "ENDS", "IN", "NAMES"]);
    for (id, certificate) in all {
        let left = match time(certificate, "not_after") {
            Some(end) if end > now => span(end.since(now)),
            Some(_) => "expired".to_owned(),
            None => NOTHING.to_owned(),
        };
        table.row([id.to_owned(), text(certificate, "not_after"), left, text(certificate, "names")]);
    }
    table.text()
}

fn backends(pool: &Value) -> Vec<(&str, &Value)> {
    members(pool, "backends").unwrap_or_default()
}

/// The members of a member, by name; nothing where it is not there.
fn members<'a>(object: &'a Value, name: &str) -> Option<Vec<(&'a str, &'a Value)>> {
    let members: &Map<String, Value> = object.get(name)?.as_object()?;
    Some(members.iter().map(|(name, value)| (name.as_str(), value)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn traffic(current: u64, connections: u64) -> Value {
        json!({"current": current, "peak": 9, "connections": connections, "bytes_in": 2048, "bytes_out": 5_242_880})
    }

    #[test]
    fn every_balancer_pool_and_backend_is_a_line() {
        let requests =
            |total: u64| json!({"total": total, "current": 0, "by_class": [0, total - 1, 0, 1, 0]});
        let web = json!({
            "endpoint": "198.51.100.8:80", "protocol": "http", "path": "proxy", "state": "degraded",
            "reason": "pool `app` is degraded", "since": "2026-11-21T00:00:00Z", "traffic": traffic(3, 12),
            "refused": 2, "requests": requests(7),
            "pools": {"app": {
                "state": "degraded", "reason": "1 of 2 backends", "since": "2026-11-21T00:00:00Z", "queued": 4,
                "queue_failures": 1,
                "backends": {
                    "a": {"endpoint": "10.1.1.20:80", "weight": 100, "backup": false, "state": "up",
                          "reason": "status 200", "since": "2026-11-20T00:00:30Z", "checked": "2026-11-21T00:00:28Z",
                          "check_ms": 1.26, "traffic": traffic(1, 5), "failures": 0, "retries": 0,
                          "requests": requests(4)},
                    "b": {"endpoint": "10.1.1.21:80", "weight": 50, "backup": true, "state": "down",
                          "reason": "refused\u{1b}[2J", "since": "2026-11-21T00:00:00Z", "checked": null,
                          "check_ms": null, "traffic": traffic(2, 7), "failures": 6, "retries": 1,
                          "requests": requests(3)}}}}});
        let db = json!({
            "endpoint": "198.51.100.8:53", "protocol": "udp", "path": "kernel", "state": "up", "reason": null,
            "since": "2026-11-21T00:00:00Z", "traffic": traffic(0, 0), "refused": 0, "requests": null, "pools": {}});
        let now = "2026-11-21T00:00:30Z".parse().unwrap();
        let expected = "\
NAME   STATE     FOR    ENDPOINT              UP          OPEN  PEAK  TOTAL  IN       OUT       REQUESTS  2XX  3XX  4XX  5XX  ERRORS  RETRIES  QUEUE  WHY
db     up        30s    198.51.100.8:53 udp   0/0         0     9     0      2.0 KiB  5.0 MiB   -         -    -    -    -    0       0        0      -
web    degraded  30s    198.51.100.8:80 http  1/2         3     9     12     2.0 KiB  5.0 MiB   7         6    0    1    0    9       1        4      pool `app` is degraded
  app  degraded  30s    -                     1/2         3     -     12     4.0 KiB  10.0 MiB  7         5    0    2    0    7       1        4      1 of 2 backends
    a  up        1d 0h  10.1.1.20:80          weight 100  1     9     5      2.0 KiB  5.0 MiB   4         3    0    1    0    0       0        -      status 200 (1.3 ms, 2s ago)
    b  down      30s    10.1.1.21:80 backup   weight 50   2     9     7      2.0 KiB  5.0 MiB   3         2    0    1    0    6       1        -      refused\\u{1b}[2J
";
        assert_eq!(balancers(&[("db", &db), ("web", &web)], now), expected);
        assert_eq!(balancers(&[], now), "no load balancers are configured\n");
    }

    #[test]
    fn a_balancer_that_tells_little_is_told_all_the_same() {
        let told =
            balancers(&[("web", &json!({"pools": {"app": {"backends": {"a": {}}}}}))], Timestamp::default());
        assert_eq!(told.lines().count(), 4, "{told}");
    }

    #[test]
    fn certificates_say_when_they_end() {
        let now = "2026-11-21T00:00:30Z".parse().unwrap();
        let answer = json!({"certificates": {
            "demo": {"not_after": "2026-11-23T00:00:30Z", "names": ["demo.local", "*.demo.local"]},
            "old": {"not_after": "2026-11-20T00:00:30Z", "names": []}}});
        let expected = "\
CERTIFICATE  ENDS                  IN       NAMES
demo         2026-11-23T00:00:30Z  2d 0h    demo.local, *.demo.local
old          2026-11-20T00:00:30Z  expired  -
";
        assert_eq!(certificates(&answer, now), expected);
        assert_eq!(certificates(&json!({}), now), "");
    }
}
