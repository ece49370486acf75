//! What our table should be less what it is: one transaction that sends what changed and nothing else.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::facts::ruleset::Fingerprint;
use super::facts::{
    Chain, ChainSeen, ConntrackMatch, Elements, Flowtable, Key, Name, Ruleset, Set, SetKind, TableSeen,
    Target,
};
use super::names;
use super::step::TableChange;

/// Two lists of rules whose lengths multiply to more than this are not compared rule by rule.
const MAX_COMPARISONS: usize = 4_000_000;

/// The changes from the table that is to the one that should be.
pub(super) fn diff_table(desired: Option<&Ruleset>, seen: Option<&TableSeen>) -> Vec<TableChange> {
    match (desired, seen) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![TableChange::DeleteTable],
        (Some(desired), None) => build(desired),
        (Some(desired), Some(seen)) if is_another(desired, seen) => {
            // In one transaction: no packet sees the table gone.
            [vec![TableChange::DeleteTable], build(desired)].concat()
        }
        (Some(desired), Some(seen)) => between(desired, seen),
    }
}

/// Whether the table that is cannot be changed into the one that should be, because a name means another kind of thing.
fn is_another(desired: &Ruleset, seen: &TableSeen) -> bool {
    let chain = |name: &Name| match (desired.chains.get(name), seen.chains.get(name)) {
        (Some(chain), Some(seen)) => chain.base != seen.base,
        _ => false,
    };
    let set = |item| match item {
        DiffItem::Update { old: (_, old), new: (_, new) } => {
            let (old, new): (&Arc<Set>, &Arc<Set>) = (old, new);
            old.kind != new.kind
        }
        _ => false,
    };
    seen.alien || chains_to_compare(desired, seen).iter().any(chain) || seen.sets.diff(&desired.sets).any(set)
}

fn build(desired: &Ruleset) -> Vec<TableChange> {
    let mut changes = vec![TableChange::AddTable];
    changes.extend(between(desired, &TableSeen::default()));
    changes
}

/// The chains that may differ: all, or those that are wanted otherwise than when they were last seen to be right.
fn chains_to_compare(desired: &Ruleset, seen: &TableSeen) -> BTreeSet<Name> {
    let Some(known) = &seen.known else {
        return desired.chains.keys().chain(seen.chains.keys()).cloned().collect();
    };
    let differ = known.wanted.diff(&desired.chains).map(|item| match item {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
    });
    differ.chain(&known.touched).cloned().collect()
}

fn between(desired: &Ruleset, seen: &TableSeen) -> Vec<TableChange> {
    let mut changes = Vec::new();
    let (grown, shrunk) = flowtable(desired.flowtable.as_ref(), seen.flowtable.as_ref());
    changes.extend(grown);
    let names = chains_to_compare(desired, seen);
    let wanted = || names.iter().filter_map(|name| desired.chains.get_key_value(name));
    for (name, chain) in wanted().filter(|(name, _)| !seen.chains.contains_key(*name)) {
        changes.push(TableChange::AddChain(name.clone(), chain.base));
    }
    let (sets, dead_sets) = sets(&desired.sets, &seen.sets);
    changes.extend(sets);
    let mut inserts = Vec::new();
    for (name, chain) in wanted() {
        let (deletes, more) = rules(name, chain, seen.chains.get(name));
        changes.extend(deletes);
        inserts.extend(more);
    }
    let dead_chains: Vec<(&Name, &ChainSeen)> = names
        .iter()
        .filter(|name| !desired.chains.contains_key(*name))
        .filter_map(|name| seen.chains.get_key_value(name))
        .collect();
    for (name, chain) in dead_chains.iter().filter(|(_, chain)| !chain.rules.is_empty()) {
        changes.push(TableChange::DeleteRules((*name).clone(), 0, chain.rules.len()));
    }
    changes.extend(inserts);
    changes.extend(dead_sets);
    changes.extend(dead_chains.into_iter().map(|(name, _)| TableChange::DeleteChain(name.clone())));
    changes.extend(shrunk);
    changes
}

fn flowtable(
    desired: Option<&Flowtable>,
    seen: Option<&Flowtable>,
) -> (Option<TableChange>, Option<TableChange>) {
    let none = BTreeSet::new();
    match (desired, seen) {
        (None, None) => (None, None),
        (None, Some(seen)) => (None, Some(TableChange::DeleteFlowtable(seen.name.clone()))),
        (Some(desired), seen) => {
            let before = seen.map_or(&none, |seen| &seen.devices);
            let part = |devices: BTreeSet<Name>| Flowtable { name: desired.name.clone(), devices };
            let more: BTreeSet<Name> = desired.devices.difference(before).cloned().collect();
            let less: BTreeSet<Name> = before.difference(&desired.devices).cloned().collect();
            let grown = (seen.is_none() || !more.is_empty()).then(|| TableChange::AddFlowtable(part(more)));
            (grown, (!less.is_empty()).then(|| TableChange::ShrinkFlowtable(part(less))))
        }
    }
}

