//! A kernel made of facts: it takes steps as the real one does and shows what came of them. For tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Kernel, KernelError, StepResult};
use crate::plan::facts::{
    ChainSeen, Device, Facts, Link, Observed, Route, RouteKey, Rule, Set, Sysctl, TableSeen, Target, Vlan,
};
use crate::plan::step::{Plan, Step, TableChange};

/// A kernel made of facts.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    /// What is there.
    pub state: Observed,
    /// The step that will fail, counted from 0 over all plans.
    pub fails_at: Option<usize>,
    taken: usize,
}

impl FakeKernel {
    /// A kernel with these devices and nothing of ours.
    #[must_use]
    pub fn with_links(links: impl IntoIterator<Item = Link>) -> Self {
        let links = links.into_iter().map(|link| (link.device.index, link)).collect();
        Self { state: Observed { links, ..Observed::default() }, ..Self::default() }
    }

    /// Takes one step.
    ///
    /// # Errors
    /// The step is the one that fails, or it does not fit what is there.
    pub fn take(&mut self, step: &Step) -> Result<(), KernelError> {
        let number = self.taken;
        self.taken += 1;
        if self.fails_at == Some(number) {
            return Err(refused(step, "told to fail"));
        }
        self.apply(step)
    }

    fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        let state = &mut self.state;
        let done = match step {
            Step::SetSysctl(sysctl, value) => {
                state.sysctls.insert(sysctl.clone(), value.clone());
                true
            }
            Step::AddVlan(device, vlan) => add_vlan(&mut state.links, device, vlan),
            Step::RemoveLink(device) => state.links.remove(&device.index).is_some(),
            Step::SetLink(device, settings) => state.links.get_mut(&device.index).is_some_and(|link| {
                link.up = true;
                link.mtu = settings.mtu.unwrap_or(link.mtu);
                true
            }),
            Step::AddAddress(device, address) => state.addresses.insert((device.clone(), *address)),
            Step::RemoveAddress(device, address) => state.addresses.remove(&(device.clone(), *address)),
            Step::AddRoutes(routes) => {
                state.routes.extend(routes.iter().cloned());
                true
            }
            Step::RemoveRoutes(routes) => {
                let remove = |(key, _): &(RouteKey, Route)| state.routes.remove(key).is_some();
                routes.iter().all(remove)
            }
            Step::AddRule(rule) => state.rules.insert(*rule),
            Step::RemoveRule(rule) => state.rules.remove(rule),
            Step::ChangeTable(changes) => {
                let table = change_table(state.table.clone(), changes).map_err(|why| refused(step, why))?;
                state.table = table;
                true
            }
            Step::FlushConntrack(_) | Step::Announce(_) => true,
        };
        if done { Ok(()) } else { Err(refused(step, "it does not fit what is there")) }
    }
}

impl Kernel for FakeKernel {
    async fn observe(&mut self) -> Result<Observed, KernelError> {
        Ok(self.state.clone())
    }

    async fn observe_around(&mut self, table: Option<TableSeen>) -> Result<Observed, KernelError> {
        Ok(Observed { table, ..self.state.clone() })
    }

    fn read_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError> {
        for sysctl in sysctls {
            self.state.sysctls.entry(sysctl.clone()).or_insert_with(|| "0".to_owned());
        }
        Ok(self.state.sysctls.clone())
    }

    fn is_stale(&mut self) -> Result<bool, KernelError> {
        Ok(false)
    }

    async fn execute(&mut self, plan: &Plan) -> Vec<StepResult> {
        let mut results = Vec::new();
        for step in &plan.steps {
            let error = self.take(step).err();
            let failed = error.is_some();
            results.push(StepResult {
                step: step.summary(),
                count: step.count(),
                took: Duration::ZERO,
                error,
            });
            if failed {
                break;
            }
        }
        results
    }

    async fn read_back(&mut self, _before: &Observed, _plan: &Plan) -> Result<Observed, KernelError> {
        Ok(self.state.clone())
    }
}

impl From<&Facts> for Observed {
    /// What a kernel shows that has exactly these facts, its devices aside.
    fn from(facts: &Facts) -> Self {
        Self {
            links: BTreeMap::new(),
            sysctls: facts.sysctls.clone(),
            addresses: facts.addresses.clone(),
            routes: facts.routes.clone(),
            rules: facts.rules.clone(),
            table: facts.ruleset.as_ref().map(TableSeen::from),
        }
    }
}

/// The device of a tagged network, unless its index, its name or the network is another's.
fn add_vlan(links: &mut BTreeMap<u32, Link>, device: &Device, vlan: &Vlan) -> bool {
    let clashes = |link: &Link| {
        let same = |seen: &Vlan| seen.id == vlan.id && seen.parent == vlan.parent;
        link.device.index == device.index
            || link.device.name == device.name
            || link.vlan.as_ref().is_some_and(same)
    };
    let Some(parent) = links.get(&vlan.parent.index) else { return false };
    if links.values().any(clashes) {
        return false;
    }
    let link = Link {
        device: device.clone(),
        up: false,
        parent: Some(vlan.parent.index),
        vlan: Some(vlan.clone()),
        ..parent.clone()
    };
    links.insert(device.index, link);
    true
}

