//! Load balancers as facts: for those that the kernel serves a chain each, with its slots and its sources; for the others
//! an open port. And which connections of before may go on.
//!
//! Balancers may be many: what is stated here is carried over and takes only the differences of the configuration and of
//! the availability of backends. Called by `lower.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use imbl::ordset::DiffItem as SetDiffItem;

use super::availability::Availability;
use super::facts::statement::{DRAINING, LIVE, Statement, Verdict};
use super::facts::{
    Balanced, Elements, Key, Name, Pick, Route, RouteKey, Rule, Ruleset, Set, SetKind, Sticky, Sysctl,
    Target as Element,
};
use super::ranges::merged;
use super::slots::{Candidate, maglev, schedule};
use super::target::Target;
use super::{names, own, snat};
use crate::config::load_balancer::{Algorithm, DataPath, LoadBalancer, StickinessType};
use crate::config::net::AddressMatch;
use crate::config::pool::Backend;
use crate::config::port_forward::Transport;
use crate::config::{Config, Id};

/// What a source's address is hashed with; the same for ever, so that clients stay where they are.
const SEED: u32 = 118;
/// How long a source is remembered where the configuration does not say.
const REMEMBERED_SECONDS: u32 = 1800;
/// Whether the kernel counts the octets of connections, which it does for those that begin from then on.
const ACCOUNTING: Sysctl = Sysctl::Namespace("netfilter/nf_conntrack_acct");

/// Declares the maps that all balancers share.
pub(super) fn declare(ruleset: &mut Ruleset) {
    ruleset.declare(names::BALANCERS, SetKind::EndpointToChain);
    ruleset.declare(names::BALANCER_BACKENDS, SetKind::BalancedToMark);
    ruleset.declare(names::BALANCER_LISTENERS, SetKind::Endpoints);
    ruleset.declare(names::BALANCER_LISTENERS_LIMITED, SetKind::Endpoints);
    ruleset.declare(names::BALANCER_LISTENERS_ALLOWED, SetKind::SourcedEndpointRanges);
    ruleset.declare(names::BALANCER_LISTENERS_DENIED, SetKind::SourcedEndpointRanges);
}

/// What is stated of balancers.
pub(super) struct Stated<'a> {
    pub(super) ruleset: &'a mut Ruleset,
    pub(super) routes: &'a mut OrdMap<RouteKey, Route>,
    pub(super) sysctls: &'a mut BTreeMap<Sysctl, String>,
}

/// Takes what differs from one target to the next: whatever a balancer that changed touches is stated anew.
pub(super) fn update(before: &Config, available: &Availability, target: &Target, stated: Stated<'_>) {
    let Stated { ruleset, routes, sysctls } = stated;
    let after = &target.config;
    let mut touched: BTreeSet<&Id> = BTreeSet::new();
    let mut addresses: BTreeSet<Ipv4Addr> = BTreeSet::new();
    for item in before.load_balancers().diff(after.load_balancers()) {
        match item {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => {
                touched.insert(id);
            }
        }
    }
    for item in available.down.diff(&target.availability.down) {
        let (SetDiffItem::Add(name) | SetDiffItem::Remove(name)) = item;
        touched.insert(&name.balancer);
    }
    // Two balancers may trade places in one change: all that goes goes first.
    let mut keys: BTreeSet<Balanced> = BTreeSet::new();
    for id in &touched {
        let Some(balancer) = before.load_balancers().get(*id) else { continue };
        addresses.insert(balancer.address.get());
        for (set, key, _) in elements(id, balancer, available, target) {
            if let Key::Balanced(balanced) = key {
                keys.insert(balanced);
            }
            ruleset.state(set, key, None);
        }
        if after.load_balancers().get(*id).is_none_or(|balancer| balancer.path() == DataPath::Proxy) {
            remove(id, ruleset);
        }
    }
    for id in &touched {
        let Some(balancer) = after.load_balancers().get(*id) else { continue };
        addresses.insert(balancer.address.get());
        for (set, key, element) in elements(id, balancer, &target.availability, target) {
            ruleset.state(set, key, Some(element));
        }
        if balancer.path() == DataPath::Kernel {
            state(id, balancer, target, ruleset);
        }
    }
    for item in available.draining.diff(&target.availability.draining) {
        let (SetDiffItem::Add(balanced) | SetDiffItem::Remove(balanced)) = item;
        keys.insert(*balanced);
        addresses.insert(balanced.address);
    }
    for item in available.held.diff(&target.availability.held) {
        let (SetDiffItem::Add(address) | SetDiffItem::Remove(address)) = item;
        addresses.insert(*address);
    }
    for balanced in keys {
        drain(balanced, &target.availability, ruleset);
    }
    for address in addresses {
        own::state(target, address, routes);
    }
    let is_used = ruleset.sets.get(names::BALANCERS).is_some_and(|set| !set.elements.is_empty());
    if is_used {
        sysctls.insert(ACCOUNTING, "1".to_owned());
    } else {
        sysctls.remove(&ACCOUNTING);
    }
}

