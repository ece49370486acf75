//! DNS: whom the router asks, and where it answers.

use serde_json::Value;

use super::body::{Body, address};
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal};

/// `/setdns`: the servers that are listed are all that are asked, in their order.
pub(super) fn set(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let mut servers = Vec::new();
    for dns in body.list("dns")? {
        if dns.text("nicMac").is_some() {
            draft.interface(dns.mac("nicMac")?)?;
        }
        servers.push(dns.needed("dnsAddress")?);
    }
    forward_to(&servers, draft)
}

/// `/removedns`
pub(super) fn remove(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let gone: Vec<&str> = body.list("dns")?.iter().filter_map(|dns| dns.text("dnsAddress")).collect();
    if let Some(Value::Array(servers)) = draft.object(&["dns"]).get_mut("forwarders") {
        servers.retain(|server| !gone.iter().any(|one| server == one));
    }
    Ok(Reply::new())
}

/// `/setvpcdns`: whom is asked, and on which of the guests' networks names are answered.
pub(super) fn set_vpc(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let mut interfaces: Vec<Value> = Vec::new();
    for mac in body.texts("nicMac")? {
        let mac = mac.parse().map_err(|error| Refusal::Invalid(format!("`nicMac`: {error}")))?;
        let id = draft.interface(mac)?;
        if draft.has_role(&id, "guest") && !interfaces.iter().any(|one| *one == id) {
            interfaces.push(id.into());
        }
    }
    draft.put(&["dns"], "interfaces", interfaces.into());
    forward_to(&body.texts("dns")?, draft)
}

/// Names are answered where DHCP tells guests to ask the router.
pub(super) fn answer_on(interface: &str, draft: &mut Draft) {
    if let Some(Value::Array(interfaces)) = draft.object(&["dns"]).get_mut("interfaces")
        && !interfaces.iter().any(|one| one == interface)
    {
        interfaces.push(interface.into());
    }
}

fn forward_to(servers: &[&str], draft: &mut Draft) -> Result<Reply, Refusal> {
    let mut forwarders: Vec<Value> = Vec::new();
    for server in servers {
        address(server)?;
        let server: Value = (*server).into();
        if !forwarders.contains(&server) {
            forwarders.push(server);
        }
    }
    let dns = draft.object(&["dns"]);
    if forwarders.is_empty() {
        dns.remove("forwarders");
    } else {
        dns.insert("forwarders".to_owned(), forwarders.into());
    }
    Ok(Reply::new())
}
