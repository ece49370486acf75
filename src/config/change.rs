//! What differs between two configurations, object by object. Called by the loop for its answers and its log.

use imbl::ordmap::DiffItem;
use schemars::JsonSchema;
use serde::Serialize;

use super::document::Config;
use super::edit::Collection;
use super::fault::Pointer;

/// One object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// The object, as a JSON pointer into the document.
    pub pointer: Pointer,
    /// What became of it.
    pub change: ChangeKind,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is another now.
    Changed,
    /// It is no more.
    Removed,
}

/// The objects that differ between two configurations, at a cost of what differs.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let mut found = Changes::default();
    let root = Pointer::root();
    found.member(root.key("hostname"), before.hostname(), after.hostname());
    found.collection(&root.key("interfaces"), before.interfaces(), after.interfaces());
    found.collection(&root.key("routes"), before.routes(), after.routes());
    let at = root.key("dhcp");
    for item in before.dhcp().diff(after.dhcp()) {
        match item {
            DiffItem::Add(id, _) => found.add(at.key(id.as_str()), ChangeKind::Added),
            DiffItem::Remove(id, _) => found.add(at.key(id.as_str()), ChangeKind::Removed),
            DiffItem::Update { old: (id, old), new: (_, new) } => {
                let at = at.key(id.as_str());
                found.collection(&at.key("hosts"), &old.hosts, &new.hosts);
                found.member(at, Some(&old.settings), Some(&new.settings));
            }
        }
    }
    let at = root.key("dns");
    match (before.dns(), after.dns()) {
        (Some(old), Some(new)) => {
            let forwarders = at.key("conditional_forwarders");
            found.collection(&forwarders, &old.conditional_forwarders, &new.conditional_forwarders);
            found.collection(&at.key("records"), &old.records, &new.records);
            found.member(at, Some(&old.settings), Some(&new.settings));
        }
        (old, new) => found.member(at, old, new),
    }
    found.collection(&root.key("snat"), before.snat(), after.snat());
    found.collection(&root.key("eips"), before.eips(), after.eips());
    found.collection(&root.key("port_forwards"), before.port_forwards(), after.port_forwards());
    let (old, new) = (before.firewall(), after.firewall());
    let at = root.key("firewall");
    found.member(at.key("defaults"), Some(&old.defaults), Some(&new.defaults));
    found.collection(&at.key("rules"), &old.rules, &new.rules);
    found.0
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, pointer: Pointer, change: ChangeKind) {
        self.0.push(Change { pointer, change });
    }

    fn member<T: PartialEq>(&mut self, pointer: Pointer, old: Option<&T>, new: Option<&T>) {
        match (old, new) {
            (None, Some(_)) => self.add(pointer, ChangeKind::Added),
            (Some(_), None) => self.add(pointer, ChangeKind::Removed),
            (Some(old), Some(new)) if old != new => self.add(pointer, ChangeKind::Changed),
            _ => {}
        }
    }

    fn collection<T: PartialEq>(&mut self, at: &Pointer, old: &Collection<T>, new: &Collection<T>) {
        for item in old.diff(new) {
            match item {
                DiffItem::Add(id, _) => self.add(at.key(id.as_str()), ChangeKind::Added),
                DiffItem::Remove(id, _) => self.add(at.key(id.as_str()), ChangeKind::Removed),
                DiffItem::Update { new: (id, _), .. } => self.add(at.key(id.as_str()), ChangeKind::Changed),
            }
        }
    }
}