/// Sets that come and elements that differ; then sets that go, for when no rule names them any more.
fn sets(
    desired: &OrdMap<Name, Arc<Set>>,
    seen: &OrdMap<Name, Arc<Set>>,
) -> (Vec<TableChange>, Vec<TableChange>) {
    let (mut changes, mut dead) = (Vec::new(), Vec::new());
    for item in seen.diff(desired) {
        match item {
            DiffItem::Add(name, set) => {
                changes.push(TableChange::AddSet(name.clone(), set.kind));
                changes.extend(elements(name, set.kind, &Elements::new(), &set.elements));
            }
            DiffItem::Update { old: (_, old), new: (name, new) } => {
                changes.extend(elements(name, new.kind, &old.elements, &new.elements));
            }
            DiffItem::Remove(name, set) => {
                // Elements may name chains that go in the same transaction.
                changes.extend(elements(name, set.kind, &set.elements, &Elements::new()));
                dead.push(TableChange::DeleteSet(name.clone()));
            }
        }
    }
    (changes, dead)
}

fn elements(name: &Name, kind: SetKind, before: &Elements, after: &Elements) -> Vec<TableChange> {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for item in before.diff(after) {
        match item {
            DiffItem::Add(key, target) => come.push((*key, target.clone())),
            DiffItem::Remove(key, target) => gone.push((*key, target.clone())),
            DiffItem::Update { old: (old_key, old), new: (new_key, new) } => {
                gone.push((*old_key, old.clone()));
                come.push((*new_key, new.clone()));
            }
        }
    }
    let mut changes = Vec::new();
    if !gone.is_empty() {
        changes.push(TableChange::DeleteElements(name.clone(), kind, gone));
    }
    if !come.is_empty() {
        changes.push(TableChange::AddElements(name.clone(), kind, come));
    }
    changes
}

/// The rules that go, by their indices before the transaction, and those that come, by their indices behind it.
fn rules(name: &Name, chain: &Chain, seen: Option<&ChainSeen>) -> (Vec<TableChange>, Vec<TableChange>) {
    let before: &[Option<Fingerprint>] = seen.map_or(&[], |seen| &seen.rules);
    let after: Vec<Option<Fingerprint>> = chain.rules.iter().map(|rule| Some(rule.fingerprint())).collect();
    if before == after {
        return (Vec::new(), Vec::new());
    }
    let operations = if before.len().saturating_mul(after.len()) <= MAX_COMPARISONS {
        similar::capture_diff_slices(similar::Algorithm::Myers, before, &after)
    } else {
        vec![similar::DiffOp::Replace {
            old_index: 0,
            old_len: before.len(),
            new_index: 0,
            new_len: after.len(),
        }]
    };
    let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
    for operation in operations {
        let (tag, old, new) = operation.as_tag_tuple();
        if tag != similar::DiffTag::Equal {
            if !old.is_empty() {
                deletes.push(TableChange::DeleteRules(name.clone(), old.start, old.len()));
            }
            let come = chain.rules.get(new.clone()).unwrap_or_default();
            if !come.is_empty() {
                inserts.push(TableChange::InsertRules(name.clone(), new.start, come.to_vec()));
            }
        }
    }
    (deletes, inserts)
}

/// Mappings that go or lead elsewhere, and what becomes of their connections.
#[derive(Debug, Default)]
pub(super) struct LostMappings {
    /// The connections that end.
    pub(super) flush: Vec<ConntrackMatch>,
    addresses: BTreeSet<Ipv4Addr>,
}

impl LostMappings {
    /// Whether one of the mappings is an EIP of this address: then its connections are dealt with.
    pub(super) fn mentions(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(&address)
    }
}

/// The mappings of the table that is which the table that should be does not have.
pub(super) fn lost_mappings(desired: Option<&Ruleset>, seen: Option<&TableSeen>) -> LostMappings {
    let mut lost = LostMappings::default();
    let none = Elements::new();
    for map in [names::EIPS, names::FORWARDS, names::FORWARD_RANGES, names::BALANCER_BACKENDS] {
        let before = seen.and_then(|seen| seen.sets.get(map)).map_or(&none, |set| &set.elements);
        let after = desired.and_then(|desired| desired.sets.get(map)).map_or(&none, |set| &set.elements);
        for item in before.diff(after) {
            let (key, old, new) = match item {
                DiffItem::Add(..) => continue,
                DiffItem::Remove(key, old) => (key, old, None),
                DiffItem::Update { old: (key, old), new: (_, new) } => (key, old, Some(new)),
            };
            lost.add(key, old, new);
        }
    }
    lost
}

impl LostMappings {
    fn add(&mut self, key: &Key, old: &Target, new: Option<&Target>) {
        match *key {
            Key::Address(address) => {
                self.addresses.insert(address);
                // What the caller says in the very change counts; where the mapping goes, what was said before.
                let keep = match (old, new) {
                    (Target::Address { address: old, .. }, Some(Target::Address { address: new, keep })) => {
                        *keep || old == new
                    }
                    (Target::Address { keep, .. }, _) => *keep,
                    _ => false,
                };
                if !keep {
                    self.flush.push(ConntrackMatch::Address(address));
                }
            }
            Key::Endpoint(address, protocol, port) => {
                self.flush.push(ConntrackMatch::Ports { address, protocol, first: port, last: port });
            }
            Key::EndpointRange(address, protocol, first, last) => {
                self.flush.push(ConntrackMatch::Ports { address, protocol, first, last });
            }
            // A backend that takes no new connections any more keeps those that it has.
            Key::Balanced(balanced) if new.is_none() => self.flush.push(ConntrackMatch::Balanced(balanced)),
            _ => {}
        }
    }
}
