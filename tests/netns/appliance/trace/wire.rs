//! Packets as a test makes them, and as the wire shows them beyond the router.
//!
//! Every packet carries a tag by which it is known again on any network, translated or not, and in what is said of it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::sys::socket::MsgFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Lab;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// ICMP: destination unreachable because of a firewall (RFC 1812 section 5.2.7.1), and because nothing is on the port.
const PROHIBITED: (u8, u8) = (3, 13);
const NO_PORT: (u8, u8) = (3, 3);
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Room for what comes by while a test is busy.
const BUFFER: usize = 16 << 20;

/// A packet to be sent. Its number is in it: no two of one batch have the same.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) number: u16,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    /// The destination port of TCP and UDP; type and code of ICMP.
    pub(super) detail: (u16, u8),
}

impl Packet {
    pub(super) fn source_port(&self) -> u16 {
        20_000 + self.number
    }

    fn tag(&self) -> u32 {
        0x7654_0000 | u32::from(self.number)
    }

    /// The packet from its IP header on. The system fills in lengths and the header's sum.
    pub(super) fn octets(&self) -> Vec<u8> {
        let (port, code) = self.detail;
        let mut body = Vec::new();
        match self.protocol {
            TCP => {
                body.extend(self.source_port().to_be_bytes());
                body.extend(port.to_be_bytes());
                body.extend(self.tag().to_be_bytes());
                body.extend([0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
            }
            UDP => {
                let payload = self.question();
                body.extend(self.source_port().to_be_bytes());
                body.extend(port.to_be_bytes());
                body.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
                body.extend([0, 0]);
                body.extend(payload);
            }
            ICMP => {
                body.extend([u8::try_from(port).unwrap(), code, 0, 0]);
                body.extend(self.number.to_be_bytes());
                body.extend([0, 1]);
                body.extend(self.tag().to_be_bytes());
            }
            _ => {
                body.extend([0, 0, 0x08, 0]);
                body.extend(self.tag().to_be_bytes());
            }
        }
        self.sum(&mut body);
        let mut packet = vec![0x45, 0, 0, 0];
        packet.extend((self.number + 1).to_be_bytes());
        packet.extend([0, 0, 64, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(body);
        packet
    }

    /// A question that DNS answers by itself; the tag is in front of what others get.
    fn question(&self) -> Vec<u8> {
        let mut question = self.tag().to_be_bytes().to_vec();
        if self.detail.0 == 53 {
            question = self.number.to_be_bytes().to_vec();
            question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            question.extend(b"\x05trace\x03lab\x00\x00\x01\x00\x01");
        }
        question
    }

    fn sum(&self, body: &mut [u8]) {
        let place = match self.protocol {
            TCP => 16,
            UDP => 6,
            ICMP => 2,
            _ => return,
        };
        let mut over = Vec::new();
        if self.protocol != ICMP {
            over.extend(self.source.octets());
            over.extend(self.destination.octets());
            over.extend([0, self.protocol]);
            over.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        }
        over.extend_from_slice(body);
        over.resize(over.len().next_multiple_of(2), 0);
        let mut sum: u32 = over.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        body[place..place + 2].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    }
}

/// What the wire shows of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// It went out of the router: by which network, to which neighbour, and as what.
    Forwarded {
        network: &'static str,
        neighbour: [u8; 6],
        source: Ipv4Addr,
        destination: Ipv4Addr,
        port: u16,
    },
    /// The router refused it.
    Refused,
    /// Somebody answered it, the router or whoever got it.
    Answered,
}

/// Frames by the network that they were on.
type Frames = BTreeSet<(&'static str, Vec<u8>)>;

/// What came out of the router on every network.
pub(super) struct Watch {
    seen: Arc<Mutex<Frames>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Watches networks for what comes from these devices of the router.
    pub(super) fn start(lab: &Lab, devices: &[(&'static str, [u8; 6])]) -> Self {
        let (seen, stop) = (Arc::<Mutex<Frames>>::default(), Arc::new(AtomicBool::new(false)));
        let threads = devices.iter().map(|(network, mac)| {
            let tap: OwnedFd = lab.inside(network, || {
                let flags = SockFlag::SOCK_CLOEXEC;
                socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap()
            });
            setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).unwrap();
            setsockopt(&tap, sockopt::RcvBufForce, &BUFFER).unwrap();
            let (seen, stop, network, mac) = (seen.clone(), stop.clone(), *network, *mac);
            thread::spawn(move || {
                let mut frame = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    let Ok(length) = recv(tap.as_raw_fd(), &mut frame, MsgFlags::empty()) else { continue };
                    let frame = &frame[..length];
                    if length >= 34 && frame[6..12] == mac && frame[12..14] == [8, 0] {
                        seen.lock().unwrap().insert((network, frame.to_vec()));
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { seen, stop, threads }
    }

    /// What is forgotten from here on.
    pub(super) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// What was shown of a packet up to now.
    pub(super) fn of(&self, packet: &Packet) -> BTreeSet<Shown> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter_map(|(network, frame)| shown(packet, network, frame)).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn shown(packet: &Packet, network: &'static str, frame: &[u8]) -> Option<Shown> {
    let ip = &frame[14..];
    let header = usize::from(ip[0] & 15) * 4;
    let body = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let address = |at: usize| Some(Ipv4Addr::from(*ip.get(at..)?.first_chunk::<4>()?));
    let word = |at: usize| Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let forwarded = |port| {
        Some(Shown::Forwarded {
            network,
            neighbour: *frame.first_chunk()?,
            source: address(12)?,
            destination: address(16)?,
            port,
        })
    };
    let tag = packet.tag();
    match (ip[9], packet.protocol) {
        (ICMP, _) if matches!((*body.first()?, *body.get(1)?), PROHIBITED | NO_PORT) => {
            // The packet that is meant stands in the error, as far as its ports.
            let inner = body.get(8..)?;
            let meant = u16::from_be_bytes(*inner.get(4..)?.first_chunk()?) == packet.number + 1
                && inner.get(9) == Some(&packet.protocol);
            let refused = *body.get(1)? == PROHIBITED.1;
            meant.then_some(if refused { Shown::Refused } else { Shown::Answered })
        }
        (TCP, TCP) if word(4)? == tag && body.get(13)? & (SYN | ACK) == SYN => forwarded(port(2)?),
        (TCP, TCP) if word(8)? == tag + 1 => {
            Some(if body.get(13)? & RST != 0 { Shown::Refused } else { Shown::Answered })
        }
        (UDP, UDP) if body.get(8..)? == packet.question() => forwarded(port(2)?),
        (UDP, UDP) if port(2)? == packet.source_port() => Some(Shown::Answered),
        (ICMP, ICMP) if word(8)? == tag && u16::from(*body.first()?) == packet.detail.0 => forwarded(0),
        (ICMP, ICMP) if word(8)? == tag && *body.first()? == 0 => Some(Shown::Answered),
        (one, other) if one == other && !matches!(one, ICMP | TCP | UDP) && word(4)? == tag => forwarded(0),
        _ => None,
    }
}

/// A socket that sends packets from wherever they say they come.
pub(super) fn sender(lab: &Lab, namespace: &str) -> Socket {
    lab.inside(namespace, || {
        // IPPROTO_RAW: what is sent has its header.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        socket.set_broadcast(true).unwrap();
        socket
    })
}
