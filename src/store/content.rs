//! What is stored of a generation: a whole document or the merge patch that leads there from the generation before, as JSON
//! text; what is great of it compressed. Pure; called by whoever makes generations, and by `generations.rs`.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde::Serialize;
use serde_json::Value;

use super::journal::StoreError;
use crate::merge_patch;

/// What has so many octets is compressed: a change of one object never is, and costs what it always did.
const GREAT: usize = 64 << 10;
/// How hard it is tried, of 10: more takes longer than the kernel does, which works meanwhile.
const LEVEL: u8 = 4;
/// More octets than any document has: what comes to more is not taken apart.
const LONGEST: usize = 512 << 20;
/// The first octet of a whole document. JSON without a mark is a whole document in the file's first record, else a patch.
const WHOLE: u8 = b'=';
/// The first octet of a whole document that is compressed (RFC 1951), without line breaks, of which a record has none.
const WHOLE_COMPRESSED: u8 = b'Z';
/// The same of a patch.
const PATCH_COMPRESSED: u8 = b'z';
/// What stands before the name of an octet that would not be in its place.
const ESCAPE: u8 = 0x1b;
/// Those octets and their names.
const ESCAPED: [(u8, u8); 2] = [(b'\n', b'n'), (ESCAPE, b'e')];

/// What is stored of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Vec<u8>);

impl Content {
    /// A whole document, or a patch that is known to be small, as JSON text.
    ///
    /// # Errors
    /// None that a value of JSON or of the wire can cause.
    pub fn of(value: &impl Serialize) -> Result<Self, StoreError> {
        text(value).map(Self)
    }

    /// A whole document.
    ///
    /// # Errors
    /// As [`Content::of`].
    pub fn whole(document: &impl Serialize) -> Result<Self, StoreError> {
        Ok(Self(packed(text(document)?, Some(WHOLE), WHOLE_COMPRESSED)))
    }

    /// What leads from one generation to the next: the patch, or the document where that is no longer.
    ///
    /// # Errors
    /// As [`Content::of`].
    pub fn leading<D: Serialize>(patch: &impl Serialize, to: impl FnOnce() -> D) -> Result<Self, StoreError> {
        let patch = text(patch)?;
        if patch.len() >= GREAT {
            let whole = text(&to())?;
            if whole.len() <= patch.len() {
                return Ok(Self(packed(whole, Some(WHOLE), WHOLE_COMPRESSED)));
            }
        }
        Ok(Self(packed(patch, None, PATCH_COMPRESSED)))
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

/// Whether a content says itself that it is a whole document.
pub(super) fn is_whole(content: &[u8]) -> bool {
    matches!(content.first(), Some(&(WHOLE | WHOLE_COMPRESSED)))
}

/// Makes the document of a generation of the one before; there is none before the first.
///
/// # Errors
/// Why the content cannot be understood.
pub(super) fn apply(content: &[u8], document: &mut Option<Value>) -> Result<(), String> {
    let value: Value = match content.split_first() {
        Some((&WHOLE, rest)) => serde_json::from_slice(rest),
        Some((&(WHOLE_COMPRESSED | PATCH_COMPRESSED), rest)) => serde_json::from_slice(&unpacked(rest)?),
        _ => serde_json::from_slice(content),
    }
    .map_err(|error| error.to_string())?;
    match document {
        Some(document) if !is_whole(content) => merge_patch::merge(document, value),
        _ => *document = Some(value),
    }
    Ok(())
}

fn text(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Io {
        action: "write a record of",
        path: "the generations".to_owned(),
        reason: error.to_string(),
    })
}

fn packed(text: Vec<u8>, plain: Option<u8>, compressed: u8) -> Vec<u8> {
    if text.len() >= GREAT {
        let mut packed = vec![compressed];
        escape(&compress_to_vec(&text, LEVEL), &mut packed);
        if packed.len() < text.len() {
            return packed;
        }
    }
    plain.into_iter().chain(text).collect()
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, String> {
    let compressed = unescape(packed).ok_or("it is escaped wrongly")?;
    decompress_to_vec_with_limit(&compressed, LONGEST).map_err(|error| error.to_string())
}

/// Octets without line breaks.
fn escape(octets: &[u8], into: &mut Vec<u8>) {
    for octet in octets {
        match ESCAPED.iter().find(|(plain, _)| plain == octet) {
            Some((_, behind)) => into.extend([ESCAPE, *behind]),
            None => into.push(*octet),
        }
    }
}

/// The octets that were escaped; nothing where that was not done by [`escape`].
fn unescape(octets: &[u8]) -> Option<Vec<u8>> {
    let mut into = Vec::with_capacity(octets.len());
    let mut octets = octets.iter();
    while let Some(octet) = octets.next() {
        into.push(match *octet {
            ESCAPE => {
                let named = octets.next()?;
                ESCAPED.iter().find(|(_, behind)| behind == named)?.0
            }
            octet => octet,
        });
    }
    Some(into)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn many(count: usize, text: &str) -> Value {
        Value::Object((0..count).map(|number| (format!("o{number}"), json!(text))).collect())
    }

    fn applied(content: &Content, before: Option<Value>) -> Value {
        let mut document = before;
        apply(&content.0, &mut document).unwrap();
        document.unwrap()
    }

    #[test]
    fn what_is_small_is_text_and_what_is_great_a_fraction_of_it() {
        let small = Content::leading(&json!({"a": 1}), || -> Value { panic!("nobody asks for it") }).unwrap();
        assert_eq!(small.0, b"{\"a\":1}");
        let (one, other) = (many(10_000, "one"), many(10_000, "other"));
        let whole = Content::whole(&one).unwrap();
        assert!(is_whole(&whole.0) && whole.0.len() < one.to_string().len() / 3, "{}", whole.0.len());
        assert_eq!(applied(&whole, None), one);
        assert_eq!(applied(&whole, Some(json!({"z": 1}))), one, "nothing of before stays");
        let patch = Content::leading(&other, || json!({"longer": [one.clone(), one.clone()]})).unwrap();
        assert!(!is_whole(&patch.0) && !patch.0.contains(&b'\n'));
        assert_eq!(applied(&patch, Some(one.clone())), other);
        let shorter = Content::leading(&other, || json!({})).unwrap();
        assert_eq!(shorter.0, b"={}");
        assert_eq!(applied(&shorter, Some(one)), json!({}));
    }

    #[test]
    fn every_octet_is_there_again_and_no_line_breaks() {
        let octets: Vec<u8> = (0..=255).chain([ESCAPE, b'n', ESCAPE, b'\n']).collect();
        let mut escaped = Vec::new();
        escape(&octets, &mut escaped);
        assert!(!escaped.contains(&b'\n') && escaped.len() == octets.len() + 5, "{}", escaped.len());
        assert_eq!(unescape(&escaped), Some(octets));
    }

    #[test]
    fn what_is_no_content_is_said_so() {
        for content in ["", "z", "Z!", "zAAAA", "z\u{1b}x", "z\u{1b}", "=", "x", "{"] {
            assert!(apply(content.as_bytes(), &mut Some(json!({}))).is_err(), "{content}");
        }
    }
}
