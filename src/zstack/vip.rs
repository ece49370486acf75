//! VIPs: public addresses of the router beside its own. `owner` keeps which they are; an EIP takes its VIP off the
//! interface for as long as it is there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::body::{Body, id, set, with_mask};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, nic};

/// `/createvip`: adds what is missing; with `syncVip` what is listed is all there is.
pub(super) fn create(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for own in body.list("nicIps")? {
        if own.address("ip")?.is_none() {
            continue;
        }
        let id = draft.interface(own.mac("ownerEthernetMac")?)?;
        nic::set_own_address(draft, &id, own.network("ip", "netmask")?);
    }
    let mut listed = Vec::new();
    for vip in body.list("vips")? {
        listed.push(put(vip, draft)?);
    }
    if body.flag("syncVip").unwrap_or(false) {
        let listed: BTreeSet<String> = listed.iter().map(Ipv4Addr::to_string).collect();
        draft.retain(&["owner", "zstack", "vips"], |address, _| listed.contains(address));
    }
    Ok(Reply::new())
}

fn put(vip: Body<'_>, draft: &mut Draft) -> Result<Ipv4Addr, Refusal> {
    let Some(address) = vip.address("ip")? else {
        let what = vip.text("ip6").unwrap_or("a VIP without an address");
        return Err(Refusal::Unsupported(format!("{what}: VIPs are IPv4")));
    };
    if vip.text("ip6").is_some() {
        return Err(Refusal::Unsupported(format!("the VIP {address} has an IPv6 address too")));
    }
    let id = draft.interface(vip.mac("ownerEthernetMac")?)?;
    draft.make_public(&id);
    if draft.is_own(address) {
        return Ok(address);
    }
    let near = draft.addresses(&id).find(|own| own.contains(&address)).map(|own| own.prefix_len());
    let net = match (near, vip.text("netmask")) {
        (Some(length), _) => Ipv4Net::new(address, length).map_err(|_| wrong(address))?,
        (None, Some(mask)) => with_mask(address, mask)?,
        (None, None) => Ipv4Net::from(address),
    };
    let mut value = json!({ "interface": id, "address": net.to_string() });
    if let Some(uuid) = vip.text("vipUuid") {
        set(&mut value, "uuid", self::id(uuid)?);
    }
    draft.put(&["owner", "zstack", "vips"], &address.to_string(), value);
    Ok(address)
}

fn wrong(address: Ipv4Addr) -> Refusal {
    Refusal::Invalid(format!("{address} cannot be a VIP"))
}

/// `/removevip`: what stands on it goes by its own commands.
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for vip in body.list("vips")? {
        if let Some(address) = vip.address("ip")? {
            draft.remove(&["owner", "zstack", "vips"], &address.to_string());
        }
    }
    Ok(Reply::new())
}

/// The interface that a public address is asked for on: by its MAC where that is said, else where its VIP is.
pub(super) fn home(
    address: Ipv4Addr,
    mac: Body<'_>,
    name: &str,
    draft: &mut Draft,
) -> Result<String, Refusal> {
    let id = match mac.text(name) {
        Some(_) => draft.interface(mac.mac(name)?)?,
        None => {
            let vip = draft.at(&["owner", "zstack", "vips", &address.to_string(), "interface"]);
            let id = vip.and_then(Value::as_str).map(str::to_owned);
            id.ok_or_else(|| Refusal::Invalid(format!("{address} is no VIP, and `{name}` is missing")))?
        }
    };
    draft.make_public(&id);
    Ok(id)
}
