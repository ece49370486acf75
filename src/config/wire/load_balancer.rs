//! `load_balancers.<id>` on the wire.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use super::balancer_rule::BalancerRule;
use super::pool::Pool;
use super::tls::Tls;
use crate::config::fault::Faults;
use crate::config::http::{CookieName, HeaderText, HostPattern};
use crate::config::id::Id;
use crate::config::keyed::Keyed;
use crate::config::net::{Address, AddressMatch};

/// A port of an address whose connections or requests are shared among backends.
#[derive(Debug, Clone, PartialEq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct LoadBalancer {
    /// The address: public, the router's own, or a free one of a guest network.
    pub address: Address,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// What clients speak.
    pub protocol: BalancerProtocol,
    /// Which backend is next.
    #[deserr(default)]
    #[schemars(default)]
    pub algorithm: Algorithm,
    /// What `consistent_hash` looks at; by default the client's address.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// The pools.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub pools: Keyed<Id, Pool>,
    /// The pool of whatever no rule leads elsewhere; may be left out where there is one pool.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool: Option<Id>,
    /// http and https: what becomes of which requests.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub rules: Keyed<Id, BalancerRule>,
    /// http: every request is sent to the same place with https.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub redirect_to_https: bool,
    /// tcp: the pool by the name that a TLS client asks for, without ending its TLS.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub sni: Keyed<HostPattern, Id>,
    /// https: certificates and what is asked of clients.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How a client stays with its backend; absent: it does not.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
    /// The header by which backends learn who the client is.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who may use it; by default anybody.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub allowed_sources: Option<Vec<AddressMatch>>,
    /// Who may not.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub denied_sources: Vec<AddressMatch>,
    /// How many connections clients have at once; more have to wait.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// http and https: whether backends are told of the client by X-Forwarded-For, -Proto, -Port and Forwarded.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_forwarded: Option<bool>,
    /// How long what may take.
    #[deserr(default)]
    #[schemars(default)]
    pub timeouts: Timeouts,
    /// http and https: how great a request may be.
    #[deserr(default)]
    #[schemars(default)]
    pub limits: Limits,
    /// How long connections go on after their backend or their listener was taken away.
    #[deserr(default = 300)]
    #[schemars(default = "drain", range(max = 86_400))]
    pub drain_seconds: u32,
}

const fn drain() -> u32 {
    300
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum BalancerProtocol {
    /// Anything on TCP.
    Tcp,
    /// Anything on UDP.
    Udp,
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// HTTP/1.1 and HTTP/2 within TLS that ends here.
    Https,
}

/// Which backend is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// In turns, by weight.
    #[default]
    #[deserr(rename = "round_robin")]
    RoundRobin,
    /// The one with the fewest connections by weight.
    #[deserr(rename = "least_connections")]
    LeastConnections,
    /// By the client's address.
    #[deserr(rename = "source")]
    Source,
    /// By chance; in the proxy the less busy of two.
    #[deserr(rename = "random")]
    Random,
    /// By what `hash` names: few move when a backend comes or goes.
    #[deserr(rename = "consistent_hash")]
    ConsistentHash,
}

/// What `consistent_hash` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Hash {
    /// The part of the request.
    pub on: HashOn,
    /// The name of the header field or cookie.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<HeaderText>,
}

/// The parts of a request that can be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum HashOn {
    /// The client's address.
    Source,
    /// The path and the query.
    Uri,
    /// A header field.
    Header,
    /// A cookie.
    Cookie,
}

/// How a client stays with its backend.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Stickiness {
    /// By what it is known.
    #[serde(rename = "type")]
    #[deserr(rename = "type")]
    pub kind: StickinessType,
    /// How long it stays without a word; a cookie without it lives as long as the browser.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub seconds: Option<u32>,
    /// The cookie's name; `VRSID` for the balancer's own.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie_name: Option<CookieName>,
}

