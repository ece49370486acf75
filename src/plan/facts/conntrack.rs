//! Which connections a mapping made: what is flushed when it goes or leads elsewhere.

use std::fmt;
use std::net::Ipv4Addr;

/// Where a balanced connection comes in, and the backend that it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Balanced {
    /// The balancer's address.
    pub address: Ipv4Addr,
    /// The transport's number in the IANA registry.
    pub protocol: u8,
    /// The balancer's port.
    pub port: u16,
    /// The backend's address.
    pub backend: Ipv4Addr,
    /// The backend's port.
    pub backend_port: u16,
}

impl fmt::Display for Balanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, port, backend, backend_port } = self;
        write!(f, "to {address} protocol {protocol} port {port} at {backend} port {backend_port}")
    }
}

/// Connections of one mapping. A connection is known by its two tuples (kernel: `nf_conntrack_tuple.h`): the original
/// one as the first packet was, the reply one as answers are, both before translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConntrackMatch {
    /// Connections to this address, and those that go out under it.
    Address(Ipv4Addr),
    /// Connections to ports of an address.
    Ports {
        /// The public address.
        address: Ipv4Addr,
        /// The transport's number in the IANA registry.
        protocol: u8,
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// Connections that go out under this address and that nobody outside began.
    Source(Ipv4Addr),
    /// Connections to a balancer's port that one backend answers.
    Balanced(Balanced),
}

impl fmt::Display for ConntrackMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "to and from {address}"),
            Self::Ports { address, protocol, first, last } => {
                write!(f, "to {address} protocol {protocol} ports {first}-{last}")
            }
            Self::Source(address) => write!(f, "from {address}"),
            Self::Balanced(balanced) => balanced.fmt(f),
        }
    }
}
