//! `snat.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::net::{Address, Prefix};

/// Guests of `source` go out by `interface` under a public address.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Snat {
    /// The guests' network.
    pub source: Prefix,
    /// The public interface.
    pub interface: Id,
    /// The public address; by default the interface's first.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}