/// By what a client is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults)]
#[serde(rename_all = "snake_case")]
pub enum StickinessType {
    /// Its address.
    #[deserr(rename = "source")]
    Source,
    /// A cookie of the balancer's.
    #[deserr(rename = "cookie")]
    Cookie,
    /// A cookie that the application sets.
    #[deserr(rename = "app_cookie")]
    AppCookie,
}

/// The versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How long what may take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Timeouts {
    /// A connection to a backend.
    #[deserr(default = Timeouts::DEFAULT.connect_ms)]
    #[schemars(default = "Timeouts::connect", range(min = 1, max = 3_600_000))]
    pub connect_ms: u32,
    /// A request's head, from its first octet to its last.
    #[deserr(default = Timeouts::DEFAULT.client_header_ms)]
    #[schemars(default = "Timeouts::client_header", range(min = 1, max = 3_600_000))]
    pub client_header_ms: u32,
    /// A client that sends and takes nothing, between requests too.
    #[deserr(default = Timeouts::DEFAULT.client_idle_ms)]
    #[schemars(default = "Timeouts::client_idle", range(min = 1, max = 86_400_000))]
    pub client_idle_ms: u32,
    /// A backend that sends and takes nothing; also how long a connection to it is kept for reuse.
    #[deserr(default = Timeouts::DEFAULT.server_idle_ms)]
    #[schemars(default = "Timeouts::server_idle", range(min = 1, max = 86_400_000))]
    pub server_idle_ms: u32,
    /// A backend's answer, from the request to the answer's head.
    #[deserr(default = Timeouts::DEFAULT.server_response_ms)]
    #[schemars(default = "Timeouts::server_response", range(min = 1, max = 86_400_000))]
    pub server_response_ms: u32,
    /// An upgraded connection, such as a WebSocket, without a word.
    #[deserr(default = Timeouts::DEFAULT.tunnel_idle_ms)]
    #[schemars(default = "Timeouts::tunnel_idle", range(min = 1, max = 86_400_000))]
    pub tunnel_idle_ms: u32,
}

impl Timeouts {
    /// What is meant where nothing is said.
    pub const DEFAULT: Self = Self {
        connect_ms: 5_000,
        client_header_ms: 10_000,
        client_idle_ms: 60_000,
        server_idle_ms: 60_000,
        server_response_ms: 60_000,
        tunnel_idle_ms: 3_600_000,
    };

    const fn connect() -> u32 {
        Self::DEFAULT.connect_ms
    }

    const fn client_header() -> u32 {
        Self::DEFAULT.client_header_ms
    }

    const fn client_idle() -> u32 {
        Self::DEFAULT.client_idle_ms
    }

    const fn server_idle() -> u32 {
        Self::DEFAULT.server_idle_ms
    }

    const fn server_response() -> u32 {
        Self::DEFAULT.server_response_ms
    }

    const fn tunnel_idle() -> u32 {
        Self::DEFAULT.tunnel_idle_ms
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How great a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Limits {
    /// The head in octets.
    #[deserr(default = Limits::DEFAULT.header_bytes)]
    #[schemars(default = "Limits::default_header_bytes", range(min = 1024, max = 1_048_576))]
    pub header_bytes: u32,
    /// The fields of the head.
    #[deserr(default = Limits::DEFAULT.headers)]
    #[schemars(default = "Limits::default_headers", range(min = 16, max = 256))]
    pub headers: u32,
    /// The request's target in octets.
    #[deserr(default = Limits::DEFAULT.uri_bytes)]
    #[schemars(default = "Limits::default_uri_bytes", range(min = 64, max = 65_536))]
    pub uri_bytes: u32,
    /// The body in octets; absent: any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

impl Limits {
    /// What is meant where nothing is said.
    pub const DEFAULT: Self = Self { header_bytes: 16_384, headers: 100, uri_bytes: 8_192, body_bytes: None };

    const fn default_header_bytes() -> u32 {
        Self::DEFAULT.header_bytes
    }

    const fn default_headers() -> u32 {
        Self::DEFAULT.headers
    }

    const fn default_uri_bytes() -> u32 {
        Self::DEFAULT.uri_bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
