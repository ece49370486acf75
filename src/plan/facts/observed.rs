//! What the kernel is, as far as it is ours, and what it can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use ipnet::Ipv4Net;
use serde::Serialize;

use super::link::{Device, Link};
use super::route::{PolicyRule, Route, RouteKey};
use super::ruleset::{BaseChain, Chain, Fingerprint, Flowtable, Name, Ruleset};
use super::set::Set;
use super::sysctl::Sysctl;

/// What the kernel is, as far as it is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Every device, by index.
    pub links: BTreeMap<u32, Link>,
    /// Values of `/proc/sys` that were asked for and are there.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Addresses that carry our protocol number.
    pub addresses: BTreeSet<(Device, Ipv4Net)>,
    /// Routes that carry our protocol number.
    pub routes: OrdMap<RouteKey, Route>,
    /// Policy rules that carry our protocol number or one of our priorities.
    pub rules: BTreeSet<PolicyRule>,
    /// Our table, if it is there.
    pub table: Option<TableSeen>,
}

/// Our table as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableSeen {
    /// The chains.
    pub chains: OrdMap<Name, ChainSeen>,
    /// The sets and maps whose kind is one of ours.
    pub sets: OrdMap<Name, Arc<Set>>,
    /// The flowtable.
    pub flowtable: Option<Flowtable>,
    /// Whether something is in the table that no version of this router put there in this form.
    pub alien: bool,
    /// What the chains were last known to be, so that those that are wanted as they are need not be compared; absent
    /// where the whole table was read anew.
    pub known: Option<KnownChains>,
}

/// Chains that were seen to be what was wanted of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownChains {
    /// What was wanted.
    pub wanted: OrdMap<Name, Arc<Chain>>,
    /// Those that were changed since, and have to be compared.
    pub touched: BTreeSet<Name>,
}

/// A chain as it is: its rules by their fingerprints; a rule without one is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSeen {
    /// Where packets come in.
    pub base: Option<BaseChain>,
    /// The rules in order.
    pub rules: Vec<Option<Fingerprint>>,
}

impl From<&Ruleset> for TableSeen {
    /// What a kernel shows that has exactly this ruleset.
    fn from(ruleset: &Ruleset) -> Self {
        let chains = ruleset.chains.iter().map(|(name, chain)| {
            let rules = chain.rules.iter().map(|rule| Some(rule.fingerprint())).collect();
            (name.clone(), ChainSeen { base: chain.base, rules })
        });
        Self {
            chains: chains.collect(),
            sets: ruleset.sets.clone(),
            flowtable: ruleset.flowtable.clone(),
            alien: false,
            known: None,
        }
    }
}

/// What the kernel can do; found out once, at start. What it lacks is done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, schemars::JsonSchema)]
pub struct Capabilities {
    /// nftables flowtables: established flows skip the rules.
    pub flowtable: bool,
    /// Firewall logs to a group that the router listens to.
    pub log_group: bool,
    /// The size of the connection table can be set, which only the first network namespace allows.
    pub conntrack_size: bool,
    /// Connections can be spread over backends: by turns, at random, and by a hash.
    pub balancing: bool,
    /// The connections of a balancer can be limited.
    pub connection_limit: bool,
    /// Sources can be remembered by packets themselves.
    pub stickiness: bool,
    /// Devices with 802.1Q tags.
    pub vlan: bool,
    /// Virtual routing and forwarding devices.
    pub vrf: bool,
    /// WireGuard devices.
    pub wireguard: bool,
}
