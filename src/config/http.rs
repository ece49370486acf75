//! Parts of HTTP messages as the wire writes them: hosts, paths, fields, methods.
//!
//! Whatever goes into a message is checked here, so that no configuration can end a line early in somebody's request.
//! Called by the wire types of balancers and their pools; the balancer reads the values.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::text::{InvalidText, text_leaf};

/// How much memory a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;
/// The longest text of a message that is configured, in octets.
const MAX_TEXT: usize = 4096;

/// A host by name: exact, or all names below one. Lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `www.demo.local`
    Exact(String),
    /// `*.demo.local`: what stands behind the star, with its dot.
    Below(String),
}

impl HostPattern {
    /// Whether a host, in lower case and without its port, is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(InvalidText::new(format!(
                "`{text}` is not a host: a name, or `*.` and a name; without a port"
            )));
        }
        Ok(match lower.strip_prefix('*') {
            Some(suffix) => Self::Below(suffix.to_owned()),
            None => Self::Exact(lower),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

text_leaf!(HostPattern, r"^(\*\.)?[A-Za-z0-9._-]+$", "A host's name, or `*.` and a name for all below it.");

/// Text that a field of a message can hold: visible, without line ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderText(String);

/// A path that begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpPath(String);

/// The name of a header field, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(String);

/// The value of a header field; in a match `*` is any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldValue(String);

/// A request's method.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(String);

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CookieName(String);

/// Where a client is sent: text with parts of the request in braces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(String);

/// What stands in the place of what was matched in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replacement(String);

macro_rules! text {
    ($type:ident) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(HeaderText);
text!(HttpPath);
text!(FieldName);
text!(FieldValue);
text!(Method);
text!(CookieName);
text!(Location);
text!(Replacement);

/// Whether every octet is visible ASCII or, where `blanks`, a space between such.
fn is_plain(text: &str, blanks: bool) -> bool {
    text.len() <= MAX_TEXT
        && text.trim() == text
        && text.bytes().all(|octet| octet.is_ascii_graphic() || (blanks && octet == b' '))
}

/// Whether it is a token (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let part = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    (1..=256).contains(&text.len()) && text.bytes().all(part)
}

impl FromStr for HeaderText {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() || !is_plain(text, false) {
            return Err(InvalidText::new(format!("`{}` is not plain text", text.escape_default())));
        }
        Ok(Self(text.to_owned()))
    }
}

text_leaf!(HeaderText, r"^[\x21-\x7e]{1,4096}$", "Visible ASCII without blanks.");

impl FromStr for HttpPath {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !text.starts_with('/') || !is_plain(text, false) || text.contains('#') {
            return Err(InvalidText::new(format!(
                "`{}` is not a path: it begins with / and has no blanks",
                text.escape_default()
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for HttpPath {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

text_leaf!(HttpPath, r"^/[\x21-\x7e]*$", "A path that begins with a slash.");

impl FromStr for FieldName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !is_token(text) {
            return Err(InvalidText::new(format!(
                "`{}` is not the name of a header field",
                text.escape_default()
            )));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

text_leaf!(FieldName, r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$", "The name of a header field.");

impl FromStr for FieldValue {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !is_plain(text, true) {
            return Err(InvalidText::new(format!(
                "`{}` is not the value of a header field: visible ASCII, blanks only within",
                text.escape_default()
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

text_leaf!(FieldValue, r"^[\x20-\x7e]{0,4096}$", "The value of a header field.");

impl FromStr for Method {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !is_token(text) || text.len() > 32 {
            return Err(InvalidText::new(format!("`{}` is not a method", text.escape_default())));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Default for Method {
    fn default() -> Self {
        Self("GET".to_owned())
    }
}

text_leaf!(Method, r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$", "A method, such as `GET`; case counts.");

impl FromStr for CookieName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !is_token(text) || text.len() > 128 {
            return Err(InvalidText::new(format!("`{}` is not a cookie's name", text.escape_default())));
        }
        Ok(Self(text.to_owned()))
    }
}

text_leaf!(CookieName, r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$", "A cookie's name; case counts.");

/// The parts of a request that a location can hold.
pub const LOCATION_PARTS: [&str; 5] = ["scheme", "host", "port", "path", "query"];

impl FromStr for Location {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() || !is_plain(text, false) {
            return Err(InvalidText::new(format!("`{}` is not a location", text.escape_default())));
        }
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let part = behind.split_once('}').filter(|(part, _)| LOCATION_PARTS.contains(part));
            let Some((_, next)) = part.filter(|_| !before.contains('}')) else {
                let known = LOCATION_PARTS.map(|part| format!("{{{part}}}")).join(", ");
                return Err(InvalidText::new(format!(
                    "`{text}` has braces around something else than {known}"
                )));
            };
            rest = next;
        }
        if rest.contains('}') {
            return Err(InvalidText::new(format!("`{text}` closes a brace that is not open")));
        }
        Ok(Self(text.to_owned()))
    }
}

text_leaf!(
    Location,
    r"^[\x21-\x7e]{1,4096}$",
    "A URI reference; `{scheme}`, `{host}`, `{port}`, `{path}` and `{query}` stand for parts of the request."
);

impl FromStr for Replacement {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !is_plain(text, false) || text.contains('#') {
            return Err(InvalidText::new(format!("`{}` cannot stand in a path", text.escape_default())));
        }
        Ok(Self(text.to_owned()))
    }
}

text_leaf!(Replacement, r"^[\x21-\x7e]{0,4096}$", "A part of a path; `$1` stands for the first group.");

/// A regular expression over paths. Equal where its text is.
#[derive(Debug, Clone)]
pub struct PathRegex(Regex);

impl PathRegex {
    /// The compiled expression.
    #[must_use]
    pub const fn get(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for PathRegex {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let compiled = RegexBuilder::new(text).size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN).build();
        compiled.map(Self).map_err(|error| {
            let why = error.to_string();
            let line = why.lines().last().unwrap_or_default();
            InvalidText::new(format!("`{text}` is not a regular expression: {line}"))
        })
    }
}

impl fmt::Display for PathRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

text_leaf!(PathRegex, r"^[\s\S]+$", "A regular expression in the syntax of the Rust crate `regex`.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact_or_all_below() {
        let exact: HostPattern = "WWW.Demo.local".parse().unwrap();
        assert!(exact.matches("www.demo.local") && !exact.matches("a.www.demo.local"));
        let below: HostPattern = "*.demo.local".parse().unwrap();
        assert!(
            below.matches("a.b.demo.local") && !below.matches("demo.local") && !below.matches(".demo.local")
        );
        assert_eq!(below.to_string(), "*.demo.local");
        for bad in ["", "*", "*.", "a..b", "demo.local:80", "a b", "a*.b"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_that_ends_a_line_gets_into_a_message() {
        for bad in ["a\r\nb", "a\0b", "a\tb", " a", "a ", "ä"] {
            assert!(bad.parse::<FieldValue>().is_err(), "{bad:?}");
            assert!(bad.parse::<HttpPath>().is_err(), "{bad:?}");
            assert!(bad.parse::<Location>().is_err(), "{bad:?}");
        }
        assert!("max-age=1; includeSubDomains".parse::<FieldValue>().is_ok());
        for bad in ["", "a b", "a:b", "a\n"] {
            assert!(bad.parse::<FieldName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_location_names_parts_of_the_request_alone() {
        for good in ["/new", "https://{host}{path}?{query}", "https://{host}:8443/", "//{host}"] {
            assert!(good.parse::<Location>().is_ok(), "{good}");
        }
        for bad in ["", "{", "}", "{user}", "a}b{host}", "{{host}}", "{host"] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_bounded() {
        assert!("^/\\.git".parse::<PathRegex>().is_ok());
        assert!("(".parse::<PathRegex>().is_err());
        assert!("(a{1000}){1000}".parse::<PathRegex>().is_err());
    }
}
