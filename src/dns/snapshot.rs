//! Everything that DNS decides by, immutable: names, forwarders, where it answers and whom.
//!
//! The loop makes the next one from the one before it and hands it to [`super::Service::apply`]. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::facts;
use super::zones::Zones;
use crate::config::dns::DnsSettings;
use crate::config::layout::Zone;
use crate::config::{Config, Id};
use crate::plan::facts::Link;

/// Everything that DNS decides by.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    config: Config,
    zones: Zones,
    listeners: BTreeSet<Ipv4Addr>,
    clients: Vec<Ipv4Net>,
}

impl Snapshot {
    /// What a configuration wants of DNS while these devices are present, by the id of their interface.
    #[must_use]
    pub fn new(config: &Config, present: &BTreeMap<Id, Link>) -> Self {
        Self::with(facts::zones(config), config, present)
    }

    /// The same, at a cost of what differs from this one.
    #[must_use]
    pub fn next(&self, config: &Config, present: &BTreeMap<Id, Link>) -> Self {
        Self::with(facts::next(&self.zones, &self.config, config), config, present)
    }

    fn with(zones: Zones, config: &Config, present: &BTreeMap<Id, Link>) -> Self {
        let served = || served(config);
        let here = || served().filter(|(id, _)| present.contains_key(*id));
        let listeners =
            here().flat_map(|(_, zone)| zone.guest_addresses()).map(|own| own.address()).collect();
        let clients: Vec<Ipv4Net> = served().flat_map(|(_, zone)| zone.guest_side()).collect();
        Self { config: config.clone(), zones, listeners, clients: Ipv4Net::aggregate(&clients) }
    }

    /// The addresses where DNS answers.
    #[must_use]
    pub const fn listeners(&self) -> &BTreeSet<Ipv4Addr> {
        &self.listeners
    }

    /// How many names it knows by itself, those of addresses included.
    #[must_use]
    pub fn names(&self) -> usize {
        self.zones.len()
    }

    /// Whether a client is answered: a station of a guest network where DNS is served, or of a network behind one.
    pub(super) fn serves(&self, client: Ipv4Addr) -> bool {
        self.clients.iter().any(|net| net.contains(&client))
    }

    /// Whether names that are not ours are found out.
    pub(super) fn recursion(&self) -> bool {
        self.groups().iter().any(|forwarders| !forwarders.is_empty())
    }

    /// The names of this site.
    pub(super) const fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The forwarders by group.
    pub(super) fn groups(&self) -> &[Vec<SocketAddrV4>] {
        self.zones.table.groups()
    }

    /// Whether two snapshots have their groups in one place in memory: then nothing about them differs.
    pub(super) fn shares_groups(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.zones.table, &other.zones.table)
    }

    /// How many answers of forwarders are kept.
    pub(super) fn cache_entries(&self) -> u32 {
        self.config.dns().map_or(0, |dns| dns.settings.cache_entries)
    }
}

/// The interfaces with guests where DNS is wanted.
fn served(config: &Config) -> impl Iterator<Item = (&Id, &Zone)> {
    let settings = config.dns().map(|dns| &dns.settings);
    config.layout().zones().filter(move |(id, zone)| {
        let wanted =
            |settings: &Arc<DnsSettings>| settings.interfaces.as_ref().is_none_or(|ids| ids.contains(id));
        zone.has_guests() && settings.is_some_and(wanted)
    })
}
