//! Facts of the kernel: what can be wanted, and observed, as values that can be compared.
//!
//! Plain addresses and names, nothing of the configuration: the kernel room sees these, the steps and no more. Big
//! collections are persistent maps, so that the facts of two generations share what did not change.

pub mod connection;
pub mod conntrack;
pub mod counters;
pub mod link;
pub mod observed;
pub mod route;
pub mod ruleset;
pub mod set;
pub mod statement;
pub mod sysctl;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use ipnet::Ipv4Net;

pub use connection::{Connection, ConnectionQuestion, ConnectionsFound, Ends, TcpState, Ways};
pub use conntrack::{Balanced, ConntrackMatch};
pub use counters::{
    AddressTraffic, BalancedTotals, BalancedTraffic, Connections, Counted, Counters, Traffic, Way,
};
pub use link::{Device, Link, LinkSettings, Vlan};
pub use observed::{Capabilities, ChainSeen, KnownChains, Observed, TableSeen};
pub use route::{PolicyRule, Route, RouteKey, WayAnswer, WayQuestion};
pub use ruleset::{BaseChain, Chain, Flowtable, Hook, HookPoint, Name, Policy, Rule, Ruleset};
pub use set::{Elements, Key, Set, SetKind, Target};
pub use statement::{Pick, Statement, Sticky, Verdict};
pub use sysctl::Sysctl;

/// The routing protocol number of our routes, rules and addresses (`linux/rtnetlink.h`: above RTPROT_STATIC, unused).
pub const ROUTE_PROTOCOL: u8 = 118;
/// The priorities of our policy rules.
pub const RULE_PRIORITIES: std::ops::RangeInclusive<u32> = 11_800..=11_899;
/// The group of the devices that the router makes (`linux/if_link.h`: IFLA_GROUP; devices are in 0 by themselves).
pub const LINK_GROUP: u32 = 118;
/// The index of the first device that the router makes: the kernel counts its own from 1, and gives none twice.
pub const LINK_INDICES: std::ops::Range<u32> = 0x4000..0x8000;
/// The name of our nftables table, in the family `inet`.
pub const TABLE: &str = "vrouter";
/// The group that firewall logs go to (`linux/netfilter/nfnetlink_log.h`).
pub const LOG_GROUP: u16 = 118;

/// What the kernel should be, as far as it is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Values of `/proc/sys`.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Devices of tagged networks that the router makes.
    pub vlans: BTreeMap<Device, Vlan>,
    /// How devices are set.
    pub links: BTreeMap<Device, LinkSettings>,
    /// Addresses of devices.
    pub addresses: BTreeSet<(Device, Ipv4Net)>,
    /// Routes; also those that make a public address the router's own.
    pub routes: OrdMap<RouteKey, Route>,
    /// Policy rules.
    pub rules: BTreeSet<PolicyRule>,
    /// Our table; absent where nothing is configured.
    pub ruleset: Option<Ruleset>,
}
