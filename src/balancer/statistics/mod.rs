//! What the balancer counts and knows, as plain values: what status, metrics and the page show.
//!
//! Counters begin when their object is configured and survive every edit of it. How a pool does follows from its
//! backends, and how a balancer does from its pools: [`pool_state`] and [`balancer_state`] say how. Called by the service,
//! which fills all of it in, and by the status room.

mod kernel;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use schemars::JsonSchema;
use serde::Serialize;

pub use kernel::KernelTraffic;
pub(crate) use state::some;
pub use state::{balancer_state, pool_state};

use crate::clock::Timestamp;
use crate::config::Id;

/// Everything that is known of balancers at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub struct Statistics {
    /// The balancers by id.
    pub balancers: BTreeMap<Id, BalancerStatistics>,
    /// The certificates by id.
    pub certificates: BTreeMap<Id, CertificateStatistics>,
}

/// One balancer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BalancerStatistics {
    /// Where clients connect to.
    #[schemars(with = "String")]
    pub endpoint: SocketAddrV4,
    /// What clients speak: `tcp`, `udp`, `http`, `https`.
    pub protocol: &'static str,
    /// What carries its connections: `kernel`, `proxy`.
    pub path: &'static str,
    /// How it does.
    pub state: BalancerState,
    /// Why, where it is not up.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// What clients did.
    pub traffic: Traffic,
    /// Connections that were turned away: sources that may not, too many, a handshake that failed.
    pub refused: u64,
    /// What was asked over HTTP; absent where requests are not told apart.
    pub requests: Option<Requests>,
    /// The pools by id.
    pub pools: BTreeMap<Id, PoolStatistics>,
}

/// How a balancer or a pool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancerState {
    /// It serves, with all that is wanted of it.
    Up,
    /// It serves; a backend that should be is not there.
    Degraded,
    /// Nobody can be served.
    Down,
}

impl BalancerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Up, Self::Degraded, Self::Down];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PoolStatistics {
    /// How it does.
    pub state: BalancerState,
    /// Why, where it is not up.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Who waits for a backend.
    pub queued: u64,
    /// How many waited in vain: the queue was full, or it took too long.
    pub queue_failures: u64,
    /// The backends by id.
    pub backends: BTreeMap<Id, BackendStatistics>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BackendStatistics {
    /// Where it is.
    #[schemars(with = "String")]
    pub endpoint: SocketAddrV4,
    /// Its share beside the others'.
    pub weight: u16,
    /// Whether it takes part only while no other does.
    pub backup: bool,
    /// How it does.
    pub state: BackendState,
    /// Why, in a few words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was asked last whether it is well.
    pub checked: Option<Timestamp>,
    /// How long that took, in milliseconds.
    pub check_ms: Option<f64>,
    /// What went to it.
    pub traffic: Traffic,
    /// How often it could not be reached or broke off before it answered.
    pub failures: u64,
    /// How often its client was served by another in its place.
    pub retries: u64,
    /// What it was asked over HTTP; absent where requests are not told apart.
    pub requests: Option<Requests>,
}

/// How a backend does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// It gets its share.
    Up,
    /// It was not asked yet and gets its share.
    Unchecked,
    /// Its checks fail: it gets nothing.
    Down,
    /// It failed often in a row and rests.
    Ejected,
    /// It gets nothing new and keeps what it has, until it ends or the deadline passes.
    Draining,
    /// It is configured to take no part.
    Disabled,
}

impl BackendState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::Unchecked, Self::Down, Self::Ejected, Self::Draining, Self::Disabled];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unchecked => "unchecked",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// Connections and octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Traffic {
    /// Connections that are open.
    pub current: u64,
    /// The most that were open at once.
    pub peak: u64,
    /// Connections since the beginning.
    pub connections: u64,
    /// Octets from clients to backends.
    pub bytes_in: u64,
    /// Octets from backends to clients.
    pub bytes_out: u64,
}

/// Requests and how they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct Requests {
    /// Requests since the beginning.
    pub total: u64,
    /// Requests that are being answered.
    pub current: u64,
    /// Answers by the first digit of their status, from 1xx to 5xx.
    pub by_class: [u64; 5],
    /// How long they took, from the request's head to the answer's end.
    pub latency: LatencyHistogram,
}

/// How long requests took: how many took at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct LatencyHistogram {
    /// Requests within each bound of [`LatencyHistogram::BOUNDS_MS`] and beyond the one before; the last: beyond all.
    pub buckets: [u64; 14],
    /// The sum of all, in milliseconds.
    pub sum_ms: f64,
}

impl LatencyHistogram {
    /// The upper bounds, in milliseconds.
    pub const BOUNDS_MS: [f64; 13] =
        [0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0];

    /// How many requests were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CertificateStatistics {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// Whether that has passed.
    pub expired: bool,
    /// `sha256:` and the SHA-256 of its key's public half.
    pub fingerprint: String,
}

/// How balancers do, without what they count: little enough to be asked for once a second, however many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    /// The state of each balancer, and why it is not up.
    pub balancers: BTreeMap<Id, (BalancerState, Option<String>)>,
    /// Until when each certificate holds.
    pub certificates: BTreeMap<Id, Timestamp>,
}

impl Statistics {
    /// The same without what is counted.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let balancers = self.balancers.iter().map(|(id, one)| (id.clone(), (one.state, one.reason.clone())));
        let certificates = self.certificates.iter().map(|(id, one)| (id.clone(), one.not_after));
        Overview { balancers: balancers.collect(), certificates: certificates.collect() }
    }
}
