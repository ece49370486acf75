//! Sets, and elements to nf_tables messages.
//!
//! Keys of several fields are padded to four octets each, as registers are. Ranges of such keys carry their first and
//! their last key; ranges of single values are told by where they begin and where the gap behind them begins.

use std::net::Ipv4Addr;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetAttribute, SetDescription, SetElementAttribute, SetElementFlags,
    SetFlags,
};
use rtnetlink::packet_core::DefaultNla;

use super::expression::verdict_attributes;
use crate::kernel::attribute::{nested, u32_be};
use crate::plan::facts::set::MOST_REMEMBERED;
use crate::plan::facts::{Balanced, Key, Name, SetKind, TABLE, Target, Verdict};

/// The types of nft(8) that sets tell for their listing.
const TYPE_VERDICT: u32 = 0xffff_ff00;
const TYPE_INTEGER: u32 = 4;
const TYPE_IPV4: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_MARK: u32 = 19;
/// How many bits each type of a concatenation takes.
const TYPE_BITS: u32 = 6;
/// What nft(8) has to know to list marks (NFTNL_UDATA_SET_DATABYTEORDER is BYTEORDER_HOST_ENDIAN).
const DATA_IN_HOST_ORDER: [u8; 6] = [1, 4, 1, 0, 0, 0];
/// What nft(8) has to know to list slots: the expressions whose types the set has (NFTNL_UDATA_SET_KEY_TYPEOF is numgen,
/// NFTNL_UDATA_SET_DATA_TYPEOF is a concatenation of the IPv4 destination and the transport's destination port).
const SLOT_TO_ENDPOINT: [u8; 100] = [
    0, 4, 1, 0, 0, 0, // NFTNL_UDATA_SET_KEYBYTEORDER: of the host
    1, 4, 0, 0, 0, 0, // NFTNL_UDATA_SET_DATABYTEORDER
    3, 26, 0, 4, 23, 0, 0, 0, 1, 18, 0, 4, 0, 0, 0, 0, 1, 4, 2, 0, 0, 0, 2, 4, 0, 0, 0,
    0, // numgen inc mod 2
    4, 52, 0, 4, 13, 0, 0, 0, 1, 44, // two expressions
    0, 20, 0, 4, 7, 0, 0, 0, 1, 12, 0, 4, 12, 0, 0, 0, 1, 4, 12, 0, 0, 0, // ip daddr
    1, 20, 0, 4, 7, 0, 0, 0, 1, 12, 0, 4, 11, 0, 0, 0, 1, 4, 2, 0, 0, 0, // th dport
    6, 4, 0, 0, 0, 0, // no ranges
];
/// NFTA_SET_FIELD_LEN and the list element that it stands in.
const FIELD_LENGTH: u16 = 1;
const LIST_ELEMENT: u16 = 1;
/// The comment of an element (nft: NFTNL_UDATA_SET_ELEM_COMMENT) that says that its connections outlive it.
pub(super) const KEEP: [u8; 7] = [0, 5, b'k', b'e', b'e', b'p', 0];

/// One set element's attributes.
pub(super) type Element = ListAttribute<SetElementAttribute>;

/// How a kind of set is told to the kernel.
struct Shape {
    /// The types of the key's fields and the octets of each.
    fields: &'static [(u32, u32)],
    /// The type of what it leads to, and its octets.
    data: Option<(u32, u32)>,
}

const IPV4: (u32, u32) = (TYPE_IPV4, 4);
const PROTOCOL: (u32, u32) = (TYPE_PROTOCOL, 1);
const SERVICE: (u32, u32) = (TYPE_SERVICE, 2);
/// Address and port.
const ENDPOINT: (u32, u32) = (TYPE_IPV4 << TYPE_BITS | TYPE_SERVICE, 8);

