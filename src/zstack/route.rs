//! Static routes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::appliance::{is_to_nodes, reply};
use super::body::{Body, set};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal};
use crate::config::MacAddress;

/// `/syncroutes`: what is listed is all there is, beside the way to the management nodes.
pub(super) fn sync(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["routes"], |id, _| is_to_nodes(id));
    for route in body.list("routes")? {
        let text = route.needed("destination")?;
        let destination: Ipv4Net = text
            .parse()
            .or_else(|_| text.parse::<std::net::Ipv4Addr>().map(Ipv4Net::from))
            .map_err(|_| Refusal::Invalid(format!("`{text}` is not an IPv4 network")))?;
        let destination = destination.trunc();
        let Some(via) = route.address("target")? else {
            return Err(Refusal::Unsupported(format!(
                "a route that drops {destination}: blackholes are not built"
            )));
        };
        let distance = route.number("distance")?.filter(|distance| *distance > 0);
        let mut value = json!({ "destination": destination.to_string(), "via": via.to_string() });
        if let Some(distance) = distance {
            set(&mut value, "metric", distance);
        }
        let id = format!("{}-{}", destination.to_string().replace('/', "-"), distance.unwrap_or_default());
        if let Some(other) = draft.at(&["routes", &id]).filter(|other| **other != value) {
            let other = other.get("via").and_then(Value::as_str).unwrap_or_default();
            return Err(Refusal::Unsupported(format!(
                "{destination} by {other} and by {via} at one distance: routes are not shared among next hops"
            )));
        }
        draft.put(&["routes"], &id, value);
    }
    Ok(Reply::new())
}

/// `/getroutes`: the routes that are wanted, in the form of a routing daemon's `show ip route`.
pub(super) fn get(_: Body<'_>, draft: &Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let device = |id: &str| {
        let mac = draft.text(&["interfaces", id, "mac"]).and_then(|text| text.parse::<MacAddress>().ok());
        let nic = facts.nics.iter().find(|nic| Some(nic.mac) == mac);
        nic.map(|nic| nic.device.as_str())
            .or(draft.text(&["interfaces", id, "device"]))
            .unwrap_or(id)
            .to_owned()
    };
    let interfaces = draft.interfaces();
    let mut lines: BTreeMap<Ipv4Net, Vec<String>> = BTreeMap::new();
    let on_link = |via: std::net::Ipv4Addr| {
        interfaces.iter().find(|id| draft.addresses(id).any(|own| own.contains(&via)))
    };
    for id in &interfaces {
        let vips = draft.entries(&["owner", "zstack", "vips"]).filter_map(|(_, vip)| {
            let here = vip.get("interface").and_then(Value::as_str) == Some(id);
            vip.get("address").filter(|_| here)?.as_str()?.parse::<Ipv4Net>().ok()
        });
        let mut subnets: Vec<Ipv4Net> = draft.addresses(id).chain(vips).map(|net| net.trunc()).collect();
        subnets.sort_unstable();
        subnets.dedup();
        for subnet in subnets {
            let line = format!("C>* {subnet} is directly connected, {}", device(id));
            lines.entry(subnet).or_default().push(line);
        }
    }
    for (_, route) in draft.entries(&["routes"]) {
        let member = |name: &str| route.get(name).and_then(Value::as_str);
        let destination = member("destination").and_then(|text| text.parse::<Ipv4Net>().ok());
        let via = member("via").and_then(|text| text.parse().ok());
        let (Some(destination), Some(via)) = (destination, via) else { continue };
        let distance = route.get("metric").and_then(Value::as_u64).unwrap_or(1);
        let out = on_link(via).map(|id| device(id)).unwrap_or_default();
        let line = format!("S>* {destination} [{distance}/0] via {via}, {out}");
        lines.entry(destination).or_default().push(line);
    }
    let priority = |id: &&String| {
        let value = draft.at(&["interfaces", id, "gateway_priority"]).and_then(Value::as_u64);
        (!draft.has_role(id, "public"), value.unwrap_or(u64::MAX))
    };
    let gateway = |id: &str| draft.text(&["interfaces", id, "gateway"]);
    if let Some(main) = interfaces.iter().filter(|id| gateway(id).is_some()).min_by_key(priority) {
        let line = format!("S>* 0.0.0.0/0 [1/0] via {}, {}", gateway(main).unwrap_or_default(), device(main));
        lines.entry(Ipv4Net::default()).or_default().insert(0, line);
    }
    let mut text = String::new();
    for line in lines.into_values().flatten() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    Ok(reply(json!({ "rawRoutes": text })))
}
