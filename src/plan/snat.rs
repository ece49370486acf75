//! Source translation as facts: the chain behind routing, EIPs before networks, hairpin before both.

use super::facts::statement::{Direction, Statement, Verdict};
use super::facts::{Facts, Hook, HookPoint, Policy, Rule, Ruleset};
use super::lower::priority;
use super::sides::{guest_input, guest_output, is_guest_source};
use super::target::{Place, Target};
use super::{names, own};
use crate::config::net::{AddressMatch, AddressRange};

const TCP: u8 = 6;

/// Adds the chain, and the routes of public addresses that are not an interface's.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset, facts: &mut Facts) {
    // The reset that refuses a connection answers it before it has a source, and would be taken for the first packet.
    let answers = vec![Statement::Direction(Direction::Reply), Statement::Verdict(Verdict::Accept)];
    let mut rules = vec![Rule::new(answers)];
    rules.extend(hairpin(target));
    for place in target.public_places() {
        let device = Statement::OutputDevice(place.device());
        if place.zone.guests_by_address {
            // What stays among the guests keeps its source.
            for side in guest_output(place) {
                rules.push(Rule::new([side, vec![Statement::Verdict(Verdict::Return)]].concat()));
            }
        }
        rules.push(Rule::new(vec![device.clone(), Statement::SnatBySource(names::eip_sources(place.id))]));
        rules.extend(networks(target, place, &device));
    }
    ruleset.base(names::SNAT, Hook::Nat, HookPoint::Postrouting, priority::SRCNAT, Policy::Accept, rules);
    for address in target.config.snat().values().filter_map(|snat| snat.address) {
        own::state(target, address.get(), &mut facts.routes);
    }
}

/// A guest that reaches a guest of the same network by a public address would be answered directly, from an address that
/// it never asked: it gets the router's address, so that answers come back here.
fn hairpin(target: &Target) -> Vec<Rule> {
    let mut rules = Vec::new();
    for place in target.places() {
        for mut statements in guest_input(place) {
            statements.extend([
                Statement::OutputDevice(place.device()),
                Statement::Translated,
                Statement::Masquerade,
            ]);
            rules.push(Rule::of("hairpin", statements));
        }
    }
    rules
}

/// The networks that go out by an interface under a public address, the smallest first.
fn networks(target: &Target, place: Place<'_>, device: &Statement) -> Vec<Rule> {
    let mut entries: Vec<_> =
        target.config.snat().iter().filter(|(_, snat)| snat.interface == *place.id).collect();
    entries.sort_by_key(|(_, snat)| std::cmp::Reverse(snat.source.net().prefix_len()));
    let mut rules = Vec::new();
    for (id, snat) in entries {
        let address = snat.address.map(|address| address.get()).or_else(|| place.zone.public_address());
        let Some(address) = address else { continue };
        let mut side = vec![device.clone()];
        side.extend(is_guest_source(snat.source.net()));
        let rule = |more: &[Statement]| Rule::of(format!("snat {id}"), [&side, more].concat());
        // Connections that share an address begin with a SYN. One that a port forward led in and that was ended with it
        // would come back by the next segment of its server, which leaves by the address and port that its client knows.
        // Right after a start the connections of before it are taken up by whatever comes next, under the same ports.
        if !target.surroundings.just_started {
            rules.push(rule(&[Statement::TcpSyn, Statement::SnatTo(address)]));
            rules.push(rule(&[Statement::Protocol(TCP), Statement::Verdict(Verdict::Drop)]));
        }
        rules.push(rule(&[Statement::SnatTo(address)]));
    }
    rules
}

/// The guests that are meant where their public address is: those whose translated source is among `sources`.
pub(super) fn hairpin_sources(
    target: &Target,
    sources: &[AddressMatch],
) -> impl Iterator<Item = AddressRange> {
    let layout = target.config.layout();
    target.config.snat().values().filter_map(|snat| {
        let own = snat.address.map(|address| address.get());
        let address = own.or_else(|| layout.zone(&snat.interface)?.public_address())?;
        let meant = sources.iter().any(|source| source.range().contains(address));
        meant.then(|| snat.source.net().into())
    })
}
