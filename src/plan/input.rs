//! What reaches the router itself: guests DHCP, DNS and ping; management the API and SSH; the public side what is opened.

use std::collections::BTreeSet;

use super::facts::statement::{ConntrackState, Statement, Verdict};
use super::facts::{Hook, HookPoint, Name, Policy, Rule, Ruleset};
use super::lower::priority;
use super::names;
use super::sides::guest_input;
use super::target::{Place, Target};

const TCP: u8 = 6;
const UDP: u8 = 17;
const PORT_DNS: u16 = 53;
/// Where DHCP servers listen (RFC 2131 section 4.1).
const PORT_DHCP_SERVER: u16 = 67;
const ICMP_ECHO: u8 = 8;

/// Adds the chains.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset) {
    let mut rules = vec![
        Rule::new(vec![Statement::InputDevice("lo".into()), accept()]),
        Rule::new(vec![Statement::Ipv6, drop()]),
        Rule::new(vec![
            Statement::ConntrackState(ConntrackState::ESTABLISHED.or(ConntrackState::RELATED)),
            accept(),
        ]),
        Rule::new(vec![Statement::ConntrackState(ConntrackState::INVALID), drop()]),
    ];
    for place in target.places() {
        rules.extend(guest(target, place));
    }
    rules.extend(balanced(target));
    for place in target.places().filter(|place| place.zone.management) {
        rules.extend(management(target, place));
    }
    for place in target.public_places() {
        rules.push(Rule::new(vec![
            Statement::InputDevice(place.device()),
            Statement::IcmpType(ICMP_ECHO),
            Statement::Verdict(Verdict::Goto(names::ingress(place.id))),
        ]));
    }
    balanced_chains(ruleset);
    ruleset.base(names::INPUT, Hook::Filter, HookPoint::Input, priority::FILTER, Policy::Drop, rules);
    let no_ipv6 = Rule::new(vec![Statement::NotLoopbackOutput, Statement::Ipv6, drop()]);
    ruleset.base(
        names::OUTPUT,
        Hook::Filter,
        HookPoint::Output,
        priority::FILTER,
        Policy::Accept,
        vec![no_ipv6],
    );
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn drop() -> Statement {
    Statement::Verdict(Verdict::Drop)
}

/// The ports of balancers that the router itself serves, for guests and the public side. Guests who reach the router alone
/// do not reach others through it.
fn balanced(target: &Target) -> Vec<Rule> {
    let jump = || Statement::Verdict(Verdict::Jump(names::BALANCED_INPUT.into()));
    let guests = target.places().filter(|place| !place.zone.public && !place.zone.isolated);
    let guests = guests.flat_map(guest_input);
    let public = target.public_places().map(|place| vec![Statement::InputDevice(place.device())]);
    guests.chain(public).map(|side| Rule::new([side, vec![jump()]].concat())).collect()
}

/// Adds the chains that let in what is for a balancer.
fn balanced_chains(ruleset: &mut Ruleset) {
    let (endpoint, sourced) = (Statement::DestinationEndpointIn, Statement::SourcedDestinationEndpointIn);
    let limited = Statement::Verdict(Verdict::Goto(names::BALANCED_INPUT_LIMITED.into()));
    let rules = vec![
        Rule::new(vec![sourced(names::BALANCER_LISTENERS_DENIED.into()), drop()]),
        Rule::new(vec![endpoint(names::BALANCER_LISTENERS_LIMITED.into()), limited]),
        Rule::new(vec![endpoint(names::BALANCER_LISTENERS.into()), accept()]),
    ];
    ruleset.chain(names::BALANCED_INPUT, rules);
    let rules = vec![
        Rule::new(vec![sourced(names::BALANCER_LISTENERS_ALLOWED.into()), accept()]),
        Rule::new(vec![drop()]),
    ];
    ruleset.chain(names::BALANCED_INPUT_LIMITED, rules);
}

/// What guests may ask of the router.
fn guest(target: &Target, place: Place<'_>) -> Vec<Rule> {
    let device = || Statement::InputDevice(place.device());
    let mut rules = Vec::new();
    if target.config.dhcp().values().any(|network| network.settings.interface == *place.id) {
        // A client without an address, and a relay from wherever it stands.
        let port = Statement::DestinationPort(PORT_DHCP_SERVER);
        rules.push(Rule::new(vec![device(), Statement::Protocol(UDP), port, accept()]));
    }
    for side in guest_input(place) {
        rules.push(Rule::new([side, vec![Statement::IcmpType(ICMP_ECHO), accept()]].concat()));
    }
    if target.config.serves_dns_on(place.id) {
        for net in place.zone.guest_side() {
            for protocol in [UDP, TCP] {
                rules.push(Rule::new(vec![
                    device(),
                    Statement::SourceNet(net),
                    Statement::Protocol(protocol),
                    Statement::DestinationPort(PORT_DNS),
                    accept(),
                ]));
            }
        }
    }
    rules
}

/// The API, SSH where it is on, and ping. Guests on the same device do not reach them, unless every subnet of it is theirs.
fn management(target: &Target, place: Place<'_>) -> Vec<Rule> {
    let device: Name = place.device();
    let guests = &place.zone.guests;
    let others = place.zone.addresses.iter().any(|own| !guests.contains(&own.subnet()));
    let mut rules = Vec::new();
    if others {
        for side in guest_input(place) {
            rules.push(Rule::new([side, vec![drop()]].concat()));
        }
    }
    let ssh = target.config.ssh().map(|ssh| ssh.port);
    let ports: BTreeSet<u16> = target.surroundings.management_ports.iter().copied().chain(ssh).collect();
    for asked in asked(place) {
        let side = [vec![Statement::InputDevice(device.clone())], asked].concat();
        rules.push(Rule::new([side.clone(), vec![Statement::IcmpType(ICMP_ECHO), accept()]].concat()));
        for port in &ports {
            let served = vec![Statement::Protocol(TCP), Statement::DestinationPort(*port), accept()];
            rules.push(Rule::new([side.clone(), served].concat()));
        }
    }
    rules
}

/// What to ask so that a packet is for the management: any of these. The public side of a device that is both reaches
/// the public address alone, unless management has no address of its own.
fn asked(place: Place<'_>) -> Vec<Vec<Statement>> {
    if !place.zone.has_management_apart() {
        return vec![Vec::new()];
    }
    let own = place.zone.management_addresses().map(|own| own.address());
    own.map(|own| vec![Statement::DestinationNet(own.into())]).collect()
}
