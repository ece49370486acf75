//! How much of each noun is wanted, and how much of it the kernel was read back to have.
//!
//! After a change the kernel is read back whole and equals what is wanted, or the change is taken back. What can be
//! missing then are objects whose device is not there; those are counted here. Costs a look at every object, so it is
//! done once for each generation and set of devices.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, Id};
use crate::plan::facts::Link;

/// Of one noun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many objects are configured.
    pub(super) wanted: usize,
    /// How many of them have their devices.
    pub(super) placed: usize,
    /// The interfaces that the others wait for.
    pub(super) waiting_for: BTreeSet<Id>,
}

/// Of every noun that the kernel carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(super) routes: Count,
    pub(super) snat: Count,
    pub(super) eips: Count,
    pub(super) port_forwards: Count,
    pub(super) firewall: Count,
    /// The guest interfaces where DNS is wanted.
    pub(super) dns: Count,
    /// The management interfaces where SSH is wanted.
    pub(super) ssh: Count,
}

impl Wanted {
    /// Counts the objects of a configuration while these devices are there.
    #[must_use]
    pub fn new(config: &Config, links: &BTreeMap<Id, Link>) -> Self {
        let layout = config.layout();
        let count = |interfaces: &mut dyn Iterator<Item = Option<&Id>>| {
            let mut count = Count::default();
            for interface in interfaces {
                count.wanted += 1;
                match interface {
                    Some(id) if !links.contains_key(id) => {
                        count.waiting_for.insert(id.clone());
                    }
                    _ => count.placed += 1,
                }
            }
            count
        };
        let route = |hop: &crate::config::route::Hop| {
            let on_link = |via: crate::config::net::Address| layout.on_link(via.get()).map(|(id, _)| id);
            hop.interface().cloned().or_else(|| hop.via().and_then(on_link).cloned())
        };
        let hops: Vec<Option<Id>> = config.routes().values().map(|noun| route(&noun.hop)).collect();
        let served = layout.zones().filter(|(id, zone)| zone.has_guests() && config.serves_dns_on(id));
        let managed = layout.zones().filter(|(_, zone)| zone.management && config.ssh().is_some());
        Self {
            routes: count(&mut hops.iter().map(Option::as_ref)),
            snat: count(&mut config.snat().values().map(|snat| Some(&snat.interface))),
            eips: count(&mut config.eips().values().map(|eip| Some(&eip.interface))),
            port_forwards: count(
                &mut config.port_forwards().values().map(|noun| layout.public_home(noun.address.get())),
            ),
            firewall: count(&mut config.firewall().rules.values().map(|rule| rule.interface.as_ref())),
            dns: count(&mut served.map(|(id, _)| Some(id))),
            ssh: count(&mut managed.map(|(id, _)| Some(id))),
        }
    }
}
