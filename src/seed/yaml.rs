//! YAML to JSON values, as far as seeds need it: one document of mappings, lists and scalars of the core schema
//! (YAML 1.2.2 section 10.3). Anchors, aliases and tags are refused by name, so that what becomes of a text is never larger
//! than the text. Called by the readers of this room. Pure.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const MAX_DEPTH: usize = 32;
/// How many values there may be.
const MAX_VALUES: usize = 100_000;

/// Why a text is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlFault {
    /// It is not YAML.
    #[error("it is not YAML: {0}")]
    Syntax(#[from] ScanError),
    /// Something of YAML that seeds do without.
    #[error("line {line}: {what} is not read here")]
    Unsupported {
        /// Where.
        line: usize,
        /// What.
        what: &'static str,
    },
    /// A mapping names something twice.
    #[error("line {line}: `{key}` stands twice")]
    Twice {
        /// Where.
        line: usize,
        /// What stands twice.
        key: String,
    },
    /// A bound.
    #[error("it has more than {MAX_VALUES} values, or they are nested deeper than {MAX_DEPTH}")]
    TooMuch,
}

/// What is being read, from the outermost inwards.
enum Open {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// In which order mappings name their members, by the name of the mapping. Values have them by the alphabet.
pub(super) type Order = BTreeMap<String, Vec<String>>;

impl Open {
    /// The member of a mapping whose value is being read.
    fn key(&self) -> Option<String> {
        match self {
            Self::Mapping(_, key) => key.clone(),
            Self::List(_) => None,
        }
    }
}

/// The value of a text; null where there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Value, YamlFault> {
    parse_in_order(text, &[]).map(|(value, _)| value)
}

/// The same, with the order of the members of mappings that have one of these names.
pub(super) fn parse_in_order(text: &str, named: &[&str]) -> Result<(Value, Order), YamlFault> {
    let mut order = Order::new();
    let mut open = Vec::new();
    let mut whole = None;
    let mut values = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let line = span.start.line();
        let unsupported = |what| YamlFault::Unsupported { line, what };
        let value = match event {
            Event::Alias(_) => return Err(unsupported("an alias")),
            Event::Scalar(.., anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return Err(unsupported("an anchor"));
            }
            Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return Err(unsupported("a tag"));
            }
            Event::DocumentStart(_) if whole.is_some() => return Err(unsupported("a second document")),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                None
            }
            Event::Scalar(text, style, _, tag) => {
                Some(scalar(&text, style, tag.as_deref()).ok_or_else(|| unsupported("a tag"))?)
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Value::Array(list)),
                Some(Open::Mapping(mapping, _)) => Some(Value::Object(mapping)),
                None => None,
            },
            _ => None,
        };
        values += 1;
        if open.len() > MAX_DEPTH || values > 2 * MAX_VALUES {
            return Err(YamlFault::TooMuch);
        }
        let Some(value) = value else { continue };
        let name = open.iter().rev().nth(1).and_then(Open::key);
        match open.last_mut() {
            None => whole = Some(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Mapping(mapping, key)) => match key.take() {
                None => *key = Some(as_key(value).ok_or_else(|| unsupported("a key that is no text"))?),
                Some(key) if mapping.contains_key(&key) => return Err(YamlFault::Twice { line, key }),
                Some(key) => {
                    if let Some(name) = name.filter(|name| named.contains(&name.as_str())) {
                        order.entry(name).or_default().push(key.clone());
                    }
                    mapping.insert(key, value);
                }
            },
        }
    }
    Ok((whole.unwrap_or(Value::Null), order))
}

fn as_key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A scalar; nothing where its tag is not of the core schema's texts.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Some(text.into()),
        Some(_) => None,
        None if style == ScalarStyle::Plain => Some(plain(text)),
        None => Some(text.into()),
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    // Only decimal numbers that JSON would write like this: addresses, MACs and octal modes stay text.
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit() || matches!(octet, b'-' | b'.'));
    match serde_json::from_str::<Number>(text) {
        Ok(number) if is_number => Value::Number(number),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_seeds_are_written_in_is_read() {
        let text = "# c\nversion: 2\nethernets:\n  eth0:\n    match: {macaddress: 52:54:00:00:00:01}\n    dhcp4: false\n    \
                    addresses: [192.0.2.5/24, '198.51.100.1/24']\n    mtu: 1450\n    empty:\n    \
                    text: |\n      a\n      b\n    mode: 0755\n    f: -1.5\n";
        let expected = json!({"version": 2, "ethernets": {"eth0": {
            "match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": false, "mtu": 1450, "empty": null,
            "addresses": ["192.0.2.5/24", "198.51.100.1/24"], "text": "a\nb\n", "mode": "0755", "f": -1.5,
        }}});
        assert_eq!(parse(text).unwrap(), expected);
        let (_, order) = parse_in_order("a: {z: {x: 1}, y: [{q: 1}]}\nb: {z: 1}", &["a"]).unwrap();
        assert_eq!(order, Order::from([("a".to_owned(), vec!["z".to_owned(), "y".to_owned()])]));
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(parse("{\"a\": [1, !!str 2]}").unwrap(), json!({"a": [1, "2"]}));
    }

    #[test]
    fn what_could_grow_or_mean_two_things_is_refused() {
        for (text, why) in [
            ("a: &b [1]\nc: *b", "an anchor"),
            ("a: *b", ""),
            ("a: !binary x", "a tag"),
            ("a: 1\n---\nb: 1", "a second document"),
            ("a: 1\na: 2", "`a` stands twice"),
            ("[1]: 2", "a key that is no text"),
            ("a: [", "not YAML"),
            ("a: b: c", "not YAML"),
        ] {
            let fault = parse(text).unwrap_err().to_string();
            assert!(fault.contains(why), "{text:?}: {fault}");
        }
        assert!(matches!(parse(&"[".repeat(100)), Err(YamlFault::TooMuch | YamlFault::Syntax(_))));
        assert!(matches!(parse(&"- 1\n".repeat(MAX_VALUES * 2 + 1)), Err(YamlFault::TooMuch)));
    }
}
