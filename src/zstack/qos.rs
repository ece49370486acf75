//! Bandwidths of VIPs and of their ports.

use super::body::Body;
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal};

/// `/setvipqos`: what is said of a direction; what is said of none stays as it is.
pub(super) fn create(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for setting in body.list("vipQosSettings")? {
        put(setting, draft)?;
    }
    Ok(Reply::new())
}

/// `/deletevipqos`
pub(super) fn delete(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for setting in body.list("vipQosSettings")? {
        draft.remove(&["qos"], &id(setting)?);
    }
    Ok(Reply::new())
}

/// `/syncvipqos`: what is listed is all there is.
pub(super) fn sync(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["qos"], |_, _| false);
    create(body, draft, facts)
}

fn put(setting: Body<'_>, draft: &mut Draft) -> Result<(), Refusal> {
    if let Some(shared) = setting.text("sharedQosUuid") {
        let detail = format!("the bandwidth {shared} that several VIPs share; each has its own");
        return Err(Refusal::Unsupported(detail));
    }
    if setting.text("publicNic").is_some() {
        let interface = draft.interface(setting.mac("publicNic")?)?;
        draft.make_public(&interface);
    }
    let rates =
        [("inboundBandwidth", "ingress_bits_per_second"), ("outboundBandwidth", "egress_bits_per_second")];
    for (name, member) in rates {
        let Some(rate) = setting.number(name)?.filter(|rate| *rate > 0) else { continue };
        let id = id(setting)?;
        let entry = draft.object(&["qos", &id]);
        entry.insert("address".to_owned(), setting.needed_address("vip")?.to_string().into());
        if let Some(port) = port(setting)? {
            entry.insert("port".to_owned(), port.into());
        }
        entry.insert(member.to_owned(), rate.into());
    }
    Ok(())
}

/// The port; nothing for the whole VIP.
fn port(setting: Body<'_>) -> Result<Option<u64>, Refusal> {
    Ok(setting.number("port")?.filter(|port| *port > 0))
}

fn id(setting: Body<'_>) -> Result<String, Refusal> {
    let address = setting.needed_address("vip")?;
    Ok(match port(setting)? {
        Some(port) => format!("{address}-{port}"),
        None => address.to_string(),
    })
}
