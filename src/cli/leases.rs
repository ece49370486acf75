//! `leases`: which address DHCP gave to whom.

use serde_json::Value;

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, span, text, time};
use super::output::Output;
use super::table::Table;
use crate::clock::Timestamp;

/// Prints the leases, of one network or of all.
pub(super) async fn show(
    network: Option<&str>,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    // An id holds nothing that would have to be escaped here.
    let target = network.map_or_else(|| "/v1/leases".into(), |id| format!("/v1/leases?network={id}"));
    let answer = client.ask(Question::get(target)).await?;
    let lines = match json {
        true => answer.pretty()?,
        false => table(&answer.value, answer.time).ok_or_else(|| answer.nonsense("no `leases`"))?,
    };
    output.print(&lines)?;
    Ok(Exit::Done)
}

/// The leases, in the order of the answer; nothing where it holds none of them.
fn table(answer: &Value, now: Timestamp) -> Option<String> {
    let leases = answer.get("leases")?.as_array()?;
    if leases.is_empty() {
        return Some("no leases\n".to_owned());
    }
    let headings = ["ADDRESS", "NETWORK", "STATE", "MAC", "HOSTNAME", "SINCE", "LEFT", "CLIENT ID"];
    let mut table = Table::new(headings);
    for lease in leases {
        table.row([
            text(lease, "address"),
            text(lease, "network"),
            text(lease, "state"),
            text(lease, "mac"),
            text(lease, "hostname"),
            text(lease, "since"),
            left(lease, now),
            text(lease, "client_id"),
        ]);
    }
    Some(table.text())
}

/// How long a lease still holds.
fn left(lease: &Value, now: Timestamp) -> String {
    match time(lease, "expires") {
        Some(end) if end > now => span(end.since(now)),
        Some(_) => "over".to_owned(),
        None => NOTHING.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_lease_is_a_line() {
        let answer = json!({"leases": [
            {"address": "10.1.1.20", "network": "guest", "state": "static", "mac": "fa:aa:00:00:00:20",
             "client_id": "01faaa00000020", "hostname": "web1", "since": "2026-11-21T00:00:00Z",
             "expires": "2026-11-22T00:00:00Z", "vendor": "a later version tells it"},
            {"address": "10.1.1.100", "network": "guest", "state": "quarantined", "mac": null, "client_id": null,
             "hostname": null, "since": "2026-11-20T23:00:00Z", "expires": "2026-11-20T23:10:00Z"},
            {"address": "10.1.1.101", "state": "dynamic", "mac": "fa:aa:00:00:00:21", "hostname": "\u{1b}[2Jroot"},
        ]});
        let now = "2026-11-21T00:00:30Z".parse().unwrap();
        let expected = "\
ADDRESS     NETWORK  STATE        MAC                HOSTNAME       SINCE                 LEFT     CLIENT ID
10.1.1.20   guest    static       fa:aa:00:00:00:20  web1           2026-11-21T00:00:00Z  23h 59m  01faaa00000020
10.1.1.100  guest    quarantined  -                  -              2026-11-20T23:00:00Z  over     -
10.1.1.101  -        dynamic      fa:aa:00:00:00:21  \\u{1b}[2Jroot  -                     -        -
";
        assert_eq!(table(&answer, now).unwrap(), expected);
    }

    #[test]
    fn an_empty_list_is_told_from_none() {
        let now = Timestamp::default();
        assert_eq!(table(&json!({"leases": []}), now).unwrap(), "no leases\n");
        assert_eq!(table(&json!({"leases": {}}), now), None);
        assert_eq!(table(&json!([]), now), None);
    }
}
