//! EIPs: a VIP that is one guest's.

use serde_json::json;

use super::body::Body;
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, vip};

/// `/createeip`; one that is there already leads to another guest afterwards.
pub(super) fn create(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    put(body.object("eip"), draft)?;
    Ok(Reply::new())
}

/// `/removeeip`
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let address = body.object("eip").needed_address("vipIp")?;
    draft.remove(&["eips"], &address.to_string());
    Ok(Reply::new())
}

/// `/synceip`: what is listed is all there is.
pub(super) fn sync(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["eips"], |_, _| false);
    for eip in body.list("eips")? {
        put(eip, draft)?;
    }
    Ok(Reply::new())
}

fn put(eip: Body<'_>, draft: &mut Draft) -> Result<(), Refusal> {
    let address = eip.needed_address("vipIp")?;
    let target = eip.needed_address("guestIp")?;
    refuse_hidden_sources(eip)?;
    let interface = vip::home(address, eip, "publicMac", draft)?;
    draft.give_role(&interface, "public");
    draft.expect_guest(eip, "privateMac", target)?;
    let value =
        json!({ "address": address.to_string(), "interface": interface, "target": target.to_string() });
    draft.put(&["eips"], &address.to_string(), value);
    Ok(())
}

/// Guests see who talks to them; hiding that behind the router's address is not built.
pub(super) fn refuse_hidden_sources(mapping: Body<'_>) -> Result<(), Refusal> {
    match mapping.flag("snatInboundTraffic") {
        Some(true) => {
            Err(Refusal::Unsupported("snatInboundTraffic: guests see the client's address".to_owned()))
        }
        _ => Ok(()),
    }
}
