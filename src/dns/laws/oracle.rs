//! A second opinion on names, slow and plain: lists of records as text, searched from end to end. Only for tests.

use std::collections::BTreeSet;

use super::super::special::{LOCAL_ZONES, SHARED_ADDRESSES};
use super::super::wire::kind;
use crate::config::Config;
use crate::config::dns::RecordData;

/// A record as text: owner, type, TTL, data.
pub(super) type Line = (String, u16, u32, String);

/// What is to be answered.
#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    /// This code, these records, and the owner of the SOA record in the authority section.
    Answer(u16, BTreeSet<Line>, Option<String>),
    /// The forwarders with this first address are asked for this name, after these records.
    Ask(String, String, BTreeSet<Line>),
}

/// All that a configuration says, as lists.
#[derive(Debug)]
pub(super) struct Oracle {
    lines: Vec<Line>,
    local: Vec<String>,
    forwarded: Vec<(String, String)>,
    default: Option<String>,
}

fn within(name: &str, zone: &str) -> bool {
    zone.is_empty() || name == zone || name.ends_with(&format!(".{zone}"))
}

fn parent(name: &str) -> Option<&str> {
    if name.is_empty() { None } else { Some(name.split_once('.').map_or("", |(_, rest)| rest)) }
}

impl Oracle {
    pub(super) fn new(config: &Config) -> Self {
        let dns = config.dns().unwrap();
        let mut lines = Vec::new();
        let mut host = |name: String, address: std::net::Ipv4Addr, pointer: bool| {
            let [a, b, c, d] = address.octets();
            lines.push((name.clone(), kind::A, 60, address.to_string()));
            if pointer {
                lines.push((format!("{d}.{c}.{b}.{a}.in-addr.arpa"), kind::PTR, 60, format!("{name}.")));
            }
        };
        let full = |label: &str, domain: Option<&str>| {
            domain.map_or(label.to_owned(), |domain| format!("{label}.{domain}"))
        };
        let mut own = BTreeSet::new();
        for (id, network) in config.dhcp() {
            let domain = network.settings.domain.as_ref().map(|domain| domain.as_str());
            for entry in network.hosts.values() {
                host(full(entry.hostname.as_ref().unwrap().as_str(), domain), entry.ip.get(), true);
            }
            let zone = config.layout().zone(&network.settings.interface).unwrap();
            for address in zone.guest_addresses() {
                let here = config.dhcp_subnet(id) == Some(address.subnet());
                let elsewhere =
                    zone.guest_addresses().any(|other| config.dhcp_subnet(id) == Some(other.subnet()));
                if here || (!elsewhere && domain.is_some()) {
                    own.insert((domain, address.address(), here));
                }
            }
        }
        for address in config.layout().zones().flat_map(|(_, zone)| zone.guest_addresses()) {
            if !config.dhcp().keys().any(|id| config.dhcp_subnet(id) == Some(address.subnet())) {
                own.insert((None, address.address(), true));
            }
        }
        for (domain, address, pointer) in own {
            if let Some(hostname) = config.hostname() {
                host(full(hostname.as_str(), domain), address, pointer);
            }
        }
        for record in dns.records.values() {
            lines.extend(
                data(&record.data)
                    .into_iter()
                    .map(|(kind, data)| (record.name.as_str().to_owned(), kind, record.ttl_seconds, data)),
            );
        }
        let shared = SHARED_ADDRESSES.map(|octet| format!("{octet}.100.in-addr.arpa"));
        let domains = config.dhcp().values().filter_map(|network| network.settings.domain.as_ref());
        let local = LOCAL_ZONES.iter().map(|zone| (*zone).to_owned()).chain(shared);
        let forwarded = dns.conditional_forwarders.values();
        Self {
            lines,
            local: local.chain(domains.map(|domain| domain.as_str().to_owned())).collect(),
            forwarded: forwarded
                .map(|f| (f.domain.as_str().to_owned(), f.forwarders[0].to_string()))
                .collect(),
            default: dns.settings.forwarders.first().map(ToString::to_string),
        }
    }

