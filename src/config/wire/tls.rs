//! `load_balancers.<id>.tls` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Tls {
    /// Certificates by id: a client gets the one whose name it asks for, else the first.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Id>,
    /// The oldest version that is spoken.
    #[deserr(default)]
    #[schemars(default)]
    pub min_version: TlsVersion,
    /// The application protocols that are offered, the preferred first.
    #[deserr(default = vec![Alpn::H2, Alpn::Http1])]
    #[schemars(default = "alpn", length(min = 1))]
    pub alpn: Vec<Alpn>,
    /// Which ciphers.
    #[deserr(default)]
    #[schemars(default)]
    pub ciphers: CipherPolicy,
    /// Whether clients show certificates; absent: they are not asked.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

fn alpn() -> Vec<Alpn> {
    vec![Alpn::H2, Alpn::Http1]
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[deserr(rename = "1.2")]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[deserr(rename = "1.3")]
    #[serde(rename = "1.3")]
    V1_3,
}

/// Application protocols (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults)]
pub enum Alpn {
    /// HTTP/2.
    #[deserr(rename = "h2")]
    #[serde(rename = "h2")]
    H2,
    /// HTTP/1.1.
    #[deserr(rename = "http/1.1")]
    #[serde(rename = "http/1.1")]
    Http1,
}

/// Named choices of ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum CipherPolicy {
    /// AEAD with ECDHE; TLS 1.2 keeps AES-CBC out.
    #[default]
    Intermediate,
    /// The suites of TLS 1.3 alone.
    Modern,
}

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct ClientCertificates {
    /// Whether a client without one is refused.
    pub verify: ClientVerification,
    /// Who may vouch for them, in PEM.
    pub ca_pem: String,
}

/// Whether a client without a certificate is refused; one with a wrong certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum ClientVerification {
    /// It is not.
    Optional,
    /// It is.
    Required,
}
