//! NICs as interfaces: found by their MAC, with the roles that ZStack's categories and masks mean.
//!
//! A network that a NIC shares with another is no NIC of its own. The management node says so by the NIC's mask at boot, or
//! by naming one MAC several times; later by what it asks for, such as DHCP on the management NIC, or a source translation
//! whose two NICs are one.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::body::Body;
use super::command::Reply;
use super::draft::{Draft, ROLES};
use super::{Facts, Refusal, snat};
use crate::config::MacAddress;
use crate::config::net::{is_host_of, overlap};

/// The main way out comes before every other.
const MAIN: u32 = 10;
/// What `metaData` says a NIC is for: a mask of these, where 8 is one more way out.
const MASKS: [(&str, u64); 3] = [("management", 2), ("public", 1 | 8), ("guest", 4)];

/// `/configurenic`: NICs that come, or are others now.
pub(super) fn configure(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let mut stated = BTreeSet::new();
    for nic in body.list("nics")? {
        let mac = nic.mac("mac")?;
        if !facts.nics.iter().any(|known| known.mac == mac) {
            return Err(Refusal::Invalid(format!("no network device of this router has the MAC {mac}")));
        }
        let is_management = facts.management == Some(mac) && !has_management(draft);
        state(nic, draft, is_management, !stated.insert(mac))?;
    }
    Ok(Reply::new())
}

fn has_management(draft: &Draft) -> bool {
    draft.interfaces().iter().any(|id| draft.has_role(id, "management"))
}

/// States the interface of one NIC. What is not said stays as it is: its VIPs, and what it is for. With `more` the NIC has
/// been stated already, and this is one more network on it.
pub(super) fn state(
    nic: Body<'_>,
    draft: &mut Draft,
    is_management: bool,
    more: bool,
) -> Result<(), Refusal> {
    let mac = nic.mac("mac")?;
    if nic.text("ip6").is_some() {
        return Err(Refusal::Unsupported(format!(
            "the NIC {mac} has an IPv6 address, and IPv6 is not built"
        )));
    }
    let id = draft.find_interface(mac).unwrap_or_else(|| id(mac));
    let own = match nic.text("ip") {
        Some(_) => Some(nic.network("ip", "netmask")?),
        None => None,
    };
    let is_main = nic.flag("isDefaultRoute").unwrap_or(false);
    let gateway = nic.address("gateway")?;
    let more = more || draft.addresses(&id).count() > 1 || joins_management(nic, own, draft, &id);
    let roles = roles(nic, draft, &id, is_management, is_main, more)?;
    let is_guest_alone = roles == ["guest"];
    match own {
        Some(own) if more => add_own_address(draft, &id, own),
        Some(own) => set_own_address(draft, &id, own),
        None => {}
    }
    if is_main && !is_guest_alone {
        forget_main(draft, &id);
    }
    let mtu = nic.number("mtu")?.filter(|mtu| *mtu > 0);
    let interface = draft.object(&["interfaces", &id]);
    interface.insert("mac".to_owned(), mac.to_string().into());
    interface.insert("roles".to_owned(), roles.into());
    if let Some(mtu) = mtu {
        interface.insert("mtu".to_owned(), mtu.into());
    }
    // A guest network's gateway is the router, or somebody whom only DHCP tells of.
    let gateway = gateway.filter(|gateway| !is_guest_alone && own.is_none_or(|own| own.addr() != *gateway));
    match gateway {
        Some(gateway) => {
            if let Some(own) = own.filter(|own| !is_host_of(own.trunc(), gateway)) {
                return Err(Refusal::Invalid(format!("the gateway {gateway} is not in the subnet of {own}")));
            }
            // One interface has one next hop: that of the main way out, where networks share it.
            if is_main || !more || !interface.contains_key("gateway") {
                interface.insert("gateway".to_owned(), gateway.to_string().into());
            }
            if is_main {
                interface.insert("gateway_priority".to_owned(), MAIN.into());
            }
        }
        None if more => {}
        None if nic.has("gateway") || is_guest_alone => {
            interface.remove("gateway");
            interface.remove("gateway_priority");
        }
        None => {}
    }
    Ok(())
}

