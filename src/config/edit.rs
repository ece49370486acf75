//! How a request becomes new objects: one path for replacing a document and for patching it.
//!
//! Objects that come out equal to what was there keep their place in memory, so that two generations share all that
//! did not change and everything behind this room costs what changed. Called by `document.rs` and by the nouns that
//! hold collections of their own.

use std::sync::Arc;

use deserr::{Deserr, IntoValue, ValuePointerRef};
use imbl::OrdMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::limits::check_collection;
use crate::merge_patch;

/// Objects by the caller's id.
pub type Collection<T> = OrdMap<Id, Arc<T>>;

/// What a request asks for one part of the document.
#[derive(Debug)]
pub(super) enum Edit {
    /// It becomes this; null is absence.
    Replace(Value),
    /// This merge patch is applied to it; null is deletion.
    Patch(Value),
}

impl Edit {
    /// The same kind of edit for a part of the part.
    fn part(&self, value: Value) -> Self {
        match self {
            Self::Replace(_) => Self::Replace(value),
            Self::Patch(_) => Self::Patch(value),
        }
    }

    /// Takes the member `key` out of the edit; a replacement that lacks it makes it absent, a patch leaves it alone.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let (Self::Replace(value) | Self::Patch(value)) = self;
        let member = value.as_object_mut().and_then(|members| members.remove(key));
        match (member, &self) {
            (Some(member), _) => Some(self.part(member)),
            (None, Self::Replace(_)) => Some(Self::Replace(Value::Null)),
            (None, Self::Patch(_)) => None,
        }
    }

    /// Whether it is a patch that changes nothing.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Patch(Value::Object(members)) if members.is_empty())
    }

    /// Reports what is left of an object whose members have all been taken. A patch that removes what there is none of
    /// changes nothing (RFC 7396 section 2).
    pub(super) fn refuse_rest(self, known: &[&str], at: &Pointer, faults: &mut Faults) {
        let is_patch = matches!(self, Self::Patch(_));
        let (Self::Replace(value) | Self::Patch(value)) = self;
        let Value::Object(members) = value else {
            faults.add(at.clone(), Rule::WrongType, "expected an object");
            return;
        };
        for (key, _) in members.iter().filter(|(_, value)| !(is_patch && value.is_null())) {
            if faults.is_full() {
                faults.add(at.clone(), Rule::UnknownField, "");
                continue;
            }
            let detail = format!("there is no member `{key}` here; known are {}", known.join(", "));
            faults.add(at.key(key), Rule::UnknownField, detail);
        }
    }

    /// Whether the part is gone afterwards.
    pub(super) fn removes(&self) -> bool {
        matches!(self, Self::Replace(Value::Null) | Self::Patch(Value::Null))
    }
}

/// A kind of object, as the document holds it.
pub(super) trait Noun: PartialEq + Sized {
    /// The object that results from `edit`, or nothing where faults were added.
    fn edit(previous: Option<&Self>, edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self>;
}

/// An object without collections of its own: read whole from its wire type, and written back to be patched.
pub(super) trait FlatNoun: PartialEq + Sized {
    /// The wire type.
    type Wire: Deserr<Faults> + Serialize;

    /// The noun that the wire means, or nothing where faults were added.
    fn read(wire: Self::Wire, at: &Pointer, faults: &mut Faults) -> Option<Self>;

