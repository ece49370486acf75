//! The names of this site, and what is known of any name that is asked for.
//!
//! Persistent maps: the next state shares with the one before it all that did not change. `facts.rs` says what a
//! configuration puts in; `answer.rs` asks.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;

use super::data::{Data, Node};
use super::name::{self, Key, Name};
use super::special::LOCALHOST;
use super::table::{Authority, DEFAULT_GROUP, Table};
use super::wire::{MAX_NAME, kind};
use crate::config::Id;
use crate::config::dns::Record;

/// The names of this site.
#[derive(Debug, Clone, Default)]
pub(super) struct Zones {
    names: OrdMap<Name, Node>,
    reverse: OrdMap<Ipv4Addr, Name>,
    wildcards: usize,
    pub(super) table: Arc<Table>,
}

impl PartialEq for Zones {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
            && self.reverse == other.reverse
            && self.wildcards == other.wildcards
            && self.table == other.table
    }
}

/// What is known of a name. The apex is that of the zone that says so, as the length of its name in this room's form.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// It has data, perhaps none of the type that is asked for; [`Zones::apex`] has the zone.
    Data(Data<'a>),
    /// It is there, without data.
    Empty,
    /// It is not there.
    Missing,
    /// The forwarders of this group are asked.
    Elsewhere(u16),
}

impl Zones {
    /// How many names have data, those of addresses included.
    pub(super) fn len(&self) -> usize {
        self.names.len() + self.reverse.len()
    }

    /// What is known of a name that is asked for with this type.
    pub(super) fn find(&self, key: &Key, asked: u16) -> Found<'_> {
        let whole = key.octets();
        let node = self.names.get(whole);
        let pointer = self.pointer(whole);
        if node.is_some() || pointer.is_some() {
            return Found::Data(Data::Names { node, pointer });
        }
        if whole.starts_with(LOCALHOST) {
            return Found::Data(Data::Localhost);
        }
        let cut = self.table.find(whole);
        if let Some(wildcard) = self.wildcard_above(key, cut.map_or(0, |(length, _)| length)) {
            return self.within(key, wildcard);
        }
        match cut {
            Some((top, Authority::Local)) => self.within(key, top),
            Some((_, Authority::Group(group))) => Found::Elsewhere(group),
            // Names of one label are names of this site, if they are names at all. Only what validators ask about
            // top-level domains goes up.
            None if key.labels() == 1 && !kind::is_infrastructure(asked) => {
                if self.has_below(whole) {
                    Found::Empty
                } else {
                    Found::Missing
                }
            }
            None => Found::Elsewhere(DEFAULT_GROUP),
        }
    }

    /// Whether a name is the apex of a zone of ours.
    pub(super) fn is_apex(&self, name: &[u8]) -> bool {
        self.table.find(name) == Some((name.len(), Authority::Local))
    }

    /// The apex of the zone that a name of ours is in, as the length of its name in this room's form: a zone of the
    /// table, else what is below a wildcard, else the name alone. A name of one label without data is the root's.
    pub(super) fn apex(&self, key: &Key) -> usize {
        let cut = self.table.find(key.octets());
        match cut {
            Some((apex, Authority::Local)) => apex,
            _ if self.names.contains_key(key.octets()) || self.pointer(key.octets()).is_some() => {
                key.octets().len()
            }
            _ => self.wildcard_above(key, cut.map_or(0, |(length, _)| length)).unwrap_or(0),
        }
    }

    /// What the address is called that a name in `in-addr.arpa` stands for.
    fn pointer(&self, name: &[u8]) -> Option<&Name> {
        match name::reversed(name) {
            Some((address, last)) if address == last => self.reverse.get(&address),
            _ => None,
        }
    }

    /// The nearest ancestor at or below `highest` that has a wildcard under it.
    fn wildcard_above(&self, key: &Key, highest: usize) -> Option<usize> {
        if self.wildcards == 0 {
            return None;
        }
        let ancestors = (1..=key.labels()).map(|labels| key.ancestor(labels));
        let mut near = ancestors.take_while(|ancestor| ancestor.len() >= highest && !ancestor.is_empty());
        near.find(|ancestor| self.wildcard(ancestor).is_some()).map(<[u8]>::len)
    }

    fn wildcard(&self, parent: &[u8]) -> Option<&Node> {
        self.names.get(name::wildcard_below(parent, &mut [0; MAX_NAME])?)
    }

    /// What a part of the tree that is ours, from `top` down, says of a name without data (RFC 4592 section 3.3.1).
    fn within(&self, key: &Key, top: usize) -> Found<'_> {
        let whole = key.octets();
        if whole.len() == top || self.has_below(whole) {
            return Found::Empty;
        }
        for ancestor in (1..=key.labels()).map(|labels| key.ancestor(labels)) {
            let node = self.wildcard(ancestor);
            if let Some(node) = node.filter(|_| ancestor.len() >= top) {
                return Found::Data(Data::Names { node: Some(node), pointer: None });
            }
            // The closest encloser is found: a wildcard further up does not reach past it.
            if ancestor.len() <= top || self.exists(ancestor) {
                break;
            }
        }
        Found::Missing
    }

    fn exists(&self, name: &[u8]) -> bool {
        self.names.contains_key(name) || self.has_below(name)
    }

    /// Whether a name that has data, or a zone, is below this one.
    fn has_below(&self, whole: &[u8]) -> bool {
        let next = self.names.get_next(whole);
        let addresses = || {
            let (first, last) = name::reversed(whole)?;
            self.reverse.range(first..=last).next()
        };
        next.is_some_and(|(name, _)| name.octets().starts_with(whole))
            || self.table.has_below(whole)
            || addresses().is_some()
    }

    pub(super) fn add_address(&mut self, name: &Name, address: Ipv4Addr) {
        let mut node = self.names.get(name).cloned().unwrap_or_default();
        node.addresses = node.addresses.with(address);
        self.put(name.clone(), node);
    }

    pub(super) fn remove_address(&mut self, name: &Name, address: Ipv4Addr) {
        if let Some(mut node) = self.names.get(name).cloned() {
            node.addresses = node.addresses.without(address);
            self.put(name.clone(), node);
        }
    }

    pub(super) fn add_pointer(&mut self, address: Ipv4Addr, name: Name) {
        self.reverse.insert(address, name);
    }

    pub(super) fn remove_pointer(&mut self, address: Ipv4Addr) {
        self.reverse.remove(&address);
    }

    pub(super) fn add_record(&mut self, name: Name, id: &Id, record: &Arc<Record>) {
        let mut node = self.names.get(&name).cloned().unwrap_or_default();
        node.add_record(id, record);
        self.put(name, node);
    }

    pub(super) fn remove_record(&mut self, name: Name, id: &Id) {
        if let Some(mut node) = self.names.get(&name).cloned() {
            node.remove_record(id);
            self.put(name, node);
        }
    }

    /// Puts a node where it belongs, or away where it is empty.
    fn put(&mut self, name: Name, node: Node) {
        let is_wildcard = name::is_wildcard(name.octets());
        if node.is_empty() {
            let removed = self.names.remove(&name).is_some();
            self.wildcards -= usize::from(is_wildcard && removed);
        } else {
            let new = self.names.insert(name, node).is_none();
            self.wildcards += usize::from(is_wildcard && new);
        }
    }
}
