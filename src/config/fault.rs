//! What is wrong with a document: every fault at once, each with the place, the rule and a sentence.
//!
//! Called by everything in this room; the API turns [`Faults`] into an RFC 9457 problem document.

use std::fmt;
use std::ops::ControlFlow;

use deserr::{DeserializeError, ErrorKind, IntoValue, MergeWithError, ValueKind, ValuePointerRef};
use schemars::JsonSchema;
use serde::Serialize;

use super::limits::MAX_FAULTS;
use super::text::kind;

/// A JSON pointer (RFC 6901) into the posted document; empty is the whole document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Pointer(String);

impl Pointer {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The member `key` of the object here, escaped as RFC 6901 section 3 says.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }

    /// The element `index` of the array here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// The pointer as text, such as `/eips/7f0c/address`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(location: ValuePointerRef<'_>) -> Self {
        match location {
            ValuePointerRef::Origin => Self::root(),
            ValuePointerRef::Key { key, prev } => Self::of(*prev).key(key),
            ValuePointerRef::Index { index, prev } => Self::of(*prev).index(index),
        }
    }

    fn behind(&self, prefix: &Self) -> Self {
        Self(format!("{}{}", prefix.0, self.0))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which rule a fault breaks. The names are stable: clients may act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The bytes are not JSON.
    Syntax,
    /// One object names the same member twice.
    DuplicateKey,
    /// The schema has no such member.
    UnknownField,
    /// A required member is not there.
    MissingField,
    /// The value is of another JSON type.
    WrongType,
    /// The value is of the right type and not of the right form.
    InvalidValue,
    /// A number or a length is beyond what is allowed.
    OutOfRange,
    /// It names an object that is not in the document.
    DanglingReference,
    /// Two objects claim the same thing.
    Conflict,
    /// Two ranges or networks share addresses or ports.
    Overlap,
    /// An address is outside the network that it has to be in.
    OutsideSubnet,
    /// Two members of one object contradict each other.
    Contradiction,
    /// Nothing could ever reach it.
    Unreachable,
    /// It held until a moment that has passed.
    Expired,
    /// This version does not build it.
    Unsupported,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Fault {
    /// Where, as a JSON pointer into the document.
    pub pointer: Pointer,
    /// Which rule.
    pub rule: Rule,
    /// A sentence that a person can act on.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.as_str().is_empty() { "document" } else { self.pointer.as_str() };
        write!(f, "{place}: {}", self.detail)
    }
}

/// All that is wrong with a document, in the order of discovery: the first [`MAX_FAULTS`], and one more that counts the
/// others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    told: Vec<Fault>,
    /// How many are counted by the last of those that are told.
    more: usize,
}

impl Faults {
    /// One fault of a value that stands at `location`.
    pub(super) fn at(location: ValuePointerRef<'_>, rule: Rule, detail: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(Pointer::of(location), rule, detail);
        faults
    }

    /// Reports one fault.
    pub fn add(&mut self, pointer: Pointer, rule: Rule, detail: impl Into<String>) {
        self.push(Fault { pointer, rule, detail: detail.into() });
    }

    fn push(&mut self, fault: Fault) {
        if self.is_full() { self.count(1) } else { self.told.push(fault) }
    }

    fn count(&mut self, more: usize) {
        if more == 0 {
            return;
        }
        self.more += more;
        self.told.truncate(MAX_FAULTS);
        let detail = format!("there are {} faults more", self.more);
        self.told.push(Fault { pointer: Pointer::root(), rule: Rule::OutOfRange, detail });
    }

    /// Whether more are counted only.
    pub(super) fn is_full(&self) -> bool {
        self.told.len() >= MAX_FAULTS
    }

    /// Takes over the faults of a part that stands at `place`.
    pub fn adopt(&mut self, place: &Pointer, part: Self) {
        self.take(part, |fault| Fault { pointer: fault.pointer.behind(place), ..fault });
    }

    fn take(&mut self, mut part: Self, placed: impl Fn(Fault) -> Fault) {
        if part.more > 0 {
            part.told.truncate(MAX_FAULTS);
        }
        let room = MAX_FAULTS.saturating_sub(self.told.len());
        let rest = part.told.len().saturating_sub(room) + part.more;
        self.told.extend(part.told.into_iter().take(room).map(placed));
        self.count(rest);
    }

    /// Takes over the faults of a part that knows its place.
    pub(super) fn merge(&mut self, part: Self) {
        self.take(part, |fault| fault);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The faults, in the order of discovery.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.told
    }

    /// `value` if nothing is wrong, else the faults.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.told.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl MergeWithError<Self> for Faults {
    fn merge(
        self_: Option<Self>,
        other: Self,
        _merge_location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let mut faults = self_.unwrap_or_default();
        faults.merge(other);
        ControlFlow::Continue(faults)
    }
}

impl DeserializeError for Faults {
    fn error<V: IntoValue>(
        self_: Option<Self>,
        error: ErrorKind<'_, V>,
        location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let mut faults = self_.unwrap_or_default();
        let here = Pointer::of(location);
        match error {
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                let mut accepted: Vec<&str> = accepted.iter().map(|kind| name(*kind)).collect();
                accepted.dedup();
                let detail = format!("expected {}, found {}", accepted.join(" or "), kind(&actual));
                faults.add(here, Rule::WrongType, detail);
            }
            ErrorKind::MissingField { field } => {
                faults.add(here.key(field), Rule::MissingField, format!("the member `{field}` is required"));
            }
            ErrorKind::UnknownKey { key, accepted } => {
                let detail = format!("there is no member `{key}` here; known are {}", accepted.join(", "));
                faults.add(here.key(key), Rule::UnknownField, detail);
            }
            ErrorKind::UnknownValue { value, accepted } => {
                let detail = format!("`{value}` is not one of {}", accepted.join(", "));
                faults.add(here, Rule::InvalidValue, detail);
            }
            ErrorKind::BadSequenceLen { expected, .. } => {
                faults.add(here, Rule::OutOfRange, format!("expected {expected} elements"));
            }
            ErrorKind::Unexpected { msg } => faults.add(here, Rule::InvalidValue, msg),
        }
        ControlFlow::Continue(faults)
    }
}

/// A JSON type that is expected, for sentences.
const fn name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Null => "null",
        ValueKind::Boolean => "a boolean",
        ValueKind::Integer | ValueKind::NegativeInteger | ValueKind::Float => "a number",
        ValueKind::String => "text",
        ValueKind::Sequence => "an array",
        ValueKind::Map => "an object",
    }
}
