//! `trace`: what becomes of a packet, and who decides it.

use std::net::Ipv4Addr;
use std::str::FromStr;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::arguments::id;
use super::client::{Client, JSON, Question};
use super::error::{CliError, Exit};
use super::field::{NOTHING, text};
use super::output::{Output, plain};
use super::table::Table;

/// A packet.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// The interface that it comes in by, by its id in the configuration.
    #[arg(value_name = "INTERFACE", value_parser = id)]
    interface: String,
    /// Where it comes from; without a port, one that no rule asks for.
    #[arg(value_name = "SOURCE[:PORT]")]
    source: Endpoint,
    /// Where it goes, before any translation.
    #[arg(value_name = "DESTINATION[:PORT]")]
    destination: Endpoint,
    /// tcp, udp, icmp, or a number of the IANA protocol registry.
    #[arg(long, short, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<String>,
    /// The type of an ICMP message, and perhaps its code; an echo request unless told otherwise.
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = icmp)]
    icmp: Option<(u8, u8)>,
}

impl TraceArguments {
    /// The question as the API takes it. What does not fit together, the router says.
    fn question(&self) -> Value {
        let Self { interface, source, destination, protocol, icmp } = self;
        let protocol = match (protocol, destination.port) {
            (Some(protocol), _) => {
                protocol.parse::<u8>().map_or_else(|_| json!(protocol), |number| json!(number))
            }
            (None, Some(_)) => json!("tcp"),
            (None, None) => json!("icmp"),
        };
        let mut question = json!({"interface": interface, "source": source.address.to_string(),
            "destination": destination.address.to_string(), "protocol": protocol});
        let mut put = |name: &str, value: Value| {
            if let Some(members) = question.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        if let Some(port) = destination.port {
            put(
                "ports",
                match source.port {
                    Some(source) => json!({"source": source, "destination": port}),
                    None => json!({"destination": port}),
                },
            );
        }
        if let Some((kind, code)) = icmp {
            put("icmp", json!({"type": kind, "code": code}));
        }
        question
    }
}

/// An address, and perhaps a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Endpoint {
    address: Ipv4Addr,
    port: Option<u16>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "an IPv4 address, or one with a port, such as 198.51.100.7:80".to_owned();
        let (address, port) = match text.split_once(':') {
            None => (text, None),
            Some((address, port)) => (address, Some(port.parse::<u16>().map_err(|_| wanted())?)),
        };
        if port == Some(0) {
            return Err("a port is 1 to 65535".to_owned());
        }
        Ok(Self { address: address.parse().map_err(|_| wanted())?, port })
    }
}

/// A protocol by its name or number.
pub(super) fn protocol(text: &str) -> Result<String, String> {
    let known = matches!(text, "tcp" | "udp" | "icmp") || text.parse::<u8>().is_ok();
    let wanted = || "a protocol is tcp, udp, icmp, or a number from 0 to 255".to_owned();
    known.then(|| text.to_owned()).ok_or_else(wanted)
}

/// The type of an ICMP message, and perhaps its code.
fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (kind, code) = text.split_once('/').unwrap_or((text, "0"));
    match (kind.parse(), code.parse()) {
        (Ok(kind), Ok(code)) => Ok((kind, code)),
        _ => Err("a type, or type/code, such as 3/1; each is 0 to 255".to_owned()),
    }
}

