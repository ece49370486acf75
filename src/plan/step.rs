//! What the kernel room is asked to do: an ordered list that leaves it nothing to choose.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::facts::{
    BaseChain, ConntrackMatch, Device, Flowtable, Key, LinkSettings, Name, PolicyRule, Route, RouteKey, Rule,
    SetKind, Sysctl, TABLE, Target, Vlan,
};

/// The steps from what is to what should be, in the order in which they are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether nothing has to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            for line in step.lines(usize::MAX) {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// One thing to do. A step is done whole or reported as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a value of `/proc/sys`.
    SetSysctl(Sysctl, String),
    /// Makes the device of a tagged network; it is down and has no address.
    AddVlan(Device, Vlan),
    /// Removes a device that the router made.
    RemoveLink(Device),
    /// Sets a device and brings it up.
    SetLink(Device, LinkSettings),
    /// Gives a device an address.
    AddAddress(Device, Ipv4Net),
    /// Takes an address from a device.
    RemoveAddress(Device, Ipv4Net),
    /// Adds or replaces routes.
    AddRoutes(Vec<(RouteKey, Route)>),
    /// Removes routes.
    RemoveRoutes(Vec<(RouteKey, Route)>),
    /// Adds a policy rule.
    AddRule(PolicyRule),
    /// Removes a policy rule.
    RemoveRule(PolicyRule),
    /// Changes our table, all at once or not at all.
    ChangeTable(Vec<TableChange>),
    /// Ends the connections of mappings.
    FlushConntrack(Vec<ConntrackMatch>),
    /// Tells the neighbours where addresses are (RFC 5227 section 3).
    Announce(Vec<(Device, Ipv4Addr)>),
}

/// One change of our table, in the order in which the kernel takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// Makes the table.
    AddTable,
    /// Removes the table with all that is in it.
    DeleteTable,
    /// Makes a chain without rules.
    AddChain(Name, Option<BaseChain>),
    /// Removes a chain without rules.
    DeleteChain(Name),
    /// Makes a set without elements.
    AddSet(Name, SetKind),
    /// Removes a set that no rule names.
    DeleteSet(Name),
    /// Adds elements; a key that is there is not.
    AddElements(Name, SetKind, Vec<(Key, Target)>),
    /// Removes elements.
    DeleteElements(Name, SetKind, Vec<(Key, Target)>),
    /// Inserts rules so that the first has this index.
    InsertRules(Name, usize, Vec<Rule>),
    /// Removes so many rules from this index on. Indices are those before the transaction.
    DeleteRules(Name, usize, usize),
    /// Makes the flowtable, or gives it devices that it lacks.
    AddFlowtable(Flowtable),
    /// Takes devices from the flowtable.
    ShrinkFlowtable(Flowtable),
    /// Removes the flowtable; no rule names it.
    DeleteFlowtable(Name),
}

impl Step {
    /// What the step does, a line for each thing, at most `limit` of them.
    #[must_use]
    pub fn lines(&self, limit: usize) -> Vec<String> {
        fn some<T>(things: &[T], limit: usize, line: impl Fn(&T) -> String) -> Vec<String> {
            things.iter().take(limit).map(line).collect()
        }
        match self {
            Self::SetSysctl(sysctl, value) => vec![format!("sysctl {sysctl} = {value}")],
            Self::AddVlan(device, vlan) => {
                vec![format!("link add {device} on {} vlan {}", vlan.parent, vlan.id)]
            }
            Self::RemoveLink(device) => vec![format!("link remove {device}")],
            Self::SetLink(device, LinkSettings { mtu: None }) => vec![format!("link {device} up")],
            Self::SetLink(device, LinkSettings { mtu: Some(mtu) }) => {
                vec![format!("link {device} up mtu {mtu}")]
            }
            Self::AddAddress(device, address) => vec![format!("address add {address} dev {device}")],
            Self::RemoveAddress(device, address) => vec![format!("address remove {address} dev {device}")],
            Self::AddRoutes(routes) => some(routes, limit, |(key, route)| format!("route add {key} {route}")),
            Self::RemoveRoutes(routes) => {
                some(routes, limit, |(key, route)| format!("route remove {key} {route}"))
            }
            Self::AddRule(rule) => vec![format!("rule add {rule}")],
            Self::RemoveRule(rule) => vec![format!("rule remove {rule}")],
            Self::ChangeTable(changes) => {
                changes.iter().flat_map(|change| change.lines(limit)).take(limit).collect()
            }
            Self::FlushConntrack(matches) => some(matches, limit, |one| format!("conntrack flush {one}")),
            Self::Announce(addresses) => {
                some(addresses, limit, |(device, address)| format!("announce {address} dev {device}"))
            }
        }
    }

