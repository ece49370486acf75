//! What connections of clients tell of a backend. Called by the proxy for every connection that it makes.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc;

/// What connections of clients tell of one backend. A failure brings the next check forward; as many in a row as it takes
/// bad checks take the backend down at once, and checks bring it back.
#[derive(Debug)]
pub struct Passive {
    number: u64,
    failures: AtomicU32,
    seen: mpsc::Sender<Seen>,
}

/// A connection that failed.
#[derive(Debug)]
pub(super) struct Seen {
    /// The number of the backend's entry in the table.
    pub(super) number: u64,
    /// How many failed in a row.
    pub(super) failures: u32,
    /// Why, in words.
    pub(super) reason: String,
}

impl Passive {
    pub(super) const fn new(number: u64, seen: mpsc::Sender<Seen>) -> Self {
        Self { number, failures: AtomicU32::new(0), seen }
    }

    /// A connection to the backend was made.
    pub fn succeeded(&self) {
        // Mostly nothing failed before, and then nothing is written that other threads read.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A connection to the backend could not be made, or was cut.
    pub fn failed(&self, reason: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Where so much is said that some of it is lost, the rest says the same.
        let _ = self.seen.try_send(Seen { number: self.number, failures, reason: reason.to_owned() });
    }
}
