//! The public half of a key for SSH, as a line of a `.pub` file says it. A leaf of the wire; the server compares it with
//! what it is offered.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::ssh_key;

use super::text::{InvalidText, text_leaf};

/// The longest line of a key that is read, in octets: of those that are taken none is a quarter of it.
const MAX_LINE: usize = 2048;
/// The types of key that are taken: what the server verifies signatures of.
const TYPES: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Those that are not, since nothing here verifies them.
const REFUSED: [&str; 2] = ["ssh-rsa", "ssh-dss"];

/// The public half of a key, without its comment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    key: Arc<ssh_key::PublicKey>,
    /// Type and base64, as it is written back.
    line: Arc<str>,
}

impl PublicKey {
    /// The key, as the server compares it with those that are offered.
    #[must_use]
    pub fn key(&self) -> &ssh_key::PublicKey {
        &self.key
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.line).finish()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidText;

    /// Reads a line of a `.pub` file. What is wrong with one that is not taken never repeats it: it may be a secret.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let line = text.trim();
        if let Some(wrong) = other_file(line) {
            return Err(InvalidText::new(wrong));
        }
        if line.lines().nth(1).is_some() {
            let wrong =
                "it is several lines; a key is one line, and each key is an entry under an id of its own";
            return Err(InvalidText::new(wrong));
        }
        if line.len() > MAX_LINE {
            return Err(InvalidText::new(format!("a public key is at most {MAX_LINE} octets")));
        }
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let base64 = words.next();
        if !TYPES.contains(&kind) {
            return Err(InvalidText::new(other_type(kind, base64.into_iter().chain(words))));
        }
        let Some(base64) = base64 else {
            return Err(InvalidText::new(format!("the key itself is missing behind `{kind}`")));
        };
        let wrong = || {
            InvalidText::new(format!("what stands behind `{kind}` is no key of that type; was it cut off?"))
        };
        let key = ssh_key::PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|_| wrong())?;
        let line = key.to_openssh().map_err(|_| wrong())?;
        Ok(Self { key: Arc::new(key), line: line.into() })
    }
}

/// What to do about the content of another file than a `.pub`.
fn other_file(text: &str) -> Option<&'static str> {
    let begins = |with: &str| text.starts_with(with);
    if begins("PuTTY-User-Key-File-") || (begins("----") && text.contains("PRIVATE KEY")) {
        Some(
            "this is a private key, which nobody but its owner may see: give the line of the `.pub` file, which \
             `ssh-keygen -y` prints too, and make another key if somebody may have seen this one",
        )
    } else if begins("---- BEGIN SSH2 PUBLIC KEY ----") {
        Some("this is a key as RFC 4716 writes it: give the line that `ssh-keygen -i` prints for it")
    } else if begins("-----BEGIN ") {
        Some("this is PEM: give the line of the `.pub` file, or what `ssh-keygen -i -m PKCS8` prints for it")
    } else {
        None
    }
}

/// Why a line that begins with none of the types is not taken, and what to do about it.
fn other_type<'a>(kind: &str, mut rest: impl Iterator<Item = &'a str>) -> String {
    let is_type = |word: &&str| TYPES.contains(word) || REFUSED.contains(word);
    if REFUSED.contains(&kind) {
        return format!("`{kind}` is not taken; `ssh-keygen -t ed25519` makes a key that is");
    }
    if kind.ends_with("-cert-v01@openssh.com") {
        return "certificates are not taken; give the key that it certifies, the line of the `.pub` file itself"
            .to_owned();
    }
    match rest.find(is_type) {
        Some(kind) => format!(
            "nothing may stand in front of `{kind}`; `role` says what a key is for, and `allowed_sources` where from"
        ),
        None => format!("it is not the line of a `.pub` file; that begins with one of {}", TYPES.join(", ")),
    }
}

text_leaf!(
    PublicKey,
    r"^\s*(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)\s+[A-Za-z0-9+/]+={0,2}(\s[^\r\n]*)?\s*$",
    "A public key as OpenSSH writes it, type and base64: ssh-ed25519, ecdsa-sha2-nistp256, -nistp384 or -nistp521, or one on a security key, sk-ssh-ed25519@openssh.com or sk-ecdsa-sha2-nistp256@openssh.com. A comment behind it is taken and not kept."
);
