//! What a name has: the addresses of hosts, configured records, the names of an address.
//!
//! Hosts are many, so a host's name costs its octets and forty more; records are those of the configuration itself,
//! shared, and become octets when they are asked for. Called by `zones.rs` and `answer.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::name::{Name, write_name, write_text};
use super::reply::{RecordSet, Reply};
use super::wire::kind;
use crate::config::Id;
use crate::config::dns::{Mx, Record, RecordData, Srv};
use crate::config::name::DomainName;

/// How long others may keep what a host's name leads to: as long as a record of which nothing else is said.
pub(super) const HOST_TTL: u32 = 60;

/// A configured record with its id.
type Entry = (Id, Arc<Record>);

/// What one name has.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Node {
    /// The addresses of hosts of this name.
    pub(super) addresses: Addresses,
    /// Configured records of this name in the order of their ids; never empty.
    pub(super) records: Option<Arc<[Entry]>>,
}

/// Addresses in order; nearly always one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Addresses {
    #[default]
    None,
    One(Ipv4Addr),
    Many(Arc<[Ipv4Addr]>),
}

impl Addresses {
    pub(super) fn as_slice(&self) -> &[Ipv4Addr] {
        match self {
            Self::None => &[],
            Self::One(address) => std::slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }

    /// These and one more.
    pub(super) fn with(&self, address: Ipv4Addr) -> Self {
        let mut all = self.as_slice().to_vec();
        if let Err(place) = all.binary_search(&address) {
            all.insert(place, address);
        }
        Self::of(&all)
    }

    /// These without one.
    pub(super) fn without(&self, address: Ipv4Addr) -> Self {
        let all: Vec<Ipv4Addr> = self.as_slice().iter().copied().filter(|own| *own != address).collect();
        Self::of(&all)
    }

    fn of(addresses: &[Ipv4Addr]) -> Self {
        match addresses {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.addresses == Addresses::None && self.records.is_none()
    }

    pub(super) fn records(&self) -> &[Entry] {
        self.records.as_deref().unwrap_or_default()
    }

    pub(super) fn add_record(&mut self, id: &Id, record: &Arc<Record>) {
        let mut all: Vec<_> = self.records().iter().filter(|(own, _)| own != id).cloned().collect();
        let place = all.partition_point(|(own, _)| own < id);
        all.insert(place, (id.clone(), record.clone()));
        self.records = Some(all.into());
    }

    pub(super) fn remove_record(&mut self, id: &Id) {
        let rest: Vec<_> = self.records().iter().filter(|(own, _)| own != id).cloned().collect();
        self.records = if rest.is_empty() { None } else { Some(rest.into()) };
    }
}

/// What a name that is asked for has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Data<'a> {
    /// This very machine (RFC 6761 section 6.3).
    Localhost,
    /// A node, the name of an address, or both.
    Names { node: Option<&'a Node>, pointer: Option<&'a Name> },
}

impl<'a> Data<'a> {
    /// The name that this one is another name of, and how long that may be kept.
    pub(super) fn alias(self) -> Option<(&'a DomainName, u32)> {
        self.records().iter().find_map(|(_, record)| match &record.data {
            RecordData::Cname(target) => Some((target, record.ttl_seconds)),
            _ => None,
        })
    }

    fn records(self) -> &'a [Entry] {
        match self {
            Self::Localhost => &[],
            Self::Names { node, .. } => node.map_or(&[], Node::records),
        }
    }

    /// Writes the records of a type. All of them carry the least of their TTLs (RFC 2181 section 5.2).
    pub(super) fn write(self, asked: u16, owner: usize, reply: &mut Reply<'_>) {
        let records = self.records().iter().map(|(_, record)| record);
        let records = records.filter(|record| kind_of(&record.data) == asked);
        let least = records.clone().map(|record| record.ttl_seconds).min();
        let ttl = match least {
            Some(least) if self.has_derived(asked) => least.min(HOST_TTL),
            least => least.unwrap_or(HOST_TTL),
        };
        let (start, before) = (reply.length(), reply.answers());
        let mut set = RecordSet::new(owner, asked, ttl);
        let mut each = |octets: &[u8]| reply.record_of(&mut set, |out| out.extend_from_slice(octets));
        match (asked, self) {
            (kind::A, Self::Localhost) => each(&Ipv4Addr::LOCALHOST.octets()),
            (kind::AAAA, Self::Localhost) => each(&Ipv6Addr::LOCALHOST.octets()),
            (kind::A, Self::Names { node: Some(node), .. }) => {
                node.addresses.as_slice().iter().for_each(|address| each(&address.octets()));
            }
            (kind::PTR, Self::Names { pointer: Some(name), .. }) => {
                reply.record_of(&mut set, |out| write_name(name.octets(), out));
            }
            _ => {}
        }
        for record in records {
            write_values(&record.data, &mut set, reply);
        }
        if matches!(asked, kind::A | kind::AAAA) {
            reply.rotate(start, reply.answers() - before);
        }
    }

    /// Whether a host gives data of this type.
    fn has_derived(self, asked: u16) -> bool {
        match (asked, self) {
            (kind::A, Self::Names { node: Some(node), .. }) => node.addresses != Addresses::None,
            (kind::PTR, Self::Names { pointer, .. }) => pointer.is_some(),
            _ => false,
        }
    }
}

const fn kind_of(data: &RecordData) -> u16 {
    match data {
        RecordData::A(_) => kind::A,
        RecordData::Aaaa(_) => kind::AAAA,
        RecordData::Cname(_) => kind::CNAME,
        RecordData::Mx(_) => kind::MX,
        RecordData::Ptr(_) => kind::PTR,
        RecordData::Srv(_) => kind::SRV,
        RecordData::Txt(_) => kind::TXT,
    }
}

fn write_values(data: &RecordData, set: &mut RecordSet, reply: &mut Reply<'_>) {
    let mut each = |write: &dyn Fn(&mut Vec<u8>)| reply.record_of(set, |out| write(out));
    match data {
        RecordData::A(values) => values.iter().for_each(|ip| each(&|out| out.extend(ip.octets()))),
        RecordData::Aaaa(values) => values.iter().for_each(|ip| each(&|out| out.extend(ip.octets()))),
        RecordData::Cname(target) => each(&|out| write_text(target.as_str(), out)),
        RecordData::Ptr(values) => values.iter().for_each(|name| each(&|out| write_text(name.as_str(), out))),
        RecordData::Mx(values) => values.iter().for_each(|Mx { preference, exchange }| {
            each(&|out| {
                out.extend(preference.to_be_bytes());
                write_text(exchange.as_str(), out);
            });
        }),
        RecordData::Srv(values) => values.iter().for_each(|Srv { priority, weight, port, target }| {
            each(&|out| {
                out.extend([*priority, *weight, *port].map(u16::to_be_bytes).concat());
                write_text(target.as_ref().map_or("", DomainName::as_str), out);
            });
        }),
        RecordData::Txt(values) => values.iter().for_each(|text| each(&|out| write_strings(text, out))),
    }
}

/// Writes a text as strings of at most 255 octets; the empty text is one empty string (RFC 1035 section 3.3.14).
fn write_strings(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        out.push(0);
    }
    for string in text.as_bytes().chunks(255) {
        out.push(u8::try_from(string.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(string);
    }
}
