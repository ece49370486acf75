//! What the kernel can do, what its lacks mean, and how full the connection table is.

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::facts::{Capabilities, Connections};

/// From this share of the connection table on, in percent, the router says that it is filling up.
const NEARLY_FULL: u64 = 90;

/// What the kernel can do, and how full its connection table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KernelStatus {
    /// What it can do.
    #[serde(flatten)]
    pub capabilities: Capabilities,
    /// What it cannot do, and what that means.
    pub missing: Vec<Missing>,
    /// The connection table; absent while nothing is tracked.
    pub connections: Option<Connections>,
}

/// Something that the kernel lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Missing {
    /// What it lacks.
    pub feature: &'static str,
    /// What that means.
    pub effect: &'static str,
}

impl KernelStatus {
    pub(super) fn new(capabilities: Capabilities, connections: Option<Connections>) -> Self {
        let Capabilities {
            flowtable,
            log_group,
            conntrack_size,
            balancing,
            connection_limit,
            stickiness,
            vlan,
            vrf,
            wireguard,
        } = capabilities;
        let unused = "no effect: no configuration of this version asks for such a device";
        let known = [
            (flowtable, "flowtable", "established connections pass every rule, which costs more per packet"),
            (log_group, "log_group", "what firewall rules log is not told to the journal"),
            (conntrack_size, "conntrack_size", "the connection table keeps the size that the host gave it"),
            (balancing, "balancing", "load balancers that the kernel would serve take no connections"),
            (
                connection_limit,
                "connection_limit",
                "load balancers that the kernel serves do not limit their connections",
            ),
            (
                stickiness,
                "stickiness",
                "load balancers that the kernel serves forget which backend a source had",
            ),
            (
                vlan,
                "vlan",
                "interfaces of tagged networks stay absent, unless somebody else makes their devices",
            ),
            (vrf, "vrf", unused),
            (wireguard, "wireguard", unused),
        ];
        let missing = known.into_iter().filter(|(there, ..)| !there);
        Self {
            capabilities,
            missing: missing.map(|(_, feature, effect)| Missing { feature, effect }).collect(),
            connections,
        }
    }

    /// Says so where the connection table is nearly full.
    pub(super) fn full(&self) -> Option<String> {
        let Connections { count, limit } = self.connections?;
        (limit > 0 && count.saturating_mul(100) / limit >= NEARLY_FULL).then(|| {
            format!("the connection table holds {count} of at most {limit}; beyond that new ones are dropped")
        })
    }
}
