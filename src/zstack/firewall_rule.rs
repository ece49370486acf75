//! One rule of a rule set, by its number.
//!
//! Connections that are under way are let pass by the router itself, so a rule is about new ones: what it says of other
//! states says nothing more, unless it would cut them.

use serde_json::{Map, Value, json};

use super::Refusal;
use super::body::{Body, set};
use super::firewall::action;

/// Names of protocols beside those that the configuration knows (IANA protocol registry).
const PROTOCOLS: [(&str, u8); 7] =
    [("igmp", 2), ("gre", 47), ("esp", 50), ("ah", 51), ("ospf", 89), ("vrrp", 112), ("sctp", 132)];
/// ICMP types by the names that firewalls give them (RFC 792).
const ICMP_TYPES: [(&str, u8); 9] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("ping", 8),
    ("pong", 0),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
];

/// The number of a rule, as its id.
pub(super) fn number(rule: Body<'_>) -> Result<String, Refusal> {
    let number = rule.number("ruleNumber")?.filter(|number| *number <= u64::from(u32::MAX));
    number
        .map(|number| number.to_string())
        .ok_or_else(|| Refusal::Invalid("`ruleNumber` is missing".to_owned()))
}

/// What a rule comes to, by id: one rule, two where it means two protocols, none where it says nothing.
pub(super) fn read(rule: Body<'_>) -> Result<Vec<(String, Value)>, Refusal> {
    let number = number(rule)?;
    let of_rule = |refusal: Refusal| match refusal {
        Refusal::Unsupported(detail) => Refusal::Unsupported(format!("rule {number}: {detail}")),
        Refusal::Invalid(detail) => Refusal::Invalid(format!("rule {number}: {detail}")),
        other => other,
    };
    let mut value = json!({ "priority": rule.number("ruleNumber")?.unwrap_or_default() });
    match body(rule, &mut value) {
        // The appliance's own rules lead to lists of its own, whose work is done elsewhere here.
        Err(_) if rule.flag("isDefault").unwrap_or(false) => return Ok(Vec::new()),
        other => other.map_err(of_rule)?,
    }
    if !is_about_new(rule, &value).map_err(of_rule)? {
        return Ok(Vec::new());
    }
    let both = rule.text("protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("tcp_udp"));
    if both {
        let mut udp = value.clone();
        set(&mut value, "protocol", "tcp");
        set(&mut udp, "protocol", "udp");
        return Ok(vec![(number.clone(), value), (format!("{number}-udp"), udp)]);
    }
    Ok(vec![(number, value)])
}

fn body(rule: Body<'_>, value: &mut Value) -> Result<(), Refusal> {
    set(value, "action", action(rule.needed("action")?)?);
    set(value, "enabled", !rule.text("state").is_some_and(|state| state.eq_ignore_ascii_case("disable")));
    set(value, "log", rule.flag("enableLog").unwrap_or(false));
    set(value, "protocol", protocol(rule.text("protocol").unwrap_or("all"))?);
    if let Some(sources) = addresses(rule, "sourceIp")? {
        set(value, "sources", sources);
    }
    if let Some(destinations) = addresses(rule, "destIp")? {
        set(value, "destinations", destinations);
    }
    for (name, member) in [("destPort", "destination_ports"), ("sourcePort", "source_ports")] {
        if let Some(ports) = rule.text(name) {
            let ports: Vec<String> = ports.split(',').map(|port| port.trim().replace(':', "-")).collect();
            set(value, member, ports);
        }
    }
    // A connection begins with SYN alone; what begins otherwise is none.
    match rule.text("tcp").map(str::to_ascii_lowercase).as_deref() {
        None | Some("syn" | "syn,!ack" | "syn,!ack,!fin,!rst") => {}
        Some(flags) => return Err(Refusal::Unsupported(format!("TCP flags ({flags})"))),
    }
    if let Some(text) = rule.text("icmp") {
        let (kind, code) = icmp(text)?;
        set(value, "icmp_type", kind);
        if let Some(code) = code {
            set(value, "icmp_code", code);
        }
    }
    Ok(())
}

fn protocol(text: &str) -> Result<Value, Refusal> {
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "tcp" | "udp" | "icmp" => return Ok(name.into()),
        "all" | "any" | "tcp_udp" => return Ok("all".into()),
        _ => {}
    }
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = known.or_else(|| name.parse().ok());
    number.map(Value::from).ok_or_else(|| Refusal::Unsupported(format!("the protocol `{text}`")))
}

/// Addresses, networks and ranges, with commas between them.
fn addresses(rule: Body<'_>, name: &str) -> Result<Option<Vec<String>>, Refusal> {
    let Some(text) = rule.text(name) else { return Ok(None) };
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    for part in &parts {
        if let Err(error) = part.parse::<crate::config::net::AddressMatch>() {
            return Err(Refusal::Invalid(format!("`{name}`: {error}")));
        }
    }
    Ok(Some(parts))
}

fn icmp(text: &str) -> Result<(u8, Option<u8>), Refusal> {
    let wrong = || Refusal::Unsupported(format!("the ICMP type `{text}`"));
    if let Some((_, number)) = ICMP_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok((*number, None));
    }
    let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
    let kind = kind.parse().map_err(|_| wrong())?;
    let code = code.map(|code| code.parse().map_err(|_| wrong())).transpose()?;
    Ok((kind, code))
}

/// Whether a rule says something of new connections.
fn is_about_new(rule: Body<'_>, value: &Value) -> Result<bool, Refusal> {
    let Some(states) = rule.text("allowStates") else { return Ok(true) };
    let has = |wanted: &str| states.split(',').any(|state| state.trim().eq_ignore_ascii_case(wanted));
    if has("new") {
        return Ok(true);
    }
    let accepts = value.get("action").and_then(Value::as_str) == Some("accept");
    match (accepts, has("invalid")) {
        (true, false) => Ok(false),
        (false, true) if !has("established") && !has("related") => Ok(false),
        _ => Err(Refusal::Unsupported(format!("a rule for the states {states}"))),
    }
}

/// Whether the rule of an id is one of the appliance's own, by its number.
pub(super) fn is_own(id: &str) -> bool {
    id.parse::<u64>().is_ok_and(|number| number <= 1000 || number >= 4000)
}

/// A rule as ZStack reads it; nothing for the second half of one.
pub(super) fn shown(id: &str, rule: &Value) -> Option<Map<String, Value>> {
    let number: u64 = id.parse().ok()?;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    let list = |name: &str| -> Option<Value> {
        let list: Vec<&str> = rule.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect();
        Some(list.join(",").into())
    };
    put("ruleNumber", number.into());
    put("action", rule.get("action").cloned().unwrap_or_default());
    put("protocol", rule.get("protocol").map_or_else(|| "all".into(), text));
    put("allowStates", "new,established,related".into());
    put("enableLog", rule.get("log").cloned().unwrap_or(false.into()));
    let enabled = rule.get("enabled").and_then(Value::as_bool).unwrap_or(true);
    put("state", if enabled { "enable" } else { "disable" }.into());
    put("isDefault", is_own(id).into());
    for (name, member) in [
        ("sourceIp", "sources"),
        ("destIp", "destinations"),
        ("destPort", "destination_ports"),
        ("sourcePort", "source_ports"),
    ] {
        if let Some(value) = list(member) {
            put(name, value);
        }
    }
    if let Some(kind) = rule.get("icmp_type") {
        let code = rule.get("icmp_code").map(|code| format!("/{code}")).unwrap_or_default();
        put("icmp", format!("{kind}{code}").into());
    }
    Some(shown)
}

fn text(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).into()
}
