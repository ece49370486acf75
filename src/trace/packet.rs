//! A packet on its way through the router, and what the router knows of it: no octets, only what rules ask for.

use std::net::Ipv4Addr;

use crate::plan::facts::Name;
use crate::plan::facts::statement::ConntrackState;

/// ICMP.
pub(super) const ICMP: u8 = 1;
/// TCP.
pub(super) const TCP: u8 = 6;
/// UDP.
pub(super) const UDP: u8 = 17;
/// The ICMP types that begin something: echo, timestamp, information and address mask requests
/// (`net/netfilter/nf_conntrack_proto_icmp.c`). The others belong to a connection or to none.
const ICMP_REQUESTS: [u8; 4] = [8, 13, 15, 17];

/// What rules and routes ask of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// The protocol's number in the IANA registry.
    pub protocol: u8,
    /// TCP and UDP: the port that it comes from, where it is told.
    pub source_port: Option<u16>,
    /// TCP and UDP: the port that it goes to.
    pub destination_port: Option<u16>,
    /// ICMP: type and code.
    pub icmp: Option<(u8, u8)>,
}

impl Packet {
    /// Whether it can begin a connection.
    fn begins(&self) -> bool {
        self.protocol != ICMP || self.icmp.is_some_and(|(kind, _)| ICMP_REQUESTS.contains(&kind))
    }
}

/// A packet with all that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) packet: Packet,
    /// The device that it came in by.
    pub(super) input: Name,
    /// The device that it leaves by, once that is known.
    pub(super) output: Option<Name>,
    /// Its mark.
    pub(super) mark: u32,
    /// The connection that it begins; absent where it cannot begin one.
    pub(super) connection: Option<Connection>,
}

/// A connection of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) mark: u32,
    pub(super) original_destination: Ipv4Addr,
    /// Whether its destination was translated.
    pub(super) translated: bool,
}

impl Flight {
    /// The first packet of a connection, or one of none.
    pub(super) fn new(packet: Packet, input: Name) -> Self {
        let begun = || Connection { mark: 0, original_destination: packet.destination, translated: false };
        let connection = packet.begins().then(begun);
        Self { packet, input, output: None, mark: 0, connection }
    }

    /// The state of its connection.
    pub(super) const fn state(&self) -> ConntrackState {
        match self.connection {
            Some(_) => ConntrackState::NEW,
            None => ConntrackState::INVALID,
        }
    }

    /// Gives the packet another destination.
    pub(super) fn lead_to(&mut self, address: Ipv4Addr, port: Option<u16>) {
        let before = self.packet;
        self.packet.destination = address;
        self.packet.destination_port = port.or(before.destination_port);
        if let Some(connection) = &mut self.connection {
            connection.translated |= self.packet != before;
        }
    }
}
