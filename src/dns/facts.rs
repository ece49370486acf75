//! What a configuration says of names, and what differs between two of them.
//!
//! Called by `snapshot.rs`. The next state of the zones costs what changed: hosts and records by the differences of
//! their collections, the few names of the router itself and the table of zones only where their sources changed.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::name::{Key, Name};
use super::table::Table;
use super::zones::Zones;
use crate::config::dhcp::{Host, Network};
use crate::config::dns::Record;
use crate::config::name::{DomainName, Hostname};
use crate::config::{Collection, Config};

/// The zones of a configuration.
pub(super) fn zones(config: &Config) -> Zones {
    next(&Zones::default(), &Config::default(), config)
}

/// The zones of `after`, from those of `before`.
pub(super) fn next(zones: &Zones, before: &Config, after: &Config) -> Zones {
    let nothing = Config::default();
    if after.dns().is_none() {
        return Zones::default();
    }
    let (zones, before) =
        if before.dns().is_some() { (zones, before) } else { (&Zones::default(), &nothing) };
    let mut next = zones.clone();
    let differences = Differences::between(before, after);
    // Everything goes before anything comes, so that two hosts can trade names or addresses.
    for (domain, host) in differences.gone {
        if let Some(name) = host_name(host, domain) {
            next.remove_address(&name, host.ip.get());
            next.remove_pointer(host.ip.get());
        }
    }
    let own = differences.surroundings.then(|| (own_names(before), own_names(after)));
    if let Some((gone, come)) = &own {
        gone.names.difference(&come.names).for_each(|(name, address)| next.remove_address(name, *address));
        gone.pointers.difference(&come.pointers).for_each(|(address, _)| next.remove_pointer(*address));
    }
    for (domain, host) in differences.come {
        if let Some(name) = host_name(host, domain) {
            next.add_address(&name, host.ip.get());
            next.add_pointer(host.ip.get(), name);
        }
    }
    if let Some((gone, come)) = &own {
        come.names.difference(&gone.names).for_each(|(name, address)| next.add_address(name, *address));
        come.pointers
            .difference(&gone.pointers)
            .for_each(|(address, name)| next.add_pointer(*address, name.clone()));
    }
    records(&mut next, before, after);
    if differences.surroundings || forwarding_differs(before, after) {
        let table = Table::new(after);
        if table != *next.table {
            next.table = Arc::new(table);
        }
    }
    next
}

type HostIn<'a> = (Option<&'a DomainName>, &'a Host);

/// The hosts that differ, each with the domain of its network.
#[derive(Default)]
struct Differences<'a> {
    gone: Vec<HostIn<'a>>,
    come: Vec<HostIn<'a>>,
    /// Whether the router's own names or the zones can differ.
    surroundings: bool,
}

impl<'a> Differences<'a> {
    fn between(before: &'a Config, after: &'a Config) -> Self {
        let mut found = Self {
            surroundings: !before.shares_layout(after)
                || before.hostname() != after.hostname()
                || before.dns().is_none(),
            ..Self::default()
        };
        for item in before.dhcp().diff(after.dhcp()) {
            match item {
                DiffItem::Add(_, new) => found.network(None, Some(new)),
                DiffItem::Remove(_, old) => found.network(Some(old), None),
                DiffItem::Update { old: (id, old), new: (_, new) } => {
                    found.surroundings |= before.dhcp_subnet(id) != after.dhcp_subnet(id);
                    found.network(Some(old), Some(new));
                }
            }
        }
        found
    }

    fn network(&mut self, old: Option<&'a Network>, new: Option<&'a Network>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.settings.domain == new.settings.domain
        {
            self.surroundings |= !Arc::ptr_eq(&old.settings, &new.settings);
            let domain = new.settings.domain.as_ref();
            for item in old.hosts.diff(&new.hosts) {
                match item {
                    DiffItem::Add(_, host) => self.come.push((domain, host)),
                    DiffItem::Remove(_, host) => self.gone.push((domain, host)),
                    DiffItem::Update { old: (_, old), new: (_, new) } => {
                        self.gone.push((domain, old));
                        self.come.push((domain, new));
                    }
                }
            }
            return;
        }
        // The network is new, or gone, or every host of it gets another name.
        self.surroundings = true;
        self.gone.extend(old.into_iter().flat_map(hosts));
        self.come.extend(new.into_iter().flat_map(hosts));
    }
}