/// States whether a backend that takes no new connections keeps those that it has.
fn drain(balanced: Balanced, available: &Availability, ruleset: &mut Ruleset) {
    let key = Key::Balanced(balanced);
    let marked = ruleset.sets.get(names::BALANCER_BACKENDS).and_then(|set| set.elements.get(&key));
    if marked != Some(&Element::Mark(LIVE)) {
        let mark = available.draining.contains(&balanced).then_some(Element::Mark(DRAINING));
        ruleset.state(names::BALANCER_BACKENDS, key, mark);
    }
}

/// What a balancer puts into which of the sets that all share.
fn elements(
    id: &Id,
    balancer: &LoadBalancer,
    available: &Availability,
    target: &Target,
) -> Vec<(&'static str, Key, Element)> {
    let (address, port) = (balancer.address.get(), balancer.port);
    let protocol = protocol(balancer);
    let endpoint = Key::Endpoint(address, protocol, port);
    if balancer.path() == DataPath::Kernel {
        let chain = Element::Chain(names::balancer(id));
        let mut elements = vec![(names::BALANCERS, endpoint, chain)];
        let live = serving(balancer).filter(|(name, _)| available.is_up(id, name.pool, name.backend));
        elements.extend(live.map(|(_, backend)| {
            let key = Key::Balanced(balanced(balancer, backend));
            (names::BALANCER_BACKENDS, key, Element::Mark(LIVE))
        }));
        return elements;
    }
    let sourced = |set, sources: &[AddressMatch]| {
        let ranges = sources_of(target, sources).into_iter();
        let key = move |(first, last)| Key::SourcedEndpointRange(first, last, address, protocol, port, port);
        ranges.map(move |range| (set, key(range), Element::Member))
    };
    let mut elements: Vec<_> = sourced(names::BALANCER_LISTENERS_DENIED, &balancer.denied_sources).collect();
    match &balancer.allowed_sources {
        Some(sources) => {
            elements.push((names::BALANCER_LISTENERS_LIMITED, endpoint, Element::Member));
            elements.extend(sourced(names::BALANCER_LISTENERS_ALLOWED, sources));
        }
        None => elements.push((names::BALANCER_LISTENERS, endpoint, Element::Member)),
    }
    elements
}

/// A backend by the ids in its balancer.
#[derive(Clone, Copy)]
struct InBalancer<'a> {
    pool: &'a Id,
    backend: &'a Id,
}

/// The backends that a balancer of the kernel's means to have connections.
fn serving(balancer: &LoadBalancer) -> impl Iterator<Item = (InBalancer<'_>, &Backend)> {
    balancer.default_pool().into_iter().flat_map(|(pool, content)| {
        let enabled = content.backends.iter().filter(|(_, backend)| backend.enabled);
        enabled.map(move |(id, backend)| (InBalancer { pool, backend: id }, backend))
    })
}

