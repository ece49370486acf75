//! `qos.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::net::Address;

/// How fast a public address may be reached and may send. What is more is dropped, so that senders slow down;
/// after a rest, a second's worth may come at once.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Qos {
    /// The public address: of an EIP, a port forward, a balancer, or of guests that are known by it.
    pub address: Address,
    /// One TCP and UDP port of it; absent: all of the address, with what its ports are allowed each.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// What may come in, in bits per second of IP packets; absent: anything.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8000))]
    pub ingress_bits_per_second: Option<u64>,
    /// What may go out.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8000))]
    pub egress_bits_per_second: Option<u64>,
}
