//! What went through a balancer, a pool or a backend, counted since it was first configured. Edits do not touch it.
//!
//! Called for every connection and request; read by status and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock;

/// The upper bounds of the classes that latencies are counted in, in milliseconds; above the last is one more class.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

/// What went through.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    connections: AtomicU64,
    current: AtomicU64,
    refused: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// By the first digit of the status; what is no such class is counted first.
    requests: [AtomicU64; 6],
    latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_us: AtomicU64,
    retries: AtomicU64,
    failures: AtomicU64,
}

/// What went through since it was first configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TrafficCounts {
    /// Connections that were taken.
    pub connections: u64,
    /// Connections of this moment.
    pub current_connections: u64,
    /// Connections that were turned away: of strangers, or with a handshake that failed.
    pub refused_connections: u64,
    /// Octets from clients, as backends got them.
    pub bytes_in: u64,
    /// Octets to clients.
    pub bytes_out: u64,
    /// Requests by the class of their answer: 1xx to 5xx.
    pub requests: [u64; 5],
    /// Answers by the time from the request's head to their own, in the classes of `LATENCY_BOUNDS_MS` and one above.
    pub latency: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Those times together, in microseconds.
    pub latency_us: u64,
    /// Requests and connections that another connection or backend was tried for.
    pub retries: u64,
    /// Backends that did not answer, or not validly.
    pub failures: u64,
}

impl Traffic {
    /// A connection was taken. [`Self::closed`] has to follow.
    pub(crate) fn opened(&self) {
        add(&self.connections, 1);
        add(&self.current, 1);
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

    /// A request whose head was complete at `since` has an answer.
    pub(crate) fn answered(&self, status: StatusCode, since: Instant) {
        let class = usize::from(status.as_u16() / 100);
        self.requests.get(class).or(self.requests.first()).into_iter().for_each(|count| add(count, 1));
        let took = clock::moment().saturating_duration_since(since);
        let place = latency_class(took);
        self.latency.get(place).into_iter().for_each(|count| add(count, 1));
        add(&self.latency_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Another connection or backend is tried.
    pub(crate) fn retried(&self) {
        add(&self.retries, 1);
    }

    /// A backend did not answer, or not validly.
    pub(crate) fn failed(&self) {
        add(&self.failures, 1);
    }

    /// The counts of this moment.
    pub(crate) fn read(&self) -> TrafficCounts {
        let [_, requests @ ..] = self.requests.each_ref().map(value);
        TrafficCounts {
            connections: value(&self.connections),
            current_connections: value(&self.current),
            refused_connections: value(&self.refused),
            bytes_in: value(&self.bytes_in),
            bytes_out: value(&self.bytes_out),
            requests,
            latency: self.latency.each_ref().map(value),
            latency_us: value(&self.latency_us),
            retries: value(&self.retries),
            failures: value(&self.failures),
        }
    }
}

fn latency_class(took: Duration) -> usize {
    let milliseconds = took.as_micros().div_ceil(1000);
    LATENCY_BOUNDS_MS.partition_point(|&bound| u128::from(bound) < milliseconds)
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
        assert_eq!([0, 1, 1000, 1001, 2000, 5_000_000, 5_000_001].map(class), [0, 0, 0, 1, 1, 11, 12]);
    }

    #[test]
    fn answers_are_counted_by_class() {
        let traffic = Traffic::default();
        let since = clock::moment();
        for status in [200, 204, 301, 404, 503] {
            traffic.answered(StatusCode::from_u16(status).unwrap(), since);
        }
        traffic.answered(StatusCode::from_u16(999).unwrap(), since);
        let counts = traffic.read();
        assert_eq!(counts.requests, [0, 2, 1, 1, 1]);
        assert_eq!(counts.latency.iter().sum::<u64>(), 6);
    }
}
