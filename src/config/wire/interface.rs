//! `interfaces.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::mac::MacAddress;
use crate::config::name::DeviceName;
use crate::config::net::{Address, InterfaceAddress};

/// A network that the router stands in, found by MAC or by the kernel's name, whenever it appears.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Interface {
    /// Finds the device by its MAC. Exactly one of `mac` and `device` is given.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Finds the device by its name in the kernel.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,
    /// The 802.1Q network on that device that this interface is, by its number; the router makes a device for it. Without it,
    /// the interface is what comes untagged.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// What the interface is for; several roles are merged onto one device. Guests are then known by their addresses: in the
    /// subnets of DHCP networks and of the sources of `snat`; until there are any, in all but that of the gateway and, where
    /// management is there too, the first of several.
    #[schemars(length(min = 1, max = 3))]
    pub roles: Vec<Role>,
    /// The router's addresses; the first of each subnet is the primary one.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub addresses: Vec<InterfaceAddress>,
    /// The next hop of the default route by this interface.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Address>,
    /// Which of several gateways makes the main default route: the lowest; ties go by the interface's id.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_priority: Option<u32>,
    /// The largest packet in octets; by default as the device has it.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65535))]
    pub mtu: Option<u32>,
    /// A guest network that reaches the router alone.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub isolated: bool,
}

/// What an interface is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The API answers here.
    Management,
    /// The way out, and where public addresses are.
    Public,
    /// Where the guests are.
    Guest,
}
