//! What DNS says of itself: for the status of the router and for its metrics.

use std::net::{Ipv4Addr, SocketAddrV4};

use schemars::JsonSchema;
use serde::Serialize;

pub use super::counters::Counts;

/// The state of DNS.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    /// Where it answers.
    pub listeners: Vec<ListenerStatus>,
    /// The forwarders that names are asked of; each once.
    pub upstreams: Vec<UpstreamStatus>,
    /// How many names it knows by itself, those of addresses included.
    pub names: usize,
    /// How many answers of forwarders are kept.
    pub cache_entries: usize,
    /// How many may be.
    pub cache_capacity: u32,
    /// TCP connections at the moment.
    pub connections: usize,
    /// What was asked and answered since the service began.
    pub counts: Counts,
}

/// An address where DNS answers, over UDP and TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListenerStatus {
    /// The router's address on a guest network.
    pub address: Ipv4Addr,
    /// Whether queries are read there; false only after a bug.
    pub running: bool,
}

/// A server that names are asked of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UpstreamStatus {
    /// Its address and port.
    pub address: SocketAddrV4,
    /// Whether it answers; absent until it was asked.
    pub reachable: Option<bool>,
    /// How long an answer takes lately, in milliseconds.
    pub latency_ms: Option<f64>,
    /// What went wrong last, be it long ago.
    pub last_error: Option<String>,
    /// How many questions it was asked.
    pub queries: u64,
    /// How many of them it did not answer.
    pub failures: u64,
}
