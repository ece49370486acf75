//! `firewall.rule_sets.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use super::firewall::{Action, Protocol};
use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::keyed::Keyed;
use crate::config::net::AddressMatch;
use crate::config::port::Ports;

/// Rules at an interface, for what is forwarded by it. All rule sets that a packet meets have to let it pass; then the
/// rules of its direction judge it.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct RuleSet {
    /// The interface.
    pub interface: Id,
    /// Whether it judges what comes in by the interface or what goes out by it.
    pub passage: Passage,
    /// What becomes of what no rule decides. On the way in by a public interface, what port forwards, EIPs and balancers
    /// lead in is left to them.
    #[deserr(default = Action::Accept)]
    #[schemars(default = "super::firewall::accept")]
    pub default: Action,
    /// The rules; the lowest `priority` decides first, ties go by id.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub rules: Keyed<Id, RuleSetRule>,
}

/// The way by an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    /// It comes in there.
    In,
    /// It goes out there.
    Out,
}

/// One rule of a set. What it does not name, it does not ask for.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct RuleSetRule {
    /// Lower decides first; rules of one priority go by id.
    pub priority: u32,
    /// Whether it counts.
    #[deserr(default = true)]
    #[serde(skip_serializing_if = "super::is_true")]
    #[schemars(default = "super::yes")]
    pub enabled: bool,
    /// The transport.
    #[deserr(default)]
    #[schemars(default)]
    pub protocol: Protocol,
    /// Where it comes from, before source translation; absent is anywhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub sources: Option<Vec<AddressMatch>>,
    /// Where it goes, behind destination translation; absent is anywhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub destinations: Option<Vec<AddressMatch>>,
    /// TCP and UDP: the ports behind destination translation; absent is any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub destination_ports: Option<Vec<Ports>>,
    /// TCP and UDP: the ports of whoever began the connection, as he has them; absent is any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub source_ports: Option<Vec<Ports>>,
    /// ICMP: the type (RFC 792).
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP: the code, with a type.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// What becomes of it; what is accepted has the other rule sets and the rules of its direction before it.
    pub action: Action,
    /// Whether each new connection that the rule decides is written to the journal with the rule's id.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub log: bool,
}
