//! What a rule set is: rules at an interface, for what comes in or goes out by it.

use std::ops::Deref;

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer};
use super::firewall::{Direction, FirewallRule};
use super::id::Id;
use super::limits::check_rules_of_set;
use super::wire;
pub use super::wire::{Passage, RuleSetRule};

/// A rule set that is valid by itself; its members are those of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    wire: wire::RuleSet,
    /// The rules that count, as they decide.
    in_order: Vec<(Id, FirewallRule)>,
}

impl Deref for RuleSet {
    type Target = wire::RuleSet;

    fn deref(&self) -> &Self::Target {
        &self.wire
    }
}

impl RuleSet {
    /// The rules that count, as they decide: by priority, ties by id. Interface and direction are the set's.
    #[must_use]
    pub fn in_order(&self) -> &[(Id, FirewallRule)] {
        &self.in_order
    }
}

impl FlatNoun for RuleSet {
    type Wire = wire::RuleSet;

    fn read(wire: wire::RuleSet, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let mut own = Faults::default();
        check_rules_of_set(wire.rules.len(), at, &mut own);
        if !own.is_empty() {
            faults.merge(own);
            return None;
        }
        let mut in_order = Vec::new();
        let mut valid = true;
        for (id, rule) in &wire.rules {
            let at = at.key("rules").key(id.as_str());
            let mut own = Faults::default();
            let read = FirewallRule::read(as_rule(rule), &at, &mut own);
            valid &= own.is_empty();
            faults.merge(own);
            in_order.extend(read.filter(|_| rule.enabled).map(|rule| (id.clone(), rule)));
        }
        in_order.sort_by_key(|(_, rule)| rule.priority);
        valid.then_some(Self { wire, in_order })
    }

    fn write(&self) -> wire::RuleSet {
        self.wire.clone()
    }
}

/// The same as a rule of a direction, which a set's rule asks nothing of.
fn as_rule(rule: &RuleSetRule) -> wire::FirewallRule {
    let RuleSetRule {
        priority,
        enabled: _,
        protocol,
        sources,
        destinations,
        destination_ports,
        source_ports,
        icmp_type,
        icmp_code,
        action,
        log,
    } = rule.clone();
    wire::FirewallRule {
        priority,
        direction: Direction::Egress,
        interface: None,
        protocol,
        sources,
        destinations,
        address: None,
        destination_ports,
        source_ports,
        icmp_type,
        icmp_code,
        action,
        log,
    }
}
