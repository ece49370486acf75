//! Checks of the type tls: a handshake. Also the TLS of checks of the type https.
//!
//! A check asks whether a backend serves, not who vouches for it: any certificate will do whose key the backend holds.
//! Whether it holds otherwise is for the connections of clients to find out.

use std::net::SocketAddrV4;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Asking, Failure, Finding, failure};
use crate::balancer::anybody::Anybody;

/// The TLS of all checks: any certificate, no session kept.
///
/// # Errors
/// The cryptography knows none of the versions of TLS, which it does.
pub(in crate::balancer::health) fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Well is who completes a handshake.
pub(super) async fn hello(asking: Asking<'_>, config: &Arc<ClientConfig>) -> Finding {
    let stream = handshake(asking, config).await?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    };
    Ok(version.into())
}

/// A connection within TLS, to the name that the check asks for.
pub(super) async fn handshake(
    asking: Asking<'_>,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let stream = asking.connect().await?;
    let name = server_name(asking.check.host.as_ref().map(|host| host.as_str()), asking.endpoint);
    let connecting = TlsConnector::from(config.clone()).connect(name, stream);
    asking.within(connecting).await?.map_err(|error| match error.get_ref() {
        Some(inner) if inner.is::<rustls::Error>() => Failure::Ill(format!("tls: {inner}").into()),
        _ => failure(&error),
    })
}

/// The name of a host, without a port. An address is not sent (RFC 6066 section 3), nor is what is no name.
fn server_name(host: Option<&str>, endpoint: SocketAddrV4) -> ServerName<'static> {
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned());
    let own = || ServerName::IpAddress(IpAddr::V4((*endpoint.ip()).into()));
    name.and_then(|name| ServerName::try_from(name).ok()).unwrap_or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_host_without_its_port() {
        let endpoint = "10.1.1.20:443".parse().unwrap();
        let name = |host| server_name(host, endpoint).to_str().into_owned();
        assert_eq!(name(Some("www.demo.local")), "www.demo.local");
        assert_eq!(name(Some("www.demo.local:8443")), "www.demo.local");
        assert_eq!(name(Some("not a name")), "10.1.1.20");
        assert_eq!(name(None), "10.1.1.20");
    }
}
