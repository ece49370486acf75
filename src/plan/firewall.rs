//! The firewall's rules as facts: a chain for each direction, and one of ingress for each public interface.
//!
//! A rule that asks for several addresses or ports looks them up in a set of its own. Rule sets of interfaces are chains
//! that return what they let pass, so that every one of them and then the direction's chain has its say.

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
use crate::config::rule_set::{Passage, RuleSet};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The longest text that the kernel takes with a packet for the journal.
const MAX_PREFIX: usize = 127;
/// How many lines a second one rule may write to the journal, and how many at once.
const LOG_RATE: Statement = Statement::Limit { per_second: 10, burst: 50 };

/// States the chains and sets of the firewall anew.
pub(super) fn replace(target: &Target, facts: &mut Facts) {
    let Some(ruleset) = &mut facts.ruleset else { return };
    let from = |text: &str| Name::from(text)..;
    let sets = ruleset.sets.range(from(names::RULE_SETS)).map(|(name, _)| name);
    let stale: Vec<Name> = beginning(sets, names::RULE_SETS).collect();
    for name in stale {
        ruleset.sets.remove(&name);
    }
    let chains = ruleset.chains.range(from(names::INTERFACE_RULES)).map(|(name, _)| name);
    let stale: Vec<Name> = beginning(chains, names::INTERFACE_RULES).collect();
    for name in stale {
        ruleset.chains.remove(&name);
    }
    interface_rules(target, ruleset);
    let defaults = target.config.firewall().defaults;
    let chain = |ruleset: &mut Ruleset, direction, place, default| {
        let mut rules = Vec::new();
        for (id, rule) in target.config.firewall().in_order() {
            if rule.direction == direction {
                rules.extend(judge(target, &Label::of(id, rule), rule, place, ruleset));
            }
        }
        rules.extend(verdict(&[Statement::Counter], default, Protocols::Every, "default", &Verdict::Accept));
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

/// Of names in order, from the first that begins with a text, those that do.
fn beginning<'a>(
    names: impl Iterator<Item = &'a Name> + 'a,
    text: &'static str,
) -> impl Iterator<Item = Name> + 'a {
    names.take_while(move |name| name.as_str().starts_with(text)).cloned()
}

/// States the rule sets of interfaces, and the way to them.
fn interface_rules(target: &Target, ruleset: &mut Ruleset) {
    let sets = &target.config.firewall().rule_sets;
    if sets.is_empty() {
        return;
    }
    let mut ways = Vec::new();
    for (id, set) in sets {
        // By a device that is not there, nothing goes.
        let Some(place) = target.places().find(|place| *place.id == set.interface) else { continue };
        let chain = names::interface_rules(id);
        let device = match set.passage {
            Passage::In => Statement::InputDevice(place.device()),
            Passage::Out => Statement::OutputDevice(place.device()),
        };
        let jump = Statement::Verdict(Verdict::Jump(chain.clone()));
        ways.push(Rule::of(format!("rule_set {id}"), vec![device, jump]));
        let rules = rules_of(target, id, set, place.zone.public, ruleset);
        ruleset.chain(chain, rules);
    }
    ruleset.chain(names::INTERFACE_RULES, ways);
}

fn rules_of(target: &Target, id: &Id, set: &RuleSet, is_public: bool, ruleset: &mut Ruleset) -> Vec<Rule> {
    let passage = match set.passage {
        Passage::In => "in",
        Passage::Out => "out",
    };
    let mut rules = Vec::new();
    for (rule_id, rule) in set.in_order() {
        let label = Label {
            name: format!("{id}.{rule_id}"),
            comment: format!("rule_set {id} {rule_id}"),
            direction: passage,
            accept: Verdict::Return,
        };
        rules.extend(judge(target, &label, rule, None, ruleset));
    }
    let comment = format!("rule_set {id} default");
    if set.default != Action::Accept && set.passage == Passage::In && is_public {
        let verdict = Statement::Verdict(Verdict::Return);
        rules.push(Rule::of(&*comment, vec![Statement::Translated, Statement::Counter, verdict]));
    }
    let counter = [Statement::Counter];
    rules.extend(verdict(&counter, set.default, Protocols::Every, &comment, &Verdict::Return));
    rules
}

