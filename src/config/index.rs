//! Who claims what, kept beside the objects: public addresses, ports, hosts' addresses and names.
//!
//! The index makes two objects that claim one thing a fault, at a cost that does not grow with the number of objects:
//! it shares everything with the generation before it and takes only the differences. Called by `document.rs`; the
//! DHCP and DNS engines look hosts up in it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::dhcp::{Host, Network};
use super::dns::{Record, RecordData};
use super::edit::Collection;
use super::eip::Eip;
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::load_balancer::LoadBalancer;
use super::mac::MacAddress;
use super::name::{DomainName, Hostname, RecordName};
use super::port_forward::{PortForward, Transport};

/// Who claims what.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    eip_addresses: OrdMap<Ipv4Addr, Id>,
    eip_targets: OrdMap<(Ipv4Addr, Id), Id>,
    ports: OrdMap<(Ipv4Addr, Transport, u16), (u16, Claim)>,
    networks: BTreeMap<Id, Hosts>,
    records: OrdMap<(RecordName, Id), Kind>,
    aliases: usize,
}

/// The hosts of one network by what they are known by.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    by_mac: OrdMap<MacAddress, Id>,
    by_ip: OrdMap<Ipv4Addr, Id>,
    by_name: OrdMap<(Hostname, Id), ()>,
    domain: Option<DomainName>,
}

/// Who has ports of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// A port forward.
    PortForward(Id),
    /// A load balancer.
    LoadBalancer(Id),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortForward(id) => write!(f, "port forward `{id}`"),
            Self::LoadBalancer(id) => write!(f, "load balancer `{id}`"),
        }
    }
}

/// Whether a record is another name of a name, which no other record may stand beside (RFC 2181 section 10.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Alias,
    Other,
}

/// What differs between two states of a collection: what goes, and what comes.
struct Difference<'a, T> {
    gone: Vec<(&'a Id, &'a T)>,
    come: Vec<(&'a Id, &'a T)>,
}

impl<'a, T: PartialEq> Difference<'a, T> {
    fn between(before: &'a Collection<T>, after: &'a Collection<T>) -> Self {
        let mut difference = Self { gone: Vec::new(), come: Vec::new() };
        for item in before.diff(after) {
            match item {
                DiffItem::Add(id, noun) => difference.come.push((id, noun.as_ref())),
                DiffItem::Remove(id, noun) => difference.gone.push((id, noun.as_ref())),
                DiffItem::Update { old: (old_id, old), new: (new_id, new) } => {
                    difference.gone.push((old_id, old.as_ref()));
                    difference.come.push((new_id, new.as_ref()));
                }
            }
        }
        difference
    }
}

/// The collections that claim things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimants<'a> {
    pub(super) eips: &'a Collection<Eip>,
    pub(super) port_forwards: &'a Collection<PortForward>,
    pub(super) load_balancers: &'a Collection<LoadBalancer>,
    pub(super) dhcp: &'a Collection<Network>,
    pub(super) records: &'a Collection<Record>,
}

impl Index {
    /// The index of `after`, from the index of `before`; two that claim one thing are faults.
    pub(super) fn next(&self, before: Claimants<'_>, after: Claimants<'_>, faults: &mut Faults) -> Self {
        let mut next = self.clone();
        let eips = Difference::between(before.eips, after.eips);
        let forwards = Difference::between(before.port_forwards, after.port_forwards);
        let balancers = Difference::between(before.load_balancers, after.load_balancers);
        let records = Difference::between(before.records, after.records);
        // Everything goes before anything comes, so that two objects can trade places in one request.
        for (_, eip) in eips.gone {
            next.eip_addresses.remove(&eip.address.get());
            next.eip_targets.remove(&(eip.target.get(), eip.interface.clone()));
        }
        for (_, forward) in forwards.gone {
            next.ports.remove(&(forward.address.get(), forward.protocol, forward.ports.public().first()));
        }
        for (_, balancer) in balancers.gone {
            next.ports.remove(&(balancer.address.get(), balancer.transport(), balancer.port));
        }
        for (id, record) in records.gone {
            next.remove_record(id, record);
        }
        for (id, eip) in eips.come {
            next.add_eip(id, eip, faults);
        }
        for (id, forward) in forwards.come {
            next.add_port_forward(id, forward, faults);
        }
        for (id, balancer) in balancers.come {
            next.add_load_balancer(id, balancer, faults);
        }
        for (id, record) in records.come {
            next.add_record(id, record, faults);
        }
        next.networks = networks(&self.networks, before.dhcp, after.dhcp, faults);
        next.check_aliases(faults);
        next
    }

