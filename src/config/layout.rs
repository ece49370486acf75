//! What the interfaces make of the network: which addresses are the router's own, where guests are, what is public.
//!
//! Roles may be merged onto one device. Guests are then told from the rest by their addresses, and this file says
//! which subnets are theirs. Called by the checks of this room and by the planner.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::dhcp::Network;
use super::edit::Collection;
use super::id::Id;
use super::interface::{Interface, Role};
use super::net::{InterfaceAddress, overlap};
use super::route::Route;
use super::snat::Snat;

/// What the interfaces make of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    zones: BTreeMap<Id, Zone>,
    public: Vec<Id>,
}

/// What one interface is to the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The router's addresses here.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether it is a way out.
    pub public: bool,
    /// Whether the API answers here.
    pub management: bool,
    /// The subnets whose stations are guests; empty where it has no guest role.
    pub guests: Vec<Ipv4Net>,
    /// Networks that static routes reach through those stations.
    pub behind: Vec<Ipv4Net>,
    /// The subnet of the way out: the next hop's, else, on a public interface, the first. Absent where there is none, and
    /// where guests alone are here.
    pub outside: Option<Ipv4Net>,
    /// Whether guests share the device with another side, so that only their addresses tell them apart.
    pub guests_by_address: bool,
    /// Whether the guests reach the router alone.
    pub isolated: bool,
}

impl Zone {
    /// Whether guests are here.
    #[must_use]
    pub fn has_guests(&self) -> bool {
        !self.guests.is_empty()
    }

    /// The networks on the guests' side: their subnets and what lies behind them.
    pub fn guest_side(&self) -> impl Iterator<Item = Ipv4Net> {
        self.guests.iter().chain(&self.behind).copied()
    }

    /// The router's addresses in the guests' subnets.
    pub fn guest_addresses(&self) -> impl Iterator<Item = InterfaceAddress> {
        self.addresses.iter().copied().filter(|address| self.guests.contains(&address.subnet()))
    }

    /// The router's addresses for its management where the device is public too: those that are neither the guests' nor
    /// of the way out. Empty where management has no address of its own.
    pub fn management_addresses(&self) -> impl Iterator<Item = InterfaceAddress> {
        self.addresses.iter().copied().filter(|own| self.is_for_management(*own))
    }

    fn is_for_management(&self, own: InterfaceAddress) -> bool {
        Some(own.subnet()) != self.outside && !self.guests.contains(&own.subnet())
    }

    /// Whether only some of the addresses are for its management: those of [`Self::management_addresses`].
    #[must_use]
    pub fn has_management_apart(&self) -> bool {
        self.public && self.management_addresses().next().is_some()
    }

    /// The router's addresses where its management is asked for.
    pub fn managed_addresses(&self) -> impl Iterator<Item = InterfaceAddress> {
        let apart = self.has_management_apart();
        let for_management = move |own: &InterfaceAddress| !apart || self.is_for_management(*own);
        self.addresses.iter().copied().filter(for_management)
    }

    /// The first address that is not in a guests' subnet, else the first: what the interface is known by outside.
    #[must_use]
    pub fn public_address(&self) -> Option<Ipv4Addr> {
        let outside = self.addresses.iter().find(|address| !self.guests.contains(&address.subnet()));
        outside.or(self.addresses.first()).map(|address| address.address())
    }

    /// Whether one of its subnets has the address.
    #[must_use]
    pub fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|own| own.subnet().contains(&address))
    }
}

impl Layout {
    /// The layout of these objects. On a device that is merged, the DHCP networks' subnets and the sources of SNAT
    /// say which subnets are guests'.
    pub(super) fn new(
        interfaces: &Collection<Interface>,
        routes: &Collection<Route>,
        dhcp: &Collection<Network>,
        dhcp_subnets: &BTreeMap<Id, Ipv4Net>,
        snat: &Collection<Snat>,
    ) -> Self {
        let served = |interface: &Id, net: Ipv4Net| {
            dhcp.iter().any(|(id, network)| {
                network.settings.interface == *interface && dhcp_subnets.get(id) == Some(&net)
            })
        };
        let translated = |net: Ipv4Net| snat.values().any(|snat| overlap(snat.source.net(), net));
        let mut zones: BTreeMap<Id, Zone> = interfaces
            .iter()
            .map(|(id, interface)| (id.clone(), zone(interface, |net| served(id, net) || translated(net))))
            .collect();
        for route in routes.values() {
            let Some(via) = route.hop.via() else {
                if let Some(zone) = route.hop.interface().and_then(|id| zones.get_mut(id))
                    && zone.has_guests()
                    && !zone.guests_by_address
                {
                    zone.behind.push(route.destination.net());
                }
                continue;
            };
            let through = zones.values_mut().find(|zone| zone.is_on_link(via.get()));
            if let Some(zone) = through.filter(|zone| zone.guests.iter().any(|net| net.contains(&via.get())))
            {
                zone.behind.push(route.destination.net());
            }
        }
        let mut public: Vec<Id> = interfaces
            .iter()
            .filter(|(_, interface)| interface.is(Role::Public))
            .map(|(id, _)| id.clone())
            .collect();
        // The main one leads; the sort is stable, so those of one priority stay in the order of their ids.
        public.sort_by_key(|id| {
            let interface = interfaces.get(id).filter(|interface| interface.gateway.is_some());
            interface.map_or((true, 0), |interface| (false, interface.gateway_priority()))
        });
        Self { zones, public }
    }

    /// The interfaces with what they are, by id.
    pub fn zones(&self) -> impl Iterator<Item = (&Id, &Zone)> {
        self.zones.iter()
    }