    /// The wire again.
    fn write(&self) -> Self::Wire;
}

impl<T: FlatNoun> Noun for T {
    fn edit(previous: Option<&Self>, edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let value = match edit {
            Edit::Replace(value) => value,
            Edit::Patch(patch) => {
                let mut value =
                    previous.map_or_else(|| Value::Object(Map::new()), |noun| render(&noun.write()));
                merge_patch::merge(&mut value, patch);
                value
            }
        };
        read(value, at, faults).and_then(|wire| T::read(wire, at, faults))
    }
}

/// Reads a wire type; its faults point into the document.
pub(super) fn read<W: Deserr<Faults>>(mut value: Value, at: &Pointer, faults: &mut Faults) -> Option<W> {
    let part = match W::deserialize_from_value(value.clone().into_value(), ValuePointerRef::Origin) {
        Ok(wire) => return Some(wire),
        Err(part) => part,
    };
    // Members that nobody knows do not hide what is wrong with the rest.
    let unknown: Vec<&str> = part
        .as_slice()
        .iter()
        .filter(|fault| fault.rule == Rule::UnknownField)
        .filter_map(|fault| fault.pointer.as_str().strip_prefix('/'))
        .collect();
    let known_is_fine = unknown.len() == part.as_slice().len();
    if let Some(members) = value.as_object_mut() {
        members.retain(|key, _| !unknown.contains(&key.as_str()));
    }
    faults.adopt(at, part);
    if known_is_fine {
        W::deserialize_from_value(value.into_value(), ValuePointerRef::Origin).ok()
    } else {
        None
    }
}

/// A wire type as JSON.
pub(super) fn render<W: Serialize>(wire: &W) -> Value {
    // The wire types hold strings, numbers and maps keyed by strings: nothing that serde_json refuses.
    serde_json::to_value(wire).unwrap_or_default()
}

/// The collection that results from `edit`.
pub(super) fn collection<T: Noun>(
    previous: &Collection<T>,
    edit: Option<Edit>,
    at: &Pointer,
    faults: &mut Faults,
) -> Collection<T> {
    let Some(edit) = edit else { return previous.clone() };
    if edit.removes() {
        return Collection::new();
    }
    let (mut next, members, patch) = match edit {
        // What is too much is not looked at.
        Edit::Replace(Value::Object(members)) | Edit::Patch(Value::Object(members))
            if !check_collection(members.len(), at, faults) =>
        {
            return previous.clone();
        }
        Edit::Replace(Value::Object(members)) => (kept(previous, &members), members, false),
        Edit::Patch(Value::Object(members)) => (previous.clone(), members, true),
        Edit::Replace(_) | Edit::Patch(_) => {
            faults.add(at.clone(), Rule::WrongType, "expected an object keyed by id");
            return previous.clone();
        }
    };
    for (key, value) in members {
        let place = at.key(&key);
        let id: Id = match key.parse() {
            Ok(id) => id,
            // What cannot be there is removed already.
            Err(_) if patch && value.is_null() => continue,
            Err(error) => {
                faults.add(place, Rule::InvalidValue, error.to_string());
                continue;
            }
        };
        if patch && value.is_null() {
            next.remove(&id);
            continue;
        }
        let before = previous.get(&id);
        let edit = if patch { Edit::Patch(value) } else { Edit::Replace(value) };
        if let Some(noun) = T::edit(before.map(AsRef::as_ref), edit, &place, faults)
            && before.is_none_or(|before| **before != noun)
        {
            next.insert(id, Arc::new(noun));
        }
    }
    check_collection(next.len(), at, faults);
    next
}

/// What a replacement by `members` keeps of a collection.
fn kept<T>(previous: &Collection<T>, members: &Map<String, Value>) -> Collection<T> {
    let mut next = previous.clone();
    for id in previous.keys().filter(|id| !members.contains_key(id.as_str())) {
        next.remove(id);
    }
    next
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::Config;

    #[test]
    fn a_patch_that_removes_what_is_not_there_changes_nothing() {
        let document = json!({"version": 1, "hostname": "vr", "dns": {}, "interfaces": {
            "guest": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}}});
        let config = Config::default().replace(document.clone()).unwrap();
        for patch in [
            json!({"nothing": null}),
            json!({"firewall": {"nothing": null}}),
            json!({"dns": {"nothing": null, "records": {"no id": null}}}),
            json!({"interfaces": {"guest": {"nothing": null}, "none": null, "no id": null}}),
        ] {
            let patched = config.patch(patch.clone()).unwrap_or_else(|faults| panic!("{patch}: {faults}"));
            assert_eq!(patched, config, "{patch}");
        }
        // What a document says is no removal.
        let mut whole = document;
        whole["nothing"] = json!(null);
        assert!(config.replace(whole).is_err());
        assert!(config.patch(json!({"nothing": {}})).is_err());
    }
}
