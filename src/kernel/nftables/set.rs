//! Sets and their elements, to and from nf_tables messages.
//!
//! Keys of several fields are padded to four octets each, as registers are. Ranges of such keys carry their first and
//! their last key; ranges of single values are told by where they begin and where the gap behind them begins.

use std::net::Ipv4Addr;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetAttribute, SetDescription, SetElementAttribute, SetElementFlags,
    SetFlags, Verdict as Code, VerdictAttribute,
};
use rtnetlink::packet_core::DefaultNla;

use super::expression::verdict_attributes;
use crate::kernel::attribute::{nested, u32_be};
use crate::plan::facts::{Elements, Key, Name, SetKind, TABLE, Target, Verdict};

/// The types of nft(8) that sets tell for their listing.
const TYPE_VERDICT: u32 = 0xffff_ff00;
const TYPE_IPV4: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;
const TYPE_MARK: u32 = 19;
/// How many bits each type of a concatenation takes.
const TYPE_BITS: u32 = 6;
/// What nft(8) has to know to list marks (NFTNL_UDATA_SET_DATABYTEORDER is BYTEORDER_HOST_ENDIAN).
const DATA_IN_HOST_ORDER: [u8; 6] = [1, 4, 1, 0, 0, 0];
/// NFTA_SET_FIELD_LEN and the list element that it stands in.
const FIELD_LENGTH: u16 = 1;
const LIST_ELEMENT: u16 = 1;
/// The comment of an element (nft: NFTNL_UDATA_SET_ELEM_COMMENT) that says that its connections outlive it.
const KEEP: [u8; 7] = [0, 5, b'k', b'e', b'e', b'p', 0];

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

const fn shape(kind: SetKind) -> Shape {
    let (fields, data): (&'static [(u32, u32)], _) = match kind {
        SetKind::AddressToAddress => (&[IPV4], Some(IPV4)),
        SetKind::AddressToChain => (&[IPV4], Some((TYPE_VERDICT, 16))),
        SetKind::AddressToMark => (&[IPV4], Some((TYPE_MARK, 4))),
        SetKind::EndpointToEndpoint => {
            (&[IPV4, PROTOCOL, SERVICE], Some((TYPE_IPV4 << TYPE_BITS | TYPE_SERVICE, 8)))
        }
        SetKind::EndpointRangeToAddress => (&[IPV4, PROTOCOL, SERVICE], Some(IPV4)),
        SetKind::EndpointRanges => (&[IPV4, PROTOCOL, SERVICE], None),
        SetKind::SourcedEndpointRanges => (&[IPV4, IPV4, PROTOCOL, SERVICE], None),
        SetKind::AddressRanges => (&[IPV4], None),
        SetKind::PortRanges => (&[SERVICE], None),
    };
    Shape { fields, data }
}

/// All kinds, to recognise one.
const KINDS: [SetKind; 9] = [
    SetKind::AddressToAddress,
    SetKind::AddressToChain,
    SetKind::AddressToMark,
    SetKind::EndpointToEndpoint,
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

/// An element as the kernel shows it.
#[derive(Debug, Default)]
struct Seen {
    first: Vec<u8>,
    last: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    chain: Option<String>,
    is_end: bool,
    keep: bool,
}

/// The elements of a set that the kernel shows; nothing where one of them cannot be one of ours.
pub(super) fn decode(kind: SetKind, elements: &[Element]) -> Option<Elements> {
    let mut seen: Vec<Seen> = elements.iter().map(see).collect::<Option<_>>()?;
    if matches!(kind, SetKind::AddressRanges | SetKind::PortRanges) {
        return ranges(kind, &mut seen);
    }
    seen.into_iter().map(|element| Some((key(kind, &element)?, target(kind, &element)?))).collect()
}

fn see(element: &Element) -> Option<Seen> {
    let ListAttribute::Element(attributes) = element else { return None };
    let mut seen = Seen::default();
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(octets)) => seen.first.clone_from(octets),
            SetElementAttribute::KeyEnd(data) => seen.last = data.first().map(nla_value),
            SetElementAttribute::Data(DataAttribute::Value(octets)) => seen.data = Some(octets.clone()),
            SetElementAttribute::Data(DataAttribute::Verdict(verdict)) => seen.chain = goto(verdict),
            SetElementAttribute::Flags(flags) => seen.is_end = flags.contains(SetElementFlags::IntervalEnd),
            SetElementAttribute::UserData(data) => seen.keep = *data == KEEP,
            _ => {}
        }
    }
    Some(seen)
}

fn nla_value(nla: &DefaultNla) -> Vec<u8> {
    use rtnetlink::packet_core::Nla as _;
    let mut octets = vec![0; nla.value_len()];
    nla.emit_value(&mut octets);
    octets
}

fn goto(verdict: &[VerdictAttribute]) -> Option<String> {
    match verdict {
        [VerdictAttribute::Code(Code::Goto), VerdictAttribute::Chain(chain)] => Some(chain.clone()),
        _ => None,
    }
}

fn key(kind: SetKind, seen: &Seen) -> Option<Key> {
    let last = seen.last.as_ref().unwrap_or(&seen.first);
    match kind {
        SetKind::AddressToAddress | SetKind::AddressToChain | SetKind::AddressToMark => {
            Some(Key::Address(address(&seen.first)?))
        }
        SetKind::EndpointToEndpoint => {
            let (address, protocol, port) = endpoint(&seen.first)?;
            Some(Key::Endpoint(address, protocol, port))
        }
        SetKind::EndpointRangeToAddress | SetKind::EndpointRanges => {
            let ((address, protocol, first), (_, _, last)) = (endpoint(&seen.first)?, endpoint(last)?);
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

fn target(kind: SetKind, seen: &Seen) -> Option<Target> {
    let data = seen.data.as_deref();
    match kind {
        SetKind::AddressToAddress | SetKind::EndpointRangeToAddress => {
            Some(Target::Address { address: address(data?)?, keep: seen.keep })
        }
        SetKind::AddressToChain => Some(Target::Chain(seen.chain.as_deref()?.into())),
        SetKind::AddressToMark => Some(Target::Mark(u32::from_ne_bytes(data?.try_into().ok()?))),
        SetKind::EndpointToEndpoint => {
            let [a, b, c, d, high, low, ..] = *data? else { return None };
            Some(Target::Endpoint(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
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

/// Ranges from where they begin and where the gaps begin.
fn ranges(kind: SetKind, seen: &mut [Seen]) -> Option<Elements> {
    seen.sort_by(|a, b| (&a.first, a.is_end).cmp(&(&b.first, b.is_end)));
    let mut elements = Elements::new();
    let mut begin: Option<&[u8]> = None;
    for element in seen.iter() {
        match (begin.take(), element.is_end) {
            (None, false) => begin = Some(&element.first),
            (Some(first), true) => {
                elements.insert(range(kind, first, Some(&element.first))?, Target::Member);
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
