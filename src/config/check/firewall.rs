//! What firewall rules and rule sets say of interfaces.

use super::Context;
use crate::config::fault::{Faults, Pointer};
use crate::config::firewall::{Direction, FirewallRule};
use crate::config::id::Id;
use crate::config::interface::Role;
use crate::config::rule_set::RuleSet;

/// Reports a rule whose interface is not there or does not carry its direction.
pub(in crate::config) fn check_rule(id: &Id, rule: &FirewallRule, context: Context<'_>, faults: &mut Faults) {
    let Some(interface) = &rule.interface else { return };
    let role = match rule.direction {
        Direction::Egress | Direction::BetweenGuests => Role::Guest,
        Direction::Ingress => Role::Public,
    };
    let at = Pointer::root().key("firewall").key("rules").key(id.as_str()).key("interface");
    context.interface(interface, role, &at, faults);
}

/// Reports a rule set whose interface is not there.
pub(in crate::config) fn check_rule_set(id: &Id, set: &RuleSet, context: Context<'_>, faults: &mut Faults) {
    if !context.interfaces.contains_key(&set.interface) {
        let at = Pointer::root().key("firewall").key("rule_sets").key(id.as_str()).key("interface");
        context.dangling(&set.interface, &at, faults);
    }
}
