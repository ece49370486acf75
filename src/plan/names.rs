//! The names of chains and sets in our table, each in one place.

use super::facts::Name;
use crate::config::Id;

/// Public address of each EIP to its target.
pub(super) const EIPS: &str = "eips";
/// Public address of each EIP to the chain that judges what comes in for it.
pub(super) const EIP_INGRESS: &str = "eip_ingress";
/// Guests whose way out is not the main one, to the mark of theirs.
pub(super) const STEERED: &str = "steered";
/// Single ports that are forwarded.
pub(super) const FORWARDS: &str = "forwards";
/// Ranges of ports that are forwarded to the same ports.
pub(super) const FORWARD_RANGES: &str = "forward_ranges";
/// Forwarded ports that not everybody may use.
pub(super) const FORWARDS_LIMITED: &str = "forwards_limited";
/// Who may use those.
pub(super) const FORWARDS_ALLOWED: &str = "forwards_allowed";
/// Endpoints of balancers that the kernel serves, to the chain of each.
pub(super) const BALANCERS: &str = "balancers";
/// Backends that take connections of balancers, or keep those that they have.
pub(super) const BALANCER_BACKENDS: &str = "balancer_backends";
/// Endpoints of balancers that the router itself serves.
pub(super) const BALANCER_LISTENERS: &str = "balancer_listeners";
/// Those of them that not everybody may use.
pub(super) const BALANCER_LISTENERS_LIMITED: &str = "balancer_listeners_limited";
/// Who may use those.
pub(super) const BALANCER_LISTENERS_ALLOWED: &str = "balancer_listeners_allowed";
/// Who may not use which of them.
pub(super) const BALANCER_LISTENERS_DENIED: &str = "balancer_listeners_denied";
/// What the names of firewall rules' sets begin with.
pub(super) const RULE_SETS: &str = "rule_";
/// What the names of maps of guests to their public addresses begin with.
pub(super) const EIP_SOURCES: &str = "eip_sources_";
/// What the names of chains that judge what comes from a public interface begin with.
pub(super) const FROM_PUBLIC: &str = "from_public_";
/// What the names of chains of ingress rules begin with.
pub(super) const INGRESS: &str = "ingress_";
/// What the names of balancers' chains begin with.
pub(super) const BALANCER: &str = "balancer_";
/// The flowtable.
pub(super) const FLOWTABLE: &str = "established";

/// Marks connections by where they came in.
pub(super) const MARK: &str = "mark_connection";
/// Marks what guests send.
pub(super) const MARK_GUEST: &str = "mark_guest";
/// Marks what the router answers.
pub(super) const MARK_OUTPUT: &str = "mark_output";
/// Translates destinations.
pub(super) const DNAT: &str = "destination_nat";
/// Lets those through to forwarded ports who may use them.
pub(super) const DNAT_LIMITED: &str = "destination_nat_limited";
/// Translates forwarded ports.
pub(super) const DNAT_FORWARD: &str = "destination_nat_ports";
/// Translates sources.
pub(super) const SNAT: &str = "source_nat";
/// Fits the largest segment to the path.
pub(super) const MSS: &str = "mss";
/// Judges what goes through.
pub(super) const FORWARD: &str = "forward";
/// Judges what comes from guests.
pub(super) const FROM_GUEST: &str = "from_guest";
/// Judges what was translated to a guest.
pub(super) const TRANSLATED: &str = "translated";
/// Judges what was translated and does go to a guest.
pub(super) const TRANSLATED_TO_GUEST: &str = "translated_to_guest";
/// Egress rules.
pub(super) const EGRESS: &str = "egress";
/// Leads what is forwarded to the rule sets of the interfaces that it goes by.
pub(super) const INTERFACE_RULES: &str = "interface_rules";
/// Rules between guest networks.
pub(super) const BETWEEN_GUESTS: &str = "between_guests";
/// Lets in what is for a balancer that the router itself serves.
pub(super) const BALANCED_INPUT: &str = "balanced_input";
/// The same where not everybody may use it.
pub(super) const BALANCED_INPUT_LIMITED: &str = "balanced_input_limited";
/// Judges what comes to the router.
pub(super) const INPUT: &str = "input";
/// Judges what the router sends.
pub(super) const OUTPUT: &str = "output";

/// Bounds what comes in for public addresses.
pub(super) const QOS_INGRESS: &str = "qos_ingress";
/// Bounds what goes out from them.
pub(super) const QOS_EGRESS: &str = "qos_egress";

/// Counts what comes in for public addresses.
pub(super) const TRAFFIC_IN: &str = "traffic_in";
/// Counts what goes out from them.
pub(super) const TRAFFIC_OUT: &str = "traffic_out";

/// Public addresses that are counted in a direction, to the chain of each.
pub(super) fn traffic_addresses(direction: &str) -> Name {
    format!("{direction}_addresses").into()
}

/// Public addresses that are bounded in a direction, to the chain of each.
pub(super) fn qos_addresses(direction: &str) -> Name {
    format!("{direction}_addresses").into()
}

/// Bounds one port of an address in a direction.
pub(super) fn qos(direction: &str, id: &Id) -> Name {
    format!("{direction}_of_{id}").into()
}

/// Targets of the EIPs of a public interface to their public addresses.
pub(super) fn eip_sources(interface: &Id) -> Name {
    format!("{EIP_SOURCES}{interface}").into()
}

/// Judges what comes from a public interface.
pub(super) fn from_public(interface: &Id) -> Name {
    format!("{FROM_PUBLIC}{interface}").into()
}

/// Ingress rules of a public interface.
pub(super) fn ingress(interface: &Id) -> Name {
    format!("{INGRESS}{interface}").into()
}

/// The rules of a rule set.
pub(super) fn interface_rules(set: &Id) -> Name {
    format!("{INTERFACE_RULES}_{set}").into()
}

/// The sources, destinations or ports that a firewall rule asks for.
pub(super) fn rule_set(rule: &str, what: &str) -> Name {
    format!("{RULE_SETS}{what}_{rule}").into()
}

/// Gives a balancer's connections to its backends.
pub(super) fn balancer(balancer: &Id) -> Name {
    format!("{BALANCER}{balancer}").into()
}

/// The slots of a balancer.
pub(super) fn balancer_slots(balancer: &Id) -> Name {
    format!("balancer_slots_{balancer}").into()
}

/// Which source had which backend of a balancer.
pub(super) fn balancer_sticky(balancer: &Id) -> Name {
    format!("balancer_sticky_{balancer}").into()
}

/// Who may use a balancer.
pub(super) fn balancer_allowed(balancer: &Id) -> Name {
    format!("balancer_allowed_{balancer}").into()
}

/// Who may not.
pub(super) fn balancer_denied(balancer: &Id) -> Name {
    format!("balancer_denied_{balancer}").into()
}
