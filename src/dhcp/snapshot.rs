//! What is served where: the configuration and the devices as the engine needs them.
//!
//! Immutable; the service swaps one for the next under the running engine. Building one costs what the number of
//! networks is: hosts are looked up in the configuration itself, which shares them with the generation before. Built
//! by the loop whenever the configuration or the devices change.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::options::{OptionSet, Surroundings};
use crate::config::dhcp::{Host, NetworkSettings, Options};
use crate::config::layout::Zone;
use crate::config::net::AddressRange;
use crate::config::{Config, Id, MacAddress};
use crate::plan::facts::{Device, Link};

/// The MTU that every Ethernet station has without being told.
const ETHERNET_MTU: u32 = 1500;

/// What is served where.
#[derive(Debug, Default)]
pub struct Snapshot {
    config: Config,
    served: Vec<Arc<Served>>,
    listeners: BTreeMap<u32, Listener>,
}

/// A device on which clients and relays are heard.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) device: Device,
    pub(super) interface: Id,
    /// The device's Ethernet address; zero where it has none.
    pub(super) mac: [u8; 6],
    /// The largest packet on the device.
    pub(super) mtu: u32,
    /// The router's addresses on the interface.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// Networks whose clients are on the link.
    pub(super) on_link: Vec<Arc<Served>>,
    /// Networks whose clients are behind relays.
    pub(super) relayed: Vec<Arc<Served>>,
}

/// A network that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) id: Id,
    pub(super) settings: Arc<NetworkSettings>,
    pub(super) around: Surroundings,
    /// Addresses of the subnet that are never handed out, in order: the router's own, those that it answers for, and
    /// next hops and servers that clients are told of.
    reserved: Vec<Ipv4Addr>,
    main: OptionSet,
    second: OptionSet,
}

impl Snapshot {
    /// What this configuration serves on the devices that are there.
    ///
    /// A network whose interface has no device is not served until it has one.
    #[must_use]
    pub fn new(config: &Config, links: &BTreeMap<Id, Link>) -> Self {
        let mut snapshot = Self { config: config.clone(), ..Self::default() };
        let layout = config.layout();
        for (id, network) in config.dhcp() {
            let interface_id = &network.settings.interface;
            let (Some(subnet), Some(zone)) = (config.dhcp_subnet(id), layout.zone(interface_id)) else {
                continue;
            };
            let link = links.get(interface_id);
            let own_mtu = config.interfaces().get(interface_id).and_then(|interface| interface.mtu);
            let mtu = network.settings.mtu.or_else(|| mtu(own_mtu, link));
            let dns = serves_dns(config, interface_id);
            let Some(served) = Served::new(id, &network.settings, subnet, zone, mtu, dns) else { continue };
            let served = Arc::new(served.reserving(config, zone));
            snapshot.served.push(served.clone());
            let Some(link) = link else { continue };
            let listener = snapshot.listeners.entry(link.device.index).or_insert_with(|| Listener {
                device: link.device.clone(),
                interface: interface_id.clone(),
                mac: link.mac.unwrap_or_default(),
                mtu: own_mtu.unwrap_or(link.mtu),
                addresses: zone.addresses.iter().map(|own| own.address()).collect(),
                on_link: Vec::new(),
                relayed: Vec::new(),
            });
            if served.around.on_link { &mut listener.on_link } else { &mut listener.relayed }.push(served);
        }
        snapshot
    }

    /// The devices on which to listen.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values()
    }

    /// The device of this index, if it is listened on.
    pub(super) fn listener(&self, device: u32) -> Option<&Listener> {
        self.listeners.get(&device)
    }

    /// The networks, by id.
    pub(super) fn networks(&self) -> &[Arc<Served>] {
        &self.served
    }

    /// The network that an address is in.
    pub(super) fn network_of(&self, address: Ipv4Addr) -> Option<&Arc<Served>> {
        self.served.iter().find(|served| served.around.subnet.contains(&address))
    }

    /// The host of a network that has this address on its network card.
    pub(super) fn host_by_mac(&self, network: &Served, mac: MacAddress) -> Option<&Host> {
        self.config.dhcp_host_by_mac(&network.id, mac).map(|(_, host)| host)
    }

    /// The host of a network that has this address.
    pub(super) fn host_by_ip(&self, network: &Served, address: Ipv4Addr) -> Option<&Host> {
        self.config.dhcp_host_by_ip(&network.id, address).map(|(_, host)| host)
    }

    /// Whether the address is one of the network's that may be handed out to clients that are no hosts.
    pub(super) fn is_dynamic(&self, network: &Served, address: Ipv4Addr) -> bool {
        network.settings.ranges.iter().any(|range| range.contains(address))
            && network.reserved.binary_search(&address).is_err()
            && !self.is_bound(network, address)
    }

    /// Whether the address belongs to a configured host.
    pub(super) fn is_bound(&self, network: &Served, address: Ipv4Addr) -> bool {
        self.host_by_ip(network, address).is_some()
    }

    /// Whether another snapshot hands out the same addresses, hosts aside.
    pub(super) fn has_same_ranges(&self, other: &Self) -> bool {
        fn ranges(snapshot: &Snapshot) -> impl Iterator<Item = (Ipv4Net, &[AddressRange])> {
            snapshot.served.iter().map(|served| (served.around.subnet, served.settings.ranges.as_slice()))
        }
        ranges(self).eq(ranges(other))
    }
}

