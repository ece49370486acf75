//! The router's answers as JSON, spread over lines and otherwise as they came: members stay in their order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A JSON text spread over lines. Control characters are escaped, so that a terminal shows them instead of obeying.
///
/// # Errors
/// It is not JSON.
pub(super) fn pretty(text: &[u8]) -> Result<String, serde_json::Error> {
    let value: Ordered = serde_json::from_slice(text)?;
    let pretty = serde_json::to_string_pretty(&value)?;
    let mut safe = String::with_capacity(pretty.len());
    for character in pretty.chars() {
        // Below U+0020 there are only the line feeds of the layout: serde_json escapes those inside of text.
        if matches!(character, '\u{7f}'..='\u{9f}') {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    Ok(safe)
}

/// JSON whose members keep their order, which `serde_json::Value` sorts.
#[derive(Debug)]
enum Ordered {
    Leaf(Value),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::Array(items) => items.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Ordered, E> {
        Ok(Ordered::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Ordered, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Ordered::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Ordered, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Ordered::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_in_their_order() {
        let text = r#"{"b":[1,-2,2.5,true,null],"a":{},"c":{"z":"\u001b\u009b","y":"ü"}}"#;
        let expected = "{
  \"b\": [
    1,
    -2,
    2.5,
    true,
    null
  ],
  \"a\": {},
  \"c\": {
    \"z\": \"\\u001b\\u009b\",
    \"y\": \"ü\"
  }
}";
        assert_eq!(pretty(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_is_refused_however_deep() {
        assert!(pretty(b"<html>").is_err());
        assert!(pretty(b"{} {}").is_err());
        assert!(pretty("[".repeat(100_000).as_bytes()).is_err());
    }
}
