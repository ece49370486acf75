//! What a certificate is: a chain that can be read, with the key that belongs to it.
//!
//! A pair is checked once, where it is read; the balancer takes it as it is. The key shows itself to nobody: not in
//! `Debug`, not in what is read back, only in what the store keeps. Called by `document.rs`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::digest;
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::edit::{Edit, Noun, read, render};
use super::fault::{Faults, Pointer, Rule};
use super::text::{InvalidText, text_leaf};
use super::wire;
use crate::merge_patch;

/// The longest chain or key that is read, in octets.
const MAX_PEM: usize = 256 * 1024;
/// How a fingerprint begins.
const SHA256: &str = "sha256:";

/// A chain with its key.
#[derive(Clone)]
pub struct Certificate {
    chain_pem: String,
    key_pem: KeyPem,
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    fingerprint: String,
}

impl Certificate {
    /// The pair, as TLS takes it.
    #[must_use]
    pub const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The names that the certificate is for, in lower case: hosts and `*.` hosts.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when it holds, in seconds since 1970.
    #[must_use]
    pub const fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Until when it holds, in seconds since 1970: the last moment of the shortest-lived certificate of the chain.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// `sha256:` and the SHA-256 of the key's public half (SubjectPublicKeyInfo), in hex.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The wire with its key: for the store alone.
    pub(super) fn write(&self) -> wire::Certificate {
        wire::Certificate { chain_pem: self.chain_pem.clone(), key_pem: self.key_pem.clone() }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain_pem == other.chain_pem && self.key_pem == other.key_pem
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, not_after, fingerprint, .. } = self;
        f.debug_struct("Certificate")
            .field("names", names)
            .field("not_after", not_after)
            .field("key", fingerprint)
            .finish_non_exhaustive()
    }
}

/// A key in PEM, or the fingerprint of one. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(String);

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(…)")
    }
}

impl FromStr for KeyPem {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.len() > MAX_PEM {
            return Err(InvalidText::new("the key is longer than 256 KiB"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    KeyPem,
    r"^\s*(-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*|sha256:[0-9a-f]{64})\s*$",
    "A private key in PEM; what is read has the fingerprint of its public half instead."
);

impl Noun for Certificate {
    fn edit(previous: Option<&Self>, edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let mut value = match edit {
            Edit::Replace(value) => value,
            Edit::Patch(patch) => {
                let mut value =
                    previous.map_or_else(|| Value::Object(Default::default()), |own| render(&own.write()));
                merge_patch::merge(&mut value, patch);
                value
            }
        };
        // A document that was read holds the fingerprint: it means the key that is here.
        if let Some(previous) = previous
            && let Some(key) = value.get_mut("key_pem")
            && key.as_str() == Some(previous.fingerprint())
        {
            *key = Value::String(previous.key_pem.0.clone());
        }
        let wire: wire::Certificate = read(value, at, faults)?;
        pair(wire).map_err(|(member, rule, detail)| faults.add(at.key(member), rule, detail)).ok()
    }
}

type Wrong = (&'static str, Rule, String);

fn pair(wire: wire::Certificate) -> Result<Certificate, Wrong> {
    let wire::Certificate { chain_pem, key_pem } = wire;
    let wrong_chain = |detail: String| ("chain_pem", Rule::InvalidValue, detail);
    let wrong_key = |detail: &str| ("key_pem", Rule::InvalidValue, detail.to_owned());
    let chain = chain(&chain_pem).map_err(wrong_chain)?;
    let mut names = Vec::new();
    let (mut not_before, mut not_after) = (i64::MIN, i64::MAX);
    for (index, der) in chain.iter().enumerate() {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| {
            wrong_chain(format!("certificate {} of the chain cannot be read: {error}", index + 1))
        })?;
        let validity = certificate.validity();
        not_before = not_before.max(validity.not_before.timestamp());
        not_after = not_after.min(validity.not_after.timestamp());
        if index == 0 {
            names = subject_names(&certificate);
        }
    }
    if key_pem.0.starts_with(SHA256) {
        return Err(wrong_key("this is the fingerprint of a key that is not here; the key itself is needed"));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.0.as_bytes()).map_err(|_| {
        wrong_key("there is no private key in PEM here (PKCS #8, PKCS #1 or SEC 1, not encrypted)")
    })?;
    let key = any_supported_type(&key).map_err(|_| {
        wrong_key(
            "the key is none that TLS can use: RSA of 2048 bits and more, ECDSA P-256 or P-384, Ed25519",
        )
    })?;
    let public = key.public_key().ok_or_else(|| wrong_key("the key has no public half"))?;
    let digest = digest::digest(&digest::SHA256, public.as_ref());
    let hex: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| {
        let detail = "the key does not belong to the first certificate of the chain".to_owned();
        ("key_pem", Rule::Contradiction, detail)
    })?;
    Ok(Certificate {
        chain_pem,
        key_pem,
        certified: Arc::new(certified),
        names,
        not_before,
        not_after,
        fingerprint: format!("{SHA256}{hex}"),
    })
}

/// The certificates of a PEM text.
///
/// # Errors
/// There is none, or one cannot be read.
fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.len() > MAX_PEM {
        return Err("it is longer than 256 KiB".to_owned());
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("there is no certificate in PEM here".to_owned());
    }
    Ok(certificates)
}

/// Those who may vouch for others, from a PEM text.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn authorities(pem: &str) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for (index, der) in chain(pem)?.into_iter().enumerate() {
        roots
            .add(der)
            .map_err(|error| format!("certificate {} cannot vouch for others: {error}", index + 1))?;
    }
    Ok(Arc::new(roots))
}

