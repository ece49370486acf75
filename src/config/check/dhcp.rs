//! What DHCP networks say of interfaces and of each other, and hosts of their network.

use ipnet::Ipv4Net;

use super::Context;
use crate::config::dhcp::{Host, Network, NetworkSettings};
use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::interface::Role;
use crate::config::net::{is_host_of, overlap};

/// Reports networks that overlap.
pub(in crate::config) fn check_networks(
    networks: &Collection<Network>,
    subnet: impl Fn(&Id) -> Option<Ipv4Net>,
    faults: &mut Faults,
) {
    for (index, id) in networks.keys().enumerate() {
        let Some(net) = subnet(id) else { continue };
        for other_id in networks.keys().take(index) {
            if let Some(other) = subnet(other_id).filter(|other| overlap(*other, net)) {
                let at = Pointer::root().key("dhcp").key(id.as_str());
                faults.add(at, Rule::Overlap, format!("its network {net} overlaps {other} of `{other_id}`"));
            }
        }
    }
}

/// Reports what a network's settings say of its interface and its subnet.
pub(in crate::config) fn check_network(
    id: &Id,
    settings: &NetworkSettings,
    subnet: Option<Ipv4Net>,
    context: Context<'_>,
    faults: &mut Faults,
) {
    let at = Pointer::root().key("dhcp").key(id.as_str());
    context.interface(&settings.interface, Role::Guest, &at.key("interface"), faults);
    let zone = context.layout.zone(&settings.interface).filter(|_| {
        context.interfaces.get(&settings.interface).is_some_and(|interface| interface.is(Role::Guest))
    });
    let Some(zone) = zone else { return };
    let Some(subnet) = subnet else {
        let detail =
            format!("interface `{}` has no address, so `subnet` has to name the network", settings.interface);
        faults.add(at, Rule::MissingField, detail);
        return;
    };
    let on_link = zone.guests.contains(&subnet) || context.unread.any;
    if !on_link && !zone.behind.iter().any(|net| net.contains(&subnet)) {
        let detail =
            format!("{subnet} is no guest subnet of `{}` and no route leads there", settings.interface);
        let place = if settings.subnet.is_some() { at.key("subnet") } else { at.key("interface") };
        faults.add(place, Rule::Unreachable, detail);
    }
    for (index, range) in settings.ranges.iter().enumerate() {
        if !is_host_of(subnet, range.first()) || !is_host_of(subnet, range.last()) {
            let detail = format!("{range} is not within the stations of {subnet}");
            faults.add(at.key("ranges").index(index), Rule::OutsideSubnet, detail);
        }
    }
    if let Some(gateway) = settings.gateway.filter(|gateway| !is_host_of(subnet, gateway.get())) {
        faults.add(at.key("gateway"), Rule::OutsideSubnet, format!("{gateway} is not a station of {subnet}"));
    }
    for (index, route) in settings.static_routes.iter().enumerate() {
        if !is_host_of(subnet, route.via.get()) {
            let place = at.key("static_routes").index(index).key("via");
            faults.add(place, Rule::OutsideSubnet, format!("{} is not a station of {subnet}", route.via));
        }
    }
}

/// Reports a host whose address its network does not have, or that is the router's.
pub(in crate::config) fn check_host(
    network: &Id,
    id: &Id,
    host: &Host,
    subnet: Option<Ipv4Net>,
    context: Context<'_>,
    faults: &mut Faults,
) {
    let Some(subnet) = subnet else { return };
    let place = || Pointer::root().key("dhcp").key(network.as_str()).key("hosts").key(id.as_str()).key("ip");
    if !is_host_of(subnet, host.ip.get()) {
        faults.add(place(), Rule::OutsideSubnet, format!("{} is not a station of {subnet}", host.ip));
    } else if let Some((owner, _)) = context.layout.owner(host.ip.get()) {
        let detail = format!("{} is the router's own address on `{owner}`", host.ip);
        faults.add(place(), Rule::Conflict, detail);
    }
}
