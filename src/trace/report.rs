//! What is answered: what becomes of the packet, who decides it, and whether the kernel is such that it does.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::packet::Packet;
use super::question::Ports;
use crate::config::net::Prefix;
use crate::config::{Id, Pointer};

/// What becomes of a packet, and who decides it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Trace {
    /// The generation that decides.
    pub generation: u64,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Where the router itself takes it: who of it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Why, in a sentence.
    pub reason: String,
    /// What of the configuration decides it; absent where it is nothing that is written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
    /// The packet as it comes in.
    pub packet: Endpoints,
    /// The packet behind all translation: as it leaves, as the router takes it, or as it was when it ended. A source port
    /// stays where no other connection has it.
    pub translated: Endpoints,
    /// The way that it takes, where it was routed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// All that decided about it, in order.
    pub decisions: Vec<Decision>,
    /// What was taken for granted, because it depends on what was before.
    pub assumptions: Vec<String>,
    /// Whether the kernel, as it is, does the same.
    pub agrees: bool,
    /// What it does otherwise.
    pub differences: Vec<Difference>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TraceVerdict")]
pub enum Verdict {
    /// It leaves, as `translated` by `route`.
    Accepted,
    /// The router itself takes it.
    Local,
    /// It vanishes.
    Dropped,
    /// Whoever sent it is told: a TCP reset, else ICMP administratively prohibited.
    Rejected,
}

/// Who of the router takes a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TraceService")]
pub enum Service {
    /// The port of the API; which addresses it answers on is an option of the service.
    Api,
    /// DHCP.
    Dhcp,
    /// DNS.
    Dns,
    /// A load balancer that the router itself serves.
    LoadBalancer,
    /// The answers to pings.
    Ping,
    /// SSH.
    Ssh,
    /// The router, which has nothing there: it refuses.
    Router,
}

/// Where a packet comes from and goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TraceEndpoints")]
pub struct Endpoints {
    /// The source.
    pub source: Ipv4Addr,
    /// The destination.
    pub destination: Ipv4Addr,
    /// The protocol's number in the IANA registry.
    pub protocol: u8,
    /// TCP and UDP: its ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
}

impl From<Packet> for Endpoints {
    fn from(packet: Packet) -> Self {
        let Packet { source, destination, protocol, source_port, destination_port, .. } = packet;
        let ports = destination_port.map(|destination| Ports { source: source_port, destination });
        Self { source, destination, protocol, ports }
    }
}

/// A way out of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TraceRoute")]
pub struct Route {
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Id>,
    /// Its device in the kernel.
    pub device: String,
    /// The neighbour that it is given to; the destination itself where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Ipv4Addr>,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// Where the route leads.
    pub destination: Prefix,
}

/// One thing that was decided.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "TraceDecision")]
pub struct Decision {
    /// At which part of its way.
    pub stage: Stage,
    /// What.
    pub action: Action,
    /// The kind of the object that decided, such as `firewall_rule`; absent where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// What of the configuration decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
    /// The decision in a sentence.
    pub detail: String,
    /// A load balancer: the backends that it may go to, those with the greatest share first. The first is followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub candidates: Vec<Candidate>,
}

/// A part of a packet's way, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TraceStage")]
pub enum Stage {
    /// Another way out than the main one is chosen.
    Steering,
    /// The destination is translated.
    DestinationNat,
    /// It is routed.
    Route,
    /// What goes through is judged.
    Firewall,
    /// What comes to the router itself is judged.
    Input,
    /// The source is translated.
    SourceNat,
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TraceAction")]
pub enum Action {
    /// It goes another way.
    Steer,
    /// An address or a port becomes another.
    Translate,
    /// It is not translated although a mapping is there.
    Leave,
    /// It is routed.
    Route,
    /// It passes.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused.
    Reject,
}

/// A backend that a connection may go to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "TraceCandidate")]
pub struct Candidate {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Id>,
    /// Its id there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Id>,
    /// Its part of the connections, 0 to 1.
    pub share: f64,
    /// What becomes of the packet where it goes there; absent where the router itself connects, and of the last of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// Something that the kernel does otherwise than the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TraceDifference")]
pub struct Difference {
    /// What differs: a stage, `verdict`, or a thing in the kernel.
    pub what: String,
    /// What the configuration says.
    pub wanted: String,
    /// What the kernel does, or has.
    pub observed: String,
}
