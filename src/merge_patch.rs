//! RFC 7396: a patch that looks like what it patches. Called by the configuration and by the generation store.

use serde_json::{Map, Value};

/// Applies an RFC 7396 merge patch: null deletes, objects merge, anything else replaces.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (key, change) in patch {
        if change.is_null() {
            members.remove(&key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), change);
        }
    }
}

/// The patch that makes `new` out of `old`; nothing where they are equal. Members whose value is null cannot be said by
/// a merge patch, and nothing of ours has any.
#[must_use]
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in new {
        match old.get(key) {
            Some(old) => patch.extend(difference(old, new).map(|change| (key.clone(), change))),
            None => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cases of RFC 7396, appendix A: target, patch, result.
    #[test]
    fn merge_does_what_the_rfc_shows() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, result) in cases {
            merge(&mut target, patch.clone());
            assert_eq!(target, result, "{patch}");
        }
    }

    #[test]
    fn the_difference_makes_one_of_the_other() {
        let documents = [
            json!({}),
            json!({"a": 1}),
            json!({"a": {"b": 1, "c": {"d": []}}}),
            json!({"a": {"b": 2, "c": {"d": [1, {"e": 2}]}}, "f": "g"}),
            json!({"a": {"c": {}}}),
            json!({"a": []}),
        ];
        for old in &documents {
            assert_eq!(difference(old, old), None);
            for new in documents.iter().filter(|new| *new != old) {
                let mut patched = old.clone();
                merge(&mut patched, difference(old, new).unwrap());
                assert_eq!(&patched, new, "from {old}");
            }
        }
    }
}
