//! Rule sets: a NIC, a direction, and rules by their number. They are the configuration's own rule sets.
//!
//! Management nodes know an appliance whose sets begin with rules of its own, from 4000 on: private networks may go
//! anywhere whatever the default, and pings come in. Those rules are there here too, and can be switched off.

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::appliance::reply;
use super::body::{Body, set};
use super::command::Reply;
use super::draft::Draft;
use super::firewall::action;
use super::{Facts, Refusal, firewall_rule, nic};
use crate::config::MacAddress;
use crate::config::net::overlap;

/// The id of the rule set of an interface and a direction.
pub(super) fn id(interface: &str, forward: &str) -> String {
    format!("{interface}.{forward}")
}

/// Where a rule set is.
pub(super) fn path(id: &str) -> [&str; 3] {
    ["firewall", "rule_sets", id]
}

/// A NIC and a direction.
struct Place {
    interface: String,
    forward: &'static str,
}

impl Place {
    /// The place that is named; nothing for what the router itself is sent, where no rule is needed: see `local`.
    fn of(body: Body<'_>, draft: &Draft) -> Result<Option<Self>, Refusal> {
        let interface = draft.interface(body.mac("mac")?)?;
        let forward = match body.text("forward").unwrap_or("in").to_ascii_lowercase().as_str() {
            "in" => "in",
            "out" => "out",
            "local" => return Ok(None),
            other => return Err(Refusal::Invalid(format!("`{other}` is not one of in, out, local"))),
        };
        Ok(Some(Self { interface, forward }))
    }

    fn id(&self) -> String {
        id(&self.interface, self.forward)
    }

    /// What becomes of what no rule decides where nobody has said.
    fn usual(&self, draft: &Draft) -> &'static str {
        let is_public_in = self.forward == "in" && draft.has_role(&self.interface, "public");
        let said = draft.text(&["owner", "zstack", "default_actions", &self.interface]);
        match said.filter(|_| is_public_in) {
            Some("accept") => "accept",
            Some("drop") => "drop",
            _ if is_public_in => "reject",
            _ => "accept",
        }
    }

    /// Puts the rule set in its place, if it is not there.
    fn open(&self, draft: &mut Draft, default: Option<&str>) -> Result<(), Refusal> {
        let default = match default {
            Some(default) => action(default)?,
            None => self.usual(draft),
        };
        if draft.at(&path(&self.id())).is_none() {
            let set = json!({
                "interface": self.interface, "passage": self.forward, "default": default, "rules": self.own_rules(draft)
            });
            draft.put(&["firewall", "rule_sets"], &self.id(), set);
        }
        Ok(())
    }

    /// The rules that a set of this place begins with.
    fn own_rules(&self, draft: &Draft) -> Value {
        match self.forward {
            "in" if draft.has_role(&self.interface, "public") => {
                let mut rules =
                    json!({ "4001": { "priority": 4001, "protocol": "icmp", "action": "accept" } });
                if draft.has_role(&self.interface, "guest") {
                    let guests = guest_networks(draft, &self.interface);
                    set(
                        &mut rules,
                        "4000",
                        json!({ "priority": 4000, "sources": guests, "action": "accept" }),
                    );
                }
                rules
            }
            "in" => json!({ "4000": { "priority": 4000, "action": "accept" } }),
            _ => json!({}),
        }
    }

    fn put_rules(&self, rules: &[Body<'_>], draft: &mut Draft) -> Result<(), Refusal> {
        for rule in rules {
            self.drop_rule(*rule, draft)?;
            for (id, value) in firewall_rule::read(*rule)? {
                draft.put(&["firewall", "rule_sets", &self.id(), "rules"], &id, value);
            }
        }
        Ok(())
    }

    fn drop_rule(&self, rule: Body<'_>, draft: &mut Draft) -> Result<(), Refusal> {
        let number = firewall_rule::number(rule)?;
        let of =
            |id: &str| id == number || id.strip_prefix(&number).is_some_and(|rest| rest.starts_with('-'));
        draft.retain(&["firewall", "rule_sets", &self.id(), "rules"], |id, _| !of(id));
        Ok(())
    }
}

