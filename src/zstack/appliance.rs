//! The router itself: how it is taken over, what it says of itself, and how it boots under a ZStack host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::body::{Body, address};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, nic};
use crate::config::empty_document;

/// The id of the route to the management nodes' network.
const NODES: &str = "zstack-nodes";
/// The id of the route to the management node that called.
const NODE: &str = "zstack-node";

/// Whether a route is the router's way to its management nodes, which no command lists.
pub(super) fn is_to_nodes(route: &str) -> bool {
    matches!(route, NODES | NODE)
}

/// A router that nobody has configured becomes ZStack's: guests reach each other's networks unless rules say otherwise, and
/// names are answered from the first interface on.
pub(super) fn take(draft: &mut Draft) {
    draft.object(&["owner", "zstack"]);
    draft.object(&["dns"]);
    draft.put(&["firewall", "defaults"], "between_guests", "accept".into());
}

/// The document of a router that boots under a ZStack host: what came by the virtio-serial port.
///
/// # Errors
/// What is wrong with it.
pub fn first_document(bootstrap: &Value) -> Result<Value, Refusal> {
    let body = Body::new(bootstrap);
    let mut draft = Draft::new(&empty_document());
    take(&mut draft);
    let management = body.object("managementNic");
    if management.is_absent() {
        return Err(Refusal::Invalid("`managementNic` is missing".to_owned()));
    }
    nic::state(management, &mut draft, true, false)?;
    let mut stated = BTreeSet::from([management.mac("mac")?]);
    for additional in body.list("additionalNics")? {
        let more = !stated.insert(additional.mac("mac")?);
        nic::state(additional, &mut draft, false, more)?;
    }
    // Where networks share the NIC, its next hop is perhaps not the management network's.
    let gateway = management.address("gateway")?;
    if let Some(network) = body.text("managementNodeCidr") {
        lead(&mut draft, NODES, net(network)?, gateway);
    }
    if let Some(node) = body.text("managementNodeIp") {
        lead(&mut draft, NODE, address(node)?.into(), gateway);
    }
    Ok(draft.finish())
}

fn net(text: &str) -> Result<Ipv4Net, Refusal> {
    let parsed = text.parse::<Ipv4Net>().map(|net| net.trunc());
    parsed.map_err(|_| Refusal::Invalid(format!("`{text}` is not an IPv4 network")))
}

/// A route to where commands come from, by the management network's gateway, unless it is near.
fn lead(draft: &mut Draft, id: &str, destination: Ipv4Net, gateway: Option<Ipv4Addr>) {
    let before = draft.remove(&["routes"], id);
    let before = before.as_ref().and_then(|route| route.get("via")?.as_str()?.parse().ok());
    let interfaces = draft.interfaces();
    let near = |id: &String| draft.addresses(id).any(|own| own.trunc().contains(&destination));
    let led = draft.entries(&["routes"]).any(|(_, route)| {
        let covers = |net: Ipv4Net| net.contains(&destination);
        route
            .get("destination")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .is_some_and(covers)
    });
    if destination.prefix_len() == 0 || led || interfaces.iter().any(near) {
        return;
    }
    let management = interfaces.iter().find(|id| draft.has_role(id, "management"));
    let known = || management.and_then(|id| draft.text(&["interfaces", id, "gateway"])).map(str::to_owned);
    if let Some(gateway) = gateway.or(before).map(|gateway| gateway.to_string()).or_else(known) {
        draft.put(&["routes"], id, json!({ "destination": destination.to_string(), "via": gateway }));
    }
}

/// `/init`: the router's UUID, and the way to its management nodes.
pub(super) fn init(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let uuid = body.needed("uuid")?.to_owned();
    if let Some(network) = body.text("mgtCidr") {
        lead(draft, NODES, net(network)?, None);
    }
    if let Some(node) = facts.node {
        lead(draft, NODE, Ipv4Net::from(node), None);
    }
    draft.put(&["owner", "zstack"], "uuid", uuid.clone().into());
    Ok(reply(json!({
        "uuid": uuid,
        "zvrVersion": facts.version,
        "vyosVersion": facts.version,
        "kernelVersion": facts.kernel,
        "ipsecCurrentVersion": "",
        "ipsecLatestVersion": "",
    })))
}

/// `/ping`: the UUID is there once `/init` was carried out, and with all that came after it; without it the management
/// node sends everything anew.
pub(super) fn ping(draft: &Draft, facts: &Facts) -> Reply {
    reply(json!({
        "uuid": draft.text(&["owner", "zstack", "uuid"]).unwrap_or_default(),
        "version": facts.version,
        "haStatus": "NoHa",
        "healthy": true,
        "healthDetail": "",
        "serviceHealthList": {},
    }))
}

/// `/type`: what the management node keeps of it is a user's name for logins, which there are none of.
pub(super) fn kind(_: &Draft, _: &Facts) -> Reply {
    reply(json!({ "isVyos": false }))
}

/// `/test`.
pub(super) fn test(_: &Draft, facts: &Facts) -> Reply {
    reply(json!({ "zvrVersion": facts.version }))
}

/// `/echo` and its kin: that somebody is there.
pub(super) fn nothing(_: &Draft, _: &Facts) -> Reply {
    Reply::new()
}

/// A command that every agent takes and that means nothing here.
pub(super) fn no_change(_: Body<'_>, _: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    Ok(Reply::new())
}

/// `/appliancevm/refreshfirewall`: which ports of the router are open is said by its services, which open what they need;
/// nothing else listens. A rule that names a NIC that is not there is refused.
pub(super) fn refresh_firewall(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for rule in body.list("rules")? {
        if rule.text("nicMac").is_some() {
            draft.interface(rule.mac("nicMac")?)?;
        } else if let Some(destination) = rule.address("destIp")? {
            let here = |id: &String| draft.addresses(id).any(|net| net.addr() == destination);
            let is_known = draft.interfaces().iter().any(here) || draft.is_vip(destination);
            if !is_known && !is_mapped(draft, destination) {
                return Err(Refusal::Invalid(format!("{destination} is no address of this router")));
            }
        }
        if let Some(protocol) = rule.text("protocol")
            && !["all", "tcp", "udp", "icmp"].iter().any(|known| known.eq_ignore_ascii_case(protocol))
        {
            return Err(Refusal::Invalid(format!("`{protocol}` is not one of all, tcp, udp, icmp")));
        }
    }
    Ok(Reply::new())
}

fn is_mapped(draft: &Draft, address: Ipv4Addr) -> bool {
    let text = address.to_string();
    let is = |(_, eip): (&str, &Value)| eip.get("address").and_then(Value::as_str) == Some(&text);
    draft.entries(&["eips"]).any(is)
}

/// An object as a reply.
pub(super) fn reply(value: Value) -> Reply {
    match value {
        Value::Object(members) => members,
        _ => Reply::new(),
    }
}
