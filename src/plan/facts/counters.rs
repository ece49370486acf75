//! What the kernel counts: what went through devices, how many connections it tracks, what went to and from addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::conntrack::Balanced;
use super::ruleset::Name;

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

/// What went to and came from single addresses of the router.
pub type AddressTraffic = BTreeMap<Ipv4Addr, WaysCounted>;

/// Which way a packet goes that an address is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the address.
    In,
    /// From it.
    Out,
}

/// Octets of IP packets, and packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Octets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// What was counted of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaysCounted {
    /// To the address.
    pub incoming: Counted,
    /// From it.
    pub outgoing: Counted,
}

impl WaysCounted {
    /// Adds what was counted of one way.
    pub const fn add(&mut self, way: Way, counted: Counted) {
        let of = match way {
            Way::In => &mut self.incoming,
            Way::Out => &mut self.outgoing,
        };
        of.bytes = of.bytes.saturating_add(counted.bytes);
        of.packets = of.packets.saturating_add(counted.packets);
    }
}

const COUNTS_IN: &str = "traffic_in_of_";
const COUNTS_OUT: &str = "traffic_out_of_";

/// The chain whose rule counts what goes one way of an address.
#[must_use]
pub fn counting_chain(way: Way, address: Ipv4Addr) -> Name {
    match way {
        Way::In => format!("{COUNTS_IN}{address}"),
        Way::Out => format!("{COUNTS_OUT}{address}"),
    }
    .into()
}

/// What a chain of this name counts, if it does.
#[must_use]
pub fn counted_by(chain: &str) -> Option<(Way, Ipv4Addr)> {
    let of = |way, prefix| Some((way, chain.strip_prefix(prefix)?.parse().ok()?));
    of(Way::In, COUNTS_IN).or_else(|| of(Way::Out, COUNTS_OUT))
}
