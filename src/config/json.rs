//! JSON text to values. Called by the API with what was posted.
//!
//! `serde_json` keeps the last of two equal keys without a word; a router that forgets one of two EIPs that way
//! would lie about what it runs, so keys that stand twice are faults here.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::fault::{Faults, Pointer, Rule};

/// Reads one JSON document.
///
/// # Errors
/// Bytes that are not one JSON value, or objects that name a member twice (every one of them).
pub fn parse(bytes: &[u8]) -> Result<Value, Faults> {
    let mut faults = Faults::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { place: &Place::Root, faults: &mut faults }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(value) => faults.into_result(value),
        Err(error) => {
            faults.add(Pointer::root(), Rule::Syntax, format!("not JSON: {error}"));
            Err(faults)
        }
    }
}

/// The way from the document to the value being read, on the stack so that the good case costs nothing.
enum Place<'a> {
    Root,
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl Place<'_> {
    fn pointer(&self) -> Pointer {
        match self {
            Self::Root => Pointer::root(),
            Self::Key(parent, key) => parent.pointer().key(key),
            Self::Index(parent, index) => parent.pointer().index(*index),
        }
    }
}

struct Strict<'a> {
    place: &'a Place<'a>,
    faults: &'a mut Faults,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number beyond range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let place = Place::Index(self.place, array.len());
            match elements.next_element_seed(Strict { place: &place, faults: self.faults })? {
                Some(value) => array.push(value),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>().map_err(A::Error::custom)? {
            let place = Place::Key(self.place, &key);
            let value = members.next_value_seed(Strict { place: &place, faults: self.faults })?;
            match object.entry(key) {
                Entry::Vacant(vacant) => drop(vacant.insert(value)),
                Entry::Occupied(first) => {
                    let key = first.key();
                    let sentence = format!("the member `{key}` stands twice in one object");
                    self.faults.add(self.place.pointer().key(key), Rule::DuplicateKey, sentence);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_a_fault_with_its_pointer() {
        let faults = parse(br#"{"eips": {"a": {"x": 1, "x": 2}, "a": {}}, "list": [{"b~/": 1, "b~/": 1}]}"#)
            .unwrap_err();
        let places: Vec<&str> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(places, ["/eips/a/x", "/eips/a", "/list/0/b~0~1"]);
        assert!(faults.as_slice().iter().all(|fault| fault.rule == Rule::DuplicateKey));
    }

    #[test]
    fn text_that_is_not_json_is_one_fault_that_says_where() {
        for text in ["", "{", "{} {}", "nul", "[1,]", "{\"a\":1e999}"] {
            let faults = parse(text.as_bytes()).unwrap_err();
            assert_eq!(faults.as_slice().len(), 1, "{text}");
            assert_eq!(faults.as_slice()[0].rule, Rule::Syntax, "{text}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let faults = parse("[".repeat(100_000).as_bytes()).unwrap_err();
        assert_eq!(faults.as_slice()[0].rule, Rule::Syntax);
    }
}
