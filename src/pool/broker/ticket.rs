//! Tickets of SPICE: what a station is let in by, and what a VM's console is opened with.
//!
//! A viewer encrypts its ticket to the key in the server's answer (RSA of 1024 bits, OAEP with SHA-1, the ticket ended by
//! a zero octet). The broker puts its own key there, so it checks the station's ticket itself and opens the console with
//! the VM's password, which no station ever learns. A weak key by today's measure, and the protocol's own: whoever needs
//! secrecy on the way uses TLS around it. The library's arithmetic takes a time that depends on the key (RUSTSEC-2023-0071):
//! it blinds what it opens, and `mod.rs` answers at whole steps of time. Called by `link.rs`.

use std::fmt;

use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::rand_core::OsRng;
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use super::spice::{KEY, TICKET};

/// Bits of the protocol's keys.
const BITS: usize = 1024;
/// The longest ticket that a viewer can send (`SPICE_MAX_PASSWORD_LENGTH`).
pub const MAX_SECRET: usize = 60;

/// Why tickets do not work.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// No key could be made.
    #[error("a key for tickets: {0}")]
    Key(String),
    /// The console's key, or what is to be encrypted to it, is unusable.
    #[error("the console's key for tickets: {0}")]
    Console(String),
}

/// A ticket or a password. It is compared in constant time and not shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(String);

impl Secret {
    /// Octets that others know.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        bool::from(self.0.as_bytes().ct_eq(offered))
    }

    /// The text itself, for whoever has to hand it on.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text.len() > MAX_SECRET || text.contains('\0') {
            return Err("a ticket has 1 to 60 octets, none of them zero");
        }
        Ok(Self(text))
    }
}

/// The broker's key, made once when it starts.
pub struct TicketKey {
    private: RsaPrivateKey,
    public: [u8; KEY],
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

impl TicketKey {
    /// Makes a key. It takes a moment of computing.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, TicketError> {
        let failed = |error: &dyn fmt::Display| TicketError::Key(error.to_string());
        let private = RsaPrivateKey::new(&mut OsRng, BITS).map_err(|error| failed(&error))?;
        let encoded = private.to_public_key().to_public_key_der().map_err(|error| failed(&error))?;
        let public = encoded.as_bytes().try_into().map_err(|_| failed(&"it has an unexpected length"))?;
        Ok(Self { private, public })
    }

    /// The public half, as a link message carries it.
    #[must_use]
    pub const fn public(&self) -> &[u8; KEY] {
        &self.public
    }

    /// The ticket that a viewer encrypted; nothing where it is not one of ours.
    #[must_use]
    pub fn open(&self, encrypted: &[u8; TICKET]) -> Option<Vec<u8>> {
        let mut ticket = self.private.decrypt_blinded(&mut OsRng, Oaep::new::<Sha1>(), encrypted).ok()?;
        let end = ticket.iter().position(|octet| *octet == 0).unwrap_or(ticket.len());
        ticket.truncate(end);
        Some(ticket)
    }
}

/// A password encrypted to a console's key. Consoles without a password take any.
///
/// # Errors
/// The key is none of the protocol's.
pub fn seal(key: &[u8; KEY], password: Option<&Secret>) -> Result<[u8; TICKET], TicketError> {
    let failed = |error: &dyn fmt::Display| TicketError::Console(error.to_string());
    let public = RsaPublicKey::from_public_key_der(key).map_err(|error| failed(&error))?;
    let mut text = password.map_or_else(Vec::new, |secret| secret.0.as_bytes().to_vec());
    text.push(0);
    let sealed = public.encrypt(&mut OsRng, Oaep::new::<Sha1>(), &text).map_err(|error| failed(&error))?;
    sealed.try_into().map_err(|_| failed(&"it is not one of 1024 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_to_a_key_is_opened_by_it() {
        let key = TicketKey::new().unwrap();
        let secret = Secret::try_from("kiosk-7".to_owned()).unwrap();
        let opened = key.open(&seal(key.public(), Some(&secret)).unwrap()).unwrap();
        assert!(secret.matches(&opened) && !secret.matches(b"kiosk-8") && !secret.matches(b""));
        assert_eq!(key.open(&seal(key.public(), None).unwrap()), Some(Vec::new()));
        assert_eq!(key.open(&[3; TICKET]), None);
        assert!(seal(&[0; KEY], None).is_err());
        assert!(Secret::try_from(String::new()).is_err() && Secret::try_from("x".repeat(61)).is_err());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
