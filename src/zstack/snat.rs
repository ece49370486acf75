//! Source translation: which private network goes out by which public NIC under which address.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::json;

use super::appliance::reply;
use super::body::{Body, set as set_member, with_mask};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, nic};

/// `/setsnat`
pub(super) fn set(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    put(body.object("snat"), draft)?;
    Ok(Reply::new())
}

/// `/removesnat`
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for snat in body.list("natInfo")? {
        forget(snat, draft)?;
    }
    Ok(Reply::new())
}

/// `/syncsnat`: what is listed and on is all there is.
pub(super) fn sync(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["snat"], |_, _| false);
    if body.flag("enable").unwrap_or(true) {
        put_all(&body.list("snats")?, draft, facts)?;
    }
    Ok(Reply::new())
}

/// `/setsnatservicestate`: those that are listed, on or off.
pub(super) fn set_state(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let on = body.flag("enabled").or(body.flag("enable")).unwrap_or(false);
    let snats = body.list("snats")?;
    if on {
        put_all(&snats, draft, facts)?;
    } else {
        for snat in snats {
            forget(snat, draft)?;
        }
    }
    Ok(reply(json!({ "serviceStatus": if on { "enable" } else { "disable" } })))
}

/// Puts what is on, and takes out what is off.
pub(super) fn put_all(snats: &[Body<'_>], draft: &mut Draft, _: &Facts) -> Result<(), Refusal> {
    for snat in snats {
        match snat.flag("state") {
            Some(false) => forget(*snat, draft)?,
            _ => put(*snat, draft)?,
        }
    }
    Ok(())
}

fn put(snat: Body<'_>, draft: &mut Draft) -> Result<(), Refusal> {
    let interface = draft.interface(snat.mac("publicNicMac")?)?;
    let guests = draft.interface(snat.mac("privateNicMac")?)?;
    draft.give_role(&interface, "public");
    draft.give_role(&guests, "guest");
    let source = source(snat, draft, &guests)?;
    let mut value = json!({ "source": source.to_string(), "interface": interface });
    if let Some(address) = snat.address("publicIp")? {
        set_member(&mut value, "address", address.to_string());
    }
    draft.put(&["snat"], &id(snat)?, value);
    Ok(())
}

/// The private network: by the private NIC's address and mask, as they are said or as the NIC has them.
fn source(snat: Body<'_>, draft: &Draft, guests: &str) -> Result<Ipv4Net, Refusal> {
    let own = draft.addresses(guests).next();
    let address: Option<Ipv4Addr> = snat.address("privateNicIp")?.or(own.map(|own| own.addr()));
    let net = match (address, snat.text("snatNetmask")) {
        (Some(address), Some(mask)) => Some(with_mask(address, mask)?),
        (Some(address), None) => draft.addresses(guests).find(|own| own.contains(&address)),
        (None, _) => None,
    };
    net.map(|net| net.trunc()).ok_or_else(|| {
        Refusal::Invalid("`privateNicIp` and `snatNetmask` say which network is translated".to_owned())
    })
}

fn forget(snat: Body<'_>, draft: &mut Draft) -> Result<(), Refusal> {
    draft.remove(&["snat"], &id(snat)?);
    Ok(())
}

fn id(snat: Body<'_>) -> Result<String, Refusal> {
    let short = |mac| nic::id(mac).replace('-', "");
    Ok(format!("{}-{}", short(snat.mac("privateNicMac")?), short(snat.mac("publicNicMac")?)))
}
