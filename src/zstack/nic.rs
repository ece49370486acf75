//! NICs as interfaces: found by their MAC, with the roles that ZStack's categories mean.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::body::Body;
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, snat};
use crate::config::MacAddress;
use crate::config::net::is_host_of;

/// The main way out comes before every other.
const MAIN: u32 = 10;

/// `/configurenic`: NICs that come, or are others now.
pub(super) fn configure(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    for nic in body.list("nics")? {
        let mac = nic.mac("mac")?;
        if !facts.nics.iter().any(|known| known.mac == mac) {
            return Err(Refusal::Invalid(format!("no network device of this router has the MAC {mac}")));
        }
        let is_management = facts.management == Some(mac) && !has_management(draft);
        state(nic, draft, is_management)?;
    }
    Ok(Reply::new())
}

fn has_management(draft: &Draft) -> bool {
    draft.interfaces().iter().any(|id| draft.has_role(id, "management"))
}

/// States the interface of one NIC. What is not said stays as it is: its VIPs, and what it is for.
pub(super) fn state(nic: Body<'_>, draft: &mut Draft, is_management: bool) -> Result<(), Refusal> {
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
    let roles = roles(nic, draft, &id, is_management, is_main)?;
    let is_guest_alone = roles == ["guest"];
    if let Some(own) = own {
        set_own_address(draft, &id, own);
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
            interface.insert("gateway".to_owned(), gateway.to_string().into());
            if is_main {
                interface.insert("gateway_priority".to_owned(), MAIN.into());
            }
        }
        None if nic.has("gateway") || is_guest_alone => {
            interface.remove("gateway");
            interface.remove("gateway_priority");
        }
        None => {}
    }
    Ok(())
}

/// What a NIC is for: by its category, else as it was, else the main way out is public and the rest are guests'.
fn roles(
    nic: Body<'_>,
    draft: &Draft,
    id: &str,
    is_management: bool,
    is_main: bool,
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
    roles.sort_unstable_by_key(|role| ["management", "public", "guest"].iter().position(|one| one == role));
    Ok(roles)
}

/// The id of the interface of a NIC.
pub(super) fn id(mac: MacAddress) -> String {
    mac.to_string().replace(':', "-")
}

/// Makes an address the first of its interface; one that was a VIP is none any more.
pub(super) fn set_own_address(draft: &mut Draft, id: &str, own: Ipv4Net) {
    draft.remove(&["owner", "zstack", "vips"], &own.addr().to_string());
    let first: Value = own.to_string().into();
    draft.put(&["interfaces", id], "addresses", vec![first].into());
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
