//! Which backend is meant, and how it does: plain values. Called by `backend.rs`, and by whoever shows or keeps them.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Timestamp;
use crate::config::Id;

/// Which backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its balancer.
    pub balancer: Id,
    /// Its pool.
    pub pool: Id,
    /// Its own id.
    pub backend: Id,
    /// Where it is.
    pub endpoint: SocketAddrV4,
}

/// What health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Health {
    /// Nothing yet.
    Unknown,
    /// Well.
    Up,
    /// Not well.
    Down,
}

impl Health {
    /// The word for status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Whether a backend takes connections, as far as health checks go.
    #[must_use]
    pub const fn takes_connections(self) -> bool {
        !matches!(self, Self::Down)
    }
}

/// What health checks say, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How it does.
    pub health: Health,
    /// Why.
    pub reason: Arc<str>,
    /// Since when it is so.
    pub since: Timestamp,
}

/// How a backend stands among those of its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It is well, or nobody asks.
    Live,
    /// It came to others that are at work, and nobody knows yet how it does.
    Newcomer,
    /// It rests after failures.
    Resting,
    /// It is down.
    Dead,
}

/// Whom a backend serves, by the pool's present view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Serves {
    /// Nobody new.
    Nobody,
    /// Clients that stay with it: it has no weight any more, or is a backup that is not needed any more.
    Stayers,
    /// Anybody.
    Anybody,
}

/// Milliseconds since an origin, from 1, so that 0 can stand for never.
pub(super) fn millis(origin: Instant, moment: Instant) -> u64 {
    let passed = moment.saturating_duration_since(origin).as_millis();
    u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
}
