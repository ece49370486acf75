//! Statuses of HTTP as the wire writes them. Called by the wire types of balancers and their pools.

use std::fmt;
use std::str::FromStr;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::fault::{Faults, Rule};
use super::text::{InvalidText, kind, text_leaf};
use super::wire::RedirectStatus;

/// Statuses from the first to the last, both included: `200` or `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let status = |text: &str| text.parse().ok().filter(|status| (100..600).contains(status));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(InvalidText::new(format!("`{text}` is not a status or a range such as 200-299"))),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

text_leaf!(StatusRange, r"^[1-5]\d\d(-[1-5]\d\d)?$", "A status or a range: `200`, `200-299`.");

impl RedirectStatus {
    const ALL: [Self; 5] = [
        Self::MovedPermanently,
        Self::Found,
        Self::SeeOther,
        Self::TemporaryRedirect,
        Self::PermanentRedirect,
    ];

    /// The status.
    #[must_use]
    pub const fn code(self) -> StatusCode {
        match self {
            Self::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            Self::Found => StatusCode::FOUND,
            Self::SeeOther => StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        }
    }
}

impl Deserr<Faults> for RedirectStatus {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let Value::Integer(number) = value else {
            let detail = format!("expected a status, found {}", kind(&value));
            return Err(Faults::at(location, Rule::WrongType, detail));
        };
        let found = Self::ALL.into_iter().find(|status| u64::from(status.code().as_u16()) == number);
        found.ok_or_else(|| {
            Faults::at(
                location,
                Rule::InvalidValue,
                format!("{number} is not one of 301, 302, 303, 307, 308"),
            )
        })
    }
}

impl Serialize for RedirectStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.code().as_u16())
    }
}

impl JsonSchema for RedirectStatus {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A status that sends a client elsewhere (RFC 9110 section 15.4).",
            "type": "integer",
            "enum": [301, 302, 303, 307, 308]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_range() {
        let range: StatusRange = "200-299".parse().unwrap();
        assert!(range.contains(204) && !range.contains(300));
        assert_eq!(range.to_string(), "200-299");
        for bad in ["", "99", "600", "299-200", "2xx"] {
            assert!(bad.parse::<StatusRange>().is_err(), "{bad}");
        }
    }
}
