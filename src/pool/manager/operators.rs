//! What operators ask of the loop, and what it counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use tokio::sync::oneshot;

use super::Manager;
use crate::pool::door::Door;
use crate::pool::hypervisor::Hypervisor;
use crate::pool::plan::Action;
use crate::pool::state::{Finish, OrderError, Record};
use crate::pool::status::Status;

/// What an operator asks.
#[derive(Debug)]
pub enum Ask {
    /// How everything is.
    Status(oneshot::Sender<Status>),
    /// Hands nothing out any more, or does again.
    Drain(bool, oneshot::Sender<Result<(), String>>),
    /// Renews a slot.
    Recycle(String, oneshot::Sender<Result<(), OrderError>>),
    /// Keeps a slot's VM.
    Quarantine(String, oneshot::Sender<Result<(), OrderError>>),
    /// Removes every VM.
    Clear(oneshot::Sender<()>),
}

/// What the loop has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// VMs that were begun to be made.
    pub created: u64,
    /// VMs that were reserved for a station.
    pub reserved: u64,
    /// Stations that connected.
    pub connected: u64,
    /// Stations that were told to connect and did not.
    pub not_come: u64,
    /// Stations that waited for too long.
    pub too_long: u64,
    /// Connections to consoles that were turned away.
    pub refused: u64,
    /// Sessions that are over with nothing left of their VMs.
    pub sessions: u64,
    /// Octets that those sent and received.
    pub octets: (u64, u64),
    /// Calls that failed.
    pub failed: u64,
}

impl Counters {
    pub(super) const fn began(&mut self, action: &Action) {
        match action {
            Action::Create { .. } => self.created = self.created.saturating_add(1),
            Action::Reserve { .. } => self.reserved = self.reserved.saturating_add(1),
            _ => {}
        }
    }

    pub(super) const fn failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    pub(super) const fn refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    pub(super) const fn session(&mut self, record: &Record) {
        self.sessions = self.sessions.saturating_add(1);
        self.octets.0 = self.octets.0.saturating_add(record.sent);
        self.octets.1 = self.octets.1.saturating_add(record.received);
    }

    pub(super) fn finished(&mut self, finished: &[(IpAddr, Finish)]) {
        for (_, finish) in finished {
            let counter = match finish {
                Finish::Connected => &mut self.connected,
                Finish::NotCome => &mut self.not_come,
                Finish::TooLong => &mut self.too_long,
                Finish::SessionOver => continue,
            };
            *counter = counter.saturating_add(1);
        }
    }

    /// Each with its name.
    #[must_use]
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        [
            ("vms_created", self.created),
            ("vms_reserved", self.reserved),
            ("stations_connected", self.connected),
            ("stations_not_come", self.not_come),
            ("stations_too_long", self.too_long),
            ("connections_refused", self.refused),
            ("sessions", self.sessions),
            ("session_octets_sent", self.octets.0),
            ("session_octets_received", self.octets.1),
            ("calls_failed", self.failed),
        ]
        .into()
    }
}

impl<H: Hypervisor, D: Door> Manager<H, D> {
    /// Does what an operator asks. Whoever does not wait for the answer is not missed.
    pub(super) fn ask(&mut self, ask: Ask) {
        let now = self.now();
        match ask {
            Ask::Status(answer) => drop(answer.send(Status::of(&self.pool, &self.counters, now))),
            Ask::Drain(draining, answer) => {
                let kept = self.journal.drain(draining);
                if kept.is_ok() {
                    tracing::info!(target: "audit", draining, "an operator drains the pool, or ends that");
                    self.pool.drain(draining);
                }
                let _ = answer.send(kept);
            }
            Ask::Recycle(slot, answer) => {
                let done = self.pool.recycle(&slot, now);
                tracing::info!(target: "audit", slot, ?done, "an operator recycles a slot");
                let _ = answer.send(done);
            }
            Ask::Quarantine(slot, answer) => {
                let done = self.pool.quarantine(&slot, now);
                tracing::info!(target: "audit", slot, ?done, "an operator keeps a slot's VM");
                let _ = answer.send(done);
            }
            Ask::Clear(answer) => {
                tracing::warn!(target: "audit", "an operator clears the pool: every VM is removed");
                self.pool.clear(now);
                let _ = answer.send(());
            }
        }
    }
}
