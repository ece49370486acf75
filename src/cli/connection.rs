//! `connections`: what the router follows, between whom, and as whom it leaves.

use std::net::Ipv4Addr;

use clap::Args;
use serde_json::Value;

use super::client::{Client, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, count, octets, span, text};
use super::output::Output;
use super::table::Table;
use super::trace::protocol;

/// Which connections.
#[derive(Debug, Args)]
pub struct ConnectionArguments {
    /// Only those with this address at either end, before or after translation.
    #[arg(long, short, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
    /// Only those of tcp, udp, icmp, or a number of the IANA protocol registry.
    #[arg(long, short, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<String>,
    /// Only those with this port at either end, before or after translation.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Print so many at most and count the others; 1,000 unless told otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: Option<u64>,
}

impl ConnectionArguments {
    /// Where the API is asked for them. Nothing in there would have to be escaped.
    fn target(&self) -> String {
        let Self { address, protocol, port, limit } = self;
        let mut target = "/v1/connections".to_owned();
        let told = [
            address.map(|address| format!("address={address}")),
            protocol.as_ref().map(|protocol| format!("protocol={protocol}")),
            port.map(|port| format!("port={port}")),
            limit.map(|limit| format!("limit={limit}")),
        ];
        for (part, mark) in told.into_iter().flatten().zip(['?', '&', '&', '&']) {
            target.push(mark);
            target.push_str(&part);
        }
        target
    }
}

/// Prints the connections that are asked for.
pub(super) async fn show(
    which: &ConnectionArguments,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let answer = client.ask(Question::get(which.target())).await?;
    let lines = match json {
        true => answer.pretty()?,
        false => table(&answer.value).ok_or_else(|| answer.nonsense("no `connections`"))?,
    };
    output.print(&lines)?;
    Ok(Exit::Done)
}

/// The connections, in the order of the answer; nothing where it holds none of them.
fn table(answer: &Value) -> Option<String> {
    let connections = answer.get("connections")?.as_array()?;
    if connections.is_empty() {
        return Some("no connections\n".to_owned());
    }
    let headings = [
        "PROTOCOL",
        "SOURCE",
        "DESTINATION",
        "LEAVES FROM",
        "LEAVES TO",
        "STATE",
        "SENT",
        "RECEIVED",
        "LEFT",
    ];
    let mut table = Table::new(headings);
    for connection in connections {
        let translated = connection.get("translated").unwrap_or(&Value::Null);
        let left = connection.get("seconds_left").and_then(Value::as_u64);
        table.row([
            text(connection, "protocol"),
            end(connection, "source"),
            end(connection, "destination"),
            end(translated, "source"),
            end(translated, "destination"),
            state(connection),
            traffic(connection, "original_bytes"),
            traffic(connection, "reply_bytes"),
            left.map_or_else(|| NOTHING.to_owned(), span),
        ]);
    }
    let (told, total) = (connections.len() as u64, count(answer, "total"));
    let more = if total > told { format!("{told} of {total} connections\n") } else { String::new() };
    Some(table.text() + &more)
}

/// An address with its port.
fn end(ends: &Value, name: &str) -> String {
    let port = ends.get("ports").and_then(|ports| ports.get(name)).and_then(Value::as_u64);
    let address = text(ends, name);
    port.map_or_else(|| address.clone(), |port| format!("{address}:{port}"))
}

/// Where it is, in a word or two.
fn state(connection: &Value) -> String {
    let is = |name: &str| connection.get(name).and_then(Value::as_bool).unwrap_or(false);
    let state = match text(connection, "tcp_state") {
        state if state != NOTHING => state.replace('_', "-"),
        _ if is("answered") => "answered".to_owned(),
        _ => "unanswered".to_owned(),
    };
    if is("offloaded") { format!("{state}, offloaded") } else { state }
}

/// What went one way, where that is counted.
fn traffic(connection: &Value, name: &str) -> String {
    let counted = connection.get("traffic").and_then(|traffic| traffic.get(name)).and_then(Value::as_u64);
    counted.map_or_else(|| NOTHING.to_owned(), octets)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_connection_is_a_line() {
        let answer = json!({"total": 2001, "connections": [
            {"protocol": "tcp", "source": "10.1.1.20", "destination": "192.0.2.53",
             "ports": {"source": 40_000, "destination": 80},
             "translated": {"source": "198.51.100.5", "destination": "192.0.2.53",
                            "ports": {"source": 1024, "destination": 80}},
             "tcp_state": "fin_wait", "answered": true, "offloaded": false, "seconds_left": 119,
             "traffic": {"original_bytes": 60, "original_packets": 1, "reply_bytes": 2048, "reply_packets": 2}},
            {"protocol": "udp", "source": "10.1.1.20", "destination": "10.2.2.20", "ports": {"source": 5, "destination": 6},
             "translated": null, "tcp_state": null, "answered": true, "offloaded": true, "seconds_left": null},
            {"protocol": 47, "source": "10.1.1.20", "destination": "10.2.2.20", "ports": null, "translated": null,
             "tcp_state": null, "answered": false, "offloaded": false, "seconds_left": 29, "traffic": null},
        ]});
        let expected = "\
PROTOCOL  SOURCE           DESTINATION    LEAVES FROM        LEAVES TO      STATE                SENT  RECEIVED  LEFT
tcp       10.1.1.20:40000  192.0.2.53:80  198.51.100.5:1024  192.0.2.53:80  fin-wait             60 B  2.0 KiB   1m 59s
udp       10.1.1.20:5      10.2.2.20:6    -                  -              answered, offloaded  -     -         -
47        10.1.1.20        10.2.2.20      -                  -              unanswered           -     -         29s
3 of 2001 connections
";
        assert_eq!(table(&answer).unwrap(), expected);
        assert_eq!(table(&json!({"connections": [], "total": 0})).unwrap(), "no connections\n");
        assert_eq!(table(&json!({"total": 0})), None);
    }
}
