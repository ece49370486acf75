//! What differs between two configurations, object by object, and the merge patch that leads from one to the other.
//! Called by the loop for its answers, its log and what it stores.

use imbl::ordmap::DiffItem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::document::Config;
use super::edit::{Collection, FlatNoun, render};
use super::fault::Pointer;
use super::wire;
use crate::merge_patch;

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

/// What differs between two configurations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The objects that differ.
    pub objects: Vec<Change>,
    /// The merge patch that leads from the first configuration to the second.
    pub patch: Map<String, Value>,
}

/// What differs between two configurations, at a cost of what differs.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Changes {
    let mut found = Changes::default();
    found.patch.insert("version".to_owned(), wire::VERSION.into());
    found.member(&["hostname"], before.hostname().map(render), after.hostname().map(render));
    found.member(&["owner"], before.owner().map(render), after.owner().map(render));
    found.member(&["drift"], Some(render(&before.drift())), Some(render(&after.drift())));
    match (before.ssh(), after.ssh()) {
        (Some(old), Some(new)) => {
            found.member(&["ssh"], Some(old.settings()), Some(new.settings()));
            found.collection(&["ssh", "keys"], &old.keys, &new.keys);
        }
        (None, Some(new)) => found.member(&["ssh"], None, Some(render(&wire::Ssh::from(new)))),
        (Some(_), None) => found.member(&["ssh"], Some(Value::Null), None),
        (None, None) => {}
    }
    found.collection(&["interfaces"], before.interfaces(), after.interfaces());
    found.collection(&["routes"], before.routes(), after.routes());
    for item in before.dhcp().diff(after.dhcp()) {
        match item {
            DiffItem::Add(id, network) => {
                let whole: wire::Network = network.as_ref().into();
                found.member(&["dhcp", id.as_str()], None, Some(render(&whole)));
            }
            DiffItem::Remove(id, _) => found.member(&["dhcp", id.as_str()], Some(Value::Null), None),
            DiffItem::Update { old: (id, old), new: (_, new) } => {
                let settings = |network: &super::dhcp::Network| Some(render(&network.settings.write()));
                found.member(&["dhcp", id.as_str()], settings(old), settings(new));
                found.collection(&["dhcp", id.as_str(), "hosts"], &old.hosts, &new.hosts);
            }
        }
    }
    match (before.dns(), after.dns()) {
        (Some(old), Some(new)) => {
            found.member(&["dns"], Some(render(&old.settings.write())), Some(render(&new.settings.write())));
            let (old_forwarders, new_forwarders) = (&old.conditional_forwarders, &new.conditional_forwarders);
            found.collection(&["dns", "conditional_forwarders"], old_forwarders, new_forwarders);
            found.collection(&["dns", "records"], &old.records, &new.records);
        }
        (None, Some(new)) => {
            let whole: wire::Dns = new.into();
            found.member(&["dns"], None, Some(render(&whole)));
        }
        (Some(_), None) => found.member(&["dns"], Some(Value::Null), None),
        (None, None) => {}
    }
    found.collection(&["snat"], before.snat(), after.snat());
    found.collection(&["eips"], before.eips(), after.eips());
    found.collection(&["port_forwards"], before.port_forwards(), after.port_forwards());
    found.collection(&["qos"], before.qos(), after.qos());
    let (old, new) = (before.firewall(), after.firewall());
    found.member(&["firewall", "defaults"], Some(render(&old.defaults)), Some(render(&new.defaults)));
    found.collection(&["firewall", "rules"], &old.rules, &new.rules);
    found.collection(&["firewall", "rule_sets"], &old.rule_sets, &new.rule_sets);
    for item in before.certificates().diff(after.certificates()) {
        let certificate = |certificate: &super::certificate::Certificate| Some(render(&certificate.write()));
        let (id, old, new) = match item {
            DiffItem::Add(id, new) => (id, None, certificate(new)),
            DiffItem::Remove(id, _) => (id, Some(Value::Null), None),
            DiffItem::Update { old: (id, old), new: (_, new) } => (id, certificate(old), certificate(new)),
        };
        found.member(&["certificates", id.as_str()], old, new);
    }
    found.collection(&["load_balancers"], before.load_balancers(), after.load_balancers());
    found
}

impl Changes {
    /// Takes in what became of one object.
    fn member(&mut self, path: &[&str], old: Option<Value>, new: Option<Value>) {
        let (change, patch) = match (old, new) {
            (None, Some(new)) => (ChangeKind::Added, new),
            (Some(_), None) => (ChangeKind::Removed, Value::Null),
            (Some(old), Some(new)) => match merge_patch::difference(&old, &new) {
                Some(patch) => (ChangeKind::Changed, patch),
                None => return,
            },
            (None, None) => return,
        };
        let pointer = path.iter().fold(Pointer::root(), |pointer, key| pointer.key(key));
        self.objects.push(Change { pointer, change });
        if let Some(place) = place(&mut self.patch, path) {
            *place = patch;
        }
    }

    fn collection<T: FlatNoun>(&mut self, at: &[&str], old: &Collection<T>, new: &Collection<T>) {
        for item in old.diff(new) {
            let (id, old, new) = match item {
                DiffItem::Add(id, noun) => (id, None, Some(render(&noun.write()))),
                DiffItem::Remove(id, _) => (id, Some(Value::Null), None),
                DiffItem::Update { old: (id, old), new: (_, new) } => {
                    (id, Some(render(&old.write())), Some(render(&new.write())))
                }
            };
            self.member(&[at, &[id.as_str()]].concat(), old, new);
        }
    }
}

/// The place in a patch that a path leads to, made on the way.
fn place<'a>(patch: &'a mut Map<String, Value>, path: &[&str]) -> Option<&'a mut Value> {
    let (last, parents) = path.split_last()?;
    let mut members = patch;
    for key in parents {
        let child = members.entry(*key).or_insert_with(|| Value::Object(Map::new()));
        members = child.as_object_mut()?;
    }
    Some(members.entry(*last).or_insert(Value::Null))
}
