//! Objects within an object, by a key of the caller's, where they are read and patched together with it.
//!
//! deserr reads a `BTreeMap` too, and forgets the faults that it finds in there. Called by the wire types.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Deref;
use std::str::FromStr;

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::fault::{Faults, Rule};
use super::text::kind;

/// Values by their key, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Keyed<K: Ord, T>(BTreeMap<K, T>);

impl<K: Ord, T> Default for Keyed<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, T> Deref for Keyed<K, T> {
    type Target = BTreeMap<K, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, K: Ord, T> IntoIterator for &'a Keyed<K, T> {
    type Item = (&'a K, &'a T);
    type IntoIter = std::collections::btree_map::Iter<'a, K, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Ord, T> FromIterator<(K, T)> for Keyed<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<K, T> Deserr<Faults> for Keyed<K, T>
where
    K: FromStr + Ord,
    K::Err: Display,
    T: Deserr<Faults>,
{
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let Value::Map(members) = value else {
            let detail = format!("expected an object, found {}", kind(&value));
            return Err(Faults::at(location, Rule::WrongType, detail));
        };
        let (mut entries, mut faults) = (BTreeMap::new(), Faults::default());
        for (key, value) in members.into_iter() {
            let at = location.push_key(&key);
            let entry = match key.parse::<K>() {
                Ok(key) => T::deserialize_from_value(value.into_value(), at).map(|value| (key, value)),
                Err(error) => Err(Faults::at(at, Rule::InvalidValue, error.to_string())),
            };
            match entry {
                Ok((known, value)) => {
                    if entries.insert(known, value).is_some() {
                        let detail = format!("`{key}` is written in another way already");
                        faults.merge(Faults::at(at, Rule::DuplicateKey, detail));
                    }
                }
                Err(part) => faults.merge(part),
            }
        }
        faults.into_result(Self(entries))
    }
}

impl<K: Ord + JsonSchema, T: JsonSchema> JsonSchema for Keyed<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<K, T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<K, T>::json_schema(generator)
    }
}
