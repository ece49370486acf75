//! The caller's own name of an object: the key of every collection.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::text::{InvalidText, text_leaf};

/// 1 to 64 of `A-Z a-z 0-9 . _ -`; a UUID is one. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// The longest id, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// A bound below every id, to search from; no object has it.
    pub(super) fn lowest() -> Self {
        Self("".into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.chars().all(known) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText::new(format!("`{text}` is not an id: 1 to 64 of A-Z a-z 0-9 . _ -")))
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_leaf!(Id, "^[A-Za-z0-9._-]{1,64}$", "The caller's id of an object.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_plain() {
        for good in ["a", "7f0c", "web-in", "a.b_c", "0c9e7a54-6f2b-4d3c-9a7e-2f6f7f6f0c9e"] {
            assert_eq!(good.parse::<Id>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "ä", "a/b", "x".repeat(65).as_str()] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