fn balanced(balancer: &LoadBalancer, backend: &Backend) -> Balanced {
    Balanced {
        address: balancer.address.get(),
        protocol: protocol(balancer),
        port: balancer.port,
        backend: backend.address.get(),
        backend_port: backend.port,
    }
}

/// The transport's number in the IANA registry.
fn protocol(balancer: &LoadBalancer) -> u8 {
    match balancer.transport() {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

/// States the chain and the sets that a balancer of the kernel's has for itself.
fn state(id: &Id, balancer: &LoadBalancer, target: &Target, ruleset: &mut Ruleset) {
    let denied = sources_of(target, &balancer.denied_sources);
    let allowed = balancer.allowed_sources.as_ref().map(|sources| sources_of(target, sources));
    let slots = slots(id, balancer, &target.availability);
    let sticky = sticky(id, balancer, target);
    let drop = || Statement::Verdict(Verdict::Drop);
    let rule = |statements| Rule::of(format!("load balancer {id}"), statements);
    let mut rules = Vec::new();
    let denied = ranges(names::balancer_denied(id), (!denied.is_empty()).then_some(denied), ruleset);
    rules.extend(denied.map(|set| rule(vec![Statement::SourceIn(set), drop()])));
    let allowed = ranges(names::balancer_allowed(id), allowed, ruleset);
    rules.extend(allowed.map(|set| rule(vec![Statement::SourceNotIn(set), drop()])));
    let capabilities = target.surroundings.capabilities;
    if let Some(limit) = balancer.max_connections.filter(|_| capabilities.connection_limit) {
        // A client that is told nothing asks again.
        rules.push(rule(vec![Statement::ConnectionsOver(limit), drop()]));
    }
    let transport = || Statement::Protocol(protocol(balancer));
    let name = names::balancer_sticky(id);
    match &sticky {
        Some(sticky) => {
            if !ruleset.sets.contains_key(&name) {
                ruleset.declare(name, SetKind::StickyToEndpoint);
            }
            let known =
                Statement::DnatBySticky { sticky: sticky.clone(), backends: names::BALANCER_BACKENDS.into() };
            rules.push(rule(vec![transport(), known]));
        }
        None => {
            ruleset.sets.remove(&name);
        }
    }
    if let Ok(count @ 1..) = u32::try_from(slots.len())
        && capabilities.balancing
    {
        let pick = match balancer.algorithm {
            Algorithm::Source => Pick::Source(SEED),
            Algorithm::Random => Pick::Random,
            _ => Pick::Next,
        };
        let map = names::balancer_slots(id);
        let by_slot = |sticky| Statement::DnatBySlot { pick, slots: count, map: map.clone(), sticky };
        // Where nothing more can be remembered, the second rule goes on without.
        rules.extend(sticky.map(|sticky| rule(vec![transport(), by_slot(Some(sticky))])));
        rules.push(rule(vec![transport(), by_slot(None)]));
    }
    rules.push(rule(vec![drop()]));
    ruleset
        .sets
        .insert(names::balancer_slots(id), Arc::new(Set { kind: SetKind::SlotToEndpoint, elements: slots }));
    ruleset.chain(names::balancer(id), rules);
}

/// Removes what a balancer has for itself.
fn remove(id: &Id, ruleset: &mut Ruleset) {
    ruleset.chains.remove(&names::balancer(id));
    let own =
        [names::balancer_slots, names::balancer_sticky, names::balancer_allowed, names::balancer_denied];
    for name in own {
        ruleset.sets.remove(&name(id));
    }
}

/// States a set of address ranges, or that there is none; its name where there is.
fn ranges(name: Name, ranges: Option<Vec<(Ipv4Addr, Ipv4Addr)>>, ruleset: &mut Ruleset) -> Option<Name> {
    let Some(ranges) = ranges else {
        ruleset.sets.remove(&name);
        return None;
    };
    let element = |(first, last)| (Key::AddressRange(first, last), Element::Member);
    let elements: Elements = ranges.into_iter().map(element).collect();
    ruleset.sets.insert(name.clone(), Arc::new(Set { kind: SetKind::AddressRanges, elements }));
    Some(name)
}

/// The addresses of these sources, and of the guests that are among them by their public address.
fn sources_of(target: &Target, sources: &[AddressMatch]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let ranges = sources.iter().map(|source| source.range());
    merged(ranges.chain(snat::hairpin_sources(target, sources)))
}

/// Whose each slot is: backends that are up, and those that stand by only where no other is.
fn slots(id: &Id, balancer: &LoadBalancer, available: &Availability) -> Elements {
    let candidates = |backup: bool| -> Vec<Candidate> {
        serving(balancer)
            .filter(|(name, backend)| {
                backend.takes_part()
                    && backend.backup == backup
                    && available.is_up(id, name.pool, name.backend)
            })
            .map(|(_, backend)| Candidate {
                address: backend.address.get(),
                port: backend.port,
                weight: backend.weight.into(),
            })
            .collect()
    };
    let mut candidates_now = candidates(false);
    if candidates_now.is_empty() {
        candidates_now = candidates(true);
    }
    let owners = match balancer.algorithm {
        Algorithm::Source => maglev(&candidates_now),
        _ => schedule(&candidates_now),
    };
    let slots = (0_u32..).zip(owners);
    slots
        .filter_map(|(slot, owner)| {
            let Candidate { address, port, .. } = *candidates_now.get(owner)?;
            Some((Key::Slot(slot), Element::Endpoint(address, port)))
        })
        .collect()
}

/// Where a balancer remembers its sources, if it does.
fn sticky(id: &Id, balancer: &LoadBalancer, target: &Target) -> Option<Sticky> {
    let sticky = balancer.stickiness.as_ref().filter(|sticky| sticky.kind == StickinessType::Source)?;
    target.surroundings.capabilities.stickiness.then(|| Sticky {
        map: names::balancer_sticky(id),
        seconds: sticky.seconds.unwrap_or(REMEMBERED_SECONDS),
    })
}

impl Availability {
    /// What follows when a configuration takes the place of another: backends that lose their part drain, for as long as
    /// whoever publishes the next availability lets them, and addresses of listeners that go are kept. The same where
    /// nothing of that is so.
    #[must_use]
    pub fn following(self: &Arc<Self>, before: &Config, after: &Config) -> Arc<Self> {
        let mut next = Self::clone(self);
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for item in before.load_balancers().diff(after.load_balancers()) {
            match item {
                DiffItem::Add(_, new) => come.push(new),
                DiffItem::Remove(id, old) => gone.push((id, old, old.drain_seconds)),
                DiffItem::Update { old: (id, old), new: (_, new) } => {
                    gone.push((id, old, new.drain_seconds));
                    come.push(new);
                }
            }
        }
        for (id, old, _) in gone.into_iter().filter(|(.., drain_seconds)| *drain_seconds > 0) {
            next.release(id, old, after);
        }
        for balancer in come {
            next.claim(balancer);
        }
        if next == **self { self.clone() } else { Arc::new(next) }
    }

    /// Everything that a balancer had drains.
    fn release(&mut self, id: &Id, balancer: &LoadBalancer, after: &Config) {
        let address = balancer.address.get();
        if balancer.path() == DataPath::Proxy {
            if !after.serves_ports_on(address) {
                self.held.insert(address);
            }
            return;
        }
        for (name, backend) in serving(balancer) {
            if self.is_up(id, name.pool, name.backend) {
                self.draining.insert(balanced(balancer, backend));
            }
        }
    }

    /// What a balancer has does not drain.
    fn claim(&mut self, balancer: &LoadBalancer) {
        if balancer.path() == DataPath::Kernel {
            for (_, backend) in serving(balancer) {
                self.draining.remove(&balanced(balancer, backend));
            }
        }
    }
}
