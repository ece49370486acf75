//! TLS towards clients: which certificate they get, and what is asked of them.
//!
//! A listener's settings are made anew when its TLS or one of its certificates changes, and swapped: connections that are
//! there keep what they began with. Sessions can be resumed across such a swap, but not across another demand on
//! clients. Called by `site.rs`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig,
    ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::config::certificate::{Certificate, authorities};
use crate::config::load_balancer::{Alpn, CipherPolicy, ClientVerification, Tls, TlsVersion};

/// How many sessions of TLS 1.2 are remembered for clients that take no tickets.
const SESSIONS: usize = 1024;

/// Why TLS cannot be spoken as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls does not take it.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities of clients cannot be read.
    #[error("the authorities of client certificates: {0}")]
    Authorities(String),
}

/// A listener's TLS.
pub(crate) struct ListenerTls {
    settings: Tls,
    certificates: Vec<Arc<Certificate>>,
    sessions: Sessions,
    config: Arc<ServerConfig>,
}

/// What is needed to resume sessions.
#[derive(Clone)]
struct Sessions {
    tickets: Arc<dyn ProducesTickets>,
    cache: Arc<dyn StoresServerSessions>,
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl ListenerTls {
    /// The settings as rustls takes them.
    pub(crate) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The TLS that is wanted, given what there was: the same if nothing of it changed.
    ///
    /// # Errors
    /// The configuration has checked everything that can be checked; what is left is a system without randomness.
    pub(crate) fn next(
        previous: Option<&Arc<Self>>,
        settings: &Tls,
        certificates: Vec<Arc<Certificate>>,
    ) -> Result<Arc<Self>, TlsError> {
        if let Some(previous) = previous
            && previous.settings == *settings
            && previous.certificates.len() == certificates.len()
            && previous
                .certificates
                .iter()
                .zip(&certificates)
                .all(|(one, other)| Arc::ptr_eq(one, other) || one == other)
        {
            return Ok(previous.clone());
        }
        let same_demand =
            |previous: &&Arc<Self>| previous.settings.client_certificates == settings.client_certificates;
        let sessions = match previous.filter(same_demand) {
            Some(previous) => previous.sessions.clone(),
            None => {
                Sessions { tickets: ring::Ticketer::new()?, cache: ServerSessionMemoryCache::new(SESSIONS) }
            }
        };
        let config = Arc::new(server_config(settings, &certificates, &sessions)?);
        Ok(Arc::new(Self { settings: settings.clone(), certificates, sessions, config }))
    }
}

fn server_config(
    settings: &Tls,
    certificates: &[Arc<Certificate>],
    sessions: &Sessions,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let modern = settings.ciphers == CipherPolicy::Modern || settings.min_version == TlsVersion::V1_3;
    let versions: &[_] = if modern { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &settings.client_certificates {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = authorities(&clients.ca_pem).map_err(TlsError::Authorities)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match clients.verify {
                ClientVerification::Optional => verifier.allow_unauthenticated(),
                ClientVerification::Required => verifier,
            };
            builder.with_client_cert_verifier(
                verifier.build().map_err(|error| TlsError::Authorities(error.to_string()))?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(certificates)));
    config.ticketer = sessions.tickets.clone();
    config.session_storage =
        if modern { Arc::new(NoServerSessionStorage {}) } else { sessions.cache.clone() };
    let protocol = |alpn: &Alpn| match alpn {
        Alpn::H2 => b"h2".to_vec(),
        Alpn::Http1 => b"http/1.1".to_vec(),
    };
    config.alpn_protocols = settings.alpn.iter().map(protocol).collect();
    Ok(config)
}

/// Certificates by the names that clients ask for.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// `*.` names by what stands behind the star and its dot.
    below: HashMap<String, Vec<Arc<CertifiedKey>>>,
    first: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Arc<Certificate>]) -> Self {
        let mut own = Self { exact: HashMap::new(), below: HashMap::new(), first: Vec::new() };
        for certificate in certificates {
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut own.below, parent),
                    None => (&mut own.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(certificate.certified().clone());
            }
            own.first.push(certificate.certified().clone());
        }
        own
    }

    /// Those for a name: exact, then of its parent's star, then all, the first of which is everybody's.
    fn candidates(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return &self.first };
        let below = || name.split_once('.').and_then(|(_, parent)| self.below.get(parent));
        self.exact.get(&name).or_else(below).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let suits =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(suits).or_else(|| candidates.first()).cloned()
    }
}
