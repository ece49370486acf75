//! JSON text to values. Called by the API with what was posted.
//!
//! `serde_json` keeps the last of two equal keys without a word; a router that forgets one of two EIPs that way
//! would lie about what it runs, so keys that stand twice are faults here.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::fault::{Faults, Pointer, Rule};
use super::limits::{MAX_CONTAINERS, MAX_DEPTH, MAX_ELEMENTS, MAX_KEY, MAX_TEXT, MAX_VALUES};

/// Reads one JSON document.
///
/// # Errors
/// Bytes that are not one JSON value, more of it than a router takes, or objects that name a member twice (every one of
/// them).
pub fn parse(bytes: &[u8]) -> Result<Value, Faults> {
    let mut reading = Reading::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { place: &Place::Root, depth: 0, reading: &mut reading }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    let Reading { mut faults, too_much, .. } = reading;
    match value {
        Ok(value) => faults.into_result(value),
        // What is too much was reported where it stands, and is not read to its end.
        Err(_) if too_much => Err(faults),
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

/// What is known of a document while it is read.
#[derive(Debug, Default)]
struct Reading {
    faults: Faults,
    /// How many values there were, and how many of them objects and lists.
    values: usize,
    containers: usize,
    /// Whether it has more of something than is read.
    too_much: bool,
}

impl Reading {
    /// Reports that something is too much; the rest is not read.
    fn stop<E: serde::de::Error>(&mut self, place: &Place<'_>, detail: &str) -> E {
        self.faults.add(place.pointer(), Rule::OutOfRange, detail);
        self.too_much = true;
        E::custom(detail)
    }
}

struct Strict<'a> {
    place: &'a Place<'a>,
    depth: usize,
    reading: &'a mut Reading,
}

impl Strict<'_> {
    /// Takes note of one more object or list.
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.reading.containers += 1;
        if self.depth >= MAX_DEPTH {
            let detail = format!("values are nested deeper than {MAX_DEPTH}");
            return Err(self.reading.stop(self.place, &detail));
        }
        if self.reading.containers > MAX_CONTAINERS {
            let detail = format!("a document has at most {MAX_CONTAINERS} objects and lists");
            return Err(self.reading.stop(self.place, &detail));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.reading.values += 1;
        if self.reading.values > MAX_VALUES {
            let detail = format!("a document has at most {MAX_VALUES} values");
            return Err(self.reading.stop(self.place, &detail));
        }
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

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        if value.len() > MAX_TEXT {
            let detail = format!("a text has at most {MAX_TEXT} octets");
            return Err(self.reading.stop(self.place, &detail));
        }
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut array = Vec::new();
        loop {
            let place = Place::Index(self.place, array.len());
            let element = Strict { place: &place, depth: self.depth + 1, reading: self.reading };
            match elements.next_element_seed(element)? {
                Some(_) if array.len() == MAX_ELEMENTS => {
                    let detail = format!("a list has at most {MAX_ELEMENTS} elements");
                    return Err(self.reading.stop(self.place, &detail));
                }
                Some(value) => array.push(value),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>().map_err(A::Error::custom)? {
            if key.len() > MAX_KEY {
                let detail = format!("the name of a member has at most {MAX_KEY} octets");
                return Err(self.reading.stop(self.place, &detail));
            }
            let place = Place::Key(self.place, &key);
            let member = Strict { place: &place, depth: self.depth + 1, reading: self.reading };
            let value = members.next_value_seed(member)?;
            match object.entry(key) {
                Entry::Vacant(vacant) => drop(vacant.insert(value)),
                Entry::Occupied(first) => {
                    let key = first.key();
                    let sentence = format!("the member `{key}` stands twice in one object");
                    self.reading.faults.add(self.place.pointer().key(key), Rule::DuplicateKey, sentence);
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
}
