//! Port forwards as facts: elements of maps, and a route where the address is not an interface's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::facts::{Hook, HookPoint, Key, Policy, Route, RouteKey, Ruleset, SetKind, Target as Element};
use super::lower::{destinations, priority};
use super::ranges::merged;
use super::target::Target;
use super::{names, own, snat};
use crate::config::Config;
use crate::config::port_forward::{PortForward, Transport};

/// Declares the maps and the chains that look them up.
pub(super) fn declare(ruleset: &mut Ruleset) {
    ruleset.declare(names::FORWARDS, SetKind::EndpointToEndpoint);
    ruleset.declare(names::FORWARD_RANGES, SetKind::EndpointRangeToAddress);
    ruleset.declare(names::FORWARDS_LIMITED, SetKind::EndpointRanges);
    ruleset.declare(names::FORWARDS_ALLOWED, SetKind::SourcedEndpointRanges);
    for (name, rules) in destinations() {
        if name.as_str() == names::DNAT {
            let (point, policy) = (HookPoint::Prerouting, Policy::Accept);
            ruleset.base(names::DNAT, Hook::Nat, point, priority::DSTNAT, policy, rules);
        } else {
            ruleset.chain(name, rules);
        }
    }
}

/// Takes what differs from one configuration to the next.
pub(super) fn update(
    before: &Config,
    target: &Target,
    ruleset: &mut Ruleset,
    routes: &mut OrdMap<RouteKey, Route>,
) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for item in before.port_forwards().diff(target.config.port_forwards()) {
        match item {
            DiffItem::Add(_, forward) => come.push(forward),
            DiffItem::Remove(_, forward) => gone.push(forward),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                gone.push(old);
                come.push(new);
            }
        }
    }
    let mut touched: BTreeSet<Ipv4Addr> = BTreeSet::new();
    // Two forwards may trade ports in one change: all that goes goes first.
    for forward in gone {
        touched.insert(forward.address.get());
        for (set, key, _) in elements(target, forward) {
            ruleset.state(set, key, None);
        }
    }
    for forward in come {
        touched.insert(forward.address.get());
        for (set, key, element) in elements(target, forward) {
            ruleset.state(set, key, Some(element));
        }
    }
    for address in touched {
        own::state(target, address, routes);
    }
}

/// What a port forward puts into which set.
fn elements(target: &Target, forward: &PortForward) -> Vec<(&'static str, Key, Element)> {
    let (address, guest) = (forward.address.get(), forward.target.get());
    let protocol = protocol(forward.protocol);
    let ports = forward.ports.public();
    let mut elements = Vec::new();
    if forward.ports.is_identity() && ports.count() > 1 {
        let key = Key::EndpointRange(address, protocol, ports.first(), ports.last());
        elements.push((names::FORWARD_RANGES, key, Element::address(guest)));
    } else {
        for (public, private) in forward.ports.pairs() {
            let key = Key::Endpoint(address, protocol, public);
            elements.push((names::FORWARDS, key, Element::Endpoint(guest, private)));
        }
    }
    if let Some(sources) = &forward.allowed_sources {
        let key = Key::EndpointRange(address, protocol, ports.first(), ports.last());
        elements.push((names::FORWARDS_LIMITED, key, Element::Member));
        let ranges = sources.iter().map(|source| source.range());
        for (first, last) in merged(ranges.chain(snat::hairpin_sources(target, sources))) {
            let key = Key::SourcedEndpointRange(first, last, address, protocol, ports.first(), ports.last());
            elements.push((names::FORWARDS_ALLOWED, key, Element::Member));
        }
    }
    elements
}

/// The transport's number in the IANA registry.
const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}