fn refused(step: &Step, why: &str) -> KernelError {
    KernelError::Refused { action: step.summary(), reason: why.to_owned() }
}

/// Applies a transaction as nf_tables does: all of it, or an error and nothing.
fn change_table(
    table: Option<TableSeen>,
    changes: &[TableChange],
) -> Result<Option<TableSeen>, &'static str> {
    let mut table = table;
    // Indices of rules that go are those before the transaction, so they go from the end.
    let mut deleted: Vec<(&str, usize, usize)> = Vec::new();
    for change in changes {
        if let TableChange::DeleteRules(chain, index, count) = change {
            deleted.push((chain.as_str(), *index, *count));
        }
    }
    let mut deleting = true;
    for change in changes {
        match change {
            TableChange::AddTable if table.is_none() => table = Some(TableSeen::default()),
            TableChange::AddTable => return Err("the table is there"),
            TableChange::DeleteTable => {
                table.take().ok_or("there is no table")?;
            }
            TableChange::DeleteRules(..) => {
                let inside = table.as_mut().ok_or("there is no table")?;
                if std::mem::take(&mut deleting) {
                    delete_rules(inside, &mut deleted)?;
                }
            }
            change => change_inside(table.as_mut().ok_or("there is no table")?, change)?,
        }
    }
    match &table {
        Some(inside) if inside.sets.values().any(|set| names_missing_chain(set, inside)) => {
            Err("a map leads to a chain that is not there")
        }
        _ => Ok(table),
    }
}

fn delete_rules(table: &mut TableSeen, deleted: &mut [(&str, usize, usize)]) -> Result<(), &'static str> {
    deleted.sort_by_key(|(_, index, _)| std::cmp::Reverse(*index));
    for (chain, index, count) in deleted.iter() {
        let rules = &mut table.chains.get_mut(*chain).ok_or("there is no such chain")?.rules;
        if index + count > rules.len() {
            return Err("there is no such rule");
        }
        rules.drain(*index..index + count);
    }
    Ok(())
}

fn change_inside(table: &mut TableSeen, change: &TableChange) -> Result<(), &'static str> {
    match change {
        TableChange::AddChain(name, base) => {
            let chain = ChainSeen { base: *base, rules: Vec::new() };
            if table.chains.insert(name.clone(), chain).is_some() {
                return Err("the chain is there");
            }
        }
        TableChange::DeleteChain(name) => {
            let chain = table.chains.remove(name).ok_or("there is no such chain")?;
            if !chain.rules.is_empty() {
                return Err("the chain has rules");
            }
        }
        TableChange::AddSet(name, kind) => {
            if table.sets.insert(name.clone(), Arc::new(Set::empty(*kind))).is_some() {
                return Err("the set is there");
            }
        }
        TableChange::DeleteSet(name) => {
            table.sets.remove(name).ok_or("there is no such set")?;
        }
        TableChange::AddElements(name, _, elements) => {
            let set = Arc::make_mut(table.sets.get_mut(name).ok_or("there is no such set")?);
            for (key, target) in elements {
                if set.elements.insert(*key, target.clone()).is_some() {
                    return Err("the element is there");
                }
            }
        }
        TableChange::DeleteElements(name, _, elements) => {
            let set = Arc::make_mut(table.sets.get_mut(name).ok_or("there is no such set")?);
            for (key, _) in elements {
                set.elements.remove(key).ok_or("there is no such element")?;
            }
        }
        TableChange::InsertRules(name, index, rules) => {
            let chain = table.chains.get_mut(name).ok_or("there is no such chain")?;
            if *index > chain.rules.len() {
                return Err("there is no such place in the chain");
            }
            let seen = rules.iter().map(|rule: &Rule| Some(rule.fingerprint()));
            chain.rules.splice(index..index, seen);
        }
        TableChange::AddFlowtable(more) => {
            let flowtable = table.flowtable.get_or_insert_with(|| more.clone());
            flowtable.devices.extend(more.devices.iter().cloned());
        }
        TableChange::ShrinkFlowtable(less) => {
            let flowtable = table.flowtable.as_mut().ok_or("there is no flowtable")?;
            flowtable.devices.retain(|device| !less.devices.contains(device));
        }
        TableChange::DeleteFlowtable(_) => {
            table.flowtable.take().ok_or("there is no flowtable")?;
        }
        TableChange::AddTable | TableChange::DeleteTable | TableChange::DeleteRules(..) => {}
    }
    Ok(())
}

fn names_missing_chain(set: &Set, table: &TableSeen) -> bool {
    set.elements.values().any(|target| match target {
        Target::Chain(chain) => !table.chains.contains_key(chain),
        _ => false,
    })
}
