//! Who answers for which part of the tree: ourselves, or which forwarders; the longest match decides.
//!
//! Small, and built anew where domains or forwarders change. Called by `zones.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::name::{Key, Name};
use super::special::{LOCAL_ZONES, SHARED_ADDRESSES};
use crate::config::Config;

/// The forwarders for names of which nothing else is said.
pub(super) const DEFAULT_GROUP: u16 = 0;

/// Who answers for a part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// Ourselves, whether we have the name or not.
    Local,
    /// The forwarders of this group.
    Group(u16),
}

/// The parts of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    /// In the order of their names, so that a part stands behind those that hold it.
    cuts: Vec<Cut>,
    groups: Vec<Vec<SocketAddrV4>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    name: Name,
    authority: Authority,
    /// The place of the next larger part that holds this one.
    holder: Option<usize>,
}

impl Table {
    /// The table of a configuration.
    pub(super) fn new(config: &Config) -> Self {
        let Some(dns) = config.dns() else { return Self::default() };
        let mut names: BTreeMap<Name, Authority> = BTreeMap::new();
        let shared = SHARED_ADDRESSES.map(|octet| format!("{octet}.100.in-addr.arpa"));
        let zones = LOCAL_ZONES.iter().map(|zone| (*zone).to_owned()).chain(shared);
        let domains = config.dhcp().values().filter_map(|network| network.settings.domain.as_ref());
        for zone in zones.chain(domains.map(ToString::to_string)) {
            names.extend(Key::of_text(&zone).map(|key| (key.to_name(), Authority::Local)));
        }
        let mut groups = vec![dns.settings.forwarders.iter().map(|forwarder| forwarder.socket()).collect()];
        // Whoever forwards a domain of ours means it: what we do not have there is asked for.
        for conditional in dns.conditional_forwarders.values() {
            let (Some(key), Ok(group)) =
                (Key::of_text(conditional.domain.as_str()), u16::try_from(groups.len()))
            else {
                continue;
            };
            names.insert(key.to_name(), Authority::Group(group));
            groups.push(conditional.forwarders.iter().map(|forwarder| forwarder.socket()).collect());
        }
        Self { cuts: cuts(names), groups }
    }

    /// The forwarders by group; the first is the default's and may be empty.
    pub(super) fn groups(&self) -> &[Vec<SocketAddrV4>] {
        &self.groups
    }

    /// The smallest part that holds a name: the length of the part's own name, and who answers for it.
    pub(super) fn find(&self, name: &[u8]) -> Option<(usize, Authority)> {
        // The part, if there is one, is the last that does not stand behind the name, or one that holds that one: all
        // names between a part and what is within it are within it too.
        let mut place = self.cuts.partition_point(|cut| cut.name.octets() <= name).checked_sub(1);
        while let Some(cut) = place.and_then(|place| self.cuts.get(place)) {
            if name.starts_with(cut.name.octets()) {
                return Some((cut.name.octets().len(), cut.authority));
            }
            place = cut.holder;
        }
        None
    }

    /// Whether a part starts below a name.
    pub(super) fn has_below(&self, name: &[u8]) -> bool {
        let place = self.cuts.partition_point(|cut| cut.name.octets() <= name);
        self.cuts.get(place).is_some_and(|cut| cut.name.octets().starts_with(name))
    }
}

fn cuts(names: BTreeMap<Name, Authority>) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::with_capacity(names.len());
    for (name, authority) in names {
        let mut holder = cuts.len().checked_sub(1);
        while let Some(cut) = holder.and_then(|place| cuts.get(place)) {
            if name.octets().starts_with(cut.name.octets()) {
                break;
            }
            holder = cut.holder;
        }
        cuts.push(Cut { name, authority, holder });
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The part that is found is the longest that the name starts with.
        #[test]
        fn the_longest_match_decides(
            names in prop::collection::btree_set("[ab](\\.[ab]){0,3}", 0..10),
            asked in "[ab](\\.[ab]){0,4}",
        ) {
            let key = |text: &str| Key::of_text(text).unwrap();
            let of_name = |(index, name): (usize, &String)| {
                (key(name).to_name(), Authority::Group(u16::try_from(index).unwrap()))
            };
            let names: BTreeMap<Name, Authority> = names.iter().enumerate().map(of_name).collect();
            let table = Table { cuts: cuts(names.clone()), groups: Vec::new() };
            let asked = key(&asked);
            let holding = names.iter().filter(|(name, _)| asked.octets().starts_with(name.octets()));
            let longest = holding.max_by_key(|(name, _)| name.octets().len());
            let expected = longest.map(|(name, authority)| (name.octets().len(), *authority));
            prop_assert_eq!(table.find(asked.octets()), expected);
            let below = names.keys().any(|name| name.octets().starts_with(asked.octets()) && name.octets() != asked.octets());
            prop_assert_eq!(table.has_below(asked.octets()), below);
        }
    }
}
