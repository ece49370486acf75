//! What goes through the router: which side it comes from, which it goes to, and who judges it.
//!
//! The firewall's own rules stand in chains of their own; this file only leads there. What nobody lets pass, vanishes.

use std::collections::BTreeSet;

use super::facts::statement::{ConntrackState, Statement, Verdict};
use super::facts::{Flowtable, Hook, HookPoint, Name, Policy, Rule, Ruleset};
use super::lower::priority;
use super::names;
use super::sides::{guest_input, guest_output};
use super::target::{Place, Target};
use super::traffic;

/// Adds the chains and, where the kernel has one, the flowtable.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset) {
    flowtable(target, ruleset);
    let rules = entry(target, ruleset.flowtable.as_ref());
    ruleset.base(names::FORWARD, Hook::Filter, HookPoint::Forward, priority::FILTER, Policy::Drop, rules);
    ruleset.chain(names::FROM_GUEST, from_guest(target));
    ruleset.chain(names::TRANSLATED, to_guests(target, names::TRANSLATED_TO_GUEST.into()));
    ruleset.chain(
        names::TRANSLATED_TO_GUEST,
        vec![
            // An EIP opens nothing by itself; a port forward opens what it needs.
            Rule::new(vec![Statement::JudgeByOriginalDestination(names::EIP_INGRESS.into())]),
            Rule::new(vec![Statement::Verdict(Verdict::Accept)]),
        ],
    );
    for id in target.config.layout().public() {
        ruleset.chain(names::from_public(id), from_public(target, names::ingress(id)));
    }
}

fn flowtable(target: &Target, ruleset: &mut Ruleset) {
    let forwards = |place: &Place<'_>| place.zone.public || place.zone.has_guests();
    let devices: BTreeSet<Name> = target.places().filter(forwards).map(|place| place.device()).collect();
    // What a flowtable carries passes nobody who could bound or count it.
    let bounded = !target.config.qos().is_empty() || !traffic::counted(&target.config).is_empty();
    if target.surroundings.capabilities.flowtable && devices.len() > 1 && !bounded {
        ruleset.flowtable = Some(Flowtable { name: names::FLOWTABLE.into(), devices });
    }
}

fn entry(target: &Target, flowtable: Option<&Flowtable>) -> Vec<Rule> {
    let drop = || Statement::Verdict(Verdict::Drop);
    let known = || Statement::ConntrackState(ConntrackState::ESTABLISHED.or(ConntrackState::RELATED));
    // IPv6 is not built: it must not leak past rules that do not see it.
    let mut rules = vec![Rule::new(vec![Statement::Ipv6, drop()])];
    for place in target.places().filter(|place| place.zone.isolated) {
        let of = format!("isolated {}", place.id);
        rules.push(Rule::of(&*of, vec![Statement::InputDevice(place.device()), drop()]));
        rules.push(Rule::of(&*of, vec![Statement::OutputDevice(place.device()), drop()]));
    }
    if let Some(flowtable) = flowtable {
        for protocol in [6, 17] {
            rules.push(Rule::new(vec![
                Statement::Protocol(protocol),
                Statement::ConntrackState(ConntrackState::ESTABLISHED),
                Statement::Offload(flowtable.name.clone()),
            ]));
        }
    }
    rules.push(Rule::new(vec![known(), Statement::Verdict(Verdict::Accept)]));
    rules.push(Rule::new(vec![Statement::ConntrackState(ConntrackState::INVALID), drop()]));
    if !target.config.firewall().rule_sets.is_empty() {
        rules.push(Rule::new(vec![Statement::Verdict(Verdict::Jump(names::INTERFACE_RULES.into()))]));
    }
    let goto = |chain: Name| Statement::Verdict(Verdict::Goto(chain));
    for place in target.places() {
        for side in guest_input(place) {
            rules.push(Rule::new([side, vec![goto(names::FROM_GUEST.into())]].concat()));
        }
    }
    for place in target.public_places() {
        let side = Statement::InputDevice(place.device());
        rules.push(Rule::new(vec![side, goto(names::from_public(place.id))]));
    }
    rules
}

fn from_guest(target: &Target) -> Vec<Rule> {
    let goto = |chain: &str| Statement::Verdict(Verdict::Goto(chain.into()));
    let mut rules = vec![Rule::new(vec![Statement::Translated, goto(names::TRANSLATED)])];
    for place in target.places() {
        for side in guest_output(place) {
            // Within one network, such as to what lies behind another of its stations.
            let mut same = vec![Statement::InputDevice(place.device())];
            same.extend(side.clone());
            same.push(Statement::Verdict(Verdict::Accept));
            rules.push(Rule::new(same));
            rules.push(Rule::new([side, vec![goto(names::BETWEEN_GUESTS)]].concat()));
        }
    }
    for place in target.public_places() {
        rules.push(Rule::new(vec![Statement::OutputDevice(place.device()), goto(names::EGRESS)]));
    }
    rules
}

fn from_public(target: &Target, ingress: Name) -> Vec<Rule> {
    let mut rules = Vec::new();
    // Nobody outside has a guest's address.
    for net in target.places().flat_map(|place| place.zone.guest_side()) {
        rules.push(Rule::new(vec![Statement::SourceNet(net), Statement::Verdict(Verdict::Drop)]));
    }
    let translated = Statement::Verdict(Verdict::Goto(names::TRANSLATED.into()));
    rules.push(Rule::new(vec![Statement::Translated, translated]));
    rules.extend(to_guests(target, ingress));
    rules
}

/// Leads what goes to a guest to `chain`; the rest is nobody's.
fn to_guests(target: &Target, chain: Name) -> Vec<Rule> {
    let goto = Statement::Verdict(Verdict::Goto(chain));
    target
        .places()
        .flat_map(guest_output)
        .map(|side| Rule::new([side, vec![goto.clone()]].concat()))
        .collect()
}
