//! One device: takes what clients and relays say, asks the engine, and does as it decides. One task for each device.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::decision::{Action, Decision, Probe, Reason, Reply};
use super::ledger::Promises;
use super::prober::{Outcome, Prober, Waiting};
use super::shared::{Shared, State};
use super::snapshot::Snapshot;
use super::socket::{Batch, Sockets};
use crate::clock::Timestamp;
use crate::store::leases::Lease;

/// How long a socket rests that reports an error: a device that goes down does so, and comes back.
const REST: Duration = Duration::from_millis(200);

/// One device that is listened on.
pub(super) struct Listener {
    pub(super) shared: Arc<Shared>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) ledger: mpsc::Sender<Promises>,
}

/// What is to be done about messages that were decided together.
#[derive(Default)]
struct Work {
    /// Replies that leave at once.
    now: Vec<Reply>,
    /// Leases that belong on disk.
    leases: Vec<Lease>,
    /// Leases that belong on disk, and replies that leave when they are.
    granted: Vec<(Lease, Reply)>,
    /// Addresses to look for, and the messages that wait for that.
    probes: Vec<(Probe, Waiting)>,
}

impl Listener {
    /// Listens until it is told to stop, or nobody can tell it any more.
    pub(super) async fn run(self, mut stop: oneshot::Receiver<()>) {
        let mut batch = Batch::new();
        let mut prober = Prober::new(self.sockets.clone());
        loop {
            let mac = self.mac();
            tokio::select! {
                _ = &mut stop => return,
                received = self.sockets.receive(&mut batch) => match received {
                    Ok(()) => self.decide(&batch, &mut prober),
                    Err(error) => {
                        tracing::warn!(device = %self.sockets.device, %error, "DHCP cannot be heard");
                        sleep(REST).await;
                    }
                },
                outcome = prober.next(mac) => self.go_on(outcome, &mut prober),
            }
        }
    }

    /// Decides on messages that came in together.
    fn decide(&self, batch: &Batch, prober: &mut Prober) {
        let mut work = Work::default();
        self.with(|snapshot, state, now| {
            let Some(listener) = snapshot.listener(self.sockets.device.index) else { return };
            for datagram in batch.datagrams() {
                let decision = state.engine.handle(snapshot, listener.device.index, datagram, now);
                state.counters.decided(&listener.interface, &decision);
                work.add(decision, || Waiting { datagram: datagram.to_vec(), attempts: 0 });
            }
        });
        self.act(work, prober);
    }

    /// Decides on a message again, now that something is known of the address that it waited for.
    fn go_on(&self, outcome: Outcome, prober: &mut Prober) {
        let Outcome { address, answer, mut waiting } = outcome;
        waiting.attempts += 1;
        let mut work = Work::default();
        self.with(|snapshot, state, now| {
            let found = state.engine.probed(address, answer, now);
            if found.is_some() && state.engine.may_warn(now) {
                tracing::warn!(device = %self.sockets.device, %address, station = ?answer,
                    "a station uses an address of a DHCP range that it does not have from here");
            }
            work.leases.extend(found);
            let Some(listener) = snapshot.listener(self.sockets.device.index) else { return };
            let decision = state.engine.handle(snapshot, listener.device.index, &waiting.datagram, now);
            // The message was counted when it came in; what becomes of it is known only now.
            let decision = Decision { received: None, ..decision };
            state.counters.decided(&listener.interface, &decision);
            work.add(decision, || waiting);
        });
        self.act(work, prober);
    }

    fn act(&self, work: Work, prober: &mut Prober) {
        let Work { now, leases, granted, probes } = work;
        self.shared.send(&self.sockets, &now);
        if !leases.is_empty() || !granted.is_empty() {
            let promises = Promises { leases, granted, sockets: self.sockets.clone() };
            // A disk that is behind is not waited for. What a host's lease is will be written when the file is written
            // anew; who wants an address from a range asks again.
            if let Err(error) = self.ledger.try_send(promises) {
                self.shared.ignored(&self.sockets, Reason::NotStored, error.into_inner().granted.len());
            }
        }
        let mac = self.mac();
        for (probe, waiting) in probes {
            if !prober.start(probe, waiting, mac) {
                self.shared.state().engine.not_probed(probe.address);
                self.shared.ignored(&self.sockets, Reason::TooManyProbes, 1);
            }
        }
    }

    /// Works with what is served, what is leased and the time, alone.
    fn with(&self, work: impl FnOnce(&Snapshot, &mut State, Timestamp)) {
        let mut state = self.shared.state();
        let snapshot = self.shared.snapshot.load();
        work(&snapshot, &mut state, self.shared.clock.now());
    }

    fn mac(&self) -> [u8; 6] {
        self.shared
            .snapshot
            .load()
            .listener(self.sockets.device.index)
            .map_or([0; 6], |listener| listener.mac)
    }
}

impl Work {
    fn add(&mut self, decision: Decision, waiting: impl FnOnce() -> Waiting) {
        let Decision { leases, action, .. } = decision;
        self.leases.extend(leases);
        match action {
            Action::Answer(reply) => self.now.push(reply),
            Action::Grant(lease, reply) => self.granted.push((lease, reply)),
            Action::Probe(probe) => self.probes.push((probe, waiting())),
            Action::Done | Action::Ignore(_) => {}
        }
    }
}
