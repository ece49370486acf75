//! Network devices and their addresses: read, made, set up, given and taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{AddressMessageBuilder, LinkUnspec};

use super::KernelError;
use super::netlink::Netlink;
use crate::plan::facts::{Device, LINK_GROUP, Link, LinkSettings, ROUTE_PROTOCOL, Vlan};

/// Every device, by index.
pub(super) fn observe(netlink: &mut Netlink) -> Result<BTreeMap<u32, Link>, KernelError> {
    let messages = netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let mut links = BTreeMap::new();
    let mut tagged = Vec::new();
    for message in messages {
        let RouteNetlinkMessage::NewLink(message) = message else { continue };
        let Some(link) = link(&message) else { continue };
        if let (Some(id), Some(parent)) = (vlan_id(&message), link.parent) {
            let ours = message.attributes.contains(&LinkAttribute::Group(LINK_GROUP));
            tagged.push((link.device.index, id, parent, ours));
        }
        links.insert(link.device.index, link);
    }
    for (index, id, parent, ours) in tagged {
        let Some(Link { device, mtu, .. }) = links.get(&parent) else { continue };
        let vlan = Vlan { id, parent: device.clone(), parent_mtu: *mtu, ours };
        if let Some(link) = links.get_mut(&index) {
            link.vlan = Some(vlan);
        }
    }
    Ok(links)
}

/// The network that a device is tagged with by 802.1Q.
fn vlan_id(message: &LinkMessage) -> Option<u16> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vlan(data)) => vlan_data(data),
            _ => None,
        }),
        _ => None,
    })
}

/// The number, unless the tag is a provider's (802.1ad).
fn vlan_data(data: &[InfoVlan]) -> Option<u16> {
    let other =
        |one: &InfoVlan| matches!(one, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q);
    if data.iter().any(other) {
        return None;
    }
    data.iter().find_map(|one| match one {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

/// What a message says of a device; nothing where it has no name.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let (mut name, mut mac, mut mtu, mut master, mut parent) = (None, None, 0, None, None);
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.as_str()),
            LinkAttribute::Address(octets) => mac = <[u8; 6]>::try_from(octets.as_slice()).ok(),
            LinkAttribute::Mtu(number) => mtu = *number,
            LinkAttribute::Controller(index) => master = Some(*index),
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        device: Device { index: message.header.index, name: name?.into() },
        mac,
        mtu,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        master,
        // One end of a pair names the other, in this namespace or another: it is not stacked on it.
        parent: parent.filter(|index| !elsewhere && *index != 0 && !is_pair(message)),
        vlan: None,
    })
}

/// Whether the device is one end of a veth pair.
fn is_pair(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
        _ => false,
    })
}

/// Makes the device of a tagged network, in the group that tells it is ours.
pub(super) fn add_vlan(netlink: &mut Netlink, device: &Device, vlan: &Vlan) -> Result<(), KernelError> {
    let mut message = LinkMessage::default();
    message.header.index = device.index;
    message.attributes = vec![
        LinkAttribute::IfName(device.name.to_string()),
        LinkAttribute::Link(vlan.parent.index),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan.id)])),
        ]),
    ];
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let action = || format!("make {device} for VLAN {} on {}", vlan.id, vlan.parent);
    netlink.request(RouteNetlinkMessage::NewLink(message), flags, action)
}

/// Removes a device.
pub(super) fn remove(netlink: &mut Netlink, device: &Device) -> Result<(), KernelError> {
    let mut message = LinkMessage::default();
    message.header.index = device.index;
    netlink.request_gone(RouteNetlinkMessage::DelLink(message), || format!("remove {device}"))
}

/// Sets a device and brings it up.
pub(super) fn set(netlink: &mut Netlink, device: &Device, settings: LinkSettings) -> Result<(), KernelError> {
    let mut message = LinkUnspec::new_with_index(device.index);
    if let Some(mtu) = settings.mtu {
        message = message.mtu(mtu);
    }
    let message = RouteNetlinkMessage::SetLink(message.up().build());
    netlink.request(message, NLM_F_ACK, || format!("set up {device}"))
}

/// The addresses that carry our number.
pub(super) fn observe_addresses(
    netlink: &mut Netlink,
    links: &BTreeMap<u32, Link>,
) -> Result<BTreeSet<(Device, Ipv4Net)>, KernelError> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    let messages = netlink.dump(&RouteNetlinkMessage::GetAddress(request))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => Some(message),
            _ => None,
        })
        .filter(|message| {
            message.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL)))
        })
        .filter_map(|message| {
            let device = links.get(&message.header.index)?.device.clone();
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            })?;
            Some((device, Ipv4Net::new(address, message.header.prefix_len).ok()?))
        })
        .collect())
}

/// Gives a device an address, or makes one that is there ours.
pub(super) fn add_address(
    netlink: &mut Netlink,
    device: &Device,
    address: Ipv4Net,
) -> Result<(), KernelError> {
    let message = RouteNetlinkMessage::NewAddress(address_message(device, address));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    netlink.request(message, flags, || format!("add {address} to {device}"))
}

/// Takes an address from a device.
pub(super) fn remove_address(
    netlink: &mut Netlink,
    device: &Device,
    address: Ipv4Net,
) -> Result<(), KernelError> {
    let message = RouteNetlinkMessage::DelAddress(address_message(device, address));
    netlink.request_gone(message, || format!("remove {address} from {device}"))
}

fn address_message(device: &Device, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessageBuilder::<Ipv4Addr>::new()
        .index(device.index)
        .address(address.addr(), address.prefix_len())
        .build();
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL)));
    message
}
