//! What the planner decides from: the configuration, and what is there to carry it out with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::availability::Availability;
use super::facts::{Capabilities, Link, Name};
use super::vlan;
use crate::config::interface::{Interface, Selector};
use crate::config::layout::Zone;
use crate::config::{Collection, Config, Id};

/// What the planner decides from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target {
    /// What is wanted.
    pub config: Config,
    /// What is there.
    pub surroundings: Arc<Surroundings>,
    /// Which backends of balancers take connections.
    pub availability: Arc<Availability>,
}

/// What is there to carry a configuration out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The devices of the interfaces that are there.
    pub links: BTreeMap<Id, Link>,
    /// What the kernel can do.
    pub capabilities: Capabilities,
    /// The TCP ports of the API.
    pub management_ports: BTreeSet<u16>,
    /// How many connections fit the memory.
    pub conntrack_max: u32,
    /// Whether the machine has only just started, so that guests have connections that this router does not know yet.
    pub just_started: bool,
}

impl Target {
    /// The interfaces whose devices are there, with what they are.
    pub(super) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.config.layout().zones().filter_map(|(id, zone)| self.place(id, zone))
    }

    /// The public interfaces whose devices are there, the main one first.
    pub(super) fn public_places(&self) -> impl Iterator<Item = Place<'_>> {
        let layout = self.config.layout();
        layout.public().iter().filter_map(move |id| self.place(id, layout.zone(id)?))
    }

    /// Whether replies have to be told by where the connection came in.
    pub(super) fn has_several_public(&self) -> bool {
        self.config.layout().public().len() > 1
    }

    fn place<'a>(&'a self, id: &'a Id, zone: &'a Zone) -> Option<Place<'a>> {
        Some(Place { id, zone, link: self.surroundings.links.get(id)? })
    }
}

/// An interface whose device is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) id: &'a Id,
    pub(super) zone: &'a Zone,
    pub(super) link: &'a Link,
}

impl Place<'_> {
    /// The device's name, for rules.
    pub(super) fn device(&self) -> Name {
        self.link.device.name.clone().into()
    }
}

/// The devices of the interfaces, among the links that are there.
///
/// A MAC may be on several devices: a bridge has its first port's, a VLAN its parent's. The one that stands by itself
/// is meant, and the one that was there first among several. A VLAN is looked for on that one.
#[must_use]
pub fn find_links<'a>(
    interfaces: &Collection<Interface>,
    links: impl Iterator<Item = &'a Link> + Clone,
) -> BTreeMap<Id, Link> {
    let find = |interface: &Interface| {
        let carrier = carrier(interface, links.clone())?;
        match interface.vlan {
            Some(vlan) => links.clone().find(|link| vlan::is(link, vlan, &carrier.device)),
            None => Some(carrier),
        }
    };
    interfaces.iter().filter_map(|(id, interface)| Some((id.clone(), find(interface)?.clone()))).collect()
}

/// The device that an interface's selector means.
pub(super) fn carrier<'a>(interface: &Interface, links: impl Iterator<Item = &'a Link>) -> Option<&'a Link> {
    let fits = |link: &&Link| match &interface.selector {
        Selector::Mac(mac) => link.mac == Some(mac.octets()),
        Selector::Device(name) => *link.device.name == *name.as_str(),
    };
    links.filter(fits).min_by_key(|link| (link.master.is_some() || link.parent.is_some(), link.device.index))
}
