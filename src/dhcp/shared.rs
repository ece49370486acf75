//! What the tasks of the service share: what is served, the engine and the counters.
//!
//! The lock is held for the messages of one system call at most, and never while anything is waited for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::counters::Counters;
use super::decision::{Reason, Reply};
use super::engine::Engine;
use super::snapshot::Snapshot;
use super::socket::Sockets;
use crate::clock::Steady;

/// What the tasks of the service share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is served; swapped under the lock, so that no message is decided by the old one once it is.
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// What time leases go by: setting the machine's clock neither ends them all nor lets them live for ever.
    pub(super) clock: Steady,
    state: Mutex<State>,
}

/// What changes with every message.
#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(engine: Engine, clock: Steady) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            clock,
            state: Mutex::new(State { engine, counters: Counters::default() }),
        }
    }

    /// The engine and the counters, alone.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while it held the lock left whole values behind: each is changed by one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends replies and counts them.
    pub(super) fn send(&self, sockets: &Sockets, replies: &[Reply]) {
        let mut failed = 0;
        let mut sent = Vec::with_capacity(replies.len());
        for reply in replies {
            match sockets.send(reply) {
                Ok(()) => sent.push(reply),
                Err(error) => {
                    failed += 1;
                    tracing::debug!(device = %sockets.device, to = ?reply.to, %error, "a reply was not sent");
                }
            }
        }
        if failed > 0 {
            self.ignored(sockets, Reason::NotSent, failed);
        }
        if !sent.is_empty() {
            let counters = &mut self.state().counters;
            sent.into_iter().for_each(|reply| counters.sent(reply));
        }
    }

    /// Counts messages that got no answer.
    pub(super) fn ignored(&self, sockets: &Sockets, reason: Reason, messages: usize) {
        if messages > 0
            && let Some(listener) = self.snapshot.load().listener(sockets.device.index)
        {
            let messages = u64::try_from(messages).unwrap_or(u64::MAX);
            self.state().counters.ignored(&listener.interface, reason, messages);
        }
    }

    /// Takes note of whether leases can be stored, and says so when that changes.
    pub(super) fn storage_fault(&self, fault: Option<String>) {
        let counters = &mut self.state().counters;
        match (&counters.storage_fault, &fault) {
            (None, Some(fault)) => {
                tracing::error!(%fault, "leases cannot be stored: only configured hosts are served")
            }
            (Some(_), None) => tracing::info!("leases can be stored again"),
            _ => return,
        }
        counters.storage_fault = fault;
    }
}
