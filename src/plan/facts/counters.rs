//! What the kernel counts by itself: what went through devices, and how many connections it tracks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::conntrack::Balanced;

/// What the kernel counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// The connection table; absent while the kernel tracks nothing.
    pub connections: Option<Connections>,
    /// What went through each device, by index.
    pub traffic: BTreeMap<u32, Traffic>,
}

/// The connection table (`nf_conntrack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Connections {
    /// How many connections are tracked now.
    pub count: u64,
    /// How many may be; beyond that new ones are dropped.
    pub limit: u64,
}

/// What went through a device since it is there (`rtnl_link_stats64`, `linux/if_link.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Traffic {
    /// Octets that came in.
    pub received_bytes: u64,
    /// Packets that came in.
    pub received_packets: u64,
    /// Packets that came in broken.
    pub received_errors: u64,
    /// Packets that came in and found no room.
    pub received_dropped: u64,
    /// Octets that went out.
    pub sent_bytes: u64,
    /// Packets that went out.
    pub sent_packets: u64,
    /// Packets that could not go out.
    pub sent_errors: u64,
    /// Packets that found no room on their way out.
    pub sent_dropped: u64,
}

/// Connections that backends of balancers have or had, by where they came in and where they went.
pub type BalancedTotals = BTreeMap<Balanced, BalancedTraffic>;

/// What went over the connections between a balancer's clients and one backend. Octets are those of IP packets; they are
/// counted from when a balancer is there that the kernel serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct BalancedTraffic {
    /// How many connections.
    pub connections: u64,
    /// Octets from clients.
    pub received_bytes: u64,
    /// Octets to clients.
    pub sent_bytes: u64,
}

impl std::ops::AddAssign for BalancedTraffic {
    fn add_assign(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
    }
}
