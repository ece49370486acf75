//! Routes and policy rules.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::link::Device;

/// The table that decides what is the host's own (`linux/rtnetlink.h`: RT_TABLE_LOCAL).
pub const TABLE_LOCAL: u32 = 255;
/// The table of everything that no policy rule sends elsewhere (RT_TABLE_MAIN).
pub const TABLE_MAIN: u32 = 254;

/// What makes a route the only one of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// The table.
    pub table: u32,
    /// Where it leads.
    pub destination: Ipv4Net,
    /// Preference, lower first.
    pub metric: u32,
}

/// How a route gets to its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The destination is the router itself: it answers ARP for it on the device's link and takes its packets.
    Local(Device),
    /// By a neighbour on a device.
    Via(Ipv4Addr, Device),
    /// On the link of a device, from this address of the router where one is named.
    OnLink(Device, Option<Ipv4Addr>),
}

impl RouteKey {
    /// The key of the route that makes `address` the router's own.
    #[must_use]
    pub fn own(address: Ipv4Addr) -> Self {
        Self { table: TABLE_LOCAL, destination: address.into(), metric: 0 }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)?;
        match self.table {
            TABLE_MAIN => {}
            TABLE_LOCAL => f.write_str(" table local")?,
            table => write!(f, " table {table}")?,
        }
        if self.metric > 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(device) => write!(f, "local dev {device}"),
            Self::Via(via, device) => write!(f, "via {via} dev {device}"),
            Self::OnLink(device, None) => write!(f, "dev {device}"),
            Self::OnLink(device, Some(source)) => write!(f, "dev {device} src {source}"),
        }
    }
}

/// A rule that sends packets to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRule {
    /// Lower is asked first.
    pub priority: u32,
    /// Which packets.
    pub selector: Selector,
    /// The table that is asked.
    pub table: u32,
}

/// Which packets a policy rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// Those with this mark, under this mask.
    Mark {
        /// The value.
        value: u32,
        /// The bits that count.
        mask: u32,
    },
    /// Those from this network.
    From(Ipv4Net),
    /// All, but a default route of the table does not count.
    AllButDefault,
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.priority)?;
        match self.selector {
            Selector::Mark { value, mask } => write!(f, "fwmark {value:#x}/{mask:#x}")?,
            Selector::From(net) => write!(f, "from {net}")?,
            Selector::AllButDefault => f.write_str("from all")?,
        }
        match self.table {
            TABLE_MAIN => f.write_str(" lookup main")?,
            table => write!(f, " lookup {table}")?,
        }
        if self.selector == Selector::AllButDefault {
            f.write_str(" suppress_prefixlength 0")?;
        }
        Ok(())
    }
}

/// What the kernel is asked of a packet that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayQuestion {
    /// The index of the device that it comes in by.
    pub input: u32,
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes, behind translation.
    pub destination: Ipv4Addr,
    /// Its mark.
    pub mark: u32,
}

/// Where the kernel says that a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayAnswer {
    /// To the router itself.
    Local,
    /// Out.
    Out {
        /// The index of the device.
        device: u32,
        /// The neighbour that it is given to; the destination itself where absent.
        via: Option<Ipv4Addr>,
    },
    /// Nowhere: no route leads there, or its source cannot come in by that device.
    Nowhere(String),
}
