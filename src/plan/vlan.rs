//! Interfaces that are tagged networks: the devices that the router makes for them, and what carries those.
//!
//! A device that is to be made has its index before it is there, so that one plan makes it and everything on it. One that
//! somebody else made for the same network is used as it is and left alone, because the kernel takes no second.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Device, Facts, LINK_INDICES, Link, LinkSettings, Vlan};
use super::target::{Target, carrier, find_links};
use crate::config::interface::{Interface, VlanId};
use crate::config::{Collection, Id};

/// The longest name of a device (`linux/if.h`: IFNAMSIZ, less the NUL).
const MAX_NAME: usize = 15;

/// Whether a device is this network of that one.
pub(super) fn is(link: &Link, vlan: VlanId, carrier: &Device) -> bool {
    link.vlan.as_ref().is_some_and(|seen| seen.id == vlan.number() && seen.parent.index == carrier.index)
}

/// The devices of the interfaces: those that are there, and those that the router is going to make where the kernel can.
#[must_use]
pub fn wanted_links(
    interfaces: &Collection<Interface>,
    links: &BTreeMap<u32, Link>,
    can_make: bool,
) -> BTreeMap<Id, Link> {
    let mut found = find_links(interfaces, links.values());
    if !can_make {
        return found;
    }
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    for (id, interface) in interfaces {
        let Some(vlan) = interface.vlan else { continue };
        let Some(carrier) = carrier(interface, links.values()) else { continue };
        if found.contains_key(id) {
            continue;
        }
        // Two interfaces may find one device in two ways, and then they are one network.
        let same = found.values().find(|link| is(link, vlan, &carrier.device)).cloned();
        let free = || LINK_INDICES.clone().find(|index| !links.contains_key(index) && !taken.contains(index));
        let Some(link) = same.or_else(|| Some(planned(carrier, vlan, free()?))) else { continue };
        taken.insert(link.device.index);
        found.insert(id.clone(), link);
    }
    found
}

/// The device of a network that is not there yet.
fn planned(carrier: &Link, vlan: VlanId, index: u32) -> Link {
    let named = format!("{}.{vlan}", carrier.device.name);
    let name = if named.len() <= MAX_NAME { named } else { format!("v{}.{vlan}", carrier.device.index) };
    Link {
        device: Device { index, name: name.into() },
        mac: carrier.mac,
        mtu: carrier.mtu,
        up: false,
        carrier: carrier.carrier,
        master: None,
        parent: Some(carrier.device.index),
        vlan: Some(Vlan {
            id: vlan.number(),
            parent: carrier.device.clone(),
            parent_mtu: carrier.mtu,
            ours: true,
        }),
    }
}

/// Adds the devices of tagged networks, and has what carries them up and with room for their packets.
pub(super) fn lower(target: &Target, facts: &mut Facts) {
    for place in target.places() {
        let Some(vlan) = &place.link.vlan else { continue };
        let Some(interface) = target.config.interfaces().get(place.id) else { continue };
        if interface.vlan.is_none() {
            continue;
        }
        if vlan.ours {
            facts.vlans.insert(place.link.device.clone(), vlan.clone());
        }
        let settings = facts.links.entry(vlan.parent.clone()).or_insert(LinkSettings { mtu: None });
        let room = interface.mtu.filter(|mtu| *mtu > settings.mtu.unwrap_or(vlan.parent_mtu));
        settings.mtu = room.or(settings.mtu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_after_its_carrier_unless_that_is_too_long() {
        let carrier = |name: &str| Link::ethernet(Device { index: 7, name: name.into() });
        let name = |carrier: &Link, number| {
            let vlan = VlanId::new(number).expect("a number in bounds");
            planned(carrier, vlan, LINK_INDICES.start).device.name
        };
        assert_eq!(&*name(&carrier("eth0"), 110), "eth0.110");
        assert_eq!(&*name(&carrier("enp0s31f6d"), 4094), "enp0s31f6d.4094");
        assert_eq!(&*name(&carrier("enx52540012345"), 4094), "v7.4094");
    }
}
