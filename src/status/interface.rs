//! The interfaces: whether the device is there, what it is, and what went through it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::Board;
use crate::clock::Timestamp;
use crate::config::interface::{Role, Selector, VlanId};
use crate::config::net::InterfaceAddress;
use crate::config::{Id, MacAddress};
use crate::plan::facts::{Counters, Traffic};
use crate::reconcile::Published;

/// How a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceState {
    /// It is up and has a carrier.
    Up,
    /// It is up; nothing is at the other end.
    NoCarrier,
    /// It is there and down.
    Down,
    /// No device is there; the interface is set up when one comes.
    Absent,
}

impl InterfaceState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Up, Self::NoCarrier, Self::Down, Self::Absent];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::NoCarrier => "no_carrier",
            Self::Down => "down",
            Self::Absent => "absent",
        }
    }
}

/// An interface of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InterfaceStatus {
    /// How its device does.
    pub state: InterfaceState,
    /// Since when, as far as this service knows.
    pub since: Timestamp,
    /// Why it is not up.
    pub why: Option<String>,
    /// The kernel's name of the device.
    pub device: Option<String>,
    /// The number of the tagged network that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The device's Ethernet address.
    pub mac: Option<MacAddress>,
    /// The largest packet of the device, in octets.
    pub mtu: Option<u32>,
    /// What it is for.
    pub roles: BTreeSet<Role>,
    /// The router's addresses on it.
    pub addresses: Vec<InterfaceAddress>,
    /// What went through the device since it is there.
    pub traffic: Option<Traffic>,
}

/// The interfaces of the configuration that runs.
pub(super) fn all(
    published: &Published,
    counters: &Counters,
    board: &mut Board,
    now: Timestamp,
) -> BTreeMap<Id, InterfaceStatus> {
    let status = |(id, interface): (&Id, &crate::config::interface::Interface)| {
        let link = published.links.get(id);
        let (state, why) = match link {
            Some(link) if link.up && link.carrier => (InterfaceState::Up, None),
            Some(link) if link.up => {
                (InterfaceState::NoCarrier, Some(format!("{} has no carrier", link.device)))
            }
            Some(link) => (InterfaceState::Down, Some(format!("{} is down", link.device))),
            None => {
                let wanted = match &interface.selector {
                    Selector::Mac(mac) => format!("with MAC {mac}"),
                    Selector::Device(name) => format!("named {name}"),
                };
                let why = match interface.vlan {
                    None => format!("no device {wanted} is there"),
                    Some(vlan) => {
                        format!(
                            "no device {wanted} is there to carry VLAN {vlan}, or this kernel has no VLANs"
                        )
                    }
                };
                (InterfaceState::Absent, Some(why))
            }
        };
        let since = board.settle(&format!("interface `{id}`"), state.name(), why.as_deref(), now);
        let status = InterfaceStatus {
            state,
            since,
            why,
            device: link.map(|link| link.device.name.to_string()),
            vlan: interface.vlan.map(VlanId::number),
            mac: link.and_then(|link| link.mac).and_then(MacAddress::from_octets),
            mtu: link.map(|link| link.mtu),
            roles: interface.roles.clone(),
            addresses: interface.addresses.clone(),
            traffic: link.and_then(|link| counters.traffic.get(&link.device.index).copied()),
        };
        (id.clone(), status)
    };
    published.config.interfaces().iter().map(|(id, interface)| (id, &**interface)).map(status).collect()
}
