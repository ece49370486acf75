//! The public half of a key for SSH, as a line of a `.pub` file says it. A leaf of the wire; the server compares it with
//! what it is offered.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::ssh_key;

use super::text::{InvalidText, text_leaf};

/// The longest line that is read, in octets: a key of those types has a few hundred.
const MAX_LINE: usize = 2048;
/// The types of key that are taken: those whose signatures the server verifies. A security key's flag for its having been
/// touched is part of what is signed, and not asked for.
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

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{self as with, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use russh::keys::signature::Verifier;
    use russh::keys::ssh_key::{Algorithm, Signature};

    use super::*;

    const LINES: [&str; 6] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICUa3bWSqWJEU2VMkJe7zADi4kgouCpXjbt0Esh4J/ta",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLbarKxLE/qy8yZBa1kv5pSs+Q3HfmUi0TrdFjMLsM8XDrvFqDbETQl3/gz6C0rVD2A4hnA04H6GYW5f6qn29z0=",
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBPwOyrwX30gLE22ipkhY29mdArc6oUA2PgD5x0L5F+4zj7JSBi//x+kRP5BJ5D1xGWrSYlu3zZa6JOtLSFJgKcFCYy+SNcMW3vkpEk2jRZ74tQiBqF2q9KJbA9cnVBFX3w==",
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEJFUviTtbbx6494CdA0lvU1UviBz6/K16+iIC38IClB5MTmWQn7hPoR3qFVLKvrRJ5ez6PP1b6puhIh4G9Bp2dqwDYvusuZSfhfrOV1yC7dmdGCc9bdJ6C3FmEtx/uZbSaJebzqk64tsKUcupwc6eVabKd9Lv5W0JWKwSBBnv3xJcjIA==",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAorNbpJl12pAco2i3xhnGvolalvsszhVTQI0V3uF3+xAAAABHNzaDo=",
        "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBLbarKxLE/qy8yZBa1kv5pSs+Q3HfmUi0TrdFjMLsM8XDrvFqDbETQl3/gz6C0rVD2A4hnA04H6GYW5f6qn29z0AAAAEc3NoOg==",
    ];

    fn refusal(text: &str) -> String {
        text.parse::<PublicKey>().unwrap_err().to_string()
    }

    #[test]
    fn a_key_of_every_type_is_type_and_base64() {
        for (line, kind) in LINES.into_iter().zip(TYPES) {
            let key: PublicKey = line.parse().unwrap();
            assert_eq!(key.key().algorithm().as_str(), kind);
            assert_eq!(key.key().comment().as_bytes(), b"");
            assert_eq!(key.to_string(), line);
            for other in [
                format!("{line} alice@desk\n"),
                format!("  {}", line.replace(' ', " \t")),
                format!("{line}\r\n"),
            ] {
                assert_eq!(other.parse::<PublicKey>().unwrap(), key, "{other:?}");
            }
        }
    }

    #[test]
    fn what_is_no_line_of_a_pub_file_is_told_what_to_do() {
        let ed25519 = LINES[0];
        let base64 = ed25519.split(' ').nth(1).unwrap();
        for (text, told) in [
            (
                format!("ssh-rsa {base64}"),
                "`ssh-rsa` is not taken; `ssh-keygen -t ed25519` makes a key that is",
            ),
            ("ssh-dss".to_owned(), "`ssh-dss` is not taken; `ssh-keygen -t ed25519` makes a key that is"),
            (
                format!("ssh-ed25519-cert-v01@openssh.com {base64}"),
                "certificates are not taken; give the key that it certifies, the line of the `.pub` file itself",
            ),
            (
                format!("restrict,command=\"vrctl status\" {ed25519}"),
                "nothing may stand in front of `ssh-ed25519`; `role` says what a key is for, and `allowed_sources` where from",
            ),
            (
                format!("{ed25519}\n{ed25519}"),
                "it is several lines; a key is one line, and each key is an entry under an id of its own",
            ),
            (format!("{ed25519} {}", "x".repeat(MAX_LINE)), "a public key is at most 2048 octets"),
            ("ssh-ed25519".to_owned(), "the key itself is missing behind `ssh-ed25519`"),
        ] {
            assert_eq!(refusal(&text), told);
        }
        let cut = "what stands behind `ssh-ed25519` is no key of that type; was it cut off?";
        for wrong in [&base64[..64], &base64[..67], "AAAA", "????", LINES[1].split(' ').nth(1).unwrap()] {
            assert_eq!(refusal(&format!("ssh-ed25519 {wrong}")), cut);
        }
        for form in ["---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "-----BEGIN PUBLIC KEY-----\nAAAA"] {
            assert!(refusal(form).contains("`ssh-keygen -i"), "{form}");
        }
    }

    #[test]
    fn a_private_key_is_told_to_be_one_and_not_repeated() {
        for form in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY----- c2VjcmV0 -----END PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n",
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nc2VjcmV0\n",
            "PuTTY-User-Key-File-3: ssh-ed25519\nc2VjcmV0\n",
        ] {
            let told = refusal(form);
            assert!(told.starts_with("this is a private key") && !told.contains("c2VjcmV0"), "{told}");
        }
        for secret in ["c2VjcmV0", "c2VjcmV0 c2VjcmV0", ""] {
            let told = refusal(secret);
            assert!(
                told.starts_with("it is not the line of a `.pub` file") && !told.contains("c2VjcmV0"),
                "{told}"
            );
        }
    }

    /// Text or octets as SSH writes them (RFC 4251 section 5: string).
    fn string(octets: &[u8]) -> Vec<u8> {
        [&u32::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat()
    }

    /// A positive number as SSH writes it (RFC 4251 section 5: mpint).
    fn number(octets: &[u8]) -> Vec<u8> {
        let digits: Vec<u8> = octets.iter().copied().skip_while(|octet| *octet == 0).collect();
        let sign = digits.first().is_some_and(|octet| *octet > 0x7f).then_some(0);
        string(&sign.into_iter().chain(digits).collect::<Vec<u8>>())
    }

    /// What a security key signs (OpenSSH's PROTOCOL.u2f): the application, its flags and counter, and the message.
    fn asserted(message: &[u8]) -> Vec<u8> {
        let digest = |octets: &[u8]| ring::digest::digest(&ring::digest::SHA256, octets);
        [digest(b"ssh:").as_ref(), &TOUCHED, digest(message).as_ref()].concat()
    }

    /// Flags and counter.
    const TOUCHED: [u8; 5] = [1, 0, 0, 0, 7];

    fn line(kind: &str, members: &[&[u8]]) -> PublicKey {
        let blob: Vec<u8> =
            [kind.as_bytes()].iter().chain(members).flat_map(|member| string(member)).collect();
        ssh_key::PublicKey::from_bytes(&blob).unwrap().to_openssh().unwrap().parse().unwrap()
    }

    #[test]
    fn signatures_of_security_keys_are_verified() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let key = line("sk-ssh-ed25519@openssh.com", &[pair.public_key().as_ref(), b"ssh:"]);
        let data = [pair.sign(&asserted(b"session")).as_ref(), &TOUCHED].concat();
        let ed25519 = (key, Signature::new(Algorithm::SkEd25519, data).unwrap());

        let (algorithm, random) = (&with::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let members: [&[u8]; 3] = [b"nistp256", pair.public_key().as_ref(), b"ssh:"];
        let key = line("sk-ecdsa-sha2-nistp256@openssh.com", &members);
        let signed = pair.sign(&random, &asserted(b"session")).unwrap();
        let (r, s) = signed.as_ref().split_at(32);
        let data = [number(r), number(s), TOUCHED.to_vec()].concat();
        let ecdsa = (key, Signature::new(Algorithm::SkEcdsaSha2NistP256, data).unwrap());

        for (key, signature) in [ed25519, ecdsa] {
            assert!(Verifier::verify(key.key(), b"session", &signature).is_ok(), "{key}");
            assert!(Verifier::verify(key.key(), b"another", &signature).is_err(), "{key}");
        }
    }
}
