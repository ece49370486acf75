//! `routes.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::net::{Address, Prefix};

/// A static route. At least one of `via` and `interface` is given.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// The next hop; without one the destination is on the link.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Address>,
    /// The interface; may be left out where `via` is in one of the interfaces' subnets.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Id>,
    /// Preference among routes to one destination, lower first.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}
