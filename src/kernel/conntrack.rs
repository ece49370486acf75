//! Connections that a mapping made, ended when the mapping goes or leads elsewhere: exactly those and no others.
//!
//! Nothing can make such a connection anew by the time this is called, because the mapping is gone from the table.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{DefaultNla, Nla as _};

use super::KernelError;
use super::attribute::{NFGENMSG, attributes, nested, u32_ne};
use super::netlink::Netlink;
use crate::plan::facts::{Balanced, ConntrackMatch};

/// More mappings than this are looked for in one reading of all connections; fewer by the kernel, one by one.
const FILTERED: usize = 16;
/// Up to so many connections, one reading of all costs less than two walks of the kernel through its table.
const FEW: u32 = 4096;
/// How many connections are ended at once.
const BATCH: usize = 500;
/// Asks how many connections there are (IPCTNL_MSG_CT_GET_STATS), and the answer (CTA_STATS_GLOBAL_ENTRIES).
const IPCTNL_MSG_CT_GET_STATS: u8 = 5;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
/// Asks for connections (IPCTNL_MSG_CT_GET), by the tuples of their first packet and of answers, and their addresses.
pub(super) const IPCTNL_MSG_CT_GET: u8 = 1;
pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_IP_V4_DST: u16 = 2;
/// The identity of a connection (`linux/netfilter/nfnetlink_conntrack.h`: CTA_ID).
const CTA_ID: u16 = 12;
/// What a dump is filtered by (CTA_FILTER), and the bit of the destination address.
const CTA_FILTER: u16 = 25;
const FILTER_DESTINATION: u32 = 1 << 1;
/// Which tuple's bits those are (CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS).
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;

/// Ends the connections of these mappings and says how many there were.
pub(super) fn flush(netlink: &mut Netlink, matches: &[ConntrackMatch]) -> Result<usize, KernelError> {
    let connections = count(netlink)?;
    if matches.is_empty() || connections == 0 {
        return Ok(0);
    }
    let mut messages = Vec::new();
    if matches.len() <= FILTERED && connections > FEW {
        // Backends of one balancer have one address to be looked for.
        let pair = |one| tuples(one).iter().map(move |tuple| (address(one), *tuple));
        let pairs: std::collections::BTreeSet<_> = matches.iter().flat_map(pair).collect();
        for (address, tuple) in pairs {
            messages.extend(netlink.dump(&filtered(tuple, address))?);
        }
    } else {
        messages = netlink.dump(&message(ConntrackMessage::Get(Vec::new())))?;
    }
    let mut ended = 0;
    let mut buffer = Vec::new();
    let mut waiting = 0;
    let wanted = Wanted::new(matches);
    for found in messages {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = found.inner else {
            continue;
        };
        if !wanted.has(&attributes) {
            continue;
        }
        netlink.pack(&mut buffer, message(ConntrackMessage::Delete(identity(attributes))), 0);
        ended += 1;
        waiting += 1;
        if waiting == BATCH {
            end(netlink, &mut buffer)?;
            waiting = 0;
        }
    }
    end(netlink, &mut buffer)?;
    Ok(ended)
}

/// How many connections there are.
fn count(netlink: &mut Netlink) -> Result<u32, KernelError> {
    let question = ConntrackMessage::Other { message_type: IPCTNL_MSG_CT_GET_STATS, attributes: Vec::new() };
    let read = |payload: &[u8]| {
        let (_, entries) =
            attributes(payload.get(NFGENMSG..)?).find(|(kind, _)| *kind == CTA_STATS_GLOBAL_ENTRIES)?;
        entries.try_into().ok().map(u32::from_be_bytes)
    };
    let answer = netlink.get_with(message(question), |_, payload| Ok(read(payload)))?;
    // A kernel that does not tell has to be asked for them.
    Ok(answer.flatten().unwrap_or(u32::MAX))
}

/// Sends what is packed; connections that ended by themselves meanwhile are no fault.
fn end(netlink: &mut Netlink, buffer: &mut Vec<u8>) -> Result<(), KernelError> {
    if buffer.is_empty() {
        return Ok(());
    }
    let refused = netlink.send(buffer)?.into_iter().find(|refusal| refusal.code != libc::ENOENT);
    buffer.clear();
    match refused {
        Some(refusal) => {
            Err(KernelError::Refused { action: "end a connection".to_owned(), reason: refusal.reason })
        }
        None => Ok(()),
    }
}

/// A tuple of a connection: as the first packet was, or as answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Original,
    Reply,
}

/// By which tuples the connections of a mapping are found.
const fn tuples(one: &ConntrackMatch) -> &'static [Which] {
    match one {
        ConntrackMatch::Address(_) => &[Which::Original, Which::Reply],
        ConntrackMatch::Ports { .. } | ConntrackMatch::Balanced(_) => &[Which::Original],
        ConntrackMatch::Source(_) => &[Which::Reply],
    }
}

