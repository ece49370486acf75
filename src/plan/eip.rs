//! EIPs as facts: one element in each of a few maps, and a route that makes the address the router's own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::facts::{Key, Route, RouteKey, Ruleset, SetKind, Target as Element};
use super::target::Target;
use super::{mark, names, own};
use crate::config::eip::{Eip, OnRemove};
use crate::config::{Config, Id};

/// Declares the maps.
pub(super) fn declare(target: &Target, ruleset: &mut Ruleset) {
    ruleset.declare(names::EIPS, SetKind::AddressToAddress);
    ruleset.declare(names::EIP_INGRESS, SetKind::AddressToChain);
    for id in target.config.layout().public() {
        ruleset.declare(names::eip_sources(id), SetKind::AddressToAddress);
    }
}

/// Takes what differs from one configuration to the next: whatever an EIP that changed touches is stated anew.
pub(super) fn update(
    before: &Config,
    target: &Target,
    ruleset: &mut Ruleset,
    routes: &mut OrdMap<RouteKey, Route>,
) {
    let mut touched = Touched::default();
    for item in before.eips().diff(target.config.eips()) {
        match item {
            DiffItem::Add(_, eip) | DiffItem::Remove(_, eip) => touched.add(eip),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                touched.add(old);
                touched.add(new);
            }
        }
    }
    for address in touched.addresses {
        state_address(target, address, ruleset);
        own::state(target, address, routes);
    }
    for (target_address, interface) in touched.targets {
        state_source(target, target_address, &interface, ruleset);
        state_steering(target, target_address, ruleset);
    }
}

#[derive(Default)]
struct Touched {
    addresses: BTreeSet<Ipv4Addr>,
    targets: BTreeSet<(Ipv4Addr, Id)>,
}

impl Touched {
    fn add(&mut self, eip: &Eip) {
        self.addresses.insert(eip.address.get());
        self.targets.insert((eip.target.get(), eip.interface.clone()));
    }
}

/// What comes in for a public address: where it goes, and who judges it.
fn state_address(target: &Target, address: Ipv4Addr, ruleset: &mut Ruleset) {
    let eip = target.config.eip_by_address(address);
    let destination =
        eip.map(|eip| Element::Address { address: eip.target.get(), keep: eip.on_remove == OnRemove::Keep });
    ruleset.state(names::EIPS, Key::Address(address), destination);
    let judge = eip.map(|eip| Element::Chain(names::ingress(&eip.interface)));
    ruleset.state(names::EIP_INGRESS, Key::Address(address), judge);
}

/// What a guest is known by when it goes out by a public interface.
fn state_source(target: &Target, guest: Ipv4Addr, interface: &Id, ruleset: &mut Ruleset) {
    let eip = target.config.eip_by_target(guest, interface);
    let source = eip.map(|eip| Element::address(eip.address.get()));
    ruleset.state(names::eip_sources(interface).as_str(), Key::Address(guest), source);
}

/// Whether a guest goes out by another way than the main one: its EIP is there, and none is on the main one.
fn state_steering(target: &Target, guest: Ipv4Addr, ruleset: &mut Ruleset) {
    if !target.has_several_public() {
        return;
    }
    let place = target
        .public_places()
        .find(|place| target.config.eip_by_target(guest, place.id).is_some())
        .filter(|place| Some(place.id) != target.config.layout().public().first());
    ruleset.state(
        names::STEERED,
        Key::Address(guest),
        place.map(|place| Element::Mark(mark::steered(place))),
    );
}

impl Ruleset {
    /// States what a key leads to in a set that is declared; nothing removes it.
    pub(super) fn state(&mut self, set: &str, key: Key, element: Option<Element>) {
        let Some(set) = self.set_mut(set) else { return };
        match element {
            Some(element) => set.elements.insert(key, element),
            None => set.elements.remove(&key),
        };
    }
}
