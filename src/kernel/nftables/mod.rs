//! Our nftables table: read whole, changed in one transaction, and read back where it was changed.
//!
//! The kernel counts the generations of its ruleset. A transaction names the generation that it was made for, so an edit
//! by somebody else in between is noticed and nothing is done on a wrong belief. Called by the kernel room's front.

mod balance;
mod batch;
mod counters;
mod dump;
mod element;
mod expression;
mod operation;
mod probe;
mod rule;
mod set;
mod simple;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use self::batch::Batch;
pub(super) use self::counters::address_traffic;
use super::KernelError;
use super::netlink::{NETLINK_NETFILTER, Netlink};
use crate::plan::facts::{Capabilities, Key, Name, SetKind, TableSeen, Target};
use crate::plan::step::TableChange;

/// Up to so many elements of one set are read back one by one; more are read with the whole set.
const READ_ONE_BY_ONE: usize = 64;

/// Our nftables table.
pub(super) struct Nftables {
    netlink: Netlink,
    /// The handles of the rules that are there, in order.
    handles: BTreeMap<Name, Vec<u64>>,
    /// The generation of the kernel's ruleset that was read.
    generation: u32,
}

impl Nftables {
    /// Opens the socket.
    pub(super) fn open() -> Result<Self, KernelError> {
        let netlink = Netlink::open(NETLINK_NETFILTER)?;
        Ok(Self { netlink, handles: BTreeMap::new(), generation: 0 })
    }

    /// The number by which the kernel tells this socket from others.
    pub(super) fn port(&self) -> u32 {
        self.netlink.port()
    }

    /// Whether somebody changed the kernel's ruleset since it was last read here.
    pub(super) fn is_stale(&mut self) -> Result<bool, KernelError> {
        Ok(dump::generation(&mut self.netlink)? != self.generation)
    }

    /// Reads our table, if it is there.
    pub(super) fn observe(&mut self) -> Result<Option<TableSeen>, KernelError> {
        self.handles.clear();
        loop {
            let generation = dump::generation(&mut self.netlink)?;
            let table = dump::table(&mut self.netlink, &mut self.handles)?;
            if dump::generation(&mut self.netlink)? == generation {
                self.generation = generation;
                return Ok(table);
            }
            self.handles.clear();
        }
    }

    /// Changes our table: all of it, or nothing.
    pub(super) fn change(&mut self, changes: &[TableChange]) -> Result<(), KernelError> {
        let batch = Batch::write(&mut self.netlink, self.generation, changes, &self.handles);
        let (bytes, sequences) = (batch.bytes, batch.sequences);
        let refusals = self.netlink.send(&bytes)?;
        let Some(refusal) = refusals.first() else { return Ok(()) };
        let change = sequences
            .iter()
            .find(|(sequence, _)| *sequence == refusal.sequence)
            .and_then(|(_, number)| changes.get(*number));
        if change.is_none() && refusal.code == libc::ERESTART {
            return Err(KernelError::Disturbed);
        }
        let action = change.map_or_else(|| "take the transaction".to_owned(), TableChange::summary);
        let reason = match refusals.len() {
            1 => refusal.reason.clone(),
            count => format!("{} ({count} messages of the transaction were refused)", refusal.reason),
        };
        Err(KernelError::Refused { action, reason })
    }

