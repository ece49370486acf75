//! Values that are written as text: the one way they are read from, and written back to, JSON.
//!
//! A type that implements `FromStr` (with a sentence as its error) and `Display` becomes a leaf of the wire types by
//! one line of [`text_leaf!`]. Called by the leaf types beside this file.

use deserr::{IntoValue, Value, ValuePointerRef};

use super::fault::{Faults, Rule};

/// Why a text is not a value: a sentence that says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub String);

impl InvalidText {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Reads a leaf that is written as a JSON string.
pub(super) fn read<T, V>(value: Value<V>, location: ValuePointerRef<'_>) -> Result<T, Faults>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
    V: IntoValue,
{
    match value {
        Value::String(text) => {
            text.parse().map_err(|error: T::Err| Faults::at(location, Rule::InvalidValue, error.to_string()))
        }
        other => Err(Faults::at(location, Rule::WrongType, format!("expected text, found {}", kind(&other)))),
    }
}

/// The JSON type of a value, for sentences.
pub(super) fn kind<V: IntoValue>(value: &Value<V>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Integer(_) | Value::NegativeInteger(_) | Value::Float(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "an array",
        Value::Map(_) => "an object",
    }
}

/// Makes a type with `FromStr` and `Display` a leaf of the wire: a JSON string that matches `pattern`.
macro_rules! text_leaf {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl deserr::Deserr<$crate::config::fault::Faults> for $type {
            fn deserialize_from_value<V: deserr::IntoValue>(
                value: deserr::Value<V>,
                location: deserr::ValuePointerRef<'_>,
            ) -> Result<Self, $crate::config::fault::Faults> {
                $crate::config::text::read(value, location)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

pub(super) use text_leaf;