    /// How many things the step does.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::AddRoutes(routes) | Self::RemoveRoutes(routes) => routes.len(),
            Self::ChangeTable(changes) => changes.iter().map(TableChange::count).sum(),
            Self::FlushConntrack(matches) => matches.len(),
            Self::Announce(addresses) => addresses.len(),
            _ => 1,
        }
    }

    /// What the step does, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        let first = self.lines(1).into_iter().next().unwrap_or_else(|| "nothing".to_owned());
        match self.count() {
            0 | 1 => first,
            count => format!("{first} (and {} more)", count - 1),
        }
    }
}

impl TableChange {
    /// What the change does, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        let first = self.lines(1).into_iter().next().unwrap_or_else(|| "nft".to_owned());
        match self.count() {
            0 | 1 => first,
            count => format!("{first} (and {} more)", count - 1),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::AddElements(_, _, elements) | Self::DeleteElements(_, _, elements) => elements.len(),
            Self::InsertRules(_, _, rules) => rules.len(),
            Self::DeleteRules(_, _, count) => *count,
            _ => 1,
        }
    }

    fn lines(&self, limit: usize) -> Vec<String> {
        match self {
            Self::AddTable => vec![format!("nft add table inet {TABLE}")],
            Self::DeleteTable => vec![format!("nft delete table inet {TABLE}")],
            Self::AddChain(name, None) => vec![format!("nft add chain {name}")],
            Self::AddChain(name, Some(base)) => vec![format!("nft add chain {name} {{ {base} }}")],
            Self::DeleteChain(name) => vec![format!("nft delete chain {name}")],
            Self::AddSet(name, kind) => vec![format!("nft add set {name} {{ {kind} }}")],
            Self::DeleteSet(name) => vec![format!("nft delete set {name}")],
            Self::AddElements(name, _, elements) => {
                let line = |(key, target)| format!("nft add element {name} {{ {key}{target} }}");
                elements.iter().take(limit).map(|(key, target)| line((key, target))).collect()
            }
            Self::DeleteElements(name, _, elements) => {
                let line = |(key, target)| format!("nft delete element {name} {{ {key}{target} }}");
                elements.iter().take(limit).map(|(key, target)| line((key, target))).collect()
            }
            Self::InsertRules(chain, index, rules) => {
                let line =
                    |(offset, rule)| format!("nft insert rule {chain} index {} {rule}", index + offset);
                rules.iter().take(limit).enumerate().map(line).collect()
            }
            Self::DeleteRules(chain, index, count) => {
                vec![format!("nft delete rule {chain} index {index} count {count}")]
            }
            Self::AddFlowtable(flowtable) => vec![format!("nft add flowtable {}", devices(flowtable))],
            Self::ShrinkFlowtable(flowtable) => vec![format!("nft delete flowtable {}", devices(flowtable))],
            Self::DeleteFlowtable(name) => vec![format!("nft delete flowtable {name}")],
        }
    }
}

fn devices(flowtable: &Flowtable) -> String {
    let devices: Vec<&str> = flowtable.devices.iter().map(Name::as_str).collect();
    format!("{} devices {}", flowtable.name, devices.join(", "))
}
