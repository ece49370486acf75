//! The firewall's rules as facts: a chain for each direction, and one of ingress for each public interface.
//!
//! A rule that asks for several addresses or ports looks them up in a set of its own.

use std::sync::Arc;

use ipnet::Ipv4Net;

use super::facts::statement::{Statement, Verdict};
use super::facts::{Elements, Facts, Key, LOG_GROUP, Name, Rule, Ruleset, Set, SetKind, Target as Element};
use super::ranges::{merged, merged_ports};
use super::target::{Place, Target};
use super::{names, snat};
use crate::config::Id;
use crate::config::firewall::{Action, Direction, FirewallRule, Service};
use crate::config::net::{AddressMatch, AddressRange};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// How many lines a second one rule may write to the journal, and how many at once.
const LOG_RATE: Statement = Statement::Limit { per_second: 10, burst: 50 };

/// States the chains and sets of the firewall anew.
pub(super) fn replace(target: &Target, facts: &mut Facts) {
    let Some(ruleset) = &mut facts.ruleset else { return };
    let stale: Vec<Name> = rule_sets(ruleset).collect();
    for name in stale {
        ruleset.sets.remove(&name);
    }
    let defaults = target.config.firewall().defaults;
    let chain = |ruleset: &mut Ruleset, direction, place, default| {
        let mut rules = Vec::new();
        for (id, rule) in target.config.firewall().in_order() {
            if rule.direction == direction {
                rules.extend(judge(target, id, rule, place, ruleset));
            }
        }
        rules.extend(verdict(&[Statement::Counter], default, Protocols::Every, "default"));
        rules
    };
    let egress = chain(ruleset, Direction::Egress, None, defaults.egress);
    ruleset.chain(names::EGRESS, egress);
    let between = chain(ruleset, Direction::BetweenGuests, None, defaults.between_guests);
    ruleset.chain(names::BETWEEN_GUESTS, between);
    for id in target.config.layout().public() {
        let rules = chain(ruleset, Direction::Ingress, Some(id), defaults.ingress);
        ruleset.chain(names::ingress(id), rules);
    }
}

/// The sets of firewall rules that are there.
fn rule_sets(ruleset: &Ruleset) -> impl Iterator<Item = Name> {
    let first = Name::from(names::RULE_SETS);
    let sets = ruleset.sets.range(first..).map(|(name, _)| name);
    sets.take_while(|name| name.as_str().starts_with(names::RULE_SETS)).cloned()
}

/// What a rule judges, as kernel rules. In an ingress chain, `public` is the interface that the chain is of.
fn judge(
    target: &Target,
    id: &Id,
    rule: &FirewallRule,
    public: Option<&Id>,
    ruleset: &mut Ruleset,
) -> Vec<Rule> {
    let mut matches = Vec::new();
    match (&rule.interface, public) {
        (None, _) => {}
        (Some(interface), Some(public)) if interface == public => {}
        (Some(_), Some(_)) => return Vec::new(),
        (Some(interface), None) => match target.places().find(|place| place.id == interface) {
            Some(place) => matches.push(from(place)),
            None => return Vec::new(),
        },
    }
    let protocols = service(id, &rule.service, &mut matches, ruleset);
    if let Some(sources) = &rule.sources {
        // A guest that comes back by a public address is meant where that address is.
        let hairpin: Vec<_> = match rule.direction {
            Direction::Ingress => snat::hairpin_sources(target, sources).collect(),
            Direction::Egress | Direction::BetweenGuests => Vec::new(),
        };
        let name = names::rule_set(id, "sources");
        matches.extend(addresses(name, sources, &hairpin, Side::Source, ruleset));
    }
    if let Some(destinations) = &rule.destinations {
        let name = names::rule_set(id, "destinations");
        matches.extend(addresses(name, destinations, &[], Side::Destination, ruleset));
    }
    if let Some(address) = rule.address {
        matches.push(Statement::OriginalDestination(address.get()));
    }
    let comment = format!("rule {id}");
    let mut rules = Vec::new();
    if rule.log && target.surroundings.capabilities.log_group {
        let prefix = format!("{} {} {id}", action(rule.action), direction(rule.direction));
        let log = [LOG_RATE, Statement::Log { group: LOG_GROUP, prefix }];
        rules.push(Rule::of(&*comment, [matches.clone(), log.to_vec()].concat()));
    }
    matches.push(Statement::Counter);
    rules.extend(verdict(&matches, rule.action, protocols, &comment));
    rules
}

