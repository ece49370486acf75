//! Network devices.

use std::fmt;
use std::sync::Arc;

/// A network device: its index, which is its identity while it lives, and its name for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// The interface index (`linux/if_link.h`); never 0.
    pub index: u32,
    /// The name, such as `eth0`.
    pub name: Arc<str>,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is observed of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The device.
    pub device: Device,
    /// Its Ethernet address, where it has one of six octets.
    pub mac: Option<[u8; 6]>,
    /// The largest packet in octets.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// The index of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The index of the device that it is stacked on, such as a VLAN's.
    pub parent: Option<u32>,
    /// The 802.1Q network that it is, where its parent is here.
    pub vlan: Option<Vlan>,
}

impl Link {
    /// An Ethernet device that is up and plugged in, with frames of the usual size (`ETH_DATA_LEN` in `linux/if_ether.h`),
    /// without an address and on its own: what else is known of a device is set beside it.
    #[must_use]
    pub const fn ethernet(device: Device) -> Self {
        Self { device, mac: None, mtu: 1500, up: true, carrier: true, master: None, parent: None, vlan: None }
    }
}

/// What a device of a tagged network is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// The number of the network.
    pub id: u16,
    /// The device that carries it.
    pub parent: Device,
    /// The largest packet of that one, in octets: none of the network is larger.
    pub parent_mtu: u32,
    /// Whether the router made it.
    pub ours: bool,
}

/// How a device should be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// The largest packet in octets; left alone where absent.
    pub mtu: Option<u32>,
}

impl LinkSettings {
    /// Whether the link is up and as it should be.
    #[must_use]
    pub fn fits(self, link: &Link) -> bool {
        link.up && self.mtu.is_none_or(|mtu| mtu == link.mtu)
    }
}