const fn address(one: &ConntrackMatch) -> Ipv4Addr {
    match one {
        ConntrackMatch::Address(address)
        | ConntrackMatch::Ports { address, .. }
        | ConntrackMatch::Source(address)
        | ConntrackMatch::Balanced(Balanced { address, .. }) => *address,
    }
}

/// Asks for the connections one of whose tuples has this destination.
fn filtered(which: Which, destination: Ipv4Addr) -> NetfilterMessage {
    let address = DefaultNla::new(CTA_IP_V4_DST, destination.octets().to_vec());
    let (tuple, flags) = match which {
        Which::Original => (CTA_TUPLE_ORIG, FILTER_ORIGINAL),
        Which::Reply => (CTA_TUPLE_REPLY, FILTER_REPLY),
    };
    let attributes = vec![
        nested(tuple, &[nested(CTA_TUPLE_IP, &[address])]),
        nested(CTA_FILTER, &[u32_ne(flags, FILTER_DESTINATION)]),
    ];
    message(ConntrackMessage::Other { message_type: IPCTNL_MSG_CT_GET, attributes })
}

fn message(message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), message)
}

/// What tells a connection from all others: its first tuple and its number.
fn identity(attributes: Vec<ConntrackAttribute>) -> Vec<ConntrackAttribute> {
    attributes
        .into_iter()
        .filter(|attribute| match attribute {
            ConntrackAttribute::CtaTupleOrig(_) => true,
            ConntrackAttribute::Other(other) => other.kind() == CTA_ID,
            _ => false,
        })
        .collect()
}

/// The mappings whose connections end, ready to be asked of each connection.
#[derive(Default)]
struct Wanted {
    addresses: std::collections::BTreeSet<Ipv4Addr>,
    sources: std::collections::BTreeSet<Ipv4Addr>,
    /// Address, protocol and first port, to the last port.
    ports: std::collections::BTreeMap<(Ipv4Addr, u8, u16), u16>,
    balanced: std::collections::BTreeSet<Balanced>,
}

impl Wanted {
    fn new(matches: &[ConntrackMatch]) -> Self {
        let mut wanted = Self::default();
        for one in matches {
            match *one {
                ConntrackMatch::Address(address) => {
                    wanted.addresses.insert(address);
                }
                ConntrackMatch::Source(address) => {
                    wanted.sources.insert(address);
                }
                ConntrackMatch::Balanced(balanced) => {
                    wanted.balanced.insert(balanced);
                }
                ConntrackMatch::Ports { address, protocol, first, last } => {
                    wanted.ports.insert((address, protocol, first), last);
                }
            }
        }
        wanted
    }

    fn has(&self, attributes: &[ConntrackAttribute]) -> bool {
        let (mut original, mut reply) = (Endpoints::default(), Endpoints::default());
        for attribute in attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => original = Endpoints::of(tuple),
                ConntrackAttribute::CtaTupleReply(tuple) => reply = Endpoints::of(tuple),
                _ => {}
            }
        }
        let (Some(to), Some(under)) = (original.destination, reply.destination) else { return false };
        if self.addresses.contains(&to) || self.addresses.contains(&under) {
            return true;
        }
        // What the router itself sends from the address was never translated.
        if self.sources.contains(&under) && original.source != Some(under) && to != under {
            return true;
        }
        let (Some(protocol), Some(port)) = (original.protocol, original.port) else { return false };
        if let (Some(backend), Some(backend_port)) = (reply.source, reply.source_port) {
            let balanced = Balanced { address: to, protocol, port, backend, backend_port };
            if self.balanced.contains(&balanced) {
                return true;
            }
        }
        let below = self.ports.range(..=(to, protocol, port)).next_back();
        below.is_some_and(|((address, by, _), last)| *address == to && *by == protocol && port <= *last)
    }
}

/// What a tuple says, as far as it matters here.
#[derive(Debug, Default)]
struct Endpoints {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: Option<u8>,
    port: Option<u16>,
    source_port: Option<u16>,
}

impl Endpoints {
    fn of(tuple: &[Tuple]) -> Self {
        let mut endpoints = Self::default();
        for part in tuple {
            match part {
                Tuple::Ip(parts) => {
                    for part in parts {
                        match part {
                            IPTuple::SourceAddress(IpAddr::V4(address)) => endpoints.source = Some(*address),
                            IPTuple::DestinationAddress(IpAddr::V4(address)) => {
                                endpoints.destination = Some(*address)
                            }
                            _ => {}
                        }
                    }
                }
                Tuple::Proto(parts) => {
                    for part in parts {
                        match part {
                            ProtoTuple::Protocol(protocol) => endpoints.protocol = Some(u8::from(*protocol)),
                            ProtoTuple::DestinationPort(port) => endpoints.port = Some(*port),
                            ProtoTuple::SourcePort(port) => endpoints.source_port = Some(*port),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        endpoints
    }
}
