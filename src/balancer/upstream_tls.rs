//! TLS towards backends: who has to vouch for them, and the name that they have to prove.
//!
//! Called when a snapshot is put under the engine, for each pool that asks for it; connections read it.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How the backends of a pool are spoken to within TLS.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    number: u64,
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

/// The next number of settings; 0 means no TLS.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl UpstreamTls {
    /// Settings that trust `roots`, or everybody where there are none, and ask for `name`, or for the backend's address.
    ///
    /// # Errors
    /// The name is none; the configuration has checked it.
    pub(crate) fn new(roots: Option<Arc<RootCertStore>>, name: Option<&str>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let mut config = match roots {
            Some(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody { provider }))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let invalid = |_| rustls::Error::General("the server name is none".to_owned());
        let name = name.map(|name| ServerName::try_from(name.to_owned()).map_err(invalid)).transpose()?;
        Ok(Self { number: NEXT.fetch_add(1, Ordering::Relaxed), config: Arc::new(config), name })
    }

    /// What tells these settings from others: a connection is kept for its own alone.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The settings, as rustls takes them.
    pub(crate) const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the backend at `address` has to prove.
    pub(crate) fn name(&self, address: SocketAddrV4) -> ServerName<'static> {
        let own = || ServerName::IpAddress(IpAddr::V4((*address.ip()).into()));
        self.name.clone().unwrap_or_else(own)
    }
}

/// Believes every certificate, for pools that say `verify: false`; signatures are checked nevertheless.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
