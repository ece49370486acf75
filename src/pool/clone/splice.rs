//! Changes of a text by ranges of octets: what no change covers stays as it is. Pure; called by `xml.rs`.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::ops::Range;

/// Changes that are not yet done.
#[derive(Debug, Default)]
pub struct Splice {
    changes: Vec<(Range<usize>, String)>,
}

impl Splice {
    /// Puts other text in the place of a range.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.changes.push((range, text.into()));
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<usize>) {
        self.replace(range, "");
    }

    /// Puts text before an octet.
    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// The text with all changes. A change within the range of an earlier one is part of what that one replaces, so it is
    /// left out. Nothing where a range lies outside of the text or cuts a character.
    #[must_use]
    pub fn apply(mut self, text: &str) -> Option<String> {
        // What is put before an octet comes before what becomes of that octet.
        self.changes.sort_by_key(|(range, _)| (range.start, !range.is_empty(), Reverse(range.end)));
        let mut result = String::with_capacity(text.len());
        let mut done = 0;
        for (range, replacement) in self.changes {
            if range.start < done {
                continue;
            }
            result.push_str(text.get(done..range.start)?);
            result.push_str(&replacement);
            done = range.end;
        }
        result.push_str(text.get(done..)?);
        Some(result)
    }
}

/// Text as it stands in an attribute or in an element.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\r' | '\t' => {
                // Parsers make plain blanks of these in attributes.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            other => escaped.push(other),
        }
    }
    escaped
}
