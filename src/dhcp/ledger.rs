//! The leases on disk: one task owns the file and writes what the listeners hand over, all that waits with one sync.
//!
//! An answer that promises a dynamic address leaves from here, when the disk has it. While the disk refuses, clients
//! of ranges are promised nothing; configured hosts are answered by the listeners and do not notice.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::decision::{Reason, Reply};
use super::shared::Shared;
use super::socket::Sockets;
use crate::store::leases::{Lease, LeaseFile};

/// How many hand-overs may wait for the disk; each is what one system call received.
pub(super) const QUEUE: usize = 512;

/// What a listener hands over.
#[derive(Debug)]
pub(super) struct Promises {
    /// What has changed of leases.
    pub(super) leases: Vec<Lease>,
    /// Leases, and what is sent when they are on disk.
    pub(super) granted: Vec<(Lease, Reply)>,
    /// Where it is sent.
    pub(super) sockets: Arc<Sockets>,
}

/// Writes until the last listener is gone and everything is written.
pub(super) async fn keep(shared: Arc<Shared>, mut file: LeaseFile, mut queue: mpsc::Receiver<Promises>) {
    let mut group = Vec::with_capacity(QUEUE);
    while queue.recv_many(&mut group, QUEUE).await > 0 {
        let granted = group.iter().flat_map(|promises| promises.granted.iter().map(|(lease, _)| lease));
        let leases: Vec<&Lease> = group.iter().flat_map(|promises| &promises.leases).chain(granted).collect();
        let stored = file.append(&leases).await;
        let fault = stored.err().map(|error| error.to_string());
        for promises in group.drain(..) {
            if fault.is_none() {
                let answers = current(&shared, promises.granted);
                shared.send(&promises.sockets, &answers);
            } else {
                shared.ignored(&promises.sockets, Reason::NotStored, promises.granted.len());
            }
        }
        shared.storage_fault(fault);
        compact(&shared, &mut file).await;
    }
}

/// The answers whose leases are still their clients': while the disk was waited for, a host may have come and taken one.
fn current(shared: &Shared, granted: Vec<(Lease, Reply)>) -> Vec<Reply> {
    if granted.is_empty() {
        return Vec::new();
    }
    let state = shared.state();
    let current = granted.into_iter().filter(|(lease, _)| state.engine.is_current(lease));
    current.map(|(_, reply)| reply).collect()
}

/// Writes the file anew where most of it is superseded. The table knows everything that was handed over, so what is
/// still waiting in the queue is only written twice.
async fn compact(shared: &Shared, file: &mut LeaseFile) {
    let now = shared.clock.now();
    let leases: Vec<Lease> = {
        let state = shared.state();
        if !file.is_due(state.engine.kept()) {
            return;
        }
        state.engine.leases(now).cloned().collect()
    };
    let entries = leases.len();
    match file.rewrite(&leases).await {
        Ok(()) => tracing::debug!(entries, "rewrote the leases"),
        Err(error) => tracing::warn!(%error, "the leases could not be rewritten; their file grows on"),
    }
}
