//! Connections one by one, for whoever looks for one. Read in place, so that a million of them take no more memory than
//! those that are asked for. Takes no part in a change. Called by status.

use std::net::Ipv4Addr;

use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::KernelError;
use super::attribute::{NFGENMSG, attributes};
use super::conntrack::{CTA_IP_V4_DST, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY};
use super::netlink::{NETLINK_NETFILTER, Netlink};
use crate::plan::facts::{Connection, ConnectionQuestion, ConnectionsFound, Counted, Ends, TcpState, Ways};

/// Attributes of a connection (`linux/netfilter/nfnetlink_conntrack.h`).
pub(super) const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
pub(super) const CTA_COUNTERS_ORIG: u16 = 9;
pub(super) const CTA_COUNTERS_REPLY: u16 = 10;
/// Of a tuple.
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Of what a protocol adds.
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// Of counters.
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
/// Bits of the status (`linux/netfilter/nf_conntrack_common.h`: IPS_SEEN_REPLY, IPS_OFFLOAD).
const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_OFFLOAD: u32 = 1 << 14;

/// The connections that are asked for.
///
/// # Errors
/// The kernel does not answer.
pub fn connections(question: &ConnectionQuestion) -> Result<ConnectionsFound, KernelError> {
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let request = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    let mut found = ConnectionsFound::default();
    netlink.dump_each(request, |payload| {
        if let Some(connection) = connection(payload) {
            found.add(question, connection);
        }
    })?;
    Ok(found.sorted())
}

/// What the kernel tells of one connection; nothing where it is not one of IPv4.
fn connection(payload: &[u8]) -> Option<Connection> {
    let (mut original, mut reply) = (None, None);
    let (mut status, mut seconds_left, mut tcp) = (0, None, None);
    let (mut there, mut back) = (None, None);
    for (kind, value) in attributes(payload.get(NFGENMSG..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = tuple(value),
            CTA_TUPLE_REPLY => reply = tuple(value),
            CTA_STATUS => status = value.try_into().map(u32::from_be_bytes).ok()?,
            CTA_TIMEOUT => seconds_left = value.try_into().map(u32::from_be_bytes).ok(),
            CTA_PROTOINFO => tcp = tcp_state(value),
            CTA_COUNTERS_ORIG => there = Some(counted(value)),
            CTA_COUNTERS_REPLY => back = Some(counted(value)),
            _ => {}
        }
    }
    let ((protocol, original), (_, reply)) = (original?, reply?);
    let offloaded = status & IPS_OFFLOAD != 0;
    Some(Connection {
        protocol,
        original,
        reply,
        tcp,
        answered: status & IPS_SEEN_REPLY != 0,
        offloaded,
        seconds_left: seconds_left.filter(|_| !offloaded),
        counted: there.zip(back).map(|(original, reply)| Ways { original, reply }),
    })
}

/// A protocol and its ends; nothing where they are not of IPv4.
pub(super) fn tuple(value: &[u8]) -> Option<(u8, Ends)> {
    let (mut addresses, mut transport) = (None, None);
    for (kind, value) in attributes(value) {
        match kind {
            CTA_TUPLE_IP => {
                let address = |wanted| find(value, wanted).map(<Ipv4Addr as From<[u8; 4]>>::from);
                addresses = Some((address(CTA_IP_V4_SRC)?, address(CTA_IP_V4_DST)?));
            }
            CTA_TUPLE_PROTO => {
                let port = |wanted| find(value, wanted).map(u16::from_be_bytes);
                let [protocol] = find(value, CTA_PROTO_NUM)?;
                transport = Some((protocol, port(CTA_PROTO_SRC_PORT).zip(port(CTA_PROTO_DST_PORT))));
            }
            _ => {}
        }
    }
    let ((source, destination), (protocol, ports)) = (addresses?, transport?);
    Some((protocol, Ends { source, destination, ports }))
}

fn tcp_state(value: &[u8]) -> Option<TcpState> {
    let (_, value) = attributes(value).find(|(kind, _)| *kind == CTA_PROTOINFO_TCP)?;
    let [number] = find(value, CTA_PROTOINFO_TCP_STATE)?;
    TcpState::new(number)
}

/// What went one way.
pub(super) fn counted(counters: &[u8]) -> Counted {
    let number = |wanted| find(counters, wanted).map(u64::from_be_bytes).unwrap_or_default();
    Counted { bytes: number(CTA_COUNTERS_BYTES), packets: number(CTA_COUNTERS_PACKETS) }
}

/// The value of an attribute that is so long.
fn find<const LENGTH: usize>(buffer: &[u8], wanted: u16) -> Option<[u8; LENGTH]> {
    let (_, value) = attributes(buffer).find(|(kind, _)| *kind == wanted)?;
    value.try_into().ok()
}
