//! The native configuration, version 1, as the JSON writes it: names, types and defaults, field by field.
//!
//! One file per noun. These types are what the OpenAPI document describes and what GET writes; the nouns of
//! [`crate::config`] are what the rest of the house sees. Nothing here knows what a value means.

mod balancer_rule;
mod certificate;
mod dhcp;
mod dns;
mod drift;
mod eip;
mod firewall;
mod interface;
mod load_balancer;
mod owner;
mod pool;
mod port_forward;
mod qos;
mod route;
mod rule_set;
mod snat;
mod ssh;
mod tls;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use balancer_rule::{BalancerRule, Match, Redirect, RedirectStatus, Reject, RewritePath, RuleAction};
pub use certificate::Certificate;
pub use dhcp::{Host, Network, NetworkSettings, OptionValue, StaticRoute};
pub use dns::{ConditionalForwarder, Dns, DnsSettings, Record, RecordType};
pub use drift::Drift;
pub use eip::{Eip, OnRemove};
pub use firewall::{Action, Defaults, Direction, Firewall, FirewallRule, Protocol};
pub use interface::{Interface, Role};
pub use load_balancer::{
    Algorithm, BalancerProtocol, Hash, HashOn, Limits, LoadBalancer, ProxyProtocol, Stickiness,
    StickinessType, Timeouts,
};
pub use owner::{Owner, Vip, ZstackOwner};
pub use pool::{Backend, BackendTls, HealthCheck, HealthCheckType, Outlier, Pool, Queue};
pub use port_forward::{PortForward, Transport};
pub use qos::Qos;
pub use route::Route;
pub use rule_set::{Passage, RuleSet, RuleSetRule};
pub use snat::Snat;
pub(super) use ssh::PORT as SSH_PORT;
pub use ssh::{Ssh, SshKey, SshRole};
pub use tls::{Alpn, CipherPolicy, ClientCertificates, ClientVerification, Tls, TlsVersion};

use super::id::Id;
use super::keyed::Keyed;
use super::name::Hostname;

/// The version of this wire.
pub const VERSION: u64 = 1;

/// The whole desired state of a router.
///
/// Collections are objects keyed by the caller's id, so that an RFC 7396 merge patch changes one object in a few
/// lines and an id set to null is a deletion.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Config")]
pub struct Document {
    /// The version of the configuration: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u64,
    /// The router's own name: a name of each guest network's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// Who commands the router where that is not whoever uses this API; while somebody does, a change here has to name
    /// the owner too: null takes the router over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What becomes of what somebody else changed of ours in the kernel. What others add of their own always stays.
    #[serde(skip_serializing_if = "Drift::is_default")]
    #[schemars(default)]
    pub drift: Drift,
    /// SSH for the router's operators; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    /// The networks that the router stands in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub interfaces: BTreeMap<Id, Interface>,
    /// Static routes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub routes: BTreeMap<Id, Route>,
    /// The networks that get their addresses here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub dhcp: BTreeMap<Id, Network>,
    /// Names for the guests; absent: no DNS is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// Which guest networks go out under which public address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub snat: BTreeMap<Id, Snat>,
    /// Public addresses that belong to one guest each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub eips: BTreeMap<Id, Eip>,
    /// Public ports that lead to a guest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub port_forwards: BTreeMap<Id, PortForward>,
    /// How fast public addresses may be reached and may send.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub qos: BTreeMap<Id, Qos>,
    /// What may pass.
    #[serde(skip_serializing_if = "Firewall::is_default")]
    #[schemars(default)]
    pub firewall: Firewall,
    /// Certificates with their keys.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub certificates: BTreeMap<Id, Certificate>,
    /// Ports whose connections or requests are shared among backends.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub load_balancers: BTreeMap<Id, LoadBalancer>,
}

/// The default of a flag that is set, for the schema.
const fn yes() -> bool {
    true
}

// Serde asks for predicates by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that skip_serializing_if calls")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that skip_serializing_if calls")]
const fn is_true(flag: &bool) -> bool {
    *flag
}

fn is_without_entries<K: Ord, T>(keyed: &Keyed<K, T>) -> bool {
    keyed.is_empty()
}
