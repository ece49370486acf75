//! What happened, counted, and what is served: for status and metrics. Counters go on over every change of what is
//! served, for as long as their interface or network is there.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::decision::{Action, Decision, Reason, Reply, Sent};
use super::engine::Engine;
use super::message::Received;
use super::snapshot::{Listener, Served, Snapshot};
use crate::clock::Timestamp;
use crate::config::Id;
use crate::store::leases::LeaseState;

/// What is served, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Where clients and relays are heard.
    pub listeners: Vec<ListenerStatus>,
    /// The networks that are configured.
    pub networks: Vec<NetworkStatus>,
    /// Why leases cannot be stored, while they cannot: then only configured hosts get an address.
    pub storage_fault: Option<String>,
}

/// An interface on which clients and relays are heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListenerStatus {
    /// The interface.
    pub interface: Id,
    /// Its device.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub device: Arc<str>,
    /// Messages that came in.
    pub received: BTreeMap<Received, u64>,
    /// Messages that got no answer.
    pub ignored: BTreeMap<Reason, u64>,
}

/// A network that gets its addresses here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkStatus {
    /// The network.
    pub network: Id,
    /// The interface on which its clients or relays are.
    pub interface: Id,
    /// Its addresses.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub subnet: Ipv4Net,
    /// The server's address.
    pub server: Ipv4Addr,
    /// Whether it is reached through relays only.
    pub relayed: bool,
    /// Whether its interface is there, so that it is served.
    pub served: bool,
    /// How many addresses its ranges have.
    pub range_addresses: u64,
    /// How many configured hosts have been seen and hold a lease.
    pub static_leases: u64,
    /// How many leases of its ranges are held.
    pub dynamic_leases: u64,
    /// How many addresses nobody gets for a while.
    pub quarantined: u64,
    /// Messages that went out.
    pub sent: BTreeMap<Sent, u64>,
}

fn as_text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    interfaces: BTreeMap<Id, Interface>,
    sent: BTreeMap<Id, BTreeMap<Sent, u64>>,
    /// Why the last leases could not be stored.
    pub(super) storage_fault: Option<String>,
}

#[derive(Debug, Default)]
struct Interface {
    received: BTreeMap<Received, u64>,
    ignored: BTreeMap<Reason, u64>,
}

impl Counters {
    /// Counts a message that came in, and what became of it.
    pub(super) fn decided(&mut self, interface: &Id, decision: &Decision) {
        if let Some(received) = decision.received {
            *self.interface(interface).received.entry(received).or_default() += 1;
        }
        if let Action::Ignore(reason) = decision.action {
            self.ignored(interface, reason, 1);
        }
    }

    /// Counts messages that got no answer.
    pub(super) fn ignored(&mut self, interface: &Id, reason: Reason, messages: u64) {
        *self.interface(interface).ignored.entry(reason).or_default() += messages;
    }

    /// Counts a message that went out.
    pub(super) fn sent(&mut self, reply: &Reply) {
        *self.sent.entry(reply.network.clone()).or_default().entry(reply.kind).or_default() += 1;
    }

    /// Forgets what is not served any more.
    pub(super) fn retain(&mut self, snapshot: &Snapshot) {
        self.interfaces
            .retain(|id, _| snapshot.networks().iter().any(|network| network.settings.interface == *id));
        self.sent.retain(|id, _| snapshot.networks().iter().any(|network| network.id == *id));
    }

    /// What is served, and what happened.
    pub(super) fn status(&self, snapshot: &Snapshot, engine: &Engine, now: Timestamp) -> Status {
        let listener = |listener: &Listener| {
            let counted = self.interfaces.get(&listener.interface);
            ListenerStatus {
                interface: listener.interface.clone(),
                device: listener.device.name.clone(),
                received: counted.map(|counted| counted.received.clone()).unwrap_or_default(),
                ignored: counted.map(|counted| counted.ignored.clone()).unwrap_or_default(),
            }
        };
        let network = |served: &Arc<Served>| {
            let subnet = served.around.subnet;
            let count = |state| engine.table.count(subnet, state, now);
            NetworkStatus {
                network: served.id.clone(),
                interface: served.settings.interface.clone(),
                subnet,
                server: served.around.server,
                relayed: !served.around.on_link,
                served: snapshot.listeners().any(|listener| listener.interface == served.settings.interface),
                range_addresses: served.size(),
                static_leases: count(LeaseState::Static),
                dynamic_leases: count(LeaseState::Dynamic),
                quarantined: count(LeaseState::Quarantined),
                sent: self.sent.get(&served.id).cloned().unwrap_or_default(),
            }
        };
        Status {
            listeners: snapshot.listeners().map(listener).collect(),
            networks: snapshot.networks().iter().map(network).collect(),
            storage_fault: self.storage_fault.clone(),
        }
    }

    fn interface(&mut self, id: &Id) -> &mut Interface {
        self.interfaces.entry(id.clone()).or_default()
    }
}
