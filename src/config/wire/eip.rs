//! `eips.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::net::Address;

/// A public address that is one guest's, in both directions, hairpin included.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Eip {
    /// The public address; the router answers ARP for it and announces it.
    pub address: Address,
    /// The public interface that it is on.
    pub interface: Id,
    /// The guest.
    pub target: Address,
    /// What becomes of its connections when the mapping goes or leads elsewhere.
    #[deserr(default)]
    #[schemars(default)]
    pub on_remove: OnRemove,
}

/// What becomes of a mapping's connections when it goes or leads elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// They end at once.
    #[default]
    Drop,
    /// They live on until they end by themselves.
    Keep,
}
