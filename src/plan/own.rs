//! Public addresses that are the router's own without being an interface's: a local route each.
//!
//! A local route makes the kernel answer ARP for the address and take its packets. It costs the same whether there are
//! ten or ten thousand; an address on the device would cost more with each one that is there.

use std::net::Ipv4Addr;

use imbl::OrdMap;

use super::facts::{Route, RouteKey};
use super::target::Target;
use crate::config::Id;
use crate::config::layout::Zone;

/// States the route of an address anew: there if an EIP, a source translation, a port forward or a balancer claims
/// it, and its device is there; else absent.
pub(super) fn state(target: &Target, address: Ipv4Addr, routes: &mut OrdMap<RouteKey, Route>) {
    let key = RouteKey::own(address);
    match home(target, address).and_then(|id| target.surroundings.links.get(id)) {
        Some(link) => routes.insert(key, Route::Local(link.device.clone())),
        None => routes.remove(&key),
    };
}

/// The interface that an address is claimed on, unless it is an interface's own.
fn home(target: &Target, address: Ipv4Addr) -> Option<&Id> {
    let config = &target.config;
    if config.layout().owner(address).is_some() {
        return None;
    }
    if let Some(eip) = config.eip_by_address(address) {
        return Some(&eip.interface);
    }
    let translated = config.snat().values().find(|snat| snat.address.is_some_and(|own| own.get() == address));
    if let Some(snat) = translated {
        return Some(&snat.interface);
    }
    if !config.serves_ports_on(address) && !target.availability.keeps(address) {
        return None;
    }
    // A balancer may be on a free address of a guest network.
    let guests = |(_, zone): &(&Id, &Zone)| zone.guests.iter().any(|net| net.contains(&address));
    let among_guests = config.layout().guest(address).filter(guests).map(|(id, _)| id);
    among_guests.or_else(|| config.layout().public_home(address))
}