fn from(place: Place<'_>) -> Statement {
    Statement::InputDevice(place.device())
}

/// Which protocols a rule's packets can have, as far as a rejection has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocols {
    Every,
    Tcp,
    NotTcp,
}

fn service(id: &Id, service: &Service, matches: &mut Vec<Statement>, ruleset: &mut Ruleset) -> Protocols {
    let (protocol, ports) = match service {
        Service::All => return Protocols::Every,
        Service::Icmp(None) => {
            matches.push(Statement::Protocol(1));
            return Protocols::NotTcp;
        }
        Service::Icmp(Some(icmp)) => {
            matches.push(Statement::IcmpType(icmp.number));
            matches.extend(icmp.code.map(Statement::IcmpCode));
            return Protocols::NotTcp;
        }
        Service::Other(number) => {
            matches.push(Statement::Protocol(*number));
            return Protocols::NotTcp;
        }
        Service::Tcp(ports) => (TCP, ports),
        Service::Udp(ports) => (UDP, ports),
    };
    matches.push(Statement::Protocol(protocol));
    match merged_ports(ports.as_deref().unwrap_or_default()).as_slice() {
        [] => {}
        [(first, last)] if first == last => matches.push(Statement::DestinationPort(*first)),
        ranges => {
            let name = names::rule_set(id, "ports");
            let elements =
                ranges.iter().map(|(first, last)| (Key::PortRange(*first, *last), Element::Member));
            add(ruleset, name.clone(), SetKind::PortRanges, elements.collect());
            matches.push(Statement::DestinationPortIn(name));
        }
    }
    if protocol == TCP { Protocols::Tcp } else { Protocols::NotTcp }
}

/// Which address of a packet a rule asks for.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Side {
    const fn net(self, net: Ipv4Net) -> Statement {
        match self {
            Self::Source => Statement::SourceNet(net),
            Self::Destination => Statement::DestinationNet(net),
        }
    }

    const fn set(self, name: Name) -> Statement {
        match self {
            Self::Source => Statement::SourceIn(name),
            Self::Destination => Statement::DestinationIn(name),
        }
    }
}

/// What to ask so that an address is one of these; nothing where every address is.
fn addresses(
    name: Name,
    wanted: &[AddressMatch],
    also: &[AddressRange],
    side: Side,
    ruleset: &mut Ruleset,
) -> Option<Statement> {
    if let ([AddressMatch::Prefix(prefix)], []) = (wanted, also) {
        return (prefix.net().prefix_len() > 0).then(|| side.net(prefix.net()));
    }
    let ranges = merged(wanted.iter().map(|one| one.range()).chain(also.iter().copied()));
    if let [(first, last)] = ranges.as_slice()
        && first.is_unspecified()
        && last.is_broadcast()
    {
        return None;
    }
    let elements = ranges.into_iter().map(|(first, last)| (Key::AddressRange(first, last), Element::Member));
    add(ruleset, name.clone(), SetKind::AddressRanges, elements.collect());
    Some(side.set(name))
}

fn add(ruleset: &mut Ruleset, name: Name, kind: SetKind, elements: Elements) {
    ruleset.sets.insert(name, Arc::new(Set { kind, elements }));
}

/// The rules that carry an action out on what fits.
fn verdict(matches: &[Statement], action: Action, protocols: Protocols, comment: &str) -> Vec<Rule> {
    let rule = |more: Vec<Statement>| Rule::of(comment, [matches, &more].concat());
    match (action, protocols) {
        (Action::Accept, _) => vec![rule(vec![Statement::Verdict(Verdict::Accept)])],
        (Action::Drop, _) => vec![rule(vec![Statement::Verdict(Verdict::Drop)])],
        (Action::Reject, Protocols::Tcp) => vec![rule(vec![Statement::RejectReset])],
        (Action::Reject, Protocols::NotTcp) => vec![rule(vec![Statement::RejectProhibited])],
        (Action::Reject, Protocols::Every) => {
            let (counter, asked): (Vec<_>, Vec<_>) =
                matches.iter().cloned().partition(|statement| *statement == Statement::Counter);
            let tcp = [asked, vec![Statement::Protocol(TCP)], counter, vec![Statement::RejectReset]].concat();
            vec![Rule::of(comment, tcp), rule(vec![Statement::RejectProhibited])]
        }
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
        Direction::BetweenGuests => "between_guests",
    }
}
