//! What the sockets share: the snapshot of the moment, the forwarders and their cache, the counters.
//!
//! Called by `udp.rs` and `tcp.rs` for every message, and by `service.rs` to put the next snapshot in its place.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::answer::{Ask, Client, Known, Verdict, respond};
use super::cache::Cache;
use super::counters::Counters;
use super::forward::{Forwarder, Group};
use super::received::Received;
use super::snapshot::Snapshot;
use super::wire::Rcode;

/// What the sockets share.
#[derive(Debug)]
pub(super) struct Engine {
    active: ArcSwap<Active>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) counters: Counters,
}

/// A snapshot with the forwarders of its groups.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) groups: Vec<Arc<Group>>,
}

impl Engine {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            active: ArcSwap::default(),
            forwarder: Arc::new(Forwarder::new(Cache::new(now))),
            counters: Counters::default(),
        }
    }

    /// The snapshot of the moment.
    pub(super) fn active(&self) -> Arc<Active> {
        self.active.load_full()
    }

    /// Puts the next snapshot in its place.
    pub(super) fn swap(&self, active: Active) {
        self.forwarder.cache.set_entries(active.snapshot.cache_entries());
        self.active.store(Arc::new(active));
    }

    /// Decides on a message by what is at hand.
    pub(super) fn decide(
        &self,
        message: &[u8],
        client: Client,
        active: &Active,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let known = |question: super::answer::Question<'_>| {
            let group = active.groups.get(usize::from(question.group))?;
            let known = self.forwarder.cache.get(group.number, question, now);
            self.counters.cache(known.is_some());
            known
        };
        let verdict = respond(message, client, &active.snapshot, known, out);
        self.counters.verdict(client.transport, &verdict);
        verdict
    }

    /// Asks forwarders, and leaves the answer in `out`.
    pub(super) async fn find_out(
        &self,
        message: &[u8],
        client: Client,
        active: &Active,
        ask: &Ask,
    ) -> Vec<u8> {
        let received = match active.groups.get(usize::from(ask.group)) {
            Some(group) => self.forwarder.resolve(group, ask, client.address).await,
            None => Arc::new(Received::empty(Rcode::SERVFAIL)),
        };
        let mut out = Vec::new();
        // The same snapshot asks the same again, and that is known now.
        let verdict = respond(
            message,
            client,
            &active.snapshot,
            |_| Some(Known { received: received.clone(), age: 0 }),
            &mut out,
        );
        self.counters.verdict(client.transport, &verdict);
        out
    }
}
