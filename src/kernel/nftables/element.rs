//! Elements as nf_tables shows them, read in place.
//!
//! Not by the types of `netlink-packet-netfilter`: it formats the rest of the message for an error that does not happen,
//! once for each element, and 10,000 elements take it seconds. Called by the dump.

use std::net::Ipv4Addr;

use super::set::KEEP;
use crate::kernel::attribute::{NFGENMSG, attributes};
use crate::plan::facts::{Balanced, Elements, Key, SetKind, Target};

/// Attributes (`linux/netfilter/nf_tables.h`).
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFT_GOTO: i32 = -4;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;

/// What one element tells.
pub(super) enum Found {
    /// A key and what it leads to.
    Element(Key, Target),
    /// Where a range of single values begins, or the gap behind it.
    Edge {
        /// The value.
        at: Vec<u8>,
        /// Whether it is the gap that begins here.
        is_end: bool,
    },
}

/// An element's attributes.
#[derive(Default)]
struct Seen<'a> {
    first: &'a [u8],
    last: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    chain: Option<&'a str>,
    is_end: bool,
    keep: bool,
}

/// The elements of one message; nothing where one of them cannot be one of ours.
pub(super) fn read(kind: SetKind, payload: &[u8]) -> Option<Vec<Found>> {
    let ranges = matches!(kind, SetKind::AddressRanges | SetKind::PortRanges);
    attributes(payload.get(NFGENMSG..)?)
        .filter(|(attribute, _)| *attribute == NFTA_SET_ELEM_LIST_ELEMENTS)
        .flat_map(|(_, elements)| attributes(elements))
        .map(|(_, element)| {
            let seen = see(element);
            if ranges {
                return Some(Found::Edge { at: seen.first.to_vec(), is_end: seen.is_end });
            }
            Some(Found::Element(key(kind, &seen)?, target(kind, &seen)?))
        })
        .collect()
}

/// The elements of a set from all that its messages told.
pub(super) fn collect(kind: SetKind, found: impl Iterator<Item = Found>) -> Option<Elements> {
    let (mut elements, mut edges) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Found::Element(key, target) => elements.push((key, target)),
            Found::Edge { at, is_end } => edges.push((at, is_end)),
        }
    }
    if edges.is_empty() { Some(elements.into_iter().collect()) } else { ranges(kind, edges) }
}

/// One element's attributes, each where it stands.
fn see(element: &[u8]) -> Seen<'_> {
    let mut seen = Seen::default();
    for (attribute, value) in attributes(element) {
        match attribute {
            NFTA_SET_ELEM_KEY => seen.first = inner(value, NFTA_DATA_VALUE).unwrap_or_default(),
            NFTA_SET_ELEM_KEY_END => seen.last = inner(value, NFTA_DATA_VALUE),
            NFTA_SET_ELEM_DATA => {
                seen.data = inner(value, NFTA_DATA_VALUE);
                seen.chain = inner(value, NFTA_DATA_VERDICT).and_then(goto);
            }
            NFTA_SET_ELEM_FLAGS => {
                seen.is_end = number(value).is_some_and(|flags| flags & NFT_SET_ELEM_INTERVAL_END != 0)
            }
            NFTA_SET_ELEM_USERDATA => seen.keep = value == KEEP,
            _ => {}
        }
    }
    seen
}

fn inner(value: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(value).find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value)
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn goto(verdict: &[u8]) -> Option<&str> {
    let code = number(inner(verdict, NFTA_VERDICT_CODE)?)?.cast_signed();
    let chain = std::str::from_utf8(inner(verdict, NFTA_VERDICT_CHAIN)?).ok()?;
    (code == NFT_GOTO).then_some(chain.trim_end_matches('\0'))
}