/// The names of the subject: its alternative names, else its common name.
fn subject_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names
}

/// A document with fingerprints in the place of keys: what anybody may read.
pub(super) fn redact(document: &mut Value, fingerprint: impl Fn(&str) -> Option<String>) {
    let Some(certificates) = document.get_mut("certificates").and_then(Value::as_object_mut) else { return };
    for (id, certificate) in certificates {
        if let Some(key) = certificate.get_mut("key_pem") {
            *key = fingerprint(id).map_or(Value::Null, Value::String);
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    /// A chain of one with its key, and the moment until which it holds.
    fn made(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned(), format!("*.{name}")]).unwrap();
        parameters.not_after = date_time_ymd(2030, 1, 2);
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn document(chain: &str, key: &str) -> Value {
        json!({"version": 1, "certificates": {"demo": {"chain_pem": chain, "key_pem": key}}})
    }

    #[test]
    fn a_pair_is_read_with_its_names_and_its_end() {
        let (chain, key) = made("Demo.local");
        let config = Config::default().replace(document(&chain, &key)).unwrap();
        let certificate = config.certificates().get("demo").unwrap();
        assert_eq!(certificate.names(), ["demo.local", "*.demo.local"]);
        assert_eq!(certificate.not_after(), 1_893_542_400);
        assert!(config.expired_certificates(&Config::default(), 1_893_542_400).is_empty());
        let faults = config.expired_certificates(&Config::default(), 1_893_542_401);
        assert_eq!(faults.as_slice()[0].rule, Rule::Expired);
        // What runs goes on running.
        assert!(config.expired_certificates(&config, i64::MAX).is_empty());
    }

    #[test]
    fn the_key_shows_itself_to_nobody_and_is_kept_by_its_fingerprint() {
        let (chain, key) = made("demo.local");
        let config = Config::default().replace(document(&chain, &key)).unwrap();
        let shown = config.to_json();
        let secret: String = key.lines().nth(1).unwrap().into();
        assert!(!shown.to_string().contains(&secret) && !format!("{config:?}").contains(&secret));
        assert!(shown["certificates"]["demo"]["key_pem"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(config.replace(shown.clone()).unwrap(), config);
        let stored = serde_json::to_value(config.document()).unwrap();
        assert_eq!(Config::default().replace(stored).unwrap(), config);
        // Where the key is not known, its fingerprint is no key.
        assert_eq!(
            Config::default().replace(shown).unwrap_err().as_slice()[0].pointer.as_str(),
            "/certificates/demo/key_pem"
        );
    }

    #[test]
    fn what_is_no_pair_is_refused_at_its_member() {
        let ((chain, key), (other, _)) = (made("demo.local"), made("demo.local"));
        let cases = [
            (chain.as_str(), "nothing", "key_pem", Rule::InvalidValue),
            ("nothing", key.as_str(), "chain_pem", Rule::InvalidValue),
            (other.as_str(), key.as_str(), "key_pem", Rule::Contradiction),
        ];
        for (chain, key, member, rule) in cases {
            let faults = Config::default().replace(document(chain, key)).unwrap_err();
            let [fault] = faults.as_slice() else { panic!("{faults}") };
            assert_eq!(
                (fault.pointer.as_str(), fault.rule),
                (&*format!("/certificates/demo/{member}"), rule)
            );
            assert!(!fault.detail.contains("BEGIN"), "{}", fault.detail);
        }
    }
}