/// What a rule is called in the table and in the journal, and what becomes of what it accepts.
struct Label {
    /// Part of the names of its sets.
    name: String,
    comment: String,
    direction: &'static str,
    accept: Verdict,
}

impl Label {
    fn of(id: &Id, rule: &FirewallRule) -> Self {
        let direction = direction(rule.direction);
        Self { name: id.to_string(), comment: format!("rule {id}"), direction, accept: Verdict::Accept }
    }
}

/// What a rule judges, as kernel rules. In an ingress chain, `public` is the interface that the chain is of.
fn judge(
    target: &Target,
    label: &Label,
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
    let protocols = service(&label.name, &rule.service, &mut matches, ruleset);
    if let Some(sources) = &rule.sources {
        // A guest that comes back by a public address is meant where that address is.
        let hairpin: Vec<_> = match rule.direction {
            Direction::Ingress => snat::hairpin_sources(target, sources).collect(),
            Direction::Egress | Direction::BetweenGuests => Vec::new(),
        };
        let name = names::rule_set(&label.name, "sources");
        matches.extend(addresses(name, sources, &hairpin, Side::Source, ruleset));
    }
    if let Some(destinations) = &rule.destinations {
        let name = names::rule_set(&label.name, "destinations");
        matches.extend(addresses(name, destinations, &[], Side::Destination, ruleset));
    }
    if let Some(address) = rule.address {
        matches.push(Statement::OriginalDestination(address.get()));
    }
    let comment = label.comment.as_str();
    let mut rules = Vec::new();
    if rule.log && target.surroundings.capabilities.log_group {
        let mut prefix = format!("{} {} {}", action(rule.action), label.direction, label.name);
        prefix.truncate(MAX_PREFIX);
        let log = [LOG_RATE, Statement::Log { group: LOG_GROUP, prefix }];
        rules.push(Rule::of(comment, [matches.clone(), log.to_vec()].concat()));
    }
    matches.push(Statement::Counter);
    rules.extend(verdict(&matches, rule.action, protocols, comment, &label.accept));
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

fn service(label: &str, service: &Service, matches: &mut Vec<Statement>, ruleset: &mut Ruleset) -> Protocols {
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
    for (asked, side) in [(&ports.destination, Side::Destination), (&ports.source, Side::Source)] {
        match merged_ports(asked.as_deref().unwrap_or_default()).as_slice() {
            [] => {}
            [(first, last)] if first == last => matches.push(side.port(*first)),
            ranges => {
                let name = names::rule_set(label, side.ports());
                let elements =
                    ranges.iter().map(|(first, last)| (Key::PortRange(*first, *last), Element::Member));
                add(ruleset, name.clone(), SetKind::PortRanges, elements.collect());
                matches.push(side.port_in(name));
            }
        }
    }
    if protocol == TCP { Protocols::Tcp } else { Protocols::NotTcp }
}

/// Which end of a packet a rule asks for.
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

    /// What the set of a rule's ports is called.
    const fn ports(self) -> &'static str {
        match self {
            Self::Source => "source_ports",
            Self::Destination => "ports",
        }
    }

    const fn port(self, port: u16) -> Statement {
        match self {
            Self::Source => Statement::SourcePort(port),
            Self::Destination => Statement::DestinationPort(port),
        }
    }

    const fn port_in(self, name: Name) -> Statement {
        match self {
            Self::Source => Statement::SourcePortIn(name),
            Self::Destination => Statement::DestinationPortIn(name),
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
fn verdict(
    matches: &[Statement],
    action: Action,
    protocols: Protocols,
    comment: &str,
    accept: &Verdict,
) -> Vec<Rule> {
    let rule = |more: Vec<Statement>| Rule::of(comment, [matches, &more].concat());
    match (action, protocols) {
        (Action::Accept, _) => vec![rule(vec![Statement::Verdict(accept.clone())])],
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