/// Prints what becomes of a packet.
pub(super) async fn show(
    packet: &TraceArguments,
    json: bool,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<Exit, CliError> {
    let body = packet.question().to_string().into_bytes();
    let answer = client.ask(Question::send(Method::POST, "/v1/trace", JSON, body)).await?;
    let agrees = answer.value.get("agrees").and_then(Value::as_bool);
    let agrees = agrees.ok_or_else(|| answer.nonsense("no `agrees`"))?;
    let lines = if json { answer.pretty()? } else { page(&answer.value) };
    output.print(&lines)?;
    Ok(if agrees { Exit::Done } else { Exit::NotOk })
}

/// The verdict, the packet before and behind, each decision on a line, then what the kernel does otherwise.
fn page(trace: &Value) -> String {
    let service = trace.get("service").map(|_| format!(" ({})", text(trace, "service"))).unwrap_or_default();
    let told = format!("{}{service}: {}", text(trace, "verdict"), text(trace, "reason"));
    let mut page = format!("{}\n", plain(&told));
    let mut ends = Table::new([]);
    for (name, member) in [("  in", "packet"), ("  out", "translated")] {
        let packet = trace.get(member).unwrap_or(&Value::Null);
        let way = trace.get("route").filter(|_| member == "translated").map(way).unwrap_or_default();
        let arrow = format!("{} -> {}", end(packet, "source"), end(packet, "destination"));
        ends.row([name.to_owned(), arrow, way]);
    }
    page.push_str(&ends.text());
    let mut decisions = Table::new(["STAGE", "ACTION", "BY", "WHAT"]);
    for decision in list(trace, "decisions") {
        let [stage, action, by, what] =
            ["stage", "action", "pointer", "detail"].map(|name| text(decision, name));
        decisions.row([stage.replace('_', " "), action, by, what]);
        for candidate in list(decision, "candidates") {
            decisions.row([
                String::new(),
                String::new(),
                format!("  {}", backend(candidate)),
                share(candidate),
            ]);
        }
    }
    page.push_str(&decisions.text());
    for assumption in list(trace, "assumptions").filter_map(Value::as_str) {
        page.push_str(&format!("assumed: {}\n", plain(assumption)));
    }
    match list(trace, "differences").collect::<Vec<_>>().as_slice() {
        [] => page.push_str("the kernel agrees\n"),
        differences => {
            page.push_str("the kernel does otherwise:\n");
            let mut table = Table::new(["", "WANTED", "OBSERVED"]);
            for difference in differences {
                table.row(["what", "wanted", "observed"].map(|name| text(difference, name)));
            }
            page.push_str(&table.text());
        }
    }
    page
}

fn list<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    object.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// An end of a packet, with its port where it has one.
fn end(packet: &Value, name: &str) -> String {
    let address = text(packet, name);
    match packet.get("ports").and_then(|ports| ports.get(name)) {
        Some(port) => format!("{address}:{port}"),
        None => address,
    }
}

fn way(route: &Value) -> String {
    let device = text(route, "device");
    let interface = match text(route, "interface") {
        interface if interface == NOTHING => device,
        interface => format!("{interface} ({device})"),
    };
    match route.get("via") {
        Some(_) => format!("by {} on {interface}", text(route, "via")),
        None => format!("on {interface}"),
    }
}

fn backend(candidate: &Value) -> String {
    format!("{}/{}", text(candidate, "pool"), text(candidate, "backend"))
}

fn share(candidate: &Value) -> String {
    let share = candidate.get("share").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
    let verdict =
        candidate.get("verdict").map(|_| format!(", {}", text(candidate, "verdict"))).unwrap_or_default();
    format!("{}:{}, {share:.0} %{verdict}", text(candidate, "address"), text(candidate, "port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(source: &str, destination: &str) -> TraceArguments {
        TraceArguments {
            interface: "guest".to_owned(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: None,
            icmp: None,
        }
    }

    #[test]
    fn a_packet_is_asked_for_as_the_api_takes_it() {
        let question = arguments("10.1.1.20:40000", "192.0.2.1:80").question();
        let expected = json!({"interface": "guest", "source": "10.1.1.20", "destination": "192.0.2.1",
            "protocol": "tcp", "ports": {"source": 40000, "destination": 80}});
        assert_eq!(question, expected);
        let ping = TraceArguments { icmp: Some((3, 1)), ..arguments("10.1.1.20", "192.0.2.1") };
        let expected = json!({"interface": "guest", "source": "10.1.1.20", "destination": "192.0.2.1",
            "protocol": "icmp", "icmp": {"type": 3, "code": 1}});
        assert_eq!(ping.question(), expected);
        let gre = TraceArguments { protocol: Some("47".to_owned()), ..arguments("10.1.1.20", "192.0.2.1") };
        assert_eq!(gre.question()["protocol"], json!(47));
    }

    #[test]
    fn what_is_no_end_protocol_or_message_is_refused() {
        for text in ["10.1.1", "10.1.1.20:0", "10.1.1.20:", "10.1.1.20:70000", "::1", "web1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!(protocol("all").is_err() && protocol("256").is_err() && protocol("47").is_ok());
        assert!(icmp("8/256").is_err() && icmp("x").is_err());
        assert_eq!((icmp("8"), icmp("3/1")), (Ok((8, 0)), Ok((3, 1))));
    }

    #[test]
    fn a_trace_is_told_from_top_to_bottom() {
        let trace = json!({"generation": 7, "verdict": "accepted", "reason": "firewall rule `web-in` accepts it",
            "packet": {"source": "192.0.2.53", "destination": "198.51.100.8", "protocol": 6, "ports": {"destination": 80}},
            "translated": {"source": "192.0.2.53", "destination": "10.1.1.20", "protocol": 6, "ports": {"destination": 8080}},
            "route": {"interface": "guest", "device": "eth2", "table": 254, "destination": "10.1.1.0/24"},
            "decisions": [
                {"stage": "destination_nat", "action": "translate", "pointer": "/load_balancers/web", "detail": "one of 2",
                 "candidates": [{"address": "10.1.1.20", "port": 8080, "pool": "app", "backend": "a", "share": 0.6667,
                                 "verdict": "accepted"}]},
                {"stage": "firewall", "action": "accept", "detail": "it opens\u{1b}[2J"}],
            "assumptions": ["it is the first"], "agrees": false,
            "differences": [{"what": "verdict", "wanted": "accepted", "observed": "dropped"}]});
        let expected = "\
accepted: firewall rule `web-in` accepts it
  in   192.0.2.53 -> 198.51.100.8:80
  out  192.0.2.53 -> 10.1.1.20:8080   on guest (eth2)
STAGE            ACTION     BY                   WHAT
destination nat  translate  /load_balancers/web  one of 2
                              app/a              10.1.1.20:8080, 67 %, accepted
firewall         accept     -                    it opens\\u{1b}[2J
assumed: it is the first
the kernel does otherwise:
         WANTED    OBSERVED
verdict  accepted  dropped
";
        assert_eq!(page(&trace), expected);
        let agreeing = json!({"verdict": "local", "service": "dns", "agrees": true});
        assert!(page(&agreeing).starts_with("local (dns): -\n"), "{}", page(&agreeing));
        assert!(page(&agreeing).ends_with("the kernel agrees\n"));
    }
}
