//! What should be less what is: the steps between two states, both ways, in the order that never leaves a gap.
//!
//! What comes is added before what goes is removed, and connections are flushed once nothing can make them anew. A table
//! that comes is there before anything that it guards, and one that goes is there until nothing is left to be guarded:
//! a router that is just starting answers nobody whom its rules would not let in. Only devices that the router makes are
//! there before it, down and without an address, because the table names them. Called by the loop for boot, change,
//! rollback and drift alike.

use std::net::Ipv4Addr;

use imbl::ordmap::DiffItem;

use super::diff_table::{diff_table, lost_mappings};
use super::facts::route::TABLE_LOCAL;
use super::facts::{ConntrackMatch, Device, Facts, Link, Observed, Route, RouteKey};
use super::step::{Plan, Step};

/// The steps from `observed` to `desired`.
#[must_use]
pub fn diff(desired: &Facts, observed: &Observed) -> Plan {
    let mut steps: Vec<Step> = desired
        .vlans
        .iter()
        .filter(|(device, _)| !observed.links.contains_key(&device.index))
        .map(|(device, vlan)| Step::AddVlan(device.clone(), vlan.clone()))
        .collect();
    let changes = diff_table(desired.ruleset.as_ref(), observed.table.as_ref());
    let mut table = (!changes.is_empty()).then_some(Step::ChangeTable(changes));
    if observed.table.is_none() {
        steps.extend(table.take());
    }
    // A value that is not there is one that this kernel, or this network namespace, does not have.
    for (sysctl, value) in &desired.sysctls {
        if observed.sysctls.get(sysctl).is_some_and(|seen| seen != value) {
            steps.push(Step::SetSysctl(sysctl.clone(), value.clone()));
        }
    }
    for (device, settings) in &desired.links {
        let comes = desired.vlans.contains_key(device);
        if observed.links.get(&device.index).map_or(comes, |link| !settings.fits(link)) {
            steps.push(Step::SetLink(device.clone(), *settings));
        }
    }
    let mut news = Vec::new();
    for (device, address) in desired.addresses.difference(&observed.addresses) {
        steps.push(Step::AddAddress(device.clone(), *address));
        news.push((device.clone(), address.addr()));
    }
    let routes = RouteChanges::between(desired, observed);
    news.extend(routes.come.iter().filter_map(own_address));
    if !routes.come.is_empty() {
        steps.push(Step::AddRoutes(routes.come));
    }
    steps.extend(desired.rules.difference(&observed.rules).copied().map(Step::AddRule));
    let mut lost = lost_mappings(desired.ruleset.as_ref(), observed.table.as_ref());
    if desired.ruleset.is_some() {
        steps.extend(table.take());
    }
    steps.extend(observed.rules.difference(&desired.rules).copied().map(Step::RemoveRule));
    for (_, address) in routes.gone.iter().filter_map(own_address) {
        if !lost.mentions(address) {
            lost.flush.push(ConntrackMatch::Source(address));
        }
    }
    if !routes.gone.is_empty() {
        steps.push(Step::RemoveRoutes(routes.gone));
    }
    for (device, address) in observed.addresses.difference(&desired.addresses) {
        steps.push(Step::RemoveAddress(device.clone(), *address));
    }
    steps.extend(table);
    let leftover = |link: &&Link| link.vlan.as_ref().is_some_and(|vlan| vlan.ours);
    for link in observed.links.values().filter(leftover) {
        if !desired.vlans.contains_key(&link.device) {
            steps.push(Step::RemoveLink(link.device.clone()));
        }
    }
    if !lost.flush.is_empty() {
        steps.push(Step::FlushConntrack(lost.flush));
    }
    if !news.is_empty() {
        steps.push(Step::Announce(news));
    }
    Plan { steps }
}

/// Routes that come or change, and routes that go.
struct RouteChanges {
    come: Vec<(RouteKey, Route)>,
    gone: Vec<(RouteKey, Route)>,
}

impl RouteChanges {
    fn between(desired: &Facts, observed: &Observed) -> Self {
        let mut changes = Self { come: Vec::new(), gone: Vec::new() };
        for item in observed.routes.diff(&desired.routes) {
            match item {
                DiffItem::Add(key, route) | DiffItem::Update { new: (key, route), .. } => {
                    changes.come.push((*key, route.clone()));
                }
                DiffItem::Remove(key, route) => changes.gone.push((*key, route.clone())),
            }
        }
        changes
    }
}

/// The address that a route makes the router's own, with the device whose neighbours have to know.
fn own_address((key, route): &(RouteKey, Route)) -> Option<(Device, Ipv4Addr)> {
    match route {
        Route::Local(device) if key.table == TABLE_LOCAL => Some((device.clone(), key.destination.addr())),
        _ => None,
    }
}
