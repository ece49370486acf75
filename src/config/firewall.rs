//! What the firewall is: defaults for three directions, and rules in order.

use super::edit::{Collection, Edit, FlatNoun, Noun, collection, read, render};
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::net::{Address, AddressMatch};
use super::port::Ports;
use super::rule_set::RuleSet;
use super::wire;
pub use super::wire::{Action, Defaults, Direction, Protocol};
use crate::merge_patch;

/// What may pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// What becomes of traffic that no rule decides.
    pub defaults: Defaults,
    /// The rules by id; [`Firewall::in_order`] has them as they decide.
    pub rules: Collection<FirewallRule>,
    /// Rules at interfaces by id; all that a packet meets have to let it pass before `rules` judge it.
    pub rule_sets: Collection<RuleSet>,
}

/// One rule. What it does not name, it does not ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallRule {
    /// Lower decides first.
    pub priority: u32,
    /// Which traffic it judges.
    pub direction: Direction,
    /// The interface that the traffic comes in by.
    pub interface: Option<Id>,
    /// What is carried.
    pub service: Service,
    /// Where it comes from; never empty.
    pub sources: Option<Vec<AddressMatch>>,
    /// Where it goes, behind all translation; never empty.
    pub destinations: Option<Vec<AddressMatch>>,
    /// The public address before translation; ingress only.
    pub address: Option<Address>,
    /// What becomes of it.
    pub action: Action,
    /// Whether each new connection that it decides is written to the journal.
    pub log: bool,
}

/// What is carried: a protocol, and the part of it that a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Every protocol.
    All,
    /// TCP of these ports, or of any.
    Tcp(PortMatch),
    /// UDP of these ports, or of any.
    Udp(PortMatch),
    /// ICMP of a type, or of any.
    Icmp(Option<IcmpType>),
    /// Another protocol by its number.
    Other(u8),
}

/// The ports that a rule asks for; any where absent, and never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortMatch {
    /// Those of whoever began the connection.
    pub source: Option<Vec<Ports>>,
    /// Those that it goes to, behind all translation.
    pub destination: Option<Vec<Ports>>,
}

/// An ICMP type, and perhaps one code of it (RFC 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpType {
    /// The type.
    pub number: u8,
    /// The code; any where absent.
    pub code: Option<u8>,
}

impl Firewall {
    /// The rules as they decide: by priority, ties by id.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&Id, &FirewallRule)> {
        let mut rules: Vec<_> = self.rules.iter().map(|(id, rule)| (id, rule.as_ref())).collect();
        rules.sort_by_key(|(_, rule)| rule.priority);
        rules
    }
}

impl Noun for Firewall {
    fn edit(previous: Option<&Self>, mut edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let none = Self::default();
        let previous = previous.unwrap_or(&none);
        let rules = collection(&previous.rules, edit.take("rules"), &at.key("rules"), faults);
        let place = at.key("rule_sets");
        let rule_sets = collection(&previous.rule_sets, edit.take("rule_sets"), &place, faults);
        let defaults = match edit.take("defaults") {
            None => previous.defaults,
            Some(edit) if edit.removes() => Defaults::default(),
            Some(Edit::Replace(value)) => read(value, &at.key("defaults"), faults)?,
            Some(Edit::Patch(patch)) => {
                let mut value = render(&previous.defaults);
                merge_patch::merge(&mut value, patch);
                read(value, &at.key("defaults"), faults)?
            }
        };
        edit.refuse_rest(&["defaults", "rules", "rule_sets"], at, faults);
        Some(Self { defaults, rules, rule_sets })
    }
}

impl From<&Firewall> for wire::Firewall {
    fn from(firewall: &Firewall) -> Self {
        let Firewall { defaults, rules, rule_sets } = firewall;
        Self {
            defaults: *defaults,
            rules: rules.iter().map(|(id, rule)| (id.clone(), rule.write())).collect(),
            rule_sets: rule_sets.iter().map(|(id, set)| (id.clone(), set.write())).collect(),
        }
    }
}

impl FlatNoun for FirewallRule {
    type Wire = wire::FirewallRule;

    fn read(wire: wire::FirewallRule, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::FirewallRule {
            priority,
            direction,
            interface,
            protocol,
            sources,
            destinations,
            address,
            destination_ports,
            source_ports,
            icmp_type,
            icmp_code,
            action,
            log,
        } = wire;
        let lists = [
            ("sources", sources.as_ref().map(Vec::len)),
            ("destinations", destinations.as_ref().map(Vec::len)),
            ("destination_ports", destination_ports.as_ref().map(Vec::len)),
            ("source_ports", source_ports.as_ref().map(Vec::len)),
        ];
        for (member, _) in lists.into_iter().filter(|(_, length)| *length == Some(0)) {
            let detail = "nothing could match it; leave the member out to match anything";
            faults.add(at.key(member), Rule::OutOfRange, detail);
        }
        let ported = matches!(protocol, Protocol::TCP | Protocol::UDP);
        for (member, ports) in [("destination_ports", &destination_ports), ("source_ports", &source_ports)] {
            if ports.is_some() && !ported {
                faults.add(at.key(member), Rule::Contradiction, "only tcp and udp have ports");
            }
        }
        if icmp_type.is_some() && protocol != Protocol::ICMP {
            faults.add(at.key("icmp_type"), Rule::Contradiction, "only icmp has types");
        }
        if icmp_code.is_some() && icmp_type.is_none() {
            faults.add(
                at.key("icmp_code"),
                Rule::Contradiction,
                "a code means something with its `icmp_type` only",
            );
        }
        if address.is_some() && direction != Direction::Ingress {
            let detail = "only ingress knows an address before translation; ask for `destinations` instead";
            faults.add(at.key("address"), Rule::Contradiction, detail);
        }
        let ports = PortMatch { source: source_ports, destination: destination_ports };
        let service = match protocol {
            Protocol::All => Service::All,
            Protocol::TCP => Service::Tcp(ports),
            Protocol::UDP => Service::Udp(ports),
            Protocol::ICMP => Service::Icmp(icmp_type.map(|number| IcmpType { number, code: icmp_code })),
            Protocol::Number(number) => Service::Other(number),
        };
        Some(Self { priority, direction, interface, service, sources, destinations, address, action, log })
    }

    fn write(&self) -> wire::FirewallRule {
        let Self { priority, direction, interface, service, sources, destinations, address, action, log } =
            self;
        let none = PortMatch::default();
        let (protocol, ports, icmp) = match service {
            Service::All => (Protocol::All, &none, None),
            Service::Tcp(ports) => (Protocol::TCP, ports, None),
            Service::Udp(ports) => (Protocol::UDP, ports, None),
            Service::Icmp(icmp) => (Protocol::ICMP, &none, *icmp),
            Service::Other(number) => (Protocol::Number(*number), &none, None),
        };
        wire::FirewallRule {
            priority: *priority,
            direction: *direction,
            interface: interface.clone(),
            protocol,
            sources: sources.clone(),
            destinations: destinations.clone(),
            address: *address,
            destination_ports: ports.destination.clone(),
            source_ports: ports.source.clone(),
            icmp_type: icmp.map(|icmp| icmp.number),
            icmp_code: icmp.and_then(|icmp| icmp.code),
            action: *action,
            log: *log,
        }
    }
}