const fn shape(kind: SetKind) -> Shape {
    let (fields, data): (&'static [(u32, u32)], _) = match kind {
        SetKind::AddressToAddress => (&[IPV4], Some(IPV4)),
        SetKind::AddressToChain => (&[IPV4], Some((TYPE_VERDICT, 16))),
        SetKind::AddressToMark => (&[IPV4], Some((TYPE_MARK, 4))),
        SetKind::EndpointToEndpoint => (&[IPV4, PROTOCOL, SERVICE], Some(ENDPOINT)),
        SetKind::EndpointToChain => (&[IPV4, PROTOCOL, SERVICE], Some((TYPE_VERDICT, 16))),
        SetKind::SlotToEndpoint => (&[(TYPE_INTEGER, 4)], Some(ENDPOINT)),
        SetKind::BalancedToMark => (&[IPV4, PROTOCOL, SERVICE, IPV4, SERVICE], Some((TYPE_MARK, 4))),
        SetKind::StickyToEndpoint => (&[IPV4], Some(ENDPOINT)),
        SetKind::EndpointRangeToAddress => (&[IPV4, PROTOCOL, SERVICE], Some(IPV4)),
        SetKind::Endpoints | SetKind::EndpointRanges => (&[IPV4, PROTOCOL, SERVICE], None),
        SetKind::SourcedEndpointRanges => (&[IPV4, IPV4, PROTOCOL, SERVICE], None),
        SetKind::AddressRanges => (&[IPV4], None),
        SetKind::PortRanges => (&[SERVICE], None),
    };
    Shape { fields, data }
}

/// All kinds, to recognise one.
const KINDS: [SetKind; 14] = [
    SetKind::AddressToAddress,
    SetKind::AddressToChain,
    SetKind::AddressToMark,
    SetKind::EndpointToEndpoint,
    SetKind::EndpointToChain,
    SetKind::Endpoints,
    SetKind::SlotToEndpoint,
    SetKind::BalancedToMark,
    SetKind::StickyToEndpoint,
    SetKind::EndpointRangeToAddress,
    SetKind::EndpointRanges,
    SetKind::SourcedEndpointRanges,
    SetKind::AddressRanges,
    SetKind::PortRanges,
];

/// The attributes that declare a set; `id` is its number in the transaction.
pub(super) fn declaration(name: &Name, kind: SetKind, id: u32) -> Vec<SetAttribute> {
    let Shape { fields, data } = shape(kind);
    let mut attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(name.to_string()),
        SetAttribute::Id(id),
        SetAttribute::Flags(flags(kind)),
        SetAttribute::KeyType(key_type(fields)),
        SetAttribute::KeyLen(key_length(fields)),
    ];
    if let Some((data_type, length)) = data {
        attributes.extend([SetAttribute::DataType(data_type), SetAttribute::DataLen(length)]);
        if data_type == TYPE_MARK {
            attributes.push(SetAttribute::UserData(DATA_IN_HOST_ORDER.to_vec()));
        }
    }
    match kind {
        SetKind::SlotToEndpoint => attributes.push(SetAttribute::UserData(SLOT_TO_ENDPOINT.to_vec())),
        SetKind::StickyToEndpoint => {
            let size = SetDescription::Size(MOST_REMEMBERED);
            attributes.push(SetAttribute::Description(vec![size]));
        }
        _ => {}
    }
    // Only ranges need to know where one field ends and the next begins.
    if is_concatenation_of_ranges(kind) {
        let field = |(_, length): &(u32, u32)| nested(LIST_ELEMENT, &[u32_be(FIELD_LENGTH, *length)]);
        let fields: Vec<DefaultNla> = fields.iter().map(field).collect();
        attributes.push(SetAttribute::Description(vec![SetDescription::Concat(fields)]));
    }
    attributes
}

/// The kind of a set that the kernel shows, if it is one of ours.
pub(super) fn kind_of(attributes: &[SetAttribute]) -> Option<SetKind> {
    let (mut seen_flags, mut seen_key, mut seen_data) = (SetFlags::default(), 0, None);
    for attribute in attributes {
        match attribute {
            SetAttribute::Flags(flags) => seen_flags = *flags,
            SetAttribute::KeyType(key) => seen_key = *key,
            SetAttribute::DataType(data) => seen_data = Some(*data),
            _ => {}
        }
    }
    KINDS.into_iter().find(|kind| {
        let Shape { fields, data } = shape(*kind);
        flags(*kind) == seen_flags && key_type(fields) == seen_key && data.map(|(data, _)| data) == seen_data
    })
}

fn flags(kind: SetKind) -> SetFlags {
    let mut flags = SetFlags::default();
    flags.set(SetFlags::Map, kind.is_map());
    flags.set(SetFlags::Interval, kind.has_ranges());
    flags.set(SetFlags::Timeout, kind.is_dynamic());
    flags.set(SetFlags::Eval, kind.is_dynamic());
    flags.set(SetFlags::Concat, is_concatenation_of_ranges(kind));
    flags
}

