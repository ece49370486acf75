//! What a command says: members by name without regard to case, where null is absence and what is not known is not read.
//!
//! Agents of ZStack have been lenient for years, and management nodes rely on it: a number may come as text, a list as
//! null. What is there and cannot be understood is refused, by its name.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use super::Refusal;
use crate::config::{Id, MacAddress};

/// The most elements of one list of a command.
const MAX_ELEMENTS: usize = 20_000;

/// An object of a command, or its absence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a>(Option<&'a Value>);

impl<'a> Body<'a> {
    pub(super) const fn new(value: &'a Value) -> Self {
        Self(Some(value))
    }

    /// Whether there is nothing.
    pub(super) const fn is_absent(self) -> bool {
        self.0.is_none()
    }

    /// The member of this name, unless it is null.
    fn value(self, name: &str) -> Option<&'a Value> {
        let members = self.0?.as_object()?;
        let exact = members.get(name);
        let found = exact.or_else(|| {
            members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// The object of this name.
    pub(super) fn object(self, name: &str) -> Body<'a> {
        Body(self.value(name).filter(|value| value.is_object()))
    }

    /// The members of the object of this name.
    pub(super) fn entries(self, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let members = self.value(name).and_then(Value::as_object);
        members.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// The objects of the list of this name; nothing where there is no list.
    pub(super) fn list(self, name: &str) -> Result<Vec<Body<'a>>, Refusal> {
        let elements = self.elements(name)?;
        Ok(elements.iter().filter(|value| value.is_object()).map(Body::new).collect())
    }

    /// The texts of the list of this name.
    pub(super) fn texts(self, name: &str) -> Result<Vec<&'a str>, Refusal> {
        let texts = self.elements(name)?.iter().filter_map(Value::as_str).map(str::trim);
        Ok(texts.filter(|text| !text.is_empty()).collect())
    }

    fn elements(self, name: &str) -> Result<&'a [Value], Refusal> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(elements)) if elements.len() <= MAX_ELEMENTS => Ok(elements),
            Some(Value::Array(elements)) => Err(Refusal::Invalid(format!(
                "`{name}` has {} elements; at most {MAX_ELEMENTS} are taken",
                elements.len()
            ))),
            Some(_) => Err(Refusal::Invalid(format!("`{name}` is not a list"))),
        }
    }

    /// Whether there is a list of this name, empty or not.
    pub(super) fn has(self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The text of this name, unless it is empty.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.value(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The text of this name.
    pub(super) fn needed(self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::Invalid(format!("`{name}` is missing")))
    }

    /// The truth of this name; absent where nothing is said.
    pub(super) fn flag(self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// The number of this name, as a number or as text; one below zero says nothing.
    pub(super) fn number(self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            // What counts nothing is said by a number below zero here and there.
            other if other.as_i64().is_some_and(i64::is_negative) => return Ok(None),
            other => other.as_u64(),
        };
        number.map(Some).ok_or_else(|| Refusal::Invalid(format!("`{name}` is not a number: {value}")))
    }

    /// The Ethernet address of this name.
    pub(super) fn mac(self, name: &str) -> Result<MacAddress, Refusal> {
        let text = self.needed(name)?;
        text.parse().map_err(|error| Refusal::Invalid(format!("`{name}`: {error}")))
    }

    /// The IPv4 address of this name, if it is said.
    pub(super) fn address(self, name: &str) -> Result<Option<Ipv4Addr>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        address(text).map(Some).map_err(|error| match error {
            Refusal::Invalid(detail) => Refusal::Invalid(format!("`{name}`: {detail}")),
            other => other,
        })
    }

    /// The IPv4 address of this name.
    pub(super) fn needed_address(self, name: &str) -> Result<Ipv4Addr, Refusal> {
        self.address(name)?.ok_or_else(|| Refusal::Invalid(format!("`{name}` is missing")))
    }

    /// An address with the mask of its network.
    pub(super) fn network(self, address: &str, mask: &str) -> Result<Ipv4Net, Refusal> {
        with_mask(self.needed_address(address)?, self.needed(mask)?)
    }
}

/// An IPv4 address.
pub(super) fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().map_err(|_| {
        if text.contains(':') {
            Refusal::Unsupported(format!("{text} is IPv6"))
        } else {
            Refusal::Invalid(format!("`{text}` is not an IPv4 address"))
        }
    })
}

/// An address with a mask such as `255.255.255.0`, or with a prefix length.
pub(super) fn with_mask(address: Ipv4Addr, mask: &str) -> Result<Ipv4Net, Refusal> {
    let wrong = || Refusal::Invalid(format!("`{mask}` is not the mask of a network"));
    match mask.parse::<u8>() {
        Ok(length) => Ipv4Net::new(address, length).map_err(|_| wrong()),
        Err(_) => Ipv4Net::with_netmask(address, mask.parse().map_err(|_| wrong())?).map_err(|_| wrong()),
    }
}

/// A text of ZStack's as the id of an object: what an id cannot hold becomes a hyphen.
pub(super) fn id(text: &str) -> Result<String, Refusal> {
    let known = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let id: String = text.chars().map(known).collect();
    match id.parse::<Id>() {
        Ok(_) => Ok(id),
        Err(_) => Err(Refusal::Invalid(format!("`{text}` cannot name an object: at most 64 characters"))),
    }
}

/// Sets a member of an object.
pub(super) fn set(object: &mut Value, member: &str, value: impl Into<Value>) {
    if let Value::Object(members) = object {
        members.insert(member.to_owned(), value.into());
    }
}
