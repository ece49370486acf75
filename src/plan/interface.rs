//! Interfaces as facts: links, addresses, default routes, a table for each way out, and what `/proc/sys` has to say.

use ipnet::Ipv4Net;

use super::facts::route::{Selector, TABLE_MAIN};
use super::facts::{Facts, LinkSettings, PolicyRule, Route, RouteKey, Sysctl};
use super::target::{Place, Target};
use super::{mark, vlan};
use crate::config::Id;

/// Replies to what came in by a public interface.
const PRIORITY_REPLIES: u32 = 11_810;
/// Everything that the main table knows better than by its default route.
const PRIORITY_KNOWN: u32 = 11_820;
/// Guests whose way out is not the main one.
const PRIORITY_STEERED: u32 = 11_830;
/// What the router itself sends from an address of an interface.
const PRIORITY_OWN: u32 = 11_840;
/// Added to a device's index, this is its table.
const TABLE_BASE: u32 = 118_000;
/// How many neighbours the kernel remembers before it is eager to forget some; a guest network may be a /16.
const NEIGHBOURS: [(&str, &str); 3] = [
    ("ipv4/neigh/default/gc_thresh1", "8192"),
    ("ipv4/neigh/default/gc_thresh2", "32768"),
    ("ipv4/neigh/default/gc_thresh3", "65536"),
];

/// Adds links, addresses, default routes, tables, policy rules and sysctls.
pub(super) fn lower(target: &Target, facts: &mut Facts) {
    namespace_sysctls(target, facts);
    let main = main_gateway(target);
    let several = target.has_several_public();
    let mut has_tables = false;
    for place in target.places() {
        let Some(interface) = target.config.interfaces().get(place.id) else { continue };
        let device = &place.link.device;
        facts.links.insert(device.clone(), LinkSettings { mtu: interface.mtu });
        facts.addresses.extend(interface.addresses.iter().map(|own| (device.clone(), own.net())));
        device_sysctls(place, main.as_ref() == Some(place.id) || !several, facts);
        let gateway = interface.gateway.map(|gateway| Route::Via(gateway.get(), device.clone()));
        let is_main = main.as_ref() == Some(place.id);
        if let Some(gateway) = gateway.clone().filter(|_| is_main) {
            facts.routes.insert(default_route(TABLE_MAIN), gateway);
        }
        if (place.zone.public && several) || (gateway.is_some() && !is_main) {
            has_tables = true;
            own_table(place, gateway, facts);
            if place.zone.public && several {
                marked_rules(place, facts);
            }
        }
    }
    vlan::lower(target, facts);
    if has_tables {
        let selector = Selector::AllButDefault;
        facts.rules.insert(PolicyRule { priority: PRIORITY_KNOWN, selector, table: TABLE_MAIN });
    }
}

/// The interface whose gateway makes the default route: the first public one that has one, else the first of all.
fn main_gateway(target: &Target) -> Option<Id> {
    let interfaces = target.config.interfaces();
    let has_gateway = |id: &&Id| interfaces.get(*id).is_some_and(|interface| interface.gateway.is_some());
    let public = target.config.layout().public().iter().find(has_gateway);
    let main = public.or_else(|| {
        let with_gateway = interfaces.iter().filter(|(id, _)| has_gateway(id));
        with_gateway.min_by_key(|(_, interface)| interface.gateway_priority()).map(|(id, _)| id)
    });
    main.cloned()
}

fn default_route(table: u32) -> RouteKey {
    RouteKey { table, destination: Ipv4Net::default(), metric: 0 }
}

/// A table with nothing but one interface in it, for what has to leave there.
fn own_table(place: Place<'_>, gateway: Option<Route>, facts: &mut Facts) {
    let device = &place.link.device;
    let table = TABLE_BASE + device.index;
    if let Some(gateway) = gateway {
        facts.routes.insert(default_route(table), gateway);
    }
    for own in &place.zone.addresses {
        if !place.zone.guests.contains(&own.subnet()) || place.zone.outside == Some(own.subnet()) {
            let key = RouteKey { table, destination: own.subnet(), metric: 0 };
            facts.routes.insert(key, Route::OnLink(device.clone(), Some(own.address())));
            let selector = Selector::From(own.address().into());
            facts.rules.insert(PolicyRule { priority: PRIORITY_OWN, selector, table });
        }
    }
}

fn marked_rules(place: Place<'_>, facts: &mut Facts) {
    let table = TABLE_BASE + place.link.device.index;
    let marks = [(PRIORITY_REPLIES, mark::came_in(place)), (PRIORITY_STEERED, mark::steered(place))];
    for (priority, value) in marks {
        let selector = Selector::Mark { value, mask: mark::MASK };
        facts.rules.insert(PolicyRule { priority, selector, table });
    }
}

fn namespace_sysctls(target: &Target, facts: &mut Facts) {
    let values = [
        ("ipv4/ip_forward", "1"),
        // The strictest of `all` and the device's own counts, so `all` stays out of the way.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/all/arp_ignore", "0"),
        // A guest that hairpins must not be told to go directly.
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/all/accept_source_route", "0"),
        // The second address of a subnet outlives the first.
        ("ipv4/conf/all/promote_secondaries", "1"),
    ];
    for (path, value) in values.into_iter().chain(NEIGHBOURS) {
        facts.sysctls.insert(Sysctl::Namespace(path), value.to_owned());
    }
    if target.surroundings.capabilities.conntrack_size {
        let value = target.surroundings.conntrack_max.to_string();
        facts.sysctls.insert(Sysctl::Namespace("netfilter/nf_conntrack_max"), value);
    }
}

fn device_sysctls(place: Place<'_>, main: bool, facts: &mut Facts) {
    let guests_alone = place.zone.has_guests() && !place.zone.guests_by_address;
    // A guest may only use addresses that lead back to it; what comes from outside may come by any way.
    let rp_filter = if guests_alone { "1" } else { "2" };
    // Addresses are answered for where their users are, not on every device. A second way out may have public
    // addresses of subnets that are not its own, whose askers the routes do not know: there it answers for all.
    let arp_filter = if place.zone.public && !main { "0" } else { "1" };
    let values = [
        ("rp_filter", rp_filter),
        ("arp_filter", arp_filter),
        // Routes make public addresses the router's own, and those count only where every local address does.
        ("arp_ignore", "0"),
        // Ask for neighbours from an address of their subnet, never from a translated one.
        ("arp_announce", "2"),
        ("send_redirects", "0"),
        ("accept_redirects", "0"),
        ("accept_source_route", "0"),
    ];
    for (name, value) in values {
        facts.sysctls.insert(Sysctl::Device(place.link.device.clone(), name), value.to_owned());
    }
}