const fn is_concatenation_of_ranges(kind: SetKind) -> bool {
    kind.has_ranges() && shape(kind).fields.len() > 1
}

fn key_type(fields: &[(u32, u32)]) -> u32 {
    fields.iter().fold(0, |whole, (field, _)| whole << TYPE_BITS | field)
}

fn key_length(fields: &[(u32, u32)]) -> u32 {
    match fields {
        [(_, length)] => *length,
        fields => fields.iter().map(|(_, length)| length.next_multiple_of(4)).sum(),
    }
}

/// The elements that the kernel is told for one of ours: one, or two where the end of a range is an element too.
pub(super) fn encode(key: &Key, target: &Target) -> Vec<Element> {
    let (first, last) = octets(key);
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(first))];
    let concatenated = matches!(key, Key::EndpointRange(..) | Key::SourcedEndpointRange(..));
    if let Some(last) = last.clone().filter(|_| concatenated) {
        attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(1, last)]));
    }
    match target {
        Target::Member => {}
        Target::Address { address, keep } => {
            attributes.push(value(address.octets().to_vec()));
            if *keep {
                attributes.push(SetElementAttribute::UserData(KEEP.to_vec()));
            }
        }
        Target::Endpoint(address, port) => {
            let [high, low] = port.to_be_bytes();
            attributes.push(value([address.octets(), [high, low, 0, 0]].concat()));
        }
        Target::Chain(chain) => {
            let verdict = verdict_attributes(&Verdict::Goto(chain.clone()));
            attributes.push(SetElementAttribute::Data(DataAttribute::Verdict(verdict)));
        }
        Target::Mark(mark) => attributes.push(value(mark.to_ne_bytes().to_vec())),
    }
    let mut elements = vec![ListAttribute::Element(attributes)];
    // A range that ends where the values end has no gap behind it.
    if let Some(behind) = last.filter(|_| !concatenated).and_then(|last| next(&last)) {
        elements.push(ListAttribute::Element(vec![
            SetElementAttribute::Key(DataAttribute::Value(behind)),
            SetElementAttribute::Flags(SetElementFlags::IntervalEnd),
        ]));
    }
    elements
}

fn value(octets: Vec<u8>) -> SetElementAttribute {
    SetElementAttribute::Data(DataAttribute::Value(octets))
}

/// The first key, and the last where the key is a range.
fn octets(key: &Key) -> (Vec<u8>, Option<Vec<u8>>) {
    let endpoint = |address: &Ipv4Addr, protocol: u8, port: u16| {
        let [high, low] = port.to_be_bytes();
        [address.octets(), [protocol, 0, 0, 0], [high, low, 0, 0]].concat()
    };
    match key {
        Key::Address(address) => (address.octets().to_vec(), None),
        Key::Endpoint(address, protocol, port) => (endpoint(address, *protocol, *port), None),
        Key::Slot(number) => (number.to_ne_bytes().to_vec(), None),
        Key::Balanced(Balanced { address, protocol, port, backend, backend_port }) => {
            let [high, low] = backend_port.to_be_bytes();
            let to = [backend.octets(), [high, low, 0, 0]].concat();
            ([endpoint(address, *protocol, *port), to].concat(), None)
        }
        Key::EndpointRange(address, protocol, first, last) => {
            (endpoint(address, *protocol, *first), Some(endpoint(address, *protocol, *last)))
        }
        Key::SourcedEndpointRange(from, to, address, protocol, first, last) => {
            let sourced = |source: &Ipv4Addr, port| {
                [source.octets().to_vec(), endpoint(address, *protocol, port)].concat()
            };
            (sourced(from, *first), Some(sourced(to, *last)))
        }
        Key::AddressRange(first, last) => (first.octets().to_vec(), Some(last.octets().to_vec())),
        Key::PortRange(first, last) => (first.to_be_bytes().to_vec(), Some(last.to_be_bytes().to_vec())),
    }
}

/// The value behind this one; nothing behind the highest.
fn next(octets: &[u8]) -> Option<Vec<u8>> {
    let mut next = octets.to_vec();
    for octet in next.iter_mut().rev() {
        let (more, carry) = octet.overflowing_add(1);
        *octet = more;
        if !carry {
            return Some(next);
        }
    }
    None
}