impl Served {
    fn new(
        id: &Id,
        settings: &Arc<NetworkSettings>,
        subnet: Ipv4Net,
        zone: &Zone,
        mtu: Option<u16>,
        dns: bool,
    ) -> Option<Self> {
        let here = zone.addresses.iter().find(|own| own.subnet() == subnet);
        let server = here.copied().or_else(|| zone.guest_addresses().next())?.address();
        let around = Surroundings { subnet, server, on_link: here.is_some(), dns, mtu };
        Some(Self {
            id: id.clone(),
            settings: settings.clone(),
            around,
            reserved: Vec::new(),
            main: OptionSet::new(settings, &around, true, &Options::new()),
            second: OptionSet::new(settings, &around, false, &Options::new()),
        })
    }

    fn reserving(mut self, config: &Config, zone: &Zone) -> Self {
        // Only where guests share a subnet with the public side can a translated address be in a range.
        let eips = config.eips().values().filter(|_| zone.public).map(|eip| eip.address);
        let forwards = config.port_forwards().values().filter(|_| zone.public).map(|forward| forward.address);
        let translations = config.snat().values().filter_map(|snat| snat.address);
        let own =
            config.layout().zones().flat_map(|(_, zone)| zone.addresses.iter().map(|own| own.address()));
        let gateway = self.settings.gateway.map(Ipv4Addr::from);
        let dns = self.settings.dns_servers.iter().flatten().map(|server| server.get());
        let hops = self.settings.static_routes.iter().map(|route| route.via.get());
        let routes = config.routes().values().filter_map(|route| route.hop.via()).map(Ipv4Addr::from);
        self.reserved = own
            .chain(gateway)
            .chain(dns)
            .chain(hops)
            .chain(routes)
            .chain(eips.chain(forwards).chain(translations).map(Ipv4Addr::from))
            .filter(|address| self.around.subnet.contains(address))
            .collect();
        self.reserved.sort_unstable();
        self
    }

    /// What clients without options of their own are told: those whose main network this is, or the others.
    pub(super) fn options(&self, main: bool) -> &OptionSet {
        if main { &self.main } else { &self.second }
    }

    /// How many addresses its ranges have.
    pub(super) fn size(&self) -> u64 {
        self.settings.ranges.iter().map(|range| length(*range)).sum()
    }

    /// The address at this place of its ranges, counted over all of them.
    pub(super) fn nth(&self, place: u64) -> Option<Ipv4Addr> {
        let mut place = place;
        for range in &self.settings.ranges {
            let length = length(*range);
            if place < length {
                return u32::try_from(place)
                    .ok()
                    .map(|place| Ipv4Addr::from(u32::from(range.first()) + place));
            }
            place -= length;
        }
        None
    }
}

fn length(range: AddressRange) -> u64 {
    u64::from(u32::from(range.last())) - u64::from(u32::from(range.first())) + 1
}

/// Option 26 where the network does not say it: the interface's, else the device's where that is less than what
/// clients take for granted. A larger one has to be asked for: not every client's card can do it.
fn mtu(interface: Option<u32>, link: Option<&Link>) -> Option<u16> {
    let of_link = || link.map(|link| link.mtu).filter(|mtu| (68..ETHERNET_MTU).contains(mtu));
    interface.or_else(of_link).and_then(|mtu| u16::try_from(mtu).ok())
}

fn serves_dns(config: &Config, interface: &Id) -> bool {
    config.dns().is_some_and(|dns| {
        dns.settings.interfaces.as_ref().is_none_or(|interfaces| interfaces.contains(interface))
    })
}