    /// What the table is after a transaction: `before`, and anew whatever it touched.
    pub(super) fn read_back(
        &mut self,
        before: Option<&TableSeen>,
        changes: &[TableChange],
    ) -> Result<Option<TableSeen>, KernelError> {
        let rebuilt =
            changes.iter().any(|change| matches!(change, TableChange::AddTable | TableChange::DeleteTable));
        let Some(before) = before.filter(|_| !rebuilt) else { return self.observe() };
        // Our transaction is the one generation since; another one is somebody else's.
        let generation = dump::generation(&mut self.netlink)?;
        if generation != self.generation.wrapping_add(1) {
            return self.observe();
        }
        let mut table = before.clone();
        let mut touched = BTreeSet::new();
        let mut sets: BTreeMap<Name, SetKind> = BTreeMap::new();
        let mut single: Vec<(&Name, SetKind, &Key)> = Vec::new();
        for change in changes {
            match change {
                TableChange::AddElements(name, kind, elements)
                | TableChange::DeleteElements(name, kind, elements) => {
                    let few = elements.len() <= READ_ONE_BY_ONE && !dump::only_whole(*kind);
                    if few && table.sets.contains_key(name) {
                        single.extend(elements.iter().map(|(key, _)| (name, *kind, key)));
                    } else {
                        sets.insert(name.clone(), *kind);
                    }
                }
                TableChange::AddSet(name, kind) => {
                    sets.insert(name.clone(), *kind);
                }
                TableChange::DeleteSet(name) => {
                    sets.remove(name);
                    table.sets.remove(name);
                }
                TableChange::DeleteChain(name) => {
                    table.chains.remove(name);
                    self.handles.remove(name);
                    touched.insert(name.clone());
                }
                TableChange::AddChain(name, _)
                | TableChange::InsertRules(name, ..)
                | TableChange::DeleteRules(name, ..) => {
                    // Several changes of one chain are one reading of it.
                    if touched.insert(name.clone()) {
                        self.read_chain(name, &mut table)?;
                    }
                }
                TableChange::AddFlowtable(_)
                | TableChange::ShrinkFlowtable(_)
                | TableChange::DeleteFlowtable(_) => {
                    table.flowtable = dump::flowtable(&mut self.netlink)?;
                }
                TableChange::AddTable | TableChange::DeleteTable => {}
            }
        }
        for (name, kind) in &sets {
            let set = dump::set(&mut self.netlink, name, *kind)?;
            table.alien |= set.is_none();
            if let Some(set) = set {
                table.sets.insert(name.clone(), Arc::new(set));
            }
        }
        for (name, kind, key) in single {
            if sets.contains_key(name) {
                continue;
            }
            let found: Option<Target> = dump::element(&mut self.netlink, name, kind, key)?;
            if let Some(set) = table.sets.get_mut(name).map(Arc::make_mut) {
                match found {
                    Some(target) => set.elements.insert(*key, target),
                    None => set.elements.remove(key),
                };
            }
        }
        if let Some(known) = &mut table.known {
            known.touched.extend(touched);
        }
        self.generation = generation;
        Ok(Some(table))
    }

    fn read_chain(&mut self, name: &Name, table: &mut TableSeen) -> Result<(), KernelError> {
        let (chain, handles) = dump::chain(&mut self.netlink, name)?;
        match chain {
            Some(chain) => {
                table.chains.insert(name.clone(), chain);
                self.handles.insert(name.clone(), handles);
            }
            None => {
                table.chains.remove(name);
                self.handles.remove(name);
            }
        }
        Ok(())
    }

    /// Where a source went before, as a balancer's map remembers it.
    pub(super) fn remembered(
        &mut self,
        map: &Name,
        source: Ipv4Addr,
    ) -> Result<Option<(Ipv4Addr, u16)>, KernelError> {
        let key = Key::Address(source);
        let found = dump::element(&mut self.netlink, map, SetKind::StickyToEndpoint, &key)?;
        Ok(match found {
            Some(Target::Endpoint(address, port)) => Some((address, port)),
            _ => None,
        })
    }

    /// Fills in what nf_tables can do.
    pub(super) fn capabilities(&mut self, capabilities: &mut Capabilities) -> Result<(), KernelError> {
        capabilities.flowtable = probe::flowtable(&mut self.netlink)?;
        capabilities.balancing = probe::balancing(&mut self.netlink)?;
        capabilities.connection_limit = probe::connection_limit(&mut self.netlink)?;
        capabilities.stickiness = probe::stickiness(&mut self.netlink)?;
        Ok(())
    }
}
