//! TLS of the native port: the server's certificate, and who a client is by his.
//!
//! Called by the daemon, which reads the files, and by `server.rs` for each connection.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{ClientName, Role};
use crate::config::certificate::authorities;

/// The organizational unit of clients that may only look, whatever `--client-role` says.
const READER_UNIT: &str = "vrouter-read";
/// The longest name that is taken of a certificate, in characters.
const MAX_NAME: usize = 64;

/// What TLS is made of, as PEM.
#[derive(Clone)]
pub struct Pem {
    /// The server's chain, its own certificate first.
    pub chain: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// Who may vouch for clients; absent where clients show no certificate.
    pub client_authorities: Option<String>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The chain.
    #[error("the certificate: {0}")]
    Chain(String),
    /// The key.
    #[error("the key: {0}")]
    Key(String),
    /// Those who vouch for clients.
    #[error("the authorities of clients: {0}")]
    Authorities(String),
    /// They do not fit together.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS as the port speaks it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    role: Role,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with these certificates. Clients that show one may do what `role` says. Where `tokens` are taken as well, a
    /// client may come without; otherwise it is asked of each.
    ///
    /// # Errors
    /// What of it cannot be read or does not fit.
    pub fn new(pem: &Pem, role: Role, tokens: bool) -> Result<Self, TlsFault> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem.chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsFault::Chain(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsFault::Chain("there is none".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| TlsFault::Key(error.to_string()))?;
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &pem.client_authorities {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = authorities(pem).map_err(TlsFault::Authorities)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if tokens { verifier.allow_unauthenticated() } else { verifier };
                let verifier = verifier.build().map_err(|error| TlsFault::Authorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), role })
    }

    pub(in crate::api) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// Who a client is by the chain that it showed, which was verified.
    pub(in crate::api) fn client(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<ClientName> {
        let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
        let subject = certificate.subject();
        let common = subject.iter_common_name().find_map(|name| name.as_str().ok());
        let reads = subject.iter_organizational_unit().any(|unit| unit.as_str() == Ok(READER_UNIT));
        let name = common.map_or_else(|| format!("serial {}", certificate.raw_serial_as_string()), readable);
        Some(ClientName { name, role: if reads { Role::Read } else { self.role } })
    }
}

/// A name without anything that would not stand in a line of a log.
fn readable(name: &str) -> String {
    name.chars().take(MAX_NAME).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["router.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (own.pem(), key.serialize_pem())
    }

    fn pem(chain: &str, key: &str, authorities: Option<&str>) -> Pem {
        Pem { chain: chain.into(), key: key.into(), client_authorities: authorities.map(str::to_owned) }
    }

    /// What the name of a client is whose subject says this.
    fn client(subject: &[(DnType, &str)]) -> ClientName {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Issuer::new(parameters, KeyPair::generate().unwrap());
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        let own = parameters.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        let (chain, key) = pair();
        let tls = Tls::new(&pem(&chain, &key, None), Role::Write, false).unwrap();
        tls.client(Some(&[own.der().clone()])).unwrap()
    }

    #[test]
    fn a_client_is_known_by_its_common_name() {
        let plane = client(&[(DnType::CommonName, "plane 1")]);
        assert_eq!(plane, ClientName { name: "plane 1".to_owned(), role: Role::Write });
        let watch =
            client(&[(DnType::CommonName, "watch"), (DnType::OrganizationalUnitName, "vrouter-read")]);
        assert_eq!(watch.role, Role::Read);
        assert_eq!(client(&[(DnType::CommonName, "a\nb\u{1b}[31m")]).name, "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(client(&[(DnType::CommonName, &"n".repeat(64))]).name.len(), 64);
        assert!(client(&[(DnType::OrganizationName, "x")]).name.starts_with("serial "));
        let (chain, key) = pair();
        let tls = Tls::new(&pem(&chain, &key, None), Role::Write, false).unwrap();
        assert_eq!((tls.client(None), tls.client(Some(&[]))), (None, None));
    }

    #[test]
    fn what_does_not_fit_is_told_without_the_key() {
        let (chain, key) = pair();
        let (_, other) = pair();
        for (pem, why) in [
            (pem("", &key, None), "the certificate: there is none"),
            (
                pem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &key, None),
                "the certificate: ",
            ),
            (pem(&chain, "", None), "the key: "),
            (pem(&chain, &other, None), ""),
            (pem(&chain, &key, Some("none")), "the authorities of clients: "),
        ] {
            let error = Tls::new(&pem, Role::Write, false).err().unwrap().to_string();
            assert!(error.starts_with(why) && !error.contains("PRIVATE"), "{error}");
            assert!(!format!("{pem:?}").contains("BEGIN"));
        }
        assert!(Tls::new(&pem(&chain, &key, Some(&chain)), Role::Read, true).is_ok());
    }
}
