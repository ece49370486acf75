//! What may pass: what each NIC does by default, and what EIPs are open to. Rule sets have a file of their own.

use serde_json::{Value, json};

use super::body::Body;
use super::command::Reply;
use super::draft::Draft;
use super::{Facts, Refusal, rule_set};

/// The priorities of what stands behind the rules of users, which are numbered from 1001 to 3999.
const ICMP: u32 = 4001;
const EIP: u32 = 4002;
const OTHERWISE: u32 = 10_000;

/// `/configurenicdefaultaction`: what becomes of what comes in by a NIC and is translated for nobody.
pub(super) fn default_action(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    for nic in body.list("nics")? {
        let id = draft.interface(nic.mac("mac")?)?;
        let Some(action) = nic.text("firewallDefaultAction") else { continue };
        let action = self::action(action)?;
        draft.put(&["owner", "zstack", "default_actions"], &id, action.into());
    }
    Ok(Reply::new())
}

/// An action as the configuration says it.
pub(super) fn action(text: &str) -> Result<&'static str, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "accept" | "return" => Ok("accept"),
        "drop" => Ok("drop"),
        "reject" => Ok("reject"),
        _ => Err(Refusal::Invalid(format!("`{text}` is not one of accept, drop, reject"))),
    }
}

/// States the firewall's rules: a ping passes, an EIP is open, and then each public NIC does what it does by default.
pub(super) fn settle(draft: &mut Draft) {
    let mut rules = serde_json::Map::new();
    let public: Vec<String> =
        draft.interfaces().into_iter().filter(|id| draft.has_role(id, "public")).collect();
    if !public.is_empty() {
        let rule =
            json!({ "priority": ICMP, "direction": "ingress", "protocol": "icmp", "action": "accept" });
        rules.insert("icmp".to_owned(), rule);
    }
    for (id, eip) in draft.entries(&["eips"]) {
        let address = eip.get("address").and_then(Value::as_str).unwrap_or_default();
        let rule = json!({ "priority": EIP, "direction": "ingress", "address": address, "action": "accept" });
        rules.insert(format!("eip-{id}"), rule);
    }
    for id in public {
        if draft.at(&rule_set::path(&rule_set::id(&id, "in"))).is_some() {
            // The rule set has judged by itself, to its default.
            let rule =
                json!({ "priority": OTHERWISE, "direction": "ingress", "interface": id, "action": "accept" });
            rules.insert(format!("default-{id}"), rule);
        } else if let Some(action) = draft.text(&["owner", "zstack", "default_actions", &id]) {
            let rule =
                json!({ "priority": OTHERWISE, "direction": "ingress", "interface": id, "action": action });
            rules.insert(format!("default-{id}"), rule);
        }
    }
    draft.put(&["firewall"], "rules", rules.into());
}
