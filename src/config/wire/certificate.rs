//! `certificates.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::certificate::KeyPem;
use crate::config::fault::Faults;

/// A chain of certificates with the key of the first.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Certificate {
    /// The server's certificate, then those that vouch for it, in PEM (RFC 7468).
    pub chain_pem: String,
    /// The key of the first certificate in PEM: PKCS #8, PKCS #1 or SEC 1. It is never given back: what is read has
    /// `sha256:` and the SHA-256 of its public half instead, and that text, posted again, keeps the key.
    pub key_pem: KeyPem,
}
