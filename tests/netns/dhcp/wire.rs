//! A client that says exactly what a test wants, and hears everything, whoever it is for.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Encodable};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use socket2::{Domain, Socket, Type};

use crate::lab::{Lab, PATIENCE};

/// A client, or a relay, in a namespace with one device, `eth0`.
pub(crate) struct Wire {
    udp: UdpSocket,
    packet: OwnedFd,
}

/// A reply as it came by.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Whether its frame was a broadcast.
    pub(crate) broadcast: bool,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) length: usize,
    pub(crate) message: Message,
}

impl Heard {
    pub(crate) fn kind(&self) -> MessageType {
        self.message.opts().msg_type().unwrap()
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.message.yiaddr()
    }

    pub(crate) fn option(&self, code: u8) -> Option<&DhcpOption> {
        self.message.opts().get(OptionCode::from(code))
    }
}

impl Wire {
    /// A client.
    pub(crate) fn client(lab: &Lab, namespace: &str) -> Self {
        Self::open(lab, namespace, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68))
    }

    /// A relay, or whoever speaks from an address that the namespace has.
    pub(crate) fn at(lab: &Lab, namespace: &str, address: Ipv4Addr, port: u16) -> Self {
        Self::open(lab, namespace, SocketAddrV4::new(address, port))
    }

    fn open(lab: &Lab, namespace: &str, address: SocketAddrV4) -> Self {
        lab.inside(namespace, || {
            let udp = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            udp.bind_device(Some(b"eth0")).unwrap();
            udp.set_broadcast(true).unwrap();
            udp.set_reuse_address(true).unwrap();
            udp.bind(&address.into()).unwrap();
            let flags = SockFlag::SOCK_CLOEXEC;
            let packet =
                socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthIp).unwrap();
            setsockopt(&packet, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100)).unwrap();
            Self { udp: udp.into(), packet }
        })
    }

    /// Says something to everybody.
    pub(crate) fn broadcast(&self, message: &Message) {
        self.send(message, Ipv4Addr::BROADCAST);
    }

    /// Says something to one server.
    pub(crate) fn send(&self, message: &Message, server: Ipv4Addr) {
        self.say(&message.to_vec().unwrap(), server);
    }

    /// Says any octets.
    pub(crate) fn say(&self, octets: &[u8], server: Ipv4Addr) {
        self.udp.send_to(octets, (server, 67)).unwrap();
    }

    /// The next reply to a transaction.
    pub(crate) fn hear(&self, xid: u32) -> Heard {
        let start = Instant::now();
        loop {
            if let Some(heard) = self.next()
                && heard.message.xid() == xid
            {
                return heard;
            }
            assert!(start.elapsed() < PATIENCE, "no reply to {xid:x}");
        }
    }

    /// Asks and hears the reply, asking again as clients do.
    pub(crate) fn ask(&self, message: &Message) -> Heard {
        let start = Instant::now();
        loop {
            self.broadcast(message);
            let again = Instant::now() + Duration::from_secs(2);
            while Instant::now() < again {
                if let Some(heard) = self.next()
                    && heard.message.xid() == message.xid()
                {
                    return heard;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no reply to {message:?}");
        }
    }

    /// The next reply that comes by within a tenth of a second.
    pub(crate) fn next(&self) -> Option<Heard> {
        let mut packet = [0; 2048];
        let (length, from) = recvfrom::<LinkAddr>(self.packet.as_raw_fd(), &mut packet).ok()?;
        let packet = &packet[..length];
        let address = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().unwrap());
        let port = |at: usize| u16::from_be_bytes(*packet[at..].first_chunk::<2>().unwrap());
        let from_server = packet[0] == 0x45 && packet[9] == 17 && port(20) == 67;
        let message = Message::from_bytes(&packet[28..]).ok().filter(|_| from_server)?;
        Some(Heard {
            broadcast: from?.pkttype() == 1,
            source: SocketAddrV4::new(address(12), port(20)),
            destination: SocketAddrV4::new(address(16), port(22)),
            length: length - 28,
            message,
        })
    }
}

/// A message of a client that hears broadcasts only.
pub(crate) fn message(kind: MessageType, client: u8, xid: u32) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(xid, none, none, none, none, &[0xfa, 0xaa, 0, 0, 0, client]);
    message.set_flags(Flags::default().set_broadcast());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message
}

/// The message with one more option.
pub(crate) fn with(mut message: Message, option: DhcpOption) -> Message {
    message.opts_mut().insert(option);
    message
}

/// A message that asks for an address, by option 50.
pub(crate) fn wanting(message: Message, address: Ipv4Addr) -> Message {
    with(message, DhcpOption::RequestedIpAddress(address))
}

/// The message as it leaves a relay.
pub(crate) fn relayed(mut message: Message, relay: Ipv4Addr, agent: &[RelayInfo]) -> Message {
    message.set_giaddr(relay).set_hops(1);
    let mut information = RelayAgentInformation::default();
    for option in agent {
        information.insert(option.clone());
    }
    with(message, DhcpOption::RelayAgentInformation(information))
}

/// Octets that mean nothing, the same ones for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut octet = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| octet()).collect()
}

/// A message as it travels.
pub(crate) fn octets(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}
