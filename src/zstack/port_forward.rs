//! Port forwards, each by its UUID.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::body::{Body, id, set};
use super::command::Reply;
use super::draft::Draft;
use super::eip::refuse_hidden_sources;
use super::{Facts, Refusal, vip};

/// `/createportforwarding`
pub(super) fn create(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let mut taken = taken(draft);
    for rule in body.list("rules")? {
        put(rule, draft, &mut taken)?;
    }
    Ok(Reply::new())
}

/// `/revokeportforwarding`
pub(super) fn revoke(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let mut taken = taken(draft);
    for rule in body.list("rules")? {
        // Where somebody else is now is left to him.
        let found = match rule.text("uuid") {
            Some(uuid) => Some(id(uuid)?),
            None => taken.remove(&Endpoint::of(rule)?),
        };
        if let Some(id) = found {
            draft.remove(&["port_forwards"], &id);
        }
    }
    Ok(Reply::new())
}

/// `/syncportforwarding`: what is listed is all there is.
pub(super) fn sync(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["port_forwards"], |_, _| false);
    create(body, draft, facts)
}

/// Where a port forward is reached: two with one endpoint are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    address: String,
    protocol: String,
    ports: String,
}

impl Endpoint {
    fn of(rule: Body<'_>) -> Result<Self, Refusal> {
        let protocol =
            rule.text("protocolType").or(rule.text("protocol")).unwrap_or("tcp").to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp") {
            return Err(Refusal::Invalid(format!("`{protocol}` is not one of TCP, UDP")));
        }
        let address = rule.needed_address("vipIp")?.to_string();
        Ok(Self { address, protocol, ports: ports(rule, "vipPortStart", "vipPortEnd")? })
    }

    /// Where a port forward of the document is reached.
    fn of_forward(forward: &Value) -> Option<Self> {
        let member = |name: &str| forward.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { address: member("address")?, protocol: member("protocol")?, ports: member("ports")? })
    }
}

/// Which port forward is reached where.
type Taken = BTreeMap<Endpoint, String>;

fn taken(draft: &Draft) -> Taken {
    let forwards = draft.entries(&["port_forwards"]);
    forwards.filter_map(|(id, forward)| Some((Endpoint::of_forward(forward)?, id.to_owned()))).collect()
}

fn put(rule: Body<'_>, draft: &mut Draft, taken: &mut Taken) -> Result<(), Refusal> {
    let endpoint = Endpoint::of(rule)?;
    let address = rule.needed_address("vipIp")?;
    let target = rule.needed_address("privateIp")?;
    refuse_hidden_sources(rule)?;
    let interface = vip::home(address, rule, "publicMac", draft)?;
    draft.give_role(&interface, "public");
    draft.expect_guest(rule, "privateMac", target)?;
    let target_ports = ports(rule, "privatePortStart", "privatePortEnd")?;
    let mut value = json!({
        "protocol": endpoint.protocol, "address": endpoint.address, "ports": endpoint.ports, "target": target.to_string()
    });
    if target_ports != endpoint.ports {
        set(&mut value, "target_ports", target_ports);
    }
    let sources: Vec<&str> = rule.text("allowedCidr").unwrap_or_default().split(',').map(str::trim).collect();
    if !sources.iter().any(|source| source.is_empty() || source.ends_with("/0")) {
        set(&mut value, "allowed_sources", sources);
    }
    let id = match rule.text("uuid") {
        Some(uuid) => id(uuid)?,
        None => format!("{}-{}-{}", endpoint.address, endpoint.protocol, endpoint.ports),
    };
    let before = draft.remove(&["port_forwards"], &id);
    if let Some(left) = before.as_ref().and_then(Endpoint::of_forward) {
        taken.remove(&left);
    }
    if let Some(before) = taken.insert(endpoint, id.clone()) {
        draft.remove(&["port_forwards"], &before);
    }
    draft.put(&["port_forwards"], &id, value);
    Ok(())
}

/// Ports from the first to the last; the last is the first where it is not said.
fn ports(rule: Body<'_>, first: &str, last: &str) -> Result<String, Refusal> {
    let from = rule.number(first)?.ok_or_else(|| Refusal::Invalid(format!("`{first}` is missing")))?;
    let to = rule.number(last)?.unwrap_or(from);
    Ok(if from == to { from.to_string() } else { format!("{from}-{to}") })
}
