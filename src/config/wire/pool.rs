//! `load_balancers.<id>.pools.<id>` on the wire: backends and how they are watched.

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::http::{HeaderText, HttpPath, Method};
use crate::config::id::Id;
use crate::config::keyed::Keyed;
use crate::config::net::Address;
use crate::config::status_code::StatusRange;

const WEIGHT: u16 = 100;

const fn weight() -> u16 {
    WEIGHT
}

/// Backends that share connections among themselves.
#[derive(Debug, Clone, PartialEq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Pool {
    /// The backends; without any that is up, clients are refused.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_without_entries")]
    #[schemars(default)]
    pub backends: Keyed<Id, Backend>,
    /// How backends are asked whether they are well; absent: all are taken to be.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// TLS towards the backends of http and https balancers; absent: plain.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// How long a backend that comes up takes to get its whole share.
    #[deserr(default)]
    #[schemars(default)]
    pub slow_start_seconds: u32,
    /// Who waits while every backend has its `max_connections`.
    #[deserr(default)]
    #[schemars(default)]
    pub queue: Queue,
    /// A backend that fails so often in a row gets a rest; absent: none does.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
}

/// A server behind the balancer.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Backend {
    /// The guest.
    pub address: Address,
    /// Its port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Its share beside the others'; 0: none of what is new.
    #[deserr(default = WEIGHT)]
    #[schemars(default = "weight", range(max = 1000))]
    pub weight: u16,
    /// Whether it takes part; one that does not any more keeps the connections that it has, for `drain_seconds`.
    #[deserr(default = true)]
    #[schemars(default = "super::yes")]
    pub enabled: bool,
    /// Whether it takes part only while no other does.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub backup: bool,
    /// How many connections or requests it has at once; more wait in the pool's queue.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
}

/// How backends are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    #[serde(rename = "type")]
    #[deserr(rename = "type")]
    pub kind: HealthCheckType,
    /// http: the method.
    #[deserr(default)]
    #[schemars(default)]
    pub method: Method,
    /// http: the path, with a query if one is needed.
    #[deserr(default)]
    #[schemars(default)]
    pub path: HttpPath,
    /// http: the Host field, by default the backend's address; https and tls: also the name that is asked for.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HeaderText>,
    /// http: statuses that say well; by default 200 to 399.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub expected_status: Vec<StatusRange>,
    /// http: a text that the first 64 KiB of the body have to hold.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_body: Option<String>,
    /// udp and tcp: what is sent.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// udp and tcp: what the answer has to begin with. A udp check without it is content with anything but a refusal.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Another port than the backend's own.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The router's address that checks come from; by default the kernel chooses.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Address>,
    /// How long between two checks.
    #[deserr(default = 5)]
    #[schemars(default = "interval", range(min = 1, max = 3600))]
    pub interval_seconds: u32,
    /// How long an answer may take.
    #[deserr(default = 2)]
    #[schemars(default = "timeout", range(min = 1, max = 300))]
    pub timeout_seconds: u32,
    /// How many good answers in a row bring a backend up.
    #[deserr(default = 2)]
    #[schemars(default = "healthy", range(min = 1, max = 100))]
    pub healthy_threshold: u32,
    /// How many bad ones in a row take it down.
    #[deserr(default = 3)]
    #[schemars(default = "unhealthy", range(min = 1, max = 100))]
    pub unhealthy_threshold: u32,
    /// How far intervals vary, so that checks spread.
    #[deserr(default = 10)]
    #[schemars(default = "jitter", range(max = 50))]
    pub jitter_percent: u32,
}

const fn interval() -> u32 {
    5
}

const fn timeout() -> u32 {
    2
}

const fn healthy() -> u32 {
    2
}

const fn unhealthy() -> u32 {
    3
}

const fn jitter() -> u32 {
    10
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheckType {
    /// A connection, and perhaps a few words.
    Tcp,
    /// A request and its answer.
    Http,
    /// The same within TLS, whoever vouches for it.
    Https,
    /// A TLS handshake, whoever vouches for it.
    Tls,
    /// A datagram, and perhaps its answer.
    Udp,
}

/// TLS towards backends.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct BackendTls {
    /// Whether a backend has to prove who it is.
    #[deserr(default = true)]
    #[schemars(default = "super::yes")]
    pub verify: bool,
    /// Who may vouch for it, in PEM; needed to verify.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// The name that it is asked for and has to prove; by default its address.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<HeaderText>,
}

/// Who waits while every backend has its `max_connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Queue {
    /// How many may wait.
    #[deserr(default = 1024)]
    #[schemars(default = "queue_size", range(max = 65536))]
    pub size: u32,
    /// How long.
    #[deserr(default = 5000)]
    #[schemars(default = "queue_timeout", range(min = 1, max = 600_000))]
    pub timeout_ms: u32,
}

const fn queue_size() -> u32 {
    1024
}

const fn queue_timeout() -> u32 {
    5000
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: queue_size(), timeout_ms: queue_timeout() }
    }
}

/// When a backend gets a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Outlier {
    /// So many connections or requests failed in a row.
    #[deserr(default = 5)]
    #[schemars(default = "failures", range(min = 1, max = 1000))]
    pub consecutive_failures: u32,
    /// How long it rests.
    #[deserr(default = 30)]
    #[schemars(default = "eject", range(min = 1, max = 3600))]
    pub eject_seconds: u32,
}

const fn failures() -> u32 {
    5
}

const fn eject() -> u32 {
    30
}
