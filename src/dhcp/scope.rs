//! Where a message comes from: the networks that its client can be in, and whether the client is a configured host of
//! one of them. Called by the engine.

use std::net::Ipv4Addr;
use std::slice;
use std::sync::Arc;

use super::message::Message;
use super::snapshot::{Listener, Served, Snapshot};
use crate::config::dhcp::Host;

/// The networks that a client can be in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    snapshot: &'s Snapshot,
    pub(super) listener: &'s Listener,
    pub(super) networks: &'s [Arc<Served>],
    pub(super) via: Via,
}

/// How a message came, and how its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The client is on the link.
    Link,
    /// Through the relay with this address.
    Relay(Ipv4Addr),
    /// From a client with this address, behind routers: it renews without its relay.
    Routed(Ipv4Addr),
}

impl<'s> Scope<'s> {
    /// The networks that the client of a message can be in, unless none of them is served on this device.
    pub(super) fn of(snapshot: &'s Snapshot, device: u32, message: &Message<'_>) -> Option<Self> {
        let listener = snapshot.listener(device)?;
        let network_of = |address: Ipv4Addr| {
            let mut all = listener.on_link.iter().chain(&listener.relayed);
            all.find(|network| network.around.subnet.contains(&address))
        };
        let (networks, via) = match (message.giaddr(), message.ciaddr()) {
            (Some(relay), _) => {
                let network = network_of(message.link_selection().unwrap_or(relay))?;
                (slice::from_ref(network), Via::Relay(relay))
            }
            (None, Some(client)) => match network_of(client).filter(|network| !network.around.on_link) {
                Some(network) => (slice::from_ref(network), Via::Routed(client)),
                None => (listener.on_link.as_slice(), Via::Link),
            },
            (None, None) => (listener.on_link.as_slice(), Via::Link),
        };
        (!networks.is_empty()).then_some(Self { snapshot, listener, networks, via })
    }

    /// The network among them that an address is in.
    pub(super) fn network_of(&self, address: Ipv4Addr) -> Option<&'s Served> {
        self.networks.iter().map(AsRef::as_ref).find(|network| network.around.subnet.contains(&address))
    }

    /// The networks among them that serve anybody.
    pub(super) fn open(&self) -> impl Iterator<Item = &'s Served> + use<'s> {
        self.networks.iter().map(AsRef::as_ref).filter(|network| !network.settings.known_only())
    }

    /// The network and the configured host that a client is; the one with the address that it wants, where it is one
    /// in several networks of the link.
    pub(super) fn binding(
        &self,
        message: &Message<'_>,
        wanted: Option<Ipv4Addr>,
    ) -> Option<(&'s Served, &'s Host)> {
        let mac = message.mac()?;
        let host_of =
            |network: &'s Arc<Served>| Some((network.as_ref(), self.snapshot.host_by_mac(network, mac)?));
        let mut bindings = self.networks.iter().filter_map(host_of);
        let first = bindings.next()?;
        let is_wanted = |(_, host): &(&Served, &Host)| Some(host.ip.get()) == wanted;
        if is_wanted(&first) { Some(first) } else { bindings.find(is_wanted).or(Some(first)) }
    }

    /// Whether a server identifier means this server.
    pub(super) fn is_own(&self, server: Ipv4Addr, message: &Message<'_>) -> bool {
        self.listener.addresses.contains(&server)
            || self.networks.iter().any(|network| network.around.server == server)
            || (matches!(self.via, Via::Relay(_)) && message.server_override() == Some(server))
    }
}
