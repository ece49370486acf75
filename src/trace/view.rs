//! Our table as it is wanted, and as it is seen: there rules are known by their fingerprints alone, and what one means is
//! looked up among those that are wanted.

use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::facts::ruleset::Fingerprint;
use crate::plan::facts::{BaseChain, Chain, ChainSeen, HookPoint, Name, Rule, Ruleset, Set, TableSeen};

/// A table that a packet can be led through.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    chains: Chains<'a>,
    sets: Option<&'a OrdMap<Name, Arc<Set>>>,
}

#[derive(Debug, Clone, Copy)]
enum Chains<'a> {
    Wanted(Option<&'a Ruleset>),
    Seen { seen: Option<&'a TableSeen>, wanted: Option<&'a Ruleset> },
}

impl<'a> View<'a> {
    /// The table as it should be.
    pub(super) fn wanted(ruleset: Option<&'a Ruleset>) -> Self {
        Self { chains: Chains::Wanted(ruleset), sets: ruleset.map(|ruleset| &ruleset.sets) }
    }

    /// The table as it is.
    pub(super) fn seen(seen: Option<&'a TableSeen>, wanted: Option<&'a Ruleset>) -> Self {
        Self { chains: Chains::Seen { seen, wanted }, sets: seen.map(|seen| &seen.sets) }
    }

    /// The chains that packets come into at a point, in the order in which they are asked.
    pub(super) fn base_chains(&self, point: HookPoint) -> Vec<(Name, BaseChain)> {
        let of = |(name, base): (&Name, Option<BaseChain>)| {
            base.filter(|base| base.point == point).map(|base| (name.clone(), base))
        };
        let mut found: Vec<_> = match self.chains {
            Chains::Wanted(ruleset) => {
                let chains = ruleset.iter().flat_map(|ruleset| &ruleset.chains);
                chains.map(|(name, chain): (&Name, &Arc<Chain>)| (name, chain.base)).filter_map(of).collect()
            }
            Chains::Seen { seen, .. } => {
                let chains = seen.iter().flat_map(|seen| &seen.chains);
                chains.map(|(name, chain): (&Name, &ChainSeen)| (name, chain.base)).filter_map(of).collect()
            }
        };
        found.sort_by_key(|(_, base)| base.priority);
        found
    }

    /// The rules of a chain; nothing in place of one that is not known. No rules where there is no such chain.
    pub(super) fn rules(&self, chain: &Name) -> Vec<Option<&'a Rule>> {
        let wanted_rules = |ruleset: Option<&'a Ruleset>, chain: &Name| -> &'a [Rule] {
            ruleset.and_then(|ruleset| ruleset.chains.get(chain)).map_or(&[], |chain| &chain.rules)
        };
        match self.chains {
            Chains::Wanted(ruleset) => wanted_rules(ruleset, chain).iter().map(Some).collect(),
            Chains::Seen { seen, wanted } => {
                let seen = seen.and_then(|seen| seen.chains.get(chain)).map_or(&[][..], |chain| &chain.rules);
                let same = wanted_rules(wanted, chain);
                if seen.len() == same.len()
                    && seen.iter().zip(same).all(|(seen, rule)| *seen == Some(rule.fingerprint()))
                {
                    return same.iter().map(Some).collect();
                }
                let known = known(wanted, chain);
                seen.iter().map(|seen| known.get(&(*seen)?).copied()).collect()
            }
        }
    }

    /// A set.
    pub(super) fn set(&self, name: &Name) -> Option<&'a Set> {
        self.sets?.get(name).map(AsRef::as_ref)
    }
}

/// Every rule that is wanted, by its fingerprint; of a chain that has it, that of the chain itself.
fn known<'a>(wanted: Option<&'a Ruleset>, chain: &Name) -> BTreeMap<Fingerprint, &'a Rule> {
    let mut known = BTreeMap::new();
    let Some(wanted) = wanted else { return known };
    let others = wanted.chains.values().flat_map(|chain| &chain.rules);
    let own = wanted.chains.get(chain).into_iter().flat_map(|chain| &chain.rules);
    known.extend(others.chain(own).map(|rule| (rule.fingerprint(), rule)));
    known
}
