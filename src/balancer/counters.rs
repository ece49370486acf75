//! What went through a balancer or to a backend, counted since it was first configured. Edits do not touch it.
//!
//! Called for every connection and request; the service reads it for status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::statistics::{LatencyHistogram, Requests, Traffic};

/// What went through.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    connections: AtomicU64,
    current: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    /// By the first digit of the status; what is no such class is counted first.
    classes: [AtomicU64; 6],
    latency: [AtomicU64; LatencyHistogram::BOUNDS_MS.len() + 1],
    latency_us: AtomicU64,
    retries: AtomicU64,
    failures: AtomicU64,
}

impl Tally {
    /// A connection was taken. [`Self::closed`] has to follow.
    pub(crate) fn opened(&self) {
        add(&self.connections, 1);
        let current = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        if current > value(&self.peak) {
            self.peak.fetch_max(current, Ordering::Relaxed);
        }
    }

    /// It is over.
    pub(crate) fn closed(&self) {
        self.current.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was turned away.
    pub(crate) fn turned_away(&self) {
        add(&self.refused, 1);
    }

    /// Octets went through: from clients, and to them.
    pub(crate) fn carried(&self, inward: u64, outward: u64) {
        add(&self.bytes_in, inward);
        add(&self.bytes_out, outward);
    }

    /// A request came. [`Self::answered`] or [`Self::given_up`] has to follow.
    pub(crate) fn asked(&self) {
        add(&self.asked, 1);
    }

    /// It was answered, so long after its head was complete.
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        add(&self.answered, 1);
        let class = usize::from(status.as_u16() / 100);
        self.classes.get(class).or(self.classes.first()).into_iter().for_each(|count| add(count, 1));
        self.latency.get(latency_class(took)).into_iter().for_each(|count| add(count, 1));
        add(&self.latency_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A request came and was refused before anybody looked for a backend.
    pub(crate) fn declined(&self, status: StatusCode) {
        self.asked();
        self.answered(status, Duration::ZERO);
    }

    /// It was not answered: its client is gone, or somebody else answers it.
    pub(crate) fn given_up(&self) {
        add(&self.answered, 1);
    }

    /// Another connection or backend is tried.
    pub(crate) fn retried(&self) {
        add(&self.retries, 1);
    }

    /// A backend did not answer, or not validly.
    pub(crate) fn failed(&self) {
        add(&self.failures, 1);
    }

    /// Connections and octets of this moment.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            current: value(&self.current),
            peak: value(&self.peak),
            connections: value(&self.connections),
            bytes_in: value(&self.bytes_in),
            bytes_out: value(&self.bytes_out),
        }
    }

    /// Requests of this moment.
    pub(crate) fn requests(&self) -> Requests {
        let answered = value(&self.answered);
        let total = value(&self.asked);
        let [_, by_class @ ..] = self.classes.each_ref().map(value);
        let latency = LatencyHistogram {
            buckets: self.latency.each_ref().map(value),
            sum_ms: Duration::from_micros(value(&self.latency_us)).as_secs_f64() * 1000.0,
        };
        Requests { total, current: total.saturating_sub(answered), by_class, latency }
    }

    /// Connections that were turned away.
    pub(crate) fn refused(&self) -> u64 {
        value(&self.refused)
    }

    /// How often another connection or backend was tried.
    pub(crate) fn retries(&self) -> u64 {
        value(&self.retries)
    }

    /// How often a backend did not answer, or not validly.
    pub(crate) fn failures(&self) -> u64 {
        value(&self.failures)
    }
}

fn latency_class(took: Duration) -> usize {
    let milliseconds = took.as_secs_f64() * 1000.0;
    LatencyHistogram::BOUNDS_MS.partition_point(|bound| *bound < milliseconds)
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn value(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_class_whose_bound_they_do_not_pass() {
        let class = |microseconds| latency_class(Duration::from_micros(microseconds));
        assert_eq!([0, 1, 500, 501, 1000, 10_000_000, 10_000_001].map(class), [0, 0, 0, 1, 1, 12, 13]);
    }

    #[test]
    fn answers_are_counted_by_class_and_what_is_under_way_besides() {
        let tally = Tally::default();
        let took = Duration::ZERO;
        (0..8).for_each(|_| tally.asked());
        for status in [200, 204, 301, 404, 503] {
            tally.answered(StatusCode::from_u16(status).unwrap(), took);
        }
        tally.answered(StatusCode::from_u16(999).unwrap(), took);
        tally.given_up();
        let requests = tally.requests();
        assert_eq!((requests.by_class, requests.total, requests.current), ([0, 2, 1, 1, 1], 8, 1));
        assert_eq!(requests.latency.buckets.iter().sum::<u64>(), 6);
    }

    #[test]
    fn the_most_at_once_is_remembered() {
        let tally = Tally::default();
        (0..3).for_each(|_| tally.opened());
        tally.closed();
        tally.opened();
        tally.closed();
        let traffic = tally.traffic();
        assert_eq!((traffic.current, traffic.peak, traffic.connections), (2, 3, 4));
    }
}
