//! Which backend a client was with last: bounded in number, and forgotten after a time without a word.
//!
//! Called by `sticky.rs`, for addresses and for values of applications' cookies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::backend::Backend;
use super::condition::millis;

/// The most clients that a pool remembers; those that came once and not again make room first.
pub(super) const MOST: u64 = 65_536;

/// Clients with their backends.
#[derive(Debug)]
pub(super) struct Remembered {
    kept: Cache<u128, Arc<Entry>>,
    origin: Instant,
}

#[derive(Debug)]
struct Entry {
    backend: Weak<Backend>,
    /// When the client came last, in milliseconds since the origin.
    seen: AtomicU64,
}

impl Remembered {
    pub(super) fn new(now: Instant) -> Self {
        let built =
            OptionsBuilder::new().shards(4).estimated_items_capacity(64).weight_capacity(MOST).build();
        let kept = match built {
            Ok(options) => Cache::with_options(
                options,
                UnitWeighter,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // All options are given, which is all that it asks for.
            Err(_) => Cache::with_weighter(64, MOST, UnitWeighter),
        };
        Self { kept, origin: now }
    }

    /// How many clients are remembered, late ones among them.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The backend of a client who came within this time; it has come again now.
    pub(super) fn find(&self, client: u128, within: Duration, now: Instant) -> Option<Arc<Backend>> {
        let entry = self.kept.get(&client)?;
        let now_ms = millis(self.origin, now);
        let silent = now_ms.saturating_sub(entry.seen.load(Ordering::Relaxed));
        if u128::from(silent) >= within.as_millis() {
            return None;
        }
        entry.seen.store(now_ms, Ordering::Relaxed);
        entry.backend.upgrade()
    }

    /// Remembers that a client is with a backend now.
    pub(super) fn keep(&self, client: u128, backend: &Arc<Backend>, now: Instant) {
        let entry =
            Entry { backend: Arc::downgrade(backend), seen: AtomicU64::new(millis(self.origin, now)) };
        self.kept.insert(client, Arc::new(entry));
    }
}