fn key(kind: SetKind, seen: &Seen<'_>) -> Option<Key> {
    let last = seen.last.unwrap_or(seen.first);
    match kind {
        SetKind::AddressToAddress | SetKind::AddressToChain | SetKind::AddressToMark => {
            Some(Key::Address(address(seen.first)?))
        }
        SetKind::SlotToEndpoint => Some(Key::Slot(u32::from_ne_bytes(seen.first.try_into().ok()?))),
        SetKind::StickyToEndpoint => Some(Key::Address(address(seen.first)?)),
        SetKind::BalancedToMark => {
            let (address, protocol, port) = endpoint(seen.first)?;
            let (backend, backend_port) = backend(seen.first.get(12..)?)?;
            Some(Key::Balanced(Balanced { address, protocol, port, backend, backend_port }))
        }
        SetKind::Endpoints | SetKind::EndpointToEndpoint | SetKind::EndpointToChain => {
            let (address, protocol, port) = endpoint(seen.first)?;
            Some(Key::Endpoint(address, protocol, port))
        }
        SetKind::EndpointRangeToAddress | SetKind::EndpointRanges => {
            let ((address, protocol, first), (_, _, last)) = (endpoint(seen.first)?, endpoint(last)?);
            Some(Key::EndpointRange(address, protocol, first, last))
        }
        SetKind::SourcedEndpointRanges => {
            let (from, rest) = seen.first.split_at_checked(4)?;
            let (to, last) = last.split_at_checked(4)?;
            let ((on, protocol, first), (_, _, last)) = (endpoint(rest)?, endpoint(last)?);
            Some(Key::SourcedEndpointRange(address(from)?, address(to)?, on, protocol, first, last))
        }
        SetKind::AddressRanges | SetKind::PortRanges => None,
    }
}

fn target(kind: SetKind, seen: &Seen<'_>) -> Option<Target> {
    let data = seen.data;
    match kind {
        SetKind::AddressToAddress | SetKind::EndpointRangeToAddress => {
            Some(Target::Address { address: address(data?)?, keep: seen.keep })
        }
        SetKind::AddressToChain | SetKind::EndpointToChain => Some(Target::Chain(seen.chain?.into())),
        SetKind::AddressToMark | SetKind::BalancedToMark => {
            Some(Target::Mark(u32::from_ne_bytes(data?.try_into().ok()?)))
        }
        SetKind::EndpointToEndpoint | SetKind::SlotToEndpoint | SetKind::StickyToEndpoint => {
            let (address, port) = backend(data?)?;
            Some(Target::Endpoint(address, port))
        }
        _ => Some(Target::Member),
    }
}

fn address(octets: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

fn endpoint(octets: &[u8]) -> Option<(Ipv4Addr, u8, u16)> {
    let [a, b, c, d, protocol, _, _, _, high, low, ..] = *octets else { return None };
    Some((Ipv4Addr::new(a, b, c, d), protocol, u16::from_be_bytes([high, low])))
}

/// Address and port.
fn backend(octets: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let [a, b, c, d, high, low, ..] = *octets else { return None };
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

/// Ranges from where they begin and where the gaps begin.
fn ranges(kind: SetKind, mut edges: Vec<(Vec<u8>, bool)>) -> Option<Elements> {
    edges.sort_unstable();
    let mut elements = Elements::new();
    let mut begin: Option<&[u8]> = None;
    for (at, is_end) in &edges {
        match (begin.take(), is_end) {
            (None, false) => begin = Some(at),
            (Some(first), true) => {
                elements.insert(range(kind, first, Some(at))?, Target::Member);
            }
            // The gap before the first range, which nft tells and we do not.
            (None, true) => {}
            (Some(_), false) => return None,
        }
    }
    if let Some(first) = begin {
        elements.insert(range(kind, first, None)?, Target::Member);
    }
    Some(elements)
}

fn range(kind: SetKind, first: &[u8], behind: Option<&[u8]>) -> Option<Key> {
    if kind == SetKind::PortRanges {
        let port = |octets: &[u8]| <[u8; 2]>::try_from(octets).ok().map(u16::from_be_bytes);
        let last = behind.map_or(Some(u16::MAX), |behind| port(behind)?.checked_sub(1))?;
        return Some(Key::PortRange(port(first)?, last));
    }
    let number = |octets: &[u8]| address(octets).map(u32::from);
    let last = behind.map_or(Some(u32::MAX), |behind| number(behind)?.checked_sub(1))?;
    Some(Key::AddressRange(address(first)?, last.into()))
}
