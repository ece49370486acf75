//! TLS towards backends: who has to vouch for them, and the name that they have to prove.
//!
//! Called when a snapshot is put under the engine, for each pool that asks for it; connections read it.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::{IpAddr, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::anybody::Anybody;

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
                .with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
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
