//! What happens to links, addresses, routes, rules and the ruleset, as the kernel tells it.
//!
//! The loop does not follow each event: it is told that devices changed, that a device's neighbours should hear of its
//! addresses again, or that somebody else changed something, and looks for itself. Called by the loop.

use std::collections::BTreeSet;
use std::io;

use bytes::BytesMut;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkEvent};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};
use socket2::{SockFilter, SockRef};

use super::KernelError;
use super::attribute::{NFGENMSG, attributes};
use super::netlink::{NETLINK_NETFILTER, NETLINK_ROUTE, decode, failed, messages};

/// Events that may wait to be read; when more come, the kernel says so and the loop looks at everything.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The most that is read at once.
const CHUNK: usize = 64 << 10;

/// Who hears of changes of the ruleset (NFNLGRP_NFTABLES).
const GROUP_NFTABLES: u32 = 7;
/// The end of each transaction (NFT_MSG_NEWGEN of NFNL_SUBSYS_NFTABLES), and what it says of who sent it.
const TRANSACTION: u16 = 10 << 8 | 15;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// What happened since the last time it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Happened {
    /// A device came, went, or changed.
    pub links: bool,
    /// Devices whose neighbours should hear of the addresses again, because the machine moved.
    pub announce: BTreeSet<u32>,
    /// Somebody else changed an address, a route, a rule, or the ruleset.
    pub foreign: bool,
    /// The process that changed the ruleset, and its number.
    pub by: Option<String>,
}

/// The kernel's events.
pub struct Events {
    route: TokioSocket,
    nftables: TokioSocket,
    own: OwnPorts,
}

/// The numbers by which the kernel names this process in what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnPorts {
    /// Of changes of links, addresses, routes and rules.
    pub route: u32,
    /// Of changes of the ruleset.
    pub nftables: u32,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Events {
    /// Listens. What is caused by the sockets of these ports is not told.
    ///
    /// # Errors
    /// A socket cannot be had.
    pub fn open(own: OwnPorts) -> Result<Self, KernelError> {
        let open = || -> io::Result<(TokioSocket, TokioSocket)> {
            let groups = [
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv4Route,
                MulticastGroup::Ipv4Rule,
            ];
            let route = listen(NETLINK_ROUTE, &groups.map(|group| group as u32), &[])?;
            let nftables = listen(NETLINK_NETFILTER, &[GROUP_NFTABLES], &transactions_but_of(own.nftables))?;
            Ok((route, nftables))
        };
        let (route, nftables) = open().map_err(|error| failed("listen", &error))?;
        Ok(Self { route, nftables, own })
    }

    /// Waits until something happened, and tells all that did by then.
    ///
    /// # Errors
    /// A socket cannot be read.
    pub async fn next(&mut self) -> Result<Happened, KernelError> {
        loop {
            let (mut of_routes, mut of_ruleset) = (room(), room());
            let mut happened = Happened::default();
            tokio::select! {
                read = self.route.recv(&mut of_routes) => {
                    happened.take_in(read.map(drop), |happened| happened.read(&of_routes, self.own.route))?;
                }
                read = self.nftables.recv(&mut of_ruleset) => {
                    let own = self.own.nftables;
                    happened.take_in(read.map(drop), |happened| happened.read_transactions(&of_ruleset, own))?;
                }
            };
            happened = happened.and(self.more()?);
            if happened != Happened::default() {
                return Ok(happened);
            }
        }
    }

    /// What else happened by now.
    ///
    /// # Errors
    /// A socket cannot be read.
    pub fn more(&mut self) -> Result<Happened, KernelError> {
        let mut happened = Happened::default();
        let mut buffer = room();
        let own = self.own;
        while let Some(read) = waiting(&mut self.route, &mut buffer) {
            happened.take_in(read, |happened| happened.read(&buffer, own.route))?;
        }
        while let Some(read) = waiting(&mut self.nftables, &mut buffer) {
            happened.take_in(read, |happened| happened.read_transactions(&buffer, own.nftables))?;
        }
        Ok(happened)
    }
}

fn room() -> BytesMut {
    BytesMut::with_capacity(CHUNK)
}