/// Whether a network joins the management's on its NIC, rather than taking its place: it is another one, for others.
fn joins_management(nic: Body<'_>, own: Option<Ipv4Net>, draft: &Draft, id: &str) -> bool {
    let role = match nic.text("category").map(str::to_ascii_lowercase).as_deref() {
        Some("public") => "public",
        Some("private") => "guest",
        _ => return false,
    };
    let is_other = |own: Ipv4Net| draft.addresses(id).all(|known| !overlap(known, own));
    draft.has_role(id, "management") && !draft.has_role(id, role) && own.is_some_and(is_other)
}

/// What a NIC is for: by its category and its mask, else as it was, else the main way out is public and the rest are guests'.
/// What something that is configured needs it for, and what `more` adds to, it stays for.
fn roles(
    nic: Body<'_>,
    draft: &Draft,
    id: &str,
    is_management: bool,
    is_main: bool,
    more: bool,
) -> Result<Vec<&'static str>, Refusal> {
    let is_management = is_management || draft.has_role(id, "management");
    let mut roles = match nic.text("category").map(str::to_ascii_lowercase).as_deref() {
        Some("public") if is_management && !is_main && !draft.has_role(id, "public") => Vec::new(),
        Some("public") => vec!["public"],
        Some("private") => vec!["guest"],
        Some("system") if is_main => vec!["public"],
        Some("system") => Vec::new(),
        Some(other) => {
            return Err(Refusal::Invalid(format!("`{other}` is not one of Public, Private, System")));
        }
        None if draft.at(&["interfaces", id]).is_some() => {
            ["guest", "public"].into_iter().filter(|role| draft.has_role(id, role)).collect()
        }
        None if is_main => vec!["public"],
        None if is_management => Vec::new(),
        None => vec!["guest"],
    };
    if is_management || roles.is_empty() {
        roles.push("management");
    }
    let masked = masked(nic, &roles);
    let is = |role: &&'static str| {
        roles.contains(role)
            || masked.contains(role)
            || (more && draft.has_role(id, role))
            || is_needed(role, draft, id)
    };
    Ok(ROLES.into_iter().filter(is).collect())
}