/// The networks of the guests who share a NIC with others: those that go out by source translation, else all that it has.
fn guest_networks(draft: &Draft, interface: &str) -> Vec<String> {
    let sources: Vec<Ipv4Net> =
        draft.entries(&["snat"]).filter_map(|(_, snat)| snat.get("source")?.as_str()?.parse().ok()).collect();
    let (theirs, others): (Vec<Ipv4Net>, Vec<Ipv4Net>) = draft
        .addresses(interface)
        .map(|own| own.trunc())
        .partition(|net| sources.iter().any(|source| overlap(*source, *net)));
    let found = if theirs.is_empty() { others } else { theirs };
    found.iter().map(Ipv4Net::to_string).collect()
}

/// Rules for what the router itself is sent. Its services open what they need and nothing else is open, so what lets
/// something in says nothing new; what shuts a service is not built.
fn local(rules: &[Body<'_>]) -> Result<(), Refusal> {
    for rule in rules {
        let is_off = rule.text("state").is_some_and(|state| state.eq_ignore_ascii_case("disable"));
        let accepts = action(rule.needed("action")?)? == "accept";
        if !accepts && !is_off && !rule.flag("isDefault").unwrap_or(false) {
            let detail = "rules that shut what the router itself serves; its services open what they need";
            return Err(Refusal::Unsupported(detail.to_owned()));
        }
    }
    Ok(())
}

/// `/fw/apply/rule`: the rule sets that are listed are all there are.
pub(super) fn apply(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let before = draft.at(&["firewall", "rule_sets"]).cloned().unwrap_or_default();
    draft.retain(&["firewall", "rule_sets"], |_, _| false);
    for reference in body.list("refs")? {
        if let Some(place) = Place::of(reference, draft)? {
            place.open(draft, reference.object("ruleSetInfo").text("actionType"))?;
            // What was said of the appliance's own rules holds on.
            let rules = before.get(place.id()).and_then(|set| set.get("rules")).and_then(Value::as_object);
            for (id, rule) in rules.into_iter().flatten().filter(|(id, _)| firewall_rule::is_own(id)) {
                draft.put(&["firewall", "rule_sets", &place.id(), "rules"], id, rule.clone());
            }
        }
        attach_one(reference, draft, facts)?;
    }
    Ok(Reply::new())
}

/// `/fw/attach/ruleSet`
pub(super) fn attach(body: Body<'_>, draft: &mut Draft, facts: &Facts) -> Result<Reply, Refusal> {
    attach_one(body.object("ref"), draft, facts)?;
    Ok(Reply::new())
}

fn attach_one(reference: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<(), Refusal> {
    let info = reference.object("ruleSetInfo");
    let Some(place) = Place::of(reference, draft)? else { return local(&info.list("rules")?) };
    place.open(draft, info.text("actionType"))?;
    if let Some(default) = info.text("actionType") {
        draft.put(&path(&place.id()), "default", action(default)?.into());
    }
    place.put_rules(&info.list("rules")?, draft)
}

/// `/fw/detach/ruleSet`
pub(super) fn detach(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    if let Some(place) = Place::of(body.object("ref"), draft)? {
        draft.remove(&["firewall", "rule_sets"], &place.id());
    }
    Ok(Reply::new())
}

/// `/fw/create/rule`: rules that come, or are others now.
pub(super) fn create_rule(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let reference = body.object("ref");
    let info = reference.object("ruleSetInfo");
    let rules = info.list("rules")?;
    let Some(place) = Place::of(reference, draft)? else { return local(&rules).map(|()| Reply::new()) };
    place.open(draft, info.text("actionType"))?;
    place.put_rules(&rules, draft)?;
    Ok(Reply::new())
}

/// `/fw/delete/rule`
pub(super) fn delete_rule(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let reference = body.object("ref");
    let Some(place) = Place::of(reference, draft)? else { return Ok(Reply::new()) };
    for rule in reference.object("ruleSetInfo").list("rules")? {
        place.drop_rule(rule, draft)?;
    }
    Ok(Reply::new())
}

/// `/fw/changeState/rule`
pub(super) fn change_state(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let place = Place::of(body, draft)?;
    let enabled = match body.needed("state")?.to_ascii_lowercase().as_str() {
        "enable" | "enabled" => true,
        "disable" | "disabled" => false,
        other => return Err(Refusal::Invalid(format!("`{other}` is not one of enable, disable"))),
    };
    let rule = body.object("rule");
    let Some(place) = place else {
        return if enabled { local(&[rule]).map(|()| Reply::new()) } else { Ok(Reply::new()) };
    };
    place.open(draft, None)?;
    place.drop_rule(rule, draft)?;
    for (id, mut value) in firewall_rule::read(rule)? {
        set(&mut value, "enabled", enabled);
        draft.put(&["firewall", "rule_sets", &place.id(), "rules"], &id, value);
    }
    Ok(Reply::new())
}

/// `/fw/apply/ruleSet/changes`: rules that go and rules that come, in every rule set that is listed.
pub(super) fn apply_changes(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let (gone, come) = (body.list("deleteRules")?, body.list("newRules")?);
    for reference in body.list("refs")? {
        let Some(place) = Place::of(reference, draft)? else {
            local(&come)?;
            continue;
        };
        place.open(draft, None)?;
        for rule in &gone {
            place.drop_rule(*rule, draft)?;
        }
        place.put_rules(&come, draft)?;
    }
    Ok(Reply::new())
}

/// `/fw/update/ruleSet`: what becomes of what no rule decides.
pub(super) fn update(body: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    let Some(place) = Place::of(body, draft)? else { return Ok(Reply::new()) };
    let default = action(body.needed("actionType")?)?;
    place.open(draft, Some(default))?;
    draft.put(&path(&place.id()), "default", default.into());
    Ok(Reply::new())
}

/// `/fw/delete/firewall`
pub(super) fn delete_all(_: Body<'_>, draft: &mut Draft, _: &Facts) -> Result<Reply, Refusal> {
    draft.retain(&["firewall", "rule_sets"], |_, _| false);
    Ok(Reply::new())
}

/// `/fw/getConfig`: the rule sets of the NICs that are asked for.
pub(super) fn get_config(body: Body<'_>, draft: &Draft, facts: &Facts) -> Result<Reply, Refusal> {
    let mut references: Vec<Value> = Vec::new();
    for asked in body.list("nicInfos")? {
        let mac = asked.mac("mac")?;
        let interface = draft.interface(mac)?;
        for forward in ["in", "out"] {
            let place = Place { interface: interface.clone(), forward };
            let usual = json!({ "default": place.usual(draft), "rules": place.own_rules(draft) });
            let found = draft.at(&path(&place.id())).or((forward == "in").then_some(&usual));
            references.extend(found.map(|rule_set| shown(rule_set, mac, forward, facts)));
        }
        references.push(shown(&json!({ "default": "reject" }), mac, "local", facts));
    }
    Ok(reply(json!({ "refs": references })))
}

fn shown(rule_set: &Value, mac: MacAddress, forward: &str, facts: &Facts) -> Value {
    let rules = rule_set.get("rules").and_then(Value::as_object);
    let mut rules: Vec<Map<String, Value>> =
        rules.into_iter().flatten().filter_map(|(id, rule)| firewall_rule::shown(id, rule)).collect();
    rules.sort_by_key(|rule| rule.get("ruleNumber").and_then(Value::as_u64));
    let device = facts.nics.iter().find(|nic| nic.mac == mac);
    let name = device.map_or_else(|| nic::id(mac), |nic| nic.device.clone());
    json!({
        "mac": mac.to_string(),
        "forward": forward,
        "ruleSetInfo": {
            "name": format!("{name}.{forward}"),
            "actionType": rule_set.get("default").cloned().unwrap_or_default(),
            "enableDefaultLog": false,
            "rules": rules,
        },
    })
}