    /// The EIP that has this public address.
    pub(super) fn eip_of(&self, address: Ipv4Addr) -> Option<&Id> {
        self.eip_addresses.get(&address)
    }

    /// The EIP on an interface that leads to this guest.
    pub(super) fn eip_for(&self, target: Ipv4Addr, interface: &Id) -> Option<&Id> {
        self.eip_targets.get(&(target, interface.clone()))
    }

    /// Who has ports of this address.
    pub(super) fn claim_on(&self, address: Ipv4Addr) -> Option<&Claim> {
        let lowest = (address, Transport::Tcp, 0);
        let highest = (address, Transport::Udp, u16::MAX);
        self.ports.range(lowest..=highest).next().map(|(_, (_, claim))| claim)
    }

    /// Who has this port of this address.
    pub(super) fn claim_at(&self, address: Ipv4Addr, transport: Transport, port: u16) -> Option<&Claim> {
        let below = self.ports.range(..=(address, transport, port)).next_back();
        below
            .filter(|((on, by, _), (last, _))| *on == address && *by == transport && *last >= port)
            .map(|(_, (_, claim))| claim)
    }

    /// The host of a network that has this MAC.
    pub(super) fn host_by_mac(&self, network: &Id, mac: MacAddress) -> Option<&Id> {
        self.networks.get(network)?.by_mac.get(&mac)
    }

    /// The host of a network that has this address.
    pub(super) fn host_by_ip(&self, network: &Id, ip: Ipv4Addr) -> Option<&Id> {
        self.networks.get(network)?.by_ip.get(&ip)
    }

    fn add_eip(&mut self, id: &Id, eip: &Eip, faults: &mut Faults) {
        let at = || Pointer::root().key("eips").key(id.as_str());
        let address = eip.address.get();
        if let Some(other) = self.claim_on(address) {
            let detail = format!("{other} is on {address} already; an EIP has its address alone");
            faults.add(at().key("address"), Rule::Overlap, detail);
        }
        if let Some(other) = self.eip_addresses.insert(address, id.clone()) {
            let detail = format!("{address} is the public address of EIP `{other}` already");
            faults.add(at().key("address"), Rule::Conflict, detail);
        }
        if let Some(other) = self.eip_targets.insert((eip.target.get(), eip.interface.clone()), id.clone()) {
            let detail = format!("{} has EIP `{other}` on this interface already", eip.target);
            faults.add(at().key("target"), Rule::Conflict, detail);
        }
    }

    fn add_port_forward(&mut self, id: &Id, forward: &PortForward, faults: &mut Faults) {
        let at = || Pointer::root().key("port_forwards").key(id.as_str());
        let (address, transport, ports) = (forward.address.get(), forward.protocol, forward.ports.public());
        self.claim(
            (address, transport, ports.first(), ports.last()),
            Claim::PortForward(id.clone()),
            |member| at().key(if member == "port" { "ports" } else { member }),
            faults,
        );
    }

    fn add_load_balancer(&mut self, id: &Id, balancer: &LoadBalancer, faults: &mut Faults) {
        let at = || Pointer::root().key("load_balancers").key(id.as_str());
        let (address, transport, port) = (balancer.address.get(), balancer.transport(), balancer.port);
        let claim = Claim::LoadBalancer(id.clone());
        self.claim((address, transport, port, port), claim, |member| at().key(member), faults);
    }

    /// Takes ports of an address for one object; two that share one are faults.
    fn claim(
        &mut self,
        (address, transport, first, last): (Ipv4Addr, Transport, u16, u16),
        claim: Claim,
        at: impl Fn(&str) -> Pointer,
        faults: &mut Faults,
    ) {
        let written =
            |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
        if let Some(other) = self.eip_addresses.get(&address) {
            faults.add(at("address"), Rule::Overlap, format!("EIP `{other}` has {address} alone"));
        }
        let below = self.ports.range(..=(address, transport, last)).next_back();
        if let Some(((_, _, theirs), (to, other))) =
            below.filter(|((on, by, _), (to, _))| *on == address && *by == transport && *to >= first)
        {
            let detail = match (other, &claim) {
                (Claim::PortForward(id), Claim::PortForward(_)) => {
                    format!(
                        "{} is across {} of `{id}` on {address}",
                        written(first, last),
                        written(*theirs, *to)
                    )
                }
                _ => format!(
                    "{} is across {} of {other} on {address}",
                    written(first, last),
                    written(*theirs, *to)
                ),
            };
            faults.add(at("port"), Rule::Overlap, detail);
            return;
        }
        self.ports.insert((address, transport, first), (last, claim));
    }

