//! What a ZStack host writes to the port by which a machine learns what it is: one JSON object, padded with blanks. Pure;
//! `vport.rs` reads the port.

use serde_json::{Deserializer, Value};

/// The most that is taken, in octets: a machine with a hundred interfaces fits many times.
pub const LONGEST: usize = 1 << 20;

/// What octets of the port are so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// The beginning of an object, or nothing but blanks.
    Part,
    /// A whole object, with nothing but blanks around it.
    Whole(Value),
    /// Nothing that a host writes, and why.
    Nonsense(String),
}

/// What the octets that came so far are.
#[must_use]
pub fn read(octets: &[u8]) -> Read {
    let begin = octets.iter().position(|octet| !is_blank(*octet)).unwrap_or(octets.len());
    let end = octets.iter().rposition(|octet| !is_blank(*octet)).map_or(begin, |last| last + 1);
    let text = octets.get(begin..end).unwrap_or_default();
    let Some(first) = text.first() else {
        return if octets.len() > LONGEST { too_long() } else { Read::Part };
    };
    if *first != b'{' {
        return Read::Nonsense("it does not begin with an object".to_owned());
    }
    let mut values = Deserializer::from_slice(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) if values.byte_offset() == text.len() => Read::Whole(value),
        Some(Ok(_)) => Read::Nonsense("something follows the object".to_owned()),
        Some(Err(error)) if error.is_eof() && octets.len() <= LONGEST => Read::Part,
        Some(Err(error)) if error.is_eof() => too_long(),
        Some(Err(error)) => Read::Nonsense(format!("it is not JSON: {error}")),
        None => Read::Part,
    }
}

fn too_long() -> Read {
    Read::Nonsense(format!("it is longer than {LONGEST} octets"))
}

/// What hosts pad with; some leave zeros where a buffer was not filled.
const fn is_blank(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_whole_at_its_last_brace_whatever_pads_it() {
        let text = br#"{"uuid": "9a", "managementNic": {"ip": "10.0.0.5"}}"#;
        for length in 0..text.len() {
            assert_eq!(read(&text[..length]), Read::Part, "{length}");
        }
        let whole = Read::Whole(json!({"uuid": "9a", "managementNic": {"ip": "10.0.0.5"}}));
        let padded = [text.as_slice(), &[b' '; 4096]].concat();
        for octets in [text.as_slice(), &padded, &[b"\n \0", text.as_slice(), b"\0\0"].concat()] {
            assert_eq!(read(octets), whole);
        }
    }

    #[test]
    fn what_no_host_writes_is_nonsense() {
        let deep = [b"{\"a\":".as_slice(), "[".repeat(1000).as_bytes()].concat();
        for octets in [b"x".as_slice(), b"[]", b"{} {}", b"{]", b"\"{}\"", &deep] {
            assert!(matches!(read(octets), Read::Nonsense(_)), "{:?}", read(octets));
        }
        assert!(matches!(read(&vec![b' '; LONGEST + 1]), Read::Nonsense(_)));
        let endless = [b"{\"a\": \"".to_vec(), vec![b'x'; LONGEST]].concat();
        assert!(matches!(read(&endless), Read::Nonsense(_)));
    }
}
