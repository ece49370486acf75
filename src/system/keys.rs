//! Who may sign updates: the public keys in the read-only root, and whether one of them signed a manifest. Pure.

use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

/// The length of a signature (RFC 8032 section 5.1.6).
pub const SIGNATURE: usize = 64;
/// What stands before the manifest where it is signed, so that no signature of something else is one of an update.
const CONTEXT: &[u8] = b"vrouter update\0";
/// How the description of an Ed25519 key begins; the key follows, and nothing else (RFC 8410 section 4).
const ED25519_KEY: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The length of a key.
const KEY: usize = 32;
/// More keys than a vendor has.
const MOST: usize = 16;

/// The keys that updates are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<[u8; KEY]>);

/// Why a file says of nobody that he may sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is no PEM.
    #[error("it is no PEM: {0}")]
    Pem(String),
    /// There is a key of another kind.
    #[error("a key in it is not of Ed25519 (RFC 8410)")]
    Kind,
    /// There is none.
    #[error("there is no public key in it")]
    Empty,
    /// There are too many.
    #[error("it has more than {MOST} keys")]
    TooMany,
}

impl Keys {
    /// The keys of a file: one or several as PEM, `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// What is wrong with it; nothing of a file with a fault is believed.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyFault> {
        let mut keys = Vec::new();
        for described in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            let described = described.map_err(|error| KeyFault::Pem(error.to_string()))?;
            let key = described.as_ref().strip_prefix(&ED25519_KEY);
            keys.push(key.and_then(|key| key.try_into().ok()).ok_or(KeyFault::Kind)?);
            if keys.len() > MOST {
                return Err(KeyFault::TooMany);
            }
        }
        if keys.is_empty() { Err(KeyFault::Empty) } else { Ok(Self(keys)) }
    }

    /// Whether one of them signed this manifest.
    #[must_use]
    pub fn signed(&self, manifest: &[u8], signature: &[u8]) -> bool {
        let message = [CONTEXT, manifest].concat();
        self.0.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(&message, signature).is_ok())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    /// A key of which all know the seed.
    pub(crate) fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    /// Its public half, as a file.
    pub(crate) fn pem(key: &Ed25519KeyPair) -> String {
        let described = [&ED25519_KEY[..], key.public_key().as_ref()].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64_STANDARD.encode(described)
        )
    }

    /// What a key says to a manifest.
    pub(crate) fn sign(key: &Ed25519KeyPair, manifest: &[u8]) -> Vec<u8> {
        key.sign(&[CONTEXT, manifest].concat()).as_ref().to_vec()
    }

    #[test]
    fn any_of_the_keys_may_sign_and_nobody_else() {
        let (one, two, other) = (key(1), key(2), key(3));
        let keys = Keys::parse(format!("for releases\n{}{}", pem(&one), pem(&two)).as_bytes()).unwrap();
        for key in [&one, &two] {
            assert!(keys.signed(b"{}", &sign(key, b"{}")));
            assert!(!keys.signed(b"{} ", &sign(key, b"{}")));
            assert!(!keys.signed(b"{}", key.sign(b"{}").as_ref()), "a signature of something else");
        }
        assert!(!keys.signed(b"{}", &sign(&other, b"{}")));
        assert!(!keys.signed(b"{}", &[0; SIGNATURE]) && !keys.signed(b"{}", b""));
    }

    #[test]
    fn a_file_of_keys_is_believed_whole_or_not_at_all() {
        // `openssl genpkey -algorithm ed25519 | openssl pkey -pubout`
        let real = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert_eq!(Keys::parse(real.as_bytes()).unwrap().0.len(), 1);
        let short = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
        assert_eq!(Keys::parse([real, short].concat().as_bytes()), Err(KeyFault::Kind));
        assert_eq!(Keys::parse(b"nothing"), Err(KeyFault::Empty));
        assert!(matches!(Keys::parse(&real.as_bytes()[..60]), Err(KeyFault::Pem(_) | KeyFault::Empty)));
        assert_eq!(Keys::parse(real.repeat(MOST + 1).as_bytes()), Err(KeyFault::TooMany));
    }
}
