//! Sets and maps of our table: what rules look up, one element for each thing that is configured.

use std::net::Ipv4Addr;

use imbl::OrdMap;

use super::conntrack::Balanced;
use super::ruleset::Name;

/// How many sources one balancer remembers at most; those beyond are balanced without being remembered.
pub const MOST_REMEMBERED: u32 = 65_536;

/// A set or map with its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What it maps from and to.
    pub kind: SetKind,
    /// What is in it.
    pub elements: Elements,
}

/// Elements by their key.
pub type Elements = OrdMap<Key, Target>;

/// What a set or map is made of. Keys without ranges are hashed; keys with ranges are trees or bitmaps, and the
/// kernel chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// An address leads to an address.
    AddressToAddress,
    /// An address leads to a chain.
    AddressToChain,
    /// An address leads to a mark.
    AddressToMark,
    /// Address, protocol and port lead to address and port.
    EndpointToEndpoint,
    /// Address, protocol and port.
    Endpoints,
    /// Address, protocol and port lead to a chain.
    EndpointToChain,
    /// The number of a slot, in the host's order as numgen and jhash give it, leads to address and port.
    SlotToEndpoint,
    /// Where a balanced connection comes in and where it goes lead to a mark.
    BalancedToMark,
    /// An address leads to address and port for a while. Packets put the elements in, and they are theirs: nobody reads
    /// or compares them.
    StickyToEndpoint,
    /// Address, protocol and a range of ports lead to an address.
    EndpointRangeToAddress,
    /// Address, protocol and a range of ports.
    EndpointRanges,
    /// A range of sources, then address, protocol and a range of ports.
    SourcedEndpointRanges,
    /// Ranges of addresses that do not touch.
    AddressRanges,
    /// Ranges of ports that do not touch.
    PortRanges,
}

/// The key of an element; ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address.
    Address(Ipv4Addr),
    /// Address, protocol, port.
    Endpoint(Ipv4Addr, u8, u16),
    /// A slot.
    Slot(u32),
    /// Where a balanced connection comes in and where it goes.
    Balanced(Balanced),
    /// Address, protocol, first port, last port.
    EndpointRange(Ipv4Addr, u8, u16, u16),
    /// First source, last source, address, protocol, first port, last port.
    SourcedEndpointRange(Ipv4Addr, Ipv4Addr, Ipv4Addr, u8, u16, u16),
    /// First and last address.
    AddressRange(Ipv4Addr, Ipv4Addr),
    /// First and last port.
    PortRange(u16, u16),
}

/// What an element leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing: the element of a set.
    Member,
    /// An address. `keep`: the connections that it made live on when the element goes.
    Address {
        /// The address.
        address: Ipv4Addr,
        /// Whether its connections outlive it.
        keep: bool,
    },
    /// An address and a port.
    Endpoint(Ipv4Addr, u16),
    /// A chain that judges the packet.
    Chain(Name),
    /// A mark.
    Mark(u32),
}

impl Target {
    /// An address whose connections end with it.
    #[must_use]
    pub const fn address(address: Ipv4Addr) -> Self {
        Self::Address { address, keep: false }
    }
}

impl SetKind {
    /// Whether keys have ranges.
    #[must_use]
    pub const fn has_ranges(self) -> bool {
        matches!(
            self,
            Self::EndpointRangeToAddress
                | Self::EndpointRanges
                | Self::SourcedEndpointRanges
                | Self::AddressRanges
                | Self::PortRanges
        )
    }

    /// Whether the elements are the packets' own.
    #[must_use]
    pub const fn is_dynamic(self) -> bool {
        matches!(self, Self::StickyToEndpoint)
    }
}

impl Set {
    /// A set with nothing in it.
    #[must_use]
    pub fn empty(kind: SetKind) -> Self {
        Self { kind, elements: Elements::new() }
    }
}
