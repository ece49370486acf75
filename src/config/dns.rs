//! What DNS is: where it answers, whom it asks, and its own records.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::str::FromStr;
use std::sync::Arc;

use super::edit::{Collection, Edit, FlatNoun, Noun, collection};
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::name::{DomainName, RecordName};
use super::net::{Address, Ipv6Text};
use super::text::{InvalidText, text_leaf};
pub use super::wire::ConditionalForwarder;
use super::wire::{self, RecordType};

/// The port of DNS (RFC 1035 section 4.2).
pub const PORT: u16 = 53;
/// The longest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;
/// The most answers of forwarders that are kept: about 1 KiB each.
const MAX_CACHE_ENTRIES: u32 = 1_000_000;

/// Names for the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Everything but the two collections.
    pub settings: Arc<DnsSettings>,
    /// Domains whose names others are asked for.
    pub conditional_forwarders: Collection<ConditionalForwarder>,
    /// Names of the router's own.
    pub records: Collection<Record>,
}

/// Where DNS answers, and whom it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The guest interfaces where it answers; all where absent.
    pub interfaces: Option<Vec<Id>>,
    /// Who is asked for names that are not ours, in this order.
    pub forwarders: Vec<Forwarder>,
    /// How many answers of forwarders are kept.
    pub cache_entries: u32,
}

/// A server that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forwarder(SocketAddrV4);

impl Forwarder {
    /// Address and port.
    #[must_use]
    pub const fn socket(self) -> SocketAddrV4 {
        self.0
    }
}

impl FromStr for Forwarder {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (address, port) = match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                let number = port.parse::<u16>().ok().filter(|port| *port > 0);
                let wrong =
                    || InvalidText::new(format!("`{text}` has no port from 1 to 65535 behind its colon"));
                (address, number.ok_or_else(wrong)?)
            }
            _ => (text, PORT),
        };
        Ok(Self(SocketAddrV4::new(address.parse::<Address>()?.get(), port)))
    }
}

impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == PORT { self.0.ip().fmt(f) } else { self.0.fmt(f) }
    }
}

text_leaf!(
    Forwarder,
    r"^\d{1,3}(\.\d{1,3}){3}(:\d{1,5})?$",
    "A DNS server, with its port where that is not 53: `192.0.2.53`, `192.0.2.54:5353`."
);

/// A name of the router's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name; the first label may be `*`.
    pub name: RecordName,
    /// What it leads to.
    pub data: RecordData,
    /// How long others may keep it.
    pub ttl_seconds: u32,
}

/// What a name leads to; the lists are never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// IPv4 addresses.
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    Aaaa(Vec<Ipv6Addr>),
    /// Another name of a name.
    Cname(DomainName),
    /// Where mail goes.
    Mx(Vec<Mx>),
    /// Names for an address.
    Ptr(Vec<DomainName>),
    /// Where a service is.
    Srv(Vec<Srv>),
    /// Texts.
    Txt(Vec<String>),
}

/// Where mail goes (RFC 1035 section 3.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The mail server.
    pub exchange: DomainName,
}

/// Where a service is (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// The share among equals.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; absent is `.`, the service is decidedly not there.
    pub target: Option<DomainName>,
}

impl Noun for Dns {
    fn edit(previous: Option<&Self>, mut edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let (none, no_records) = (Collection::new(), Collection::new());
        let conditional = previous.map_or(&none, |dns| &dns.conditional_forwarders);
        let records = previous.map_or(&no_records, |dns| &dns.records);
        let place = at.key("conditional_forwarders");
        let conditional_forwarders =
            collection(conditional, edit.take("conditional_forwarders"), &place, faults);
        let records = collection(records, edit.take("records"), &at.key("records"), faults);
        let settings = match (previous, edit) {
            (Some(dns), edit) if edit.is_nothing() => dns.settings.clone(),
            (previous, edit) => {
                let previous = previous.map(|dns| dns.settings.as_ref());
                Arc::new(DnsSettings::edit(previous, edit, at, faults)?)
            }
        };
        Some(Self { settings, conditional_forwarders, records })
    }
}

impl From<&Dns> for wire::Dns {
    fn from(dns: &Dns) -> Self {
        let Dns { settings, conditional_forwarders, records } = dns;
        Self {
            settings: settings.write(),
            conditional_forwarders: conditional_forwarders
                .iter()
                .map(|(id, forwarder)| (id.clone(), forwarder.as_ref().clone()))
                .collect(),
            records: records.iter().map(|(id, record)| (id.clone(), record.write())).collect(),
        }
    }
}

impl FlatNoun for DnsSettings {
    type Wire = wire::DnsSettings;

    fn read(wire: wire::DnsSettings, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::DnsSettings { interfaces, forwarders, cache_entries } = wire;
        if cache_entries > MAX_CACHE_ENTRIES {
            let detail = format!("at most {MAX_CACHE_ENTRIES} answers can be kept");
            faults.add(at.key("cache_entries"), Rule::OutOfRange, detail);
        }
        Some(Self { interfaces, forwarders, cache_entries })
    }

    fn write(&self) -> wire::DnsSettings {
        let Self { interfaces, forwarders, cache_entries } = self;
        wire::DnsSettings {
            interfaces: interfaces.clone(),
            forwarders: forwarders.clone(),
            cache_entries: *cache_entries,
        }
    }
}

