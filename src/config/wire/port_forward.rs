//! `port_forwards.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::net::{Address, AddressMatch};
use crate::config::port::Ports;

/// Ports of a public address that lead to a guest, hairpin included.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct PortForward {
    /// The transport.
    pub protocol: Transport,
    /// The public address.
    pub address: Address,
    /// The public ports.
    pub ports: Ports,
    /// The guest.
    pub target: Address,
    /// The guest's ports, as many as `ports`; by default the same.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ports: Option<Ports>,
    /// Who may use it; by default anybody.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub allowed_sources: Option<Vec<AddressMatch>>,
}

/// A transport with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}