/// What a socket has to read, without waiting; nothing where it has nothing.
fn waiting(socket: &mut TokioSocket, buffer: &mut BytesMut) -> Option<io::Result<()>> {
    buffer.clear();
    buffer.reserve(CHUNK);
    match socket.socket_ref().recv(buffer, libc::MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        read => Some(read.map(drop)),
    }
}

/// A socket that hears of some groups; what a filter drops wakes nobody.
fn listen(protocol: isize, groups: &[u32], filter: &[SockFilter]) -> io::Result<TokioSocket> {
    let mut listening = TokioSocket::new(protocol)?;
    let socket = listening.socket_mut();
    socket.bind_auto()?;
    socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
    if !filter.is_empty() {
        SockRef::from(&*socket).attach_filter(filter)?;
    }
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(listening)
}

/// Lets the end of each transaction pass, unless it was sent by the socket with this port: of ten thousand elements of
/// ours, nothing is heard. Classic BPF (`linux/filter.h`), which reads numbers in the network's order.
#[expect(clippy::cast_possible_truncation, reason = "opcodes are small")]
fn transactions_but_of(port: u32) -> [SockFilter; 6] {
    use libc::{BPF_ABS, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    /// Where a message's header says its type and its sender (`linux/netlink.h`).
    const TYPE: u32 = 4;
    const PORT: u32 = 12;
    let step = |code: u32, to: u8, otherwise: u8, k: u32| SockFilter::new(code as u16, to, otherwise, k);
    [
        step(BPF_LD | BPF_H | BPF_ABS, 0, 0, TYPE),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, u16::from_be_bytes(TRANSACTION.to_ne_bytes()).into()),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, PORT),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, u32::from_be_bytes(port.to_ne_bytes())),
        step(BPF_RET | BPF_K, 0, 0, u32::MAX),
        step(BPF_RET | BPF_K, 0, 0, 0),
    ]
}

impl Happened {
    /// Both of what happened.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.links |= other.links;
        self.foreign |= other.foreign;
        self.announce.extend(other.announce);
        self.by = other.by.or(self.by);
        self
    }

    /// Takes in what was read, or that more happened than fitted: then everything has to be looked at.
    fn take_in(&mut self, read: io::Result<()>, content: impl FnOnce(&mut Self)) -> Result<(), KernelError> {
        match read {
            Ok(()) => content(self),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                (self.links, self.foreign) = (true, true);
            }
            Err(error) => return Err(failed("listen", &error)),
        }
        Ok(())
    }

    /// Takes in the transactions of a buffer.
    fn read_transactions(&mut self, buffer: &[u8], own_port: u32) {
        for (header, payload) in messages(buffer) {
            if header.message_type != TRANSACTION || header.port_number == own_port {
                continue;
            }
            self.foreign = true;
            let (mut name, mut number) = (None, None);
            for (kind, value) in attributes(payload.get(NFGENMSG..).unwrap_or_default()) {
                match kind {
                    NFTA_GEN_PROC_NAME => name = Some(String::from_utf8_lossy(value)),
                    NFTA_GEN_PROC_PID => number = value.try_into().ok().map(u32::from_be_bytes),
                    _ => {}
                }
            }
            if let (Some(name), Some(number)) = (name, number) {
                self.by = Some(format!("{} (process {number})", name.trim_end_matches('\0')));
            }
        }
    }

    /// Takes in what a buffer of events says.
    fn read(&mut self, buffer: &[u8], own_port: u32) {
        for (header, payload) in messages(buffer) {
            // An event that cannot be understood may be anything.
            let Ok(message) = decode::<RouteNetlinkMessage>(&header, payload) else {
                (self.links, self.foreign) = (true, true);
                continue;
            };
            match message {
                RouteNetlinkMessage::NewLink(link) => {
                    self.links = true;
                    if link.attributes.contains(&LinkAttribute::Event(LinkEvent::NotifyPeers)) {
                        self.announce.insert(link.header.index);
                    }
                }
                RouteNetlinkMessage::DelLink(_) => self.links = true,
                // What the kernel does by itself follows from what somebody did.
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                    let by_kernel = route.header.protocol == RouteProtocol::Kernel;
                    self.foreign |= !by_kernel && header.port_number != own_port;
                }
                _ => self.foreign |= header.port_number != own_port,
            }
        }
    }
}