fn hosts(network: &Network) -> impl Iterator<Item = HostIn<'_>> {
    network.hosts.values().map(|host| (network.settings.domain.as_ref(), host.as_ref()))
}

fn records(zones: &mut Zones, before: &Config, after: &Config) {
    let none = Collection::new();
    let of = |config: &'_ Config| config.dns().map_or_else(|| none.clone(), |dns| dns.records.clone());
    let (before, after) = (of(before), of(after));
    let key = |record: &Record| Key::of_text(record.name.as_str()).map(|key| key.to_name());
    let mut come = Vec::new();
    for item in before.diff(&after) {
        let (gone, new) = match item {
            DiffItem::Add(id, new) => (None, Some((id, new))),
            DiffItem::Remove(id, old) => (Some((id, old)), None),
            DiffItem::Update { old, new } => (Some(old), Some(new)),
        };
        if let Some((id, record)) = gone
            && let Some(name) = key(record)
        {
            zones.remove_record(name, id);
        }
        come.extend(new);
    }
    for (id, record) in come {
        if let Some(name) = key(record) {
            zones.add_record(name, id, record);
        }
    }
}

fn forwarding_differs(before: &Config, after: &Config) -> bool {
    match (before.dns(), after.dns()) {
        (Some(before), Some(after)) => {
            before.settings.forwarders != after.settings.forwarders
                || before.conditional_forwarders.diff(&after.conditional_forwarders).next().is_some()
        }
        _ => true,
    }
}

/// The name of a host in the domain of its network; of one label where the network has no domain. Nothing where it
/// has no name, or one that grows too long with the domain.
fn host_name(host: &Host, domain: Option<&DomainName>) -> Option<Name> {
    name_in(host.hostname.as_ref()?, domain)
}

fn name_in(hostname: &Hostname, domain: Option<&DomainName>) -> Option<Name> {
    let key = match domain {
        Some(domain) => Key::of_text(domain.host(hostname)?.as_str()),
        None => Key::of_text(hostname.as_str()),
    };
    key.map(|key| key.to_name())
}

/// The names of the router itself.
#[derive(Debug, Default)]
struct OwnNames {
    names: BTreeSet<(Name, Ipv4Addr)>,
    /// What its addresses are called.
    pointers: BTreeSet<(Ipv4Addr, Name)>,
}

/// The router's names: its host name in the domain of each DHCP network, at its guest addresses there; of one label
/// where no such network is. For a network behind a relay it is at the guest addresses of its interface.
fn own_names(config: &Config) -> OwnNames {
    let mut own_names = OwnNames::default();
    let Some(hostname) = config.hostname().filter(|_| config.dns().is_some()) else { return own_names };
    for own in config.layout().zones().flat_map(|(_, zone)| zone.guest_addresses()) {
        let here = config.dhcp().iter().find(|(id, _)| config.dhcp_subnet(id) == Some(own.subnet()));
        let domain = here.and_then(|(_, network)| network.settings.domain.as_ref());
        if let Some(name) = name_in(hostname, domain) {
            own_names.pointers.insert((own.address(), name.clone()));
            own_names.names.insert((name, own.address()));
        }
    }
    for (id, network) in config.dhcp() {
        let zone = config.layout().zone(&network.settings.interface);
        let addresses = || zone.iter().flat_map(|zone| zone.guest_addresses());
        let domain = network.settings.domain.as_ref();
        let relayed = !addresses().any(|own| config.dhcp_subnet(id) == Some(own.subnet()));
        if let Some(name) = domain.filter(|_| relayed).and_then(|domain| name_in(hostname, Some(domain))) {
            own_names.names.extend(addresses().map(|own| (name.clone(), own.address())));
        }
    }
    own_names
}
