//! Connections of balancers that the kernel serves: how many each backend has, what went over them, and what went over those
//! that ended. Read in place and added up as it comes, so that a million connections take no more memory than ten.
//! Takes no part in a change. Called by status.

use std::io;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};
use socket2::{SockFilter, SockRef};

use super::KernelError;
use super::attribute::{NFGENMSG, attributes, u32_be};
use super::connection::{CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_STATUS, counted, tuple};
use super::conntrack::{CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, IPCTNL_MSG_CT_GET};
use super::netlink::{NETLINK_NETFILTER, Netlink, failed, messages};
use crate::plan::facts::{Balanced, BalancedTotals, BalancedTraffic};

/// What is told of a connection that ended (IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK).
const CONNECTION_ENDED: u16 = 1 << 8 | 2;
/// Who hears of connections that end (NFNLGRP_CONNTRACK_DESTROY).
const GROUP_DESTROY: u32 = 3;
/// By which bits of the status connections are chosen (`linux/netfilter/nfnetlink_conntrack.h`).
const CTA_STATUS_MASK: u16 = 26;
/// The destination was translated (`nf_conntrack_common.h`: IPS_DST_NAT).
const IPS_DST_NAT: u32 = 1 << 5;
/// The lengths of headers: of a message, and of an attribute (`linux/netlink.h`).
const NLMSGHDR: usize = 16;
const NLATTR: u32 = 4;
/// Events that may wait to be read; when more come, the kernel says so.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The most that is read at once, and how often before what was read is told.
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 64;

/// Lets messages of connections pass whose destination was translated, so that nobody is woken for others: those of the
/// proxies, of which a busy one ends tens of thousands each second. Classic BPF (`linux/filter.h`).
#[expect(clippy::cast_possible_truncation, reason = "opcodes and lengths are small")]
const TRANSLATED: [SockFilter; 9] = {
    const fn step(code: u32, to: u8, otherwise: u8, k: u32) -> SockFilter {
        SockFilter::new(code as u16, to, otherwise, k)
    }
    // Where a message holds CTA_STATUS; 0 where it does not.
    const ATTRIBUTE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_NLATTR).cast_unsigned();
    use libc::{
        BPF_ABS, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MISC, BPF_RET,
    };
    use libc::{BPF_TAX, BPF_W};
    [
        step(BPF_LD | BPF_IMM, 0, 0, (NLMSGHDR + NFGENMSG) as u32),
        step(BPF_LDX | BPF_IMM, 0, 0, CTA_STATUS as u32),
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, ATTRIBUTE),
        step(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 0),
        step(BPF_MISC | BPF_TAX, 0, 0, 0),
        step(BPF_LD | BPF_W | BPF_IND, 0, 0, NLATTR),
        step(BPF_JMP | BPF_JSET | BPF_K, 0, 1, IPS_DST_NAT),
        step(BPF_RET | BPF_K, 0, 0, u32::MAX),
        step(BPF_RET | BPF_K, 0, 0, 0),
    ]
};

/// What backends have now, of the balancers that are meant by address, protocol and port.
///
/// # Errors
/// The kernel does not answer.
pub fn balanced(is_meant: impl Fn(Ipv4Addr, u8, u16) -> bool) -> Result<BalancedTotals, KernelError> {
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    // A kernel that cannot choose tells of all connections, and the same are found among them.
    let attributes = vec![u32_be(CTA_STATUS, IPS_DST_NAT), u32_be(CTA_STATUS_MASK, IPS_DST_NAT)];
    let request = ConntrackMessage::Other { message_type: IPCTNL_MSG_CT_GET, attributes };
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let mut totals = BalancedTotals::new();
    netlink.dump_each(NetfilterMessage::new(header, request), |payload| {
        add(&mut totals, payload, &is_meant);
    })?;
    Ok(totals)
}

/// Hears of connections that ended.
pub struct EndedConnections {
    socket: TokioSocket,
    buffer: BytesMut,
}

impl std::fmt::Debug for EndedConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndedConnections").finish_non_exhaustive()
    }
}

/// Connections that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// What went over them.
    pub totals: BalancedTotals,
    /// Whether more ended than could be told: totals are at least what they say.
    pub lost: bool,
}

impl EndedConnections {
    /// Listens. Has to be called in a runtime.
    ///
    /// # Errors
    /// A socket cannot be had.
    pub fn open() -> Result<Self, KernelError> {
        let open = || -> io::Result<TokioSocket> {
            let mut listening = TokioSocket::new(NETLINK_NETFILTER)?;
            let socket = listening.socket_mut();
            socket.bind_auto()?;
            // Without the right to force it, it is as long as the system has it.
            setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
                .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER))?;
            SockRef::from(&*socket).attach_filter(&TRANSLATED)?;
            socket.add_membership(GROUP_DESTROY)?;
            Ok(listening)
        };
        let socket = open().map_err(|error| failed("listen", &error))?;
        Ok(Self { socket, buffer: BytesMut::with_capacity(CHUNK) })
    }

    /// Waits until connections ended, of the balancers that are meant by address, protocol and port, and tells all that
    /// did by then.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub async fn next(&mut self, is_meant: impl Fn(Ipv4Addr, u8, u16) -> bool) -> Result<Ended, KernelError> {
        loop {
            let mut ended = Ended::default();
            self.buffer.clear();
            self.buffer.reserve(CHUNK);
            let mut read = self.socket.recv(&mut self.buffer).await.map(drop);
            for _ in 0..CHUNKS {
                match read {
                    Ok(()) => {
                        for (header, payload) in messages(&self.buffer) {
                            if header.message_type == CONNECTION_ENDED {
                                add(&mut ended.totals, payload, &is_meant);
                            }
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => ended.lost = true,
                    Err(error) => return Err(failed("listen", &error)),
                }
                self.buffer.clear();
                self.buffer.reserve(CHUNK);
                read = self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT).map(drop);
            }
            if ended != Ended::default() {
                return Ok(ended);
            }
        }
    }
}

/// Adds a connection to its backend's, if it is a balancer's that is meant.
fn add(totals: &mut BalancedTotals, payload: &[u8], is_meant: impl Fn(Ipv4Addr, u8, u16) -> bool) {
    let Some((balanced, traffic)) = connection(payload) else { return };
    if is_meant(balanced.address, balanced.protocol, balanced.port) {
        *totals.entry(balanced).or_default() += traffic;
    }
}

/// Where a connection came in, where it went, and what went over it; nothing where its destination was not translated.
fn connection(payload: &[u8]) -> Option<(Balanced, BalancedTraffic)> {
    let (mut original, mut reply) = (None, None);
    let mut traffic = BalancedTraffic { connections: 1, ..BalancedTraffic::default() };
    for (kind, value) in attributes(payload.get(NFGENMSG..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = tuple(value),
            CTA_TUPLE_REPLY => reply = tuple(value),
            CTA_COUNTERS_ORIG => traffic.received_bytes = counted(value).bytes,
            CTA_COUNTERS_REPLY => traffic.sent_bytes = counted(value).bytes,
            _ => {}
        }
    }
    let ((protocol, original), (_, reply)) = (original?, reply?);
    let ((_, port), (backend_port, _)) = (original.ports?, reply.ports?);
    let (address, backend) = (original.destination, reply.source);
    let balanced = Balanced { address, protocol, port, backend, backend_port };
    ((address, port) != (backend, backend_port)).then_some((balanced, traffic))
}