    /// What is to be answered to a name and a type.
    pub(super) fn answer(&self, name: &str, asked: u16) -> Expected {
        let mut name = name.to_ascii_lowercase();
        let mut found: BTreeSet<Line> = BTreeSet::new();
        for _ in 0..16 {
            if within(&name, "localhost") && !self.lines.iter().any(|(owner, ..)| *owner == name) {
                let data = match asked {
                    kind::A => Some("127.0.0.1"),
                    kind::AAAA => Some("::1"),
                    kind::ANY => Some("RFC8482"),
                    _ => None,
                };
                let kind = if asked == kind::ANY { kind::HINFO } else { asked };
                found.extend(data.map(|data| (name.clone(), kind, 60, data.to_owned())));
                let nothing = data.is_none();
                return Expected::Answer(
                    0,
                    self.soa(asked, &name, "localhost", nothing, found).0,
                    nothing
                        .then(|| "localhost".to_owned())
                        .filter(|_| asked != kind::SOA || name != "localhost"),
                );
            }
            let Some(owner) = self.owner(&name) else { return self.without_data(name, asked, found) };
            let of_owner: Vec<&Line> = self.lines.iter().filter(|(own, ..)| *own == owner).collect();
            let alias = of_owner.iter().find(|line| line.1 == kind::CNAME);
            if let Some((_, _, ttl, target)) = alias.filter(|_| !matches!(asked, kind::CNAME | kind::ANY)) {
                found.insert((name.clone(), kind::CNAME, *ttl, target.clone()));
                name = target.trim_end_matches('.').to_owned();
                continue;
            }
            if asked == kind::ANY {
                found.insert((name, kind::HINFO, 60, "RFC8482".to_owned()));
                return Expected::Answer(0, found, None);
            }
            let of_kind: Vec<&&Line> = of_owner.iter().filter(|line| line.1 == asked).collect();
            let ttl = of_kind.iter().map(|line| line.2).min();
            found.extend(of_kind.iter().map(|line| (name.clone(), asked, ttl.unwrap(), line.3.clone())));
            if !of_kind.is_empty() {
                return Expected::Answer(0, found, None);
            }
            let apex = self.apex(&name, &owner);
            let (found, soa) = self.soa(asked, &name, &apex, true, found);
            return Expected::Answer(0, found, soa);
        }
        Expected::Answer(2, BTreeSet::new(), None)
    }

    /// Where the records of a name stand: at itself, or at the wildcard that it matches.
    fn owner(&self, name: &str) -> Option<String> {
        if self.lines.iter().any(|(owner, ..)| owner == name) {
            return Some(name.to_owned());
        }
        if self.exists(name)
            || self.local.iter().chain(self.forwarded.iter().map(|(zone, _)| zone)).any(|zone| zone == name)
        {
            return None;
        }
        let mut encloser = parent(name)?;
        let zone = self.zone(name);
        while !self.exists(encloser) && Some(encloser) != zone.map(|(zone, _)| zone) {
            encloser = parent(encloser)?;
        }
        let wildcard = format!("*.{encloser}");
        let known = self.lines.iter().any(|(owner, ..)| *owner == wildcard);
        // A zone that is forwarded begins anew: what is above it does not reach into it.
        let reaches = zone.is_none_or(|(zone, _)| within(encloser, zone));
        (known && reaches).then_some(wildcard)
    }

    /// Whether a name has data or something below it.
    fn exists(&self, name: &str) -> bool {
        let names = self.lines.iter().map(|(owner, ..)| owner);
        let zones = self.local.iter().chain(self.forwarded.iter().map(|(zone, _)| zone));
        names.chain(zones).any(|other| other != name && within(other, name))
            || self.lines.iter().any(|line| line.0 == name)
    }

