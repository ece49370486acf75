//! The sockets of one device: a UDP socket that hears clients and relays, and a packet socket whose frames reach
//! clients that have no address yet. Messages that wait together come in by one system call. Used by the listener and the ledger.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use dhcproto::v4::SERVER_PORT;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SetSockOpt, SockFlag, SockType,
    SockaddrIn, SockaddrLike, bind, recvmmsg, sendmsg, setsockopt, socket, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::decision::{Destination, Reply};
use super::frame;
use crate::plan::facts::Device;

/// How many messages go through one system call at most.
const BATCH: usize = 32;
/// The longest message that is looked at: what an Ethernet frame carries.
const MAX_MESSAGE: usize = 1500;
/// What may wait in the kernel while we are busy: some thousand clients that boot at once.
const RECEIVE_BUFFER: usize = 8 << 20;
/// What may wait to be sent.
const SEND_BUFFER: usize = 4 << 20;
/// IPv4 and ARP in an Ethernet frame (`linux/if_ether.h`).
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;

/// The sockets of one device.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) device: Device,
    udp: UdpSocket,
    packet: OwnedFd,
}

/// Room for messages that came in together.
#[derive(Debug)]
pub(super) struct Batch {
    octets: Box<[u8]>,
    lengths: Vec<usize>,
}

impl Sockets {
    /// Opens the sockets of a device.
    ///
    /// # Errors
    /// The device is gone, something else listens on it, or the process lacks `CAP_NET_RAW` or `CAP_NET_BIND_SERVICE`.
    pub(super) fn open(device: &Device) -> io::Result<Self> {
        let udp = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        bind_to(&udp, device)?;
        udp.set_broadcast(true)?;
        udp.set_reuse_address(true)?;
        udp.set_nonblocking(true)?;
        enlarge(&udp, sockopt::RcvBufForce, sockopt::RcvBuf, RECEIVE_BUFFER)?;
        udp.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT).into())?;
        // Without a protocol it hears nothing, so nothing has to be thrown away.
        let packet = packet_socket()?;
        enlarge(&packet, sockopt::SndBufForce, sockopt::SndBuf, SEND_BUFFER)?;
        enlarge(&udp, sockopt::SndBufForce, sockopt::SndBuf, SEND_BUFFER)?;
        Ok(Self { device: device.clone(), udp: drive(udp.into())?, packet })
    }

    /// Waits for messages and takes what is there.
    pub(super) async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        self.udp.async_io(Interest::READABLE, || batch.receive(&self.udp)).await
    }

    /// Sends a reply, or does not: nothing is waited for. Who misses it asks again.
    ///
    /// # Errors
    /// The system would not send it: the device is down, gone or choked, or no route leads to the relay.
    pub(super) fn send(&self, reply: &Reply) -> io::Result<()> {
        match reply.to {
            Destination::Frame(mac, address) => {
                let headers = frame::headers(reply.source, address, &reply.message);
                let to = link_address(self.device.index, ETH_P_IP, mac);
                let parts = [IoSlice::new(&headers), IoSlice::new(&reply.message)];
                transmit(&self.packet, &parts, &[], to.as_ref())
            }
            Destination::Socket(to) => {
                let source = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(reply.source).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let control = [ControlMessage::Ipv4PacketInfo(&source)];
                let parts = [IoSlice::new(&reply.message)];
                transmit(&self.udp, &parts, &control, Some(&SockaddrIn::from(to)))
            }
        }
    }

    /// Sends one ARP packet to everybody on the link.
    pub(super) fn send_arp(&self, packet: &[u8]) -> io::Result<()> {
        let everybody = link_address(self.device.index, ETH_P_ARP, [0xff; 6]);
        transmit(&self.packet, &[IoSlice::new(packet)], &[], everybody.as_ref())
    }
}

/// A socket that hears the ARP of a device.
pub(super) fn arp_socket(device: &Device) -> io::Result<UdpSocket> {
    let socket = packet_socket()?;
    let arp = link_address(device.index, ETH_P_ARP, [0; 6]).ok_or(Errno::EAFNOSUPPORT)?;
    bind(socket.as_raw_fd(), &arp)?;
    drive(socket)
}

/// A socket that sends echo requests through a device and hears the replies.
pub(super) fn echo_socket(device: &Device) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    bind_to(&socket, device)?;
    socket.set_nonblocking(true)?;
    drive(socket.into())
}

/// Gives a socket a large buffer: beyond the system's limit with `CAP_NET_ADMIN`, else up to it.
fn enlarge(
    socket: &impl AsFd,
    forced: impl SetSockOpt<Val = usize>,
    limited: impl SetSockOpt<Val = usize>,
    octets: usize,
) -> io::Result<()> {
    if setsockopt(socket, forced, &octets).is_err() {
        setsockopt(socket, limited, &octets)?;
    }
    Ok(())
}

/// Lets the runtime say when a datagram socket is ready. The type that does is named after UDP, and nothing of it is
/// used that only UDP sockets have.
fn drive(socket: OwnedFd) -> io::Result<UdpSocket> {
    UdpSocket::from_std(socket.into())
}

fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Datagram, flags, None)?)
}

fn bind_to(socket: &Socket, device: &Device) -> io::Result<()> {
    socket.bind_device_by_index_v4(NonZeroU32::new(device.index))
}

fn transmit<A: SockaddrLike>(
    socket: &impl AsRawFd,
    parts: &[IoSlice<'_>],
    control: &[ControlMessage<'_>],
    to: Option<&A>,
) -> io::Result<()> {
    sendmsg(socket.as_raw_fd(), parts, control, MsgFlags::MSG_DONTWAIT, to)?;
    Ok(())
}

/// The address of stations on a device (`packet(7)`): where a frame goes, or what a socket hears.
#[expect(
    unsafe_code,
    reason = "the safe wrapper of this address can only be had from the kernel's own form of it"
)]
fn link_address(device: u32, protocol: u16, mac: [u8; 6]) -> Option<LinkAddr> {
    let [a, b, c, d, e, f] = mac;
    let address = libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).ok()?,
        sll_protocol: protocol.to_be(),
        sll_ifindex: device.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [a, b, c, d, e, f, 0, 0],
    };
    // SAFETY: the pointer is to a whole `sockaddr_ll` that lives until the call returns, its family says that it is one,
    // and the call copies it.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), None) }
}

impl Batch {
    /// Room for one call's messages.
    pub(super) fn new() -> Self {
        Self { octets: vec![0; BATCH * MAX_MESSAGE].into(), lengths: Vec::with_capacity(BATCH) }
    }

    /// The messages.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.octets
            .chunks(MAX_MESSAGE)
            .zip(&self.lengths)
            .map(|(room, length)| room.get(..*length).unwrap_or(room))
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.lengths.clear();
        let mut rooms: Vec<[IoSliceMut<'_>; 1]> =
            self.octets.chunks_mut(MAX_MESSAGE).map(|room| [IoSliceMut::new(room)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut rooms, flags, None)?;
        self.lengths.extend(received.map(|message| message.bytes));
        Ok(())
    }
}
