//! What the table holds of a backend, and the values that go in and out of it. Called by `table.rs` and its callers.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::passive::Passive;
use super::state::{Outcome, State};
use crate::balancer::condition::Health;
use crate::clock::Timestamp;
use crate::config::pool::HealthCheck;
use crate::plan::BackendName;
use crate::plan::facts::Balanced;

/// How a backend is, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendHealth {
    /// Whether it is well, why that is believed, and since when.
    pub state: State,
    /// The last check; none before the first.
    pub last: Option<LastCheck>,
}

/// A check that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// A check to be made now.
#[derive(Debug)]
pub(super) struct Job {
    /// The entry that it is for.
    pub(super) number: u64,
    /// Where the backend is asked.
    pub(super) endpoint: SocketAddrV4,
    /// How.
    pub(super) check: Arc<HealthCheck>,
}

/// What became of a backend: its health is another, or the reason for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// The backend.
    pub name: BackendName,
    /// Where it is.
    pub endpoint: SocketAddrV4,
    /// Its health before.
    pub from: Health,
    /// What is known of it now.
    pub state: State,
}

/// What is known from before a restart.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) states: HashMap<BackendName, RememberedState>,
    pub(super) drains: Vec<(Balanced, Timestamp)>,
}

/// What was known of one backend, and under which endpoint and check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RememberedState {
    pub(super) endpoint: SocketAddrV4,
    pub(super) check: u64,
    pub(super) state: State,
}

/// What changed and is not stored yet.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    pub(super) names: BTreeSet<BackendName>,
    pub(super) drains: BTreeSet<Balanced>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: BackendName,
    /// The backend's own endpoint; its check may go to another port.
    pub(super) endpoint: SocketAddrV4,
    pub(super) asked_at: SocketAddrV4,
    pub(super) check: Arc<HealthCheck>,
    /// A digest of the check, by which a restart knows it again.
    pub(super) digest: u64,
    pub(super) state: State,
    pub(super) last: Option<LastCheck>,
    pub(super) began: Option<Instant>,
    pub(super) under_way: bool,
    pub(super) next: Instant,
    pub(super) passive: Arc<Passive>,
}

impl Unstored {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.drains.is_empty()
    }
}

/// How long between the beginnings of two checks: as configured, give or take what chance says.
pub(super) fn interval(check: &HealthCheck, chance: u64) -> Duration {
    let interval = u64::from(check.interval_seconds) * 1000;
    let spread = interval * u64::from(check.jitter_percent.min(50)) / 100;
    Duration::from_millis(interval - spread + chance % (2 * spread + 1))
}