impl FlatNoun for ConditionalForwarder {
    type Wire = Self;

    fn read(wire: Self, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        if wire.forwarders.is_empty() {
            faults.add(at.key("forwarders"), Rule::OutOfRange, "at least one server has to be asked");
        }
        Some(wire)
    }

    fn write(&self) -> Self {
        self.clone()
    }
}

impl FlatNoun for Record {
    type Wire = wire::Record;

    fn read(wire: wire::Record, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::Record { name, kind, values, ttl_seconds } = wire;
        if ttl_seconds > MAX_TTL {
            faults.add(
                at.key("ttl_seconds"),
                Rule::OutOfRange,
                format!("a TTL is at most {MAX_TTL} seconds"),
            );
        }
        let place = at.key("values");
        if values.is_empty() {
            faults.add(place, Rule::OutOfRange, "a record needs a value");
            return None;
        }
        let mut reader = Values { values: &values, place, faults };
        let data = match kind {
            RecordType::A => RecordData::A(reader.all(ipv4)?),
            RecordType::AAAA => RecordData::Aaaa(reader.all(|text| text.parse::<Ipv6Text>().map(|ip| ip.0))?),
            RecordType::CNAME => RecordData::Cname(reader.only(str::parse)?),
            RecordType::MX => RecordData::Mx(reader.all(mx)?),
            RecordType::PTR => RecordData::Ptr(reader.all(str::parse)?),
            RecordType::SRV => RecordData::Srv(reader.all(srv)?),
            RecordType::TXT => RecordData::Txt(reader.all(text)?),
        };
        Some(Self { name, data, ttl_seconds })
    }

    fn write(&self) -> wire::Record {
        fn lines<T: fmt::Display>(values: &[T]) -> Vec<String> {
            values.iter().map(ToString::to_string).collect()
        }
        let Self { name, data, ttl_seconds } = self;
        let (kind, values) = match data {
            RecordData::A(values) => (RecordType::A, lines(values)),
            RecordData::Aaaa(values) => (RecordType::AAAA, lines(values)),
            RecordData::Cname(name) => (RecordType::CNAME, vec![name.to_string()]),
            RecordData::Mx(values) => (RecordType::MX, lines(values)),
            RecordData::Ptr(values) => (RecordType::PTR, lines(values)),
            RecordData::Srv(values) => (RecordType::SRV, lines(values)),
            RecordData::Txt(values) => (RecordType::TXT, values.clone()),
        };
        wire::Record { name: name.clone(), kind, values, ttl_seconds: *ttl_seconds }
    }
}

impl fmt::Display for Mx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.", self.preference, self.exchange)
    }
}

impl fmt::Display for Srv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.as_ref().map_or("", DomainName::as_str);
        write!(f, "{} {} {} {target}.", self.priority, self.weight, self.port)
    }
}

/// Reads the values of one record.
struct Values<'a> {
    values: &'a [String],
    place: Pointer,
    faults: &'a mut Faults,
}

impl Values<'_> {
    fn all<T>(&mut self, read: impl Fn(&str) -> Result<T, InvalidText>) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(self.values.len());
        for (index, value) in self.values.iter().enumerate() {
            match read(value) {
                Ok(value) => all.push(value),
                Err(error) => self.faults.add(self.place.index(index), Rule::InvalidValue, error.to_string()),
            }
        }
        (all.len() == self.values.len()).then_some(all)
    }

    fn only<T>(&mut self, read: impl Fn(&str) -> Result<T, InvalidText>) -> Option<T> {
        if self.values.len() > 1 {
            self.faults.add(self.place.clone(), Rule::OutOfRange, "a name is another name of one name only");
        }
        self.all(read)?.into_iter().next()
    }
}

fn ipv4(text: &str) -> Result<Ipv4Addr, InvalidText> {
    text.parse().map_err(|_| InvalidText::new(format!("`{text}` is not an IPv4 address")))
}

fn mx(text: &str) -> Result<Mx, InvalidText> {
    let wrong = || InvalidText::new(format!("`{text}` is not a mail exchange such as `10 mail.demo.local.`"));
    let (preference, exchange) = text.split_once(' ').ok_or_else(wrong)?;
    Ok(Mx { preference: preference.parse().map_err(|_| wrong())?, exchange: exchange.trim().parse()? })
}

fn srv(text: &str) -> Result<Srv, InvalidText> {
    let wrong =
        || InvalidText::new(format!("`{text}` is not a service such as `10 60 5060 web1.demo.local.`"));
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [priority, weight, port, target] = parts.as_slice() else { return Err(wrong()) };
    let number = |part: &str| part.parse::<u16>().map_err(|_| wrong());
    Ok(Srv {
        priority: number(priority)?,
        weight: number(weight)?,
        port: number(port)?,
        target: if *target == "." { None } else { Some(target.parse()?) },
    })
}

fn text(text: &str) -> Result<String, InvalidText> {
    // RDATA is counted in 16 bits, and each string of 255 octets carries its own length (RFC 1035 section 3.3.14).
    if text.len() > 4096 {
        return Err(InvalidText::new("a text is at most 4096 octets"));
    }
    Ok(text.to_owned())
}