    /// What one interface is.
    #[must_use]
    pub fn zone(&self, interface: &Id) -> Option<&Zone> {
        self.zones.get(interface)
    }

    /// The public interfaces: the main one first, which is the first by id that has a gateway, then the rest by id.
    #[must_use]
    pub fn public(&self) -> &[Id] {
        &self.public
    }

    /// The interface whose own address this is.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr) -> Option<(&Id, &Zone)> {
        self.zones.iter().find(|(_, zone)| zone.addresses.iter().any(|own| own.address() == address))
    }

    /// The interface that has the address in one of its subnets.
    #[must_use]
    pub fn on_link(&self, address: Ipv4Addr) -> Option<(&Id, &Zone)> {
        self.zones.iter().find(|(_, zone)| zone.is_on_link(address))
    }

    /// The interface behind which a guest has this address, by the longest prefix.
    #[must_use]
    pub fn guest(&self, address: Ipv4Addr) -> Option<(&Id, &Zone)> {
        let covering = |zone: &Zone| {
            zone.guest_side().filter(|net| net.contains(&address)).map(|net| net.prefix_len()).max()
        };
        self.zones
            .iter()
            .filter_map(|(id, zone)| Some((covering(zone)?, id, zone)))
            .max_by_key(|(length, ..)| *length)
            .map(|(_, id, zone)| (id, zone))
    }

    /// The public interface that a public address is on: the one that owns it, else the one that has it in a subnet,
    /// else the main one.
    #[must_use]
    pub fn public_home(&self, address: Ipv4Addr) -> Option<&Id> {
        let owner = self.owner(address).filter(|(_, zone)| zone.public);
        let near = owner.or_else(|| self.on_link(address).filter(|(_, zone)| zone.public));
        near.map(|(id, _)| id).or(self.public.first())
    }
}

fn zone(interface: &Interface, named: impl Fn(Ipv4Net) -> bool) -> Zone {
    let mut subnets: Vec<Ipv4Net> = Vec::new();
    for subnet in interface.addresses.iter().map(|address| address.subnet()) {
        if !subnets.contains(&subnet) {
            subnets.push(subnet);
        }
    }
    let (public, management) = (interface.is(Role::Public), interface.is(Role::Management));
    let outside = outside(interface, &subnets);
    let guests =
        if interface.is(Role::Guest) { guests(interface, &subnets, outside, named) } else { Vec::new() };
    Zone {
        addresses: interface.addresses.clone(),
        public,
        management,
        guests_by_address: !guests.is_empty() && (public || management),
        guests,
        outside,
        behind: Vec::new(),
        isolated: interface.isolated,
    }
}

/// The subnet of the next hop is the other side's, or the first one of a public interface where there is no next hop.
fn outside(interface: &Interface, subnets: &[Ipv4Net]) -> Option<Ipv4Net> {
    if !interface.is(Role::Public) && !interface.is(Role::Management) {
        return None;
    }
    let found = match interface.gateway.map(super::net::Address::get) {
        Some(gateway) => subnets.iter().find(|net| net.contains(&gateway)),
        None if interface.is(Role::Public) => subnets.first(),
        None => None,
    };
    found.copied()
}

/// The guests' subnets of an interface that has guests.
fn guests(
    interface: &Interface,
    subnets: &[Ipv4Net],
    outside: Option<Ipv4Net>,
    named: impl Fn(Ipv4Net) -> bool,
) -> Vec<Ipv4Net> {
    if interface.roles.len() == 1 {
        return subnets.to_vec();
    }
    let inside: Vec<Ipv4Net> = subnets.iter().filter(|net| Some(**net) != outside).copied().collect();
    let by_name: Vec<Ipv4Net> = inside.iter().filter(|net| named(**net)).copied().collect();
    // Until somebody says which subnets are the guests', the first of several is the management's: it is not shut out.
    let is_shared = interface.is(Role::Management) && (interface.is(Role::Public) || outside.is_none());
    let inside = match inside.as_slice() {
        [_, rest @ ..] if is_shared && !rest.is_empty() => rest.to_vec(),
        _ => inside,
    };
    [by_name, inside, subnets.to_vec()].into_iter().find(|nets| !nets.is_empty()).unwrap_or_default()
}

/// The subnet of each DHCP network: as named, else the subnet of its interface that its ranges, its gateway or its
/// hosts are in, else the interface's only one.
pub(super) fn dhcp_subnets(
    networks: &Collection<Network>,
    interfaces: &Collection<Interface>,
) -> BTreeMap<Id, Ipv4Net> {
    let mut subnets = BTreeMap::new();
    for (id, network) in networks {
        let settings = &network.settings;
        let interface = interfaces.get(&settings.interface);
        let Some(interface) = interface.filter(|interface| interface.is(Role::Guest)) else { continue };
        let on_link = interface.addresses.as_slice();
        let holding =
            |ip: Ipv4Addr| on_link.iter().map(|own| own.subnet()).find(|subnet| subnet.contains(&ip));
        let subnet = settings
            .subnet
            .map(|subnet| subnet.net())
            .or_else(|| settings.ranges.first().and_then(|range| holding(range.first())))
            .or_else(|| settings.gateway.and_then(|gateway| holding(gateway.get())))
            .or_else(|| match on_link {
                [only] => Some(only.subnet()),
                _ => network.hosts.values().find_map(|host| holding(host.ip.get())),
            })
            .or_else(|| on_link.first().map(|own| own.subnet()));
        if let Some(subnet) = subnet {
            subnets.insert(id.clone(), subnet);
        }
    }
    subnets
}
