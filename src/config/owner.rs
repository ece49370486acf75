//! Who commands the router: one management plane, and every other is refused.

use serde_json::Value;

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
pub use super::wire::Owner;

impl FlatNoun for Owner {
    type Wire = Self;

    fn read(wire: Self, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        if wire.zstack.is_none() {
            faults.add(
                at.key("zstack"),
                Rule::MissingField,
                "an owner is named; without one, leave `owner` out",
            );
        }
        Some(wire)
    }

    fn write(&self) -> Self {
        self.clone()
    }
}

/// Whether a posted document or patch takes a router over from whoever owns it: by an `owner` that is null. A document
/// that leaves `owner` out does not know of it.
#[must_use]
pub fn takes_over(posted: &Value) -> bool {
    posted.get("owner").is_some_and(Value::is_null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn an_owner_is_kept_until_it_is_null() {
        let owned =
            Config::default().replace(json!({"version": 1, "owner": {"zstack": {"uuid": "9a01"}}})).unwrap();
        assert_eq!(owned.to_json()["owner"], json!({"zstack": {"uuid": "9a01"}}));
        let patched = owned.patch(json!({"hostname": "vr"})).unwrap();
        assert!(patched.owner().is_some());
        assert!(patched.patch(json!({"owner": null})).unwrap().owner().is_none());
        assert!(owned.replace(json!({"version": 1, "owner": null})).unwrap().owner().is_none());
        assert!(takes_over(&json!({"owner": null})));
        for keeps in [json!({}), json!({"owner": {"zstack": {}}}), json!([])] {
            assert!(!takes_over(&keeps), "{keeps}");
        }
    }

    #[test]
    fn an_owner_has_a_name() {
        let faults = Config::default().replace(json!({"version": 1, "owner": {}})).unwrap_err();
        assert_eq!(faults.as_slice()[0].pointer.as_str(), "/owner/zstack");
        assert!(Config::default().replace(json!({"version": 1, "owner": {"else": {}}})).is_err());
    }
}
