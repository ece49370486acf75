//! What a static route is.

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::net::{Address, Prefix};
use super::wire;

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// How it gets there.
    pub hop: Hop,
    /// Preference among routes to one destination, lower first; 0 where nothing is said.
    pub metric: Option<u32>,
}

/// How a route gets to its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// By a neighbour on whichever interface has it in a subnet.
    Via(Address),
    /// By a neighbour on a named interface.
    ViaOn(Address, Id),
    /// The destination is on the interface's link.
    OnLink(Id),
}

impl Hop {
    /// The neighbour, if there is one.
    #[must_use]
    pub const fn via(&self) -> Option<Address> {
        match self {
            Self::Via(via) | Self::ViaOn(via, _) => Some(*via),
            Self::OnLink(_) => None,
        }
    }

    /// The interface, if it is named.
    #[must_use]
    pub const fn interface(&self) -> Option<&Id> {
        match self {
            Self::Via(_) => None,
            Self::ViaOn(_, interface) | Self::OnLink(interface) => Some(interface),
        }
    }
}

impl FlatNoun for Route {
    type Wire = wire::Route;

    fn read(wire: wire::Route, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::Route { destination, via, interface, metric } = wire;
        let hop = match (via, interface) {
            (Some(via), None) => Hop::Via(via),
            (Some(via), Some(interface)) => Hop::ViaOn(via, interface),
            (None, Some(interface)) => Hop::OnLink(interface),
            (None, None) => {
                faults.add(at.clone(), Rule::MissingField, "a route needs `via`, `interface` or both");
                return None;
            }
        };
        Some(Self { destination, hop, metric })
    }

    fn write(&self) -> wire::Route {
        let Self { destination, hop, metric } = self;
        wire::Route {
            destination: *destination,
            via: hop.via(),
            interface: hop.interface().cloned(),
            metric: *metric,
        }
    }
}
