//! Who is at the other end of a connection, as far as the connection itself says.
//!
//! Made by `server.rs` for each connection and carried by each of its requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::Role;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A process of this machine, by the socket in the file system.
    Socket {
        /// The user that it runs as (unix(7), SO_PEERCRED).
        uid: u32,
    },
    /// Somebody over TCP.
    Tcp {
        /// His address and port.
        address: SocketAddr,
        /// Who he is by his certificate, where he has shown one.
        certificate: Option<Arc<ClientName>>,
    },
    /// Somebody over SSH, who has shown a key of the configuration.
    Ssh {
        /// His address and port.
        address: SocketAddr,
        /// Who he is by his key.
        key: Arc<ClientName>,
    },
}

/// Who a client is by what he has shown: a certificate that an authority of ours vouches for, or a key of SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName {
    /// The common name of the subject, or what else there is; of a key its id in the configuration.
    pub name: String,
    /// What he may do.
    pub role: Role,
}

/// Where requests come from, as far as they are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::api) enum Source {
    /// A user of this machine.
    Uid(u32),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 network of 64 bits: whoever has one of its addresses has all of them.
    V6(u64),
}

impl Peer {
    /// Where it is: an address and a port, or `socket`.
    #[must_use]
    pub fn from(&self) -> String {
        match self {
            Self::Socket { .. } => "socket".to_owned(),
            Self::Tcp { address, .. } | Self::Ssh { address, .. } => {
                SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
            }
        }
    }

    pub(in crate::api) fn source(&self) -> Source {
        match self {
            Self::Socket { uid } => Source::Uid(*uid),
            Self::Tcp { address, .. } | Self::Ssh { address, .. } => Source::of(address.ip()),
        }
    }

    pub(super) fn is_loopback(&self) -> bool {
        matches!(self, Self::Tcp { address, .. } if address.ip().to_canonical().is_loopback())
    }
}

impl Source {
    pub(in crate::api) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(network) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        let of = |text: &str| Source::of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1", "one that a socket of both families tells");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        let peer = Peer::Tcp { address: "[::ffff:127.0.0.1]:9".parse().unwrap(), certificate: None };
        assert_eq!((peer.from().as_str(), peer.is_loopback()), ("127.0.0.1:9", true));
        let peer = Peer::Socket { uid: 7 };
        assert_eq!((peer.from().as_str(), peer.is_loopback()), ("socket", false));
    }
}
