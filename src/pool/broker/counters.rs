//! Octets of a channel in both directions, and when its station last did something. Counted by `relay.rs`, read by
//! `table.rs` for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one channel carried.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Octets from the station.
    pub(super) sent: AtomicU64,
    /// Octets to the station.
    pub(super) received: AtomicU64,
    /// Milliseconds since the broker's start at which the station last sent any.
    active: AtomicU64,
}

impl Counters {
    /// Counts octets from the station.
    pub(super) fn count_sent(&self, octets: usize, now: Duration) {
        self.sent.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.active.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts octets to the station.
    pub(super) fn count_received(&self, octets: usize) {
        self.received.fetch_add(u64::try_from(octets).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the station last sent something, since the broker's start.
    pub(super) fn active(&self) -> Duration {
        Duration::from_millis(self.active.load(Ordering::Relaxed))
    }

    /// Octets from and to the station.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}