    /// The smallest zone that holds a name, and who is asked there, if somebody is.
    fn zone(&self, name: &str) -> Option<(&str, Option<&str>)> {
        let forwarded = self.forwarded.iter().map(|(zone, to)| (zone.as_str(), Some(to.as_str())));
        let local = self.local.iter().map(|zone| (zone.as_str(), None));
        // At the same name, the one that is forwarded wins.
        forwarded.chain(local).filter(|(zone, _)| within(name, zone)).rev().max_by_key(|(zone, _)| zone.len())
    }

    fn apex(&self, name: &str, owner: &str) -> String {
        match self.zone(name) {
            Some((zone, None)) => zone.to_owned(),
            _ if owner == name => name.to_owned(),
            _ => self.wildcard_parent(name).unwrap_or_default(),
        }
    }

    /// The nearest name above that has a wildcard below it, unless somebody else answers for the name.
    fn wildcard_parent(&self, name: &str) -> Option<String> {
        let zone = self.zone(name).map_or("", |(zone, _)| zone);
        let mut above = parent(name)?;
        while !above.is_empty() && within(above, zone) {
            if self.lines.iter().any(|(owner, ..)| *owner == format!("*.{above}")) {
                return Some(above.to_owned());
            }
            above = parent(above)?;
        }
        None
    }

    fn without_data(&self, name: String, asked: u16, found: BTreeSet<Line>) -> Expected {
        let rcode = if self.exists(&name) { 0 } else { 3 };
        let zone = self.zone(&name);
        let infrastructure = matches!(asked, kind::NS | kind::SOA | kind::DS);
        let apex = match (self.wildcard_parent(&name), zone) {
            (Some(_), Some((zone, None))) | (None, Some((zone, None))) => zone.to_owned(),
            (Some(parent), _) => parent,
            (None, Some((_, Some(to)))) => return self.ask(to, name, asked, found),
            (None, None) if !name.is_empty() && !name.contains('.') && !infrastructure => String::new(),
            (None, None) => {
                let Some(default) = &self.default else {
                    let rcode = if found.is_empty() { 5 } else { 0 };
                    return Expected::Answer(rcode, found, None);
                };
                return self.ask(default, name, asked, found);
            }
        };
        let rcode = if name == apex { 0 } else { rcode };
        let (found, soa) = self.soa(asked, &name, &apex, true, found);
        Expected::Answer(rcode, found, soa)
    }

    fn ask(&self, to: &str, name: String, asked: u16, mut found: BTreeSet<Line>) -> Expected {
        if asked == kind::ANY {
            found.insert((name, kind::HINFO, 60, "RFC8482".to_owned()));
            return Expected::Answer(0, found, None);
        }
        Expected::Ask(to.to_owned(), name, found)
    }

    /// Adds the SOA record where it is asked for at its zone, else says where it stands.
    fn soa(
        &self,
        asked: u16,
        name: &str,
        apex: &str,
        negative: bool,
        mut found: BTreeSet<Line>,
    ) -> (BTreeSet<Line>, Option<String>) {
        if asked == kind::SOA && name == apex && matches!(self.zone(name), Some((zone, None)) if zone == name)
        {
            found.insert((name.to_owned(), kind::SOA, 10, String::new()));
            return (found, None);
        }
        (found, negative.then(|| apex.to_owned()))
    }
}

fn data(data: &RecordData) -> Vec<(u16, String)> {
    match data {
        RecordData::A(values) => values.iter().map(|ip| (kind::A, ip.to_string())).collect(),
        RecordData::Aaaa(values) => values.iter().map(|ip| (kind::AAAA, ip.to_string())).collect(),
        RecordData::Cname(name) => vec![(kind::CNAME, format!("{name}."))],
        RecordData::Mx(values) => values.iter().map(|mx| (kind::MX, mx.to_string())).collect(),
        RecordData::Ptr(values) => values.iter().map(|name| (kind::PTR, format!("{name}."))).collect(),
        RecordData::Srv(values) => values.iter().map(|srv| (kind::SRV, srv.to_string())).collect(),
        RecordData::Txt(values) => values.iter().map(|text| (kind::TXT, text.clone())).collect(),
    }
}
