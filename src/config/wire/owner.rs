//! `owner` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use super::firewall::Action;
use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::keyed::Keyed;
use crate::config::net::InterfaceAddress;

/// Who commands the router, where that is not whoever uses this API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Owner {
    /// A ZStack management node, by its own commands: the rest of the document is what they come to.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zstack: Option<ZstackOwner>,
}

/// What ZStack says and no other member holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct ZstackOwner {
    /// The router's UUID; absent until the management node has said it.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Id>,
    /// The router's public addresses beside its own, by themselves; those of EIPs are on no interface.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub vips: Keyed<Id, Vip>,
    /// The balancer of the management node that each load balancer is a listener of; metrics name it.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub listeners: Keyed<Id, Id>,
    /// What becomes of what comes in by an interface and is translated for nobody.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub default_actions: Keyed<Id, Action>,
}

/// A public address of the router's.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Vip {
    /// Where it is.
    pub interface: Id,
    /// The address with its network.
    pub address: InterfaceAddress,
    /// Its UUID; metrics name it.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Id>,
}