/// What the mask of a NIC says it is for beside `roles`. One that does not know of all of them is none of ZStack's.
fn masked(nic: Body<'_>, roles: &[&str]) -> Vec<&'static str> {
    let mask = nic.number("metaData").unwrap_or_default().unwrap_or_default();
    let masked: Vec<&str> =
        MASKS.into_iter().filter(|(_, bits)| mask & bits != 0).map(|(role, _)| role).collect();
    if roles.iter().all(|role| masked.contains(role)) { masked } else { Vec::new() }
}

/// Whether something that is configured takes a role of an interface for granted.
fn is_needed(role: &str, draft: &Draft, id: &str) -> bool {
    let on = |(_, value): (&str, &Value)| value.get("interface").and_then(Value::as_str) == Some(id);
    let translated = |(_, snat): (&str, &Value)| {
        let source = snat.get("source").and_then(Value::as_str).and_then(|text| text.parse::<Ipv4Net>().ok());
        source.is_some_and(|source| draft.addresses(id).any(|own| overlap(own, source)))
    };
    match role {
        "guest" => draft.entries(&["dhcp"]).any(on) || draft.entries(&["snat"]).any(translated),
        "public" => draft.entries(&["snat"]).any(on) || draft.entries(&["eips"]).any(on),
        _ => false,
    }
}

/// The id of the interface of a NIC.
pub(super) fn id(mac: MacAddress) -> String {
    mac.to_string().replace(':', "-")
}

/// Makes an address the one of its interface, or of its network where several share the interface; one that was a VIP is
/// none any more.
pub(super) fn set_own_address(draft: &mut Draft, id: &str, own: Ipv4Net) {
    if draft.addresses(id).count() > 1 {
        return add_own_address(draft, id, own);
    }
    draft.remove(&["owner", "zstack", "vips"], &own.addr().to_string());
    let first: Value = own.to_string().into();
    draft.put(&["interfaces", id], "addresses", vec![first].into());
}

/// Puts an address beside the others of its interface, in the place of that of the same network.
fn add_own_address(draft: &mut Draft, id: &str, own: Ipv4Net) {
    draft.remove(&["owner", "zstack", "vips"], &own.addr().to_string());
    let mut all: Vec<Ipv4Net> = draft.addresses(id).collect();
    match all.iter_mut().find(|known| overlap(**known, own)) {
        Some(known) => *known = own,
        None => all.push(own),
    }
    let all: Vec<Value> = all.iter().map(|own| own.to_string().into()).collect();
    draft.put(&["interfaces", id], "addresses", all.into());
}

fn forget_main(draft: &mut Draft, but: &str) {
    for id in draft.interfaces().iter().filter(|id| *id != but) {
        draft.remove(&["interfaces", id], "gateway_priority");
    }
}

/// `/removenic`: the NIC, and whatever stands on it alone.
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for nic in body.list("nics")? {
        let Some(id) = draft.find_interface(nic.mac("mac")?) else { continue };
        if draft.has_role(&id, "management") {
            return Err(Refusal::Invalid("the management NIC cannot be removed".to_owned()));
        }
        let nets: Vec<Ipv4Net> = match draft.has_role(&id, "guest") {
            true => draft.addresses(&id).map(|net| net.trunc()).collect(),
            false => Vec::new(),
        };
        let on = |value: &Value| value.get("interface").and_then(Value::as_str) == Some(&id);
        let gone = |value: &Value, member: &str| {
            let address = value.get(member).and_then(Value::as_str).and_then(|text| text.parse().ok());
            address.is_some_and(|address: std::net::Ipv4Addr| nets.iter().any(|net| net.contains(&address)))
        };
        let of_net = |value: &Value| {
            let source =
                value.get("source").and_then(Value::as_str).and_then(|text| text.parse::<Ipv4Net>().ok());
            source.is_some_and(|source| nets.contains(&source))
        };
        draft.retain(&["dhcp"], |_, network| !on(network));
        draft.retain(&["snat"], |_, snat| !on(snat) && !of_net(snat));
        draft.retain(&["eips"], |_, eip| !on(eip) && !gone(eip, "target"));
        draft.retain(&["port_forwards"], |_, forward| !gone(forward, "target"));
        draft.retain(&["routes"], |_, route| !on(route) && !gone(route, "via"));
        draft.retain(&["firewall", "rules"], |_, rule| !on(rule));
        draft.retain(&["owner", "zstack", "vips"], |_, vip| !on(vip));
        draft.retain(&["owner", "zstack", "rule_sets"], |_, set| !on(set));
        draft.retain(&["owner", "zstack", "default_actions"], |interface, _| interface != id);
        if let Some(Value::Array(interfaces)) = draft.object(&["dns"]).get_mut("interfaces") {
            interfaces.retain(|one| *one != id.as_str());
        }
        draft.remove(&["interfaces"], &id);
    }
    Ok(Reply::new())
}

/// `/changeDefaultNic`: another main way out, and the source translations that go with it.
pub(super) fn change_default(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let nic = body.object("newNic");
    let id = draft.interface(nic.mac("mac")?)?;
    draft.make_public(&id);
    if let Some(gateway) = nic.address("gateway")? {
        draft.put(&["interfaces", &id], "gateway", gateway.to_string().into());
    }
    if draft.at(&["interfaces", &id, "gateway"]).is_none() {
        return Err(Refusal::Invalid(format!("the NIC `{id}` has no gateway")));
    }
    forget_main(draft, &id);
    draft.put(&["interfaces", &id], "gateway_priority", json!(MAIN));
    if body.has("snats") {
        draft.retain(&["snat"], |_, _| false);
        snat::put_all(&body.list("snats")?, draft, facts)?;
    }
    Ok(Reply::new())
}
