//! What an interface is.

use std::collections::BTreeSet;

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
use super::mac::MacAddress;
use super::name::DeviceName;
use super::net::{Address, InterfaceAddress, is_host_of, overlap};
use super::wire;
pub use super::wire::Role;

/// The smallest MTU: every IPv4 host takes packets of this size (RFC 791).
const MIN_MTU: u32 = 576;
/// The priority of gateways that name none.
const GATEWAY_PRIORITY: u32 = 100;
/// The numbers of 802.1Q networks (IEEE 802.1Q table 9-2: 0 and 4095 are none).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;
/// The largest IPv4 packet.
const MAX_MTU: u32 = 65_535;

/// A network that the router stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// How its device is found.
    pub selector: Selector,
    /// The network on that device, where it is a tagged one.
    pub vlan: Option<VlanId>,
    /// What it is for; never empty.
    pub roles: BTreeSet<Role>,
    /// The router's addresses, in the caller's order, without repetition.
    pub addresses: Vec<InterfaceAddress>,
    /// The next hop of its default route; in one of its subnets.
    pub gateway: Option<Address>,
    /// Which of several gateways makes the main default route; see [`Interface::gateway_priority`].
    pub gateway_priority_given: Option<u32>,
    /// The largest packet in octets; as the device has it where absent.
    pub mtu: Option<u32>,
    /// A guest network that reaches the router alone.
    pub isolated: bool,
}

/// How a device is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// By its Ethernet address.
    Mac(MacAddress),
    /// By its name in the kernel.
    Device(DeviceName),
}

/// The number of an 802.1Q network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    /// The network of this number, if it is one.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        VLANS.contains(&number).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for VlanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Interface {
    /// Whether it has the role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Which of several gateways makes the main default route: the lowest; ties go by the interface's id.
    #[must_use]
    pub fn gateway_priority(&self) -> u32 {
        self.gateway_priority_given.unwrap_or(GATEWAY_PRIORITY)
    }
}

impl FlatNoun for Interface {
    type Wire = wire::Interface;

    fn read(wire: wire::Interface, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::Interface {
            mac,
            device,
            vlan: tag,
            roles: given,
            addresses,
            gateway,
            gateway_priority,
            mtu,
            isolated,
        } = wire;
        let selector = match (mac, device) {
            (Some(mac), None) => Some(Selector::Mac(mac)),
            (None, Some(device)) => Some(Selector::Device(device)),
            (Some(_), Some(_)) => {
                faults.add(
                    at.clone(),
                    Rule::Contradiction,
                    "`mac` and `device` are given; one of them finds it",
                );
                None
            }
            (None, None) => {
                faults.add(
                    at.clone(),
                    Rule::MissingField,
                    "one of `mac` and `device` has to find the interface",
                );
                None
            }
        };
        let vlan = tag.and_then(VlanId::new);
        let misnumbered = tag.is_some() && vlan.is_none();
        if misnumbered {
            let detail = format!("a VLAN has a number from {} to {}", VLANS.start(), VLANS.end());
            faults.add(at.key("vlan"), Rule::OutOfRange, detail);
        }
        let roles: BTreeSet<Role> = given.iter().copied().collect();
        if roles.is_empty() || roles.len() != given.len() {
            faults.add(at.key("roles"), Rule::InvalidValue, "one to three different roles are needed");
        }
        check_addresses(&addresses, at, faults);
        if let Some(gateway) = gateway {
            check_gateway(gateway, &addresses, &roles, at, faults);
        }
        if gateway_priority.is_some() && gateway.is_none() {
            let detail = "it says which of several gateways is the main one; this interface has none";
            faults.add(at.key("gateway_priority"), Rule::Contradiction, detail);
        }
        if mtu.is_some_and(|mtu| !(MIN_MTU..=MAX_MTU).contains(&mtu)) {
            faults.add(at.key("mtu"), Rule::OutOfRange, format!("an MTU is {MIN_MTU} to {MAX_MTU} octets"));
        }
        if isolated && !roles.contains(&Role::Guest) {
            faults.add(at.key("isolated"), Rule::Contradiction, "only a guest network can be isolated");
        }
        if isolated && roles.contains(&Role::Public) {
            faults.add(
                at.key("isolated"),
                Rule::Contradiction,
                "a network that is also public cannot be isolated",
            );
        }
        Some(Self {
            // Without its number it would be taken for what comes untagged.
            selector: selector.filter(|_| !misnumbered)?,
            vlan,
            roles,
            addresses,
            gateway,
            gateway_priority_given: gateway_priority,
            mtu,
            isolated,
        })
    }

    fn write(&self) -> wire::Interface {
        let Self { selector, vlan, roles, addresses, gateway, gateway_priority_given, mtu, isolated } = self;
        let (mac, device) = match selector {
            Selector::Mac(mac) => (Some(*mac), None),
            Selector::Device(device) => (None, Some(device.clone())),
        };
        wire::Interface {
            mac,
            device,
            vlan: vlan.map(VlanId::number),
            roles: roles.iter().copied().collect(),
            addresses: addresses.clone(),
            gateway: *gateway,
            gateway_priority: *gateway_priority_given,
            mtu: *mtu,
            isolated: *isolated,
        }
    }
}

fn check_addresses(addresses: &[InterfaceAddress], at: &Pointer, faults: &mut Faults) {
    for (index, address) in addresses.iter().enumerate() {
        let place = || at.key("addresses").index(index);
        for earlier in addresses.iter().take(index) {
            if earlier.address() == address.address() {
                faults.add(place(), Rule::Conflict, format!("{} stands twice", address.address()));
            } else if earlier.subnet() != address.subnet() && overlap(earlier.subnet(), address.subnet()) {
                faults.add(
                    place(),
                    Rule::Overlap,
                    format!("its subnet {} overlaps {}", address.subnet(), earlier.subnet()),
                );
            }
        }
    }
}

fn check_gateway(
    gateway: Address,
    addresses: &[InterfaceAddress],
    roles: &BTreeSet<Role>,
    at: &Pointer,
    faults: &mut Faults,
) {
    let place = at.key("gateway");
    if addresses.iter().any(|address| address.address() == gateway.get()) {
        faults.add(place, Rule::Contradiction, format!("{gateway} is the router itself"));
    } else if !addresses.iter().any(|address| is_host_of(address.subnet(), gateway.get())) {
        faults.add(place, Rule::OutsideSubnet, format!("{gateway} is in none of the interface's subnets"));
    } else if !roles.contains(&Role::Public) && !roles.contains(&Role::Management) {
        faults.add(place, Rule::Contradiction, "a guest network has the router as its gateway, not another");
    }
}