    fn add_record(&mut self, id: &Id, record: &Record, faults: &mut Faults) {
        let kind = kind(record);
        let lowest = (record.name.clone(), Id::lowest());
        let others = self.records.range(lowest..).take_while(|((name, _), _)| *name == record.name);
        for ((_, other), other_kind) in others {
            if kind == Kind::Alias || *other_kind == Kind::Alias {
                let at = Pointer::root().key("dns").key("records").key(id.as_str()).key("name");
                let detail =
                    format!("{} has record `{other}`; another name of a name stands alone", record.name);
                faults.add(at, Rule::Conflict, detail);
                break;
            }
        }
        self.records.insert((record.name.clone(), id.clone()), kind);
        self.aliases += usize::from(kind == Kind::Alias);
    }

    fn remove_record(&mut self, id: &Id, record: &Record) {
        self.records.remove(&(record.name.clone(), id.clone()));
        self.aliases -= usize::from(kind(record) == Kind::Alias);
    }

    /// Reports records that are another name of a name that a host has.
    fn check_aliases(&self, faults: &mut Faults) {
        if self.aliases == 0 {
            return;
        }
        for ((name, id), _) in self.records.iter().filter(|(_, kind)| **kind == Kind::Alias) {
            let Some((label, domain)) = name.as_str().split_once('.') else { continue };
            let Ok(label) = label.parse::<Hostname>() else { continue };
            let of_domain = |hosts: &&Hosts| hosts.domain.as_ref().is_some_and(|own| own.as_str() == domain);
            if self.networks.values().filter(of_domain).any(|hosts| hosts.has_name(&label)) {
                let at = Pointer::root().key("dns").key("records").key(id.as_str()).key("name");
                faults.add(
                    at,
                    Rule::Conflict,
                    format!("{name} is a DHCP host's name; another name stands alone"),
                );
            }
        }
    }
}

impl Hosts {
    fn has_name(&self, name: &Hostname) -> bool {
        let lowest = (name.clone(), Id::lowest());
        self.by_name.range(lowest..).next().is_some_and(|((found, _), ())| found == name)
    }

    fn remove(&mut self, id: &Id, host: &Host) {
        self.by_mac.remove(&host.mac);
        self.by_ip.remove(&host.ip.get());
        if let Some(name) = &host.hostname {
            self.by_name.remove(&(name.clone(), id.clone()));
        }
    }

    fn add(&mut self, network: &Id, id: &Id, host: &Host, faults: &mut Faults) {
        let at = || Pointer::root().key("dhcp").key(network.as_str()).key("hosts").key(id.as_str());
        if let Some(other) = self.by_mac.insert(host.mac, id.clone()) {
            faults.add(at().key("mac"), Rule::Conflict, format!("host `{other}` has {} already", host.mac));
        }
        if let Some(other) = self.by_ip.insert(host.ip.get(), id.clone()) {
            faults.add(at().key("ip"), Rule::Conflict, format!("host `{other}` has {} already", host.ip));
        }
        if let Some(name) = &host.hostname {
            self.by_name.insert((name.clone(), id.clone()), ());
        }
    }
}

fn networks(
    index: &BTreeMap<Id, Hosts>,
    before: &Collection<Network>,
    after: &Collection<Network>,
    faults: &mut Faults,
) -> BTreeMap<Id, Hosts> {
    let mut next = BTreeMap::new();
    for (id, network) in after {
        let mut hosts = index.get(id).cloned().unwrap_or_default();
        let empty = Collection::new();
        let earlier = before.get(id).map_or(&empty, |network| &network.hosts);
        let difference = Difference::between(earlier, &network.hosts);
        for (host_id, host) in difference.gone {
            hosts.remove(host_id, host);
        }
        for (host_id, host) in difference.come {
            hosts.add(id, host_id, host, faults);
        }
        hosts.domain = network.settings.domain.clone();
        next.insert(id.clone(), hosts);
    }
    next
}

fn kind(record: &Record) -> Kind {
    if matches!(record.data, RecordData::Cname(_)) { Kind::Alias } else { Kind::Other }
}

/// The ids of a collection that are new or changed, in order.
pub(super) fn changed<'a, T: PartialEq>(
    before: &'a Collection<T>,
    after: &'a Collection<T>,
) -> impl Iterator<Item = (&'a Id, &'a Arc<T>)> {
    before.diff(after).filter_map(|item| match item {
        DiffItem::Add(id, noun) | DiffItem::Update { new: (id, noun), .. } => Some((id, noun)),
        DiffItem::Remove(..) => None,
    })
}
