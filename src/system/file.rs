//! The update file, read as it comes: manifest and signature first, then parts of exactly the length that they are said to
//! have. Pure, and never more than a manifest in memory. `receive.rs` feeds it.
//!
//! ```text
//! "VRUPDATE" 0x01 | u32 BE length | manifest (JSON) | 64 octets Ed25519 | root | UKI | end
//! ```

use ring::digest::{Context, SHA256};

use super::keys::{Keys, SIGNATURE};
use super::manifest::{Content, Digest, Manifest, Unsuitable};

/// How the file begins: its name and the version of this layout.
pub const MAGIC: &[u8; 9] = b"VRUPDATE\x01";
/// The longest manifest, in octets.
pub const LONGEST_MANIFEST: usize = 64 << 10;
/// What stands before the manifest.
const HEAD: usize = MAGIC.len() + 4;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The root and its hash tree.
    Root,
    /// The kernel image.
    Uki,
}

impl Part {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Uki => "kernel image",
        }
    }
}

/// What was found next.
#[derive(Debug)]
pub enum Event<'a> {
    /// The manifest; one of the keys signed it.
    Manifest(Box<Manifest>),
    /// Octets of a part, in their order.
    Octets(Part, &'a [u8]),
    /// A part is whole, and is what the manifest says.
    Whole(Part, Content),
}

/// Why a file is no update for this router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// It is something else.
    #[error("this is no update file of a vrouter: it does not begin as one")]
    Magic,
    /// The manifest is longer than any.
    #[error("the manifest has {0} octets, and may have {LONGEST_MANIFEST}: this is no update file")]
    Manifest(usize),
    /// Nobody signed it.
    #[error("the update is not signed; `image/update --key FILE` signs one")]
    Unsigned,
    /// Somebody signed it whom this router does not know.
    #[error(
        "the signature is of none of the keys that this router trusts: the update comes from somebody else, or was changed"
    )]
    Signature,
    /// It is signed and not for this router.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// A part is not what was signed.
    #[error("the update's {} is damaged: its SHA-256 is not the one that was signed", .0.name())]
    Damaged(Part),
    /// It ended early.
    #[error("the update ended early, {0}: send it again")]
    Short(String),
    /// It did not end.
    #[error("the update goes on behind its end: it was put together wrongly")]
    Long,
}

/// Where in the file the reader is.
#[derive(Debug)]
enum At {
    /// Before the end of the signature, with what came so far.
    Head(Vec<u8>),
    /// In a part.
    Part { part: Part, content: Content, left: u64, hash: Box<Hash> },
    /// Behind the last one.
    End,
}

/// A digest that grows. It says nothing of what went in.
#[derive(Clone)]
pub struct Hash(Context);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hash {
    /// Takes octets in.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// Whether it comes to this.
    #[must_use]
    pub fn is(self, digest: &Digest) -> bool {
        self.0.finish().as_ref() == digest.0
    }
}

/// Reads an update file.
#[derive(Debug)]
pub struct Reader<'k> {
    keys: &'k Keys,
    at: At,
    uki: Option<Content>,
}

impl<'k> Reader<'k> {
    /// A reader that believes these keys.
    #[must_use]
    pub const fn new(keys: &'k Keys) -> Self {
        Self { keys, at: At::Head(Vec::new()), uki: None }
    }

    /// The next that these octets say; what was read is taken off their front. Nothing where there is no more to be said of
    /// them.
    ///
    /// # Errors
    /// The file is no update for this router. Nothing can be read behind that.
    pub fn next<'a>(&mut self, octets: &mut &'a [u8]) -> Result<Option<Event<'a>>, FileFault> {
        match &mut self.at {
            At::Head(head) => {
                let Some(manifest) = gather(head, octets, self.keys)? else { return Ok(None) };
                self.uki = Some(manifest.uki);
                self.at = At::part(Part::Root, manifest.root);
                Ok(Some(Event::Manifest(Box::new(manifest))))
            }
            At::Part { part, content, left: 0, hash } => {
                let (part, content) = (*part, *content);
                if !std::mem::take(&mut **hash).is(&content.sha256) {
                    return Err(FileFault::Damaged(part));
                }
                self.at = match (part, self.uki.take()) {
                    (Part::Root, Some(uki)) => At::part(Part::Uki, uki),
                    _ => At::End,
                };
                Ok(Some(Event::Whole(part, content)))
            }
            At::Part { part, left, hash, .. } => {
                if octets.is_empty() {
                    return Ok(None);
                }
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len());
                let (now, later) = octets.split_at(length);
                *octets = later;
                *left -= length as u64;
                hash.update(now);
                Ok(Some(Event::Octets(*part, now)))
            }
            At::End if octets.is_empty() => Ok(None),
            At::End => Err(FileFault::Long),
        }
    }

    /// The file has ended.
    ///
    /// # Errors
    /// It should not have.
    pub fn finish(self) -> Result<(), FileFault> {
        match self.at {
            At::Head(_) => Err(FileFault::Short("before its manifest was whole".to_owned())),
            At::Part { part, content, left, .. } => {
                let (size, name) = (content.size, part.name());
                Err(FileFault::Short(format!("with {} of {size} octets of its {name}", size - left)))
            }
            At::End => Ok(()),
        }
    }
}

impl At {
    fn part(part: Part, content: Content) -> Self {
        Self::Part { part, content, left: content.size, hash: Box::default() }
    }
}

/// Gathers what stands before the parts. Whether it begins as an update does, and how long it is, is looked at as soon as
/// that is there.
fn gather(head: &mut Vec<u8>, octets: &mut &[u8], keys: &Keys) -> Result<Option<Manifest>, FileFault> {
    loop {
        let wanted = match head.as_chunks::<HEAD>().0.first() {
            None => HEAD,
            Some([.., a, b, c, d]) => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > LONGEST_MANIFEST {
                    return Err(FileFault::Manifest(length));
                }
                HEAD + length + SIGNATURE
            }
        };
        if head.len() == wanted && wanted > HEAD {
            return opened(head, keys).map(Some);
        }
        if octets.is_empty() {
            return Ok(None);
        }
        let (now, later) = octets.split_at(octets.len().min(wanted - head.len()));
        head.extend_from_slice(now);
        *octets = later;
        let begin = head.get(..MAGIC.len().min(head.len())).unwrap_or_default();
        if !MAGIC.starts_with(begin) {
            return Err(FileFault::Magic);
        }
    }
}

/// The manifest of a whole head, once it is known who signed it.
fn opened(head: &[u8], keys: &Keys) -> Result<Manifest, FileFault> {
    let signed = head.get(HEAD..).and_then(|signed| signed.split_last_chunk::<SIGNATURE>());
    let (manifest, signature) = signed.ok_or(FileFault::Magic)?;
    if *signature == [0; SIGNATURE] {
        return Err(FileFault::Unsigned);
    }
    if !keys.signed(manifest, signature) {
        return Err(FileFault::Signature);
    }
    Ok(Manifest::read(manifest)?)
}

#[cfg(test)]
pub(super) mod tests;
