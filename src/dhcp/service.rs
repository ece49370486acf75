//! The DHCP service: its tasks, from when the program starts to when it ends.
//!
//! ```text
//! device ──▶ listener ──▶ engine (behind one lock) ──▶ answers of hosts ──▶ device
//!               ▲  │                            └────▶ ledger ──▶ disk ──▶ answers of ranges ──▶ device
//!               └──┴── prober: ARP, echo
//! ```
//!
//! Nothing here restarts when the configuration changes: listeners of devices that stay are not touched. Owned by the
//! daemon; the loop applies snapshots, the API asks for leases and status.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::counters::Status;
use super::engine::Engine;
use super::ledger::{self, Promises};
use super::listener::Listener;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::socket::Sockets;
use crate::clock::{Steady, Timestamp};
use crate::config::{Id, MacAddress};
use crate::store::StoreError;
use crate::store::leases::{Lease, LeaseFile, LeaseState, Octets};

/// What keeps DHCP from being served.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// A device cannot be listened on.
    #[error("cannot serve DHCP on {device}: {source}")]
    Device {
        /// The device.
        device: Arc<str>,
        /// The system's words.
        source: io::Error,
    },
    /// The leases cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A lease or a quarantined address, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeaseView {
    /// The address.
    pub address: Ipv4Addr,
    /// The network that it is in, while that is configured.
    pub network: Option<Id>,
    /// What the address is: a configured host's, a client's from a range, or nobody's for a while.
    pub state: LeaseState,
    /// The Ethernet address of the client; of the station that was found, where the address is quarantined.
    pub mac: Option<MacAddress>,
    /// The client's identifier (option 61), where it gave one.
    pub client_id: Option<Octets>,
    /// The host's configured name, or what the client calls itself.
    pub hostname: Option<Box<str>>,
    /// Since when that is so.
    pub since: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// The DHCP service. When it is dropped its tasks end; [`Service::close`] waits for that.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    listeners: Mutex<BTreeMap<u32, Running>>,
    ledger: mpsc::Sender<Promises>,
    keeper: JoinHandle<()>,
}

/// A listener, which ends when `stop` is used or dropped.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        // Where it has ended already there is nobody to be told.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a DHCP listener failed");
        }
    }
}

/// Where the clock of the leases began, in the state directory.
const CLOCK: &str = "leases.clock";

impl Service {
    /// Starts the service with the leases that `state_dir` holds, serving nothing yet. Has to be called on a runtime.
    ///
    /// # Errors
    /// The leases cannot be read.
    pub fn open(state_dir: &Path) -> Result<Self, DhcpError> {
        let (file, leases) = LeaseFile::open(state_dir)?;
        let clock = Steady::remembered(&state_dir.join(CLOCK));
        let engine = Engine::restored(leases, clock.now());
        let shared = Arc::new(Shared::new(engine, clock));
        let (ledger, queue) = mpsc::channel(ledger::QUEUE);
        let keeper = tokio::spawn(ledger::keep(shared.clone(), file, queue));
        Ok(Self { shared, listeners: Mutex::default(), ledger, keeper })
    }

    /// Serves what the snapshot says from the next message on. Sockets that are missing are opened first, and where one
    /// cannot be, nothing has changed. Devices that are served before and after go on without a pause.
    ///
    /// # Errors
    /// A device cannot be listened on.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), DhcpError> {
        let mut listeners = self.listeners.lock().await;
        let mut opened = Vec::new();
        for listener in
            snapshot.listeners().filter(|listener| !listeners.contains_key(&listener.device.index))
        {
            let device = &listener.device;
            let sockets = Sockets::open(device)
                .map_err(|source| DhcpError::Device { device: device.name.clone(), source })?;
            opened.push(Arc::new(sockets));
        }
        {
            let mut state = self.shared.state();
            let before = self.shared.snapshot.swap(snapshot.clone());
            state.engine.changed(&before, &snapshot, self.shared.clock.now());
            state.counters.retain(&snapshot);
        }
        for sockets in opened {
            let index = sockets.device.index;
            let (stop, stopped) = oneshot::channel();
            let listener = Listener { shared: self.shared.clone(), sockets, ledger: self.ledger.clone() };
            listeners.insert(index, Running { stop, task: tokio::spawn(listener.run(stopped)) });
        }
        let gone: Vec<u32> =
            listeners.keys().copied().filter(|index| snapshot.listener(*index).is_none()).collect();
        for index in gone {
            if let Some(listener) = listeners.remove(&index) {
                listener.end().await;
            }
        }
        Ok(())
    }

    /// The leases and quarantined addresses that count now, by address.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseView> {
        let clock = &self.shared.clock;
        let leases: Vec<Lease> = self.shared.state().engine.leases(clock.now()).cloned().collect();
        let snapshot = self.shared.snapshot.load();
        let told = |lease: Lease| {
            let (since, expires) = (clock.on_the_wall(lease.since), clock.on_the_wall(lease.expires));
            LeaseView::new(Lease { since, expires, ..lease }, &snapshot)
        };
        leases.into_iter().map(told).collect()
    }

    /// What is served, and what happened.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared.state();
        let snapshot = self.shared.snapshot.load();
        state.counters.status(&snapshot, &state.engine, self.shared.clock.now())
    }

    /// Ends the service: nothing is heard any more, and everything that was promised is on disk when this returns.
    pub async fn close(self) {
        let Self { shared: _, listeners, ledger, keeper } = self;
        for (_, listener) in listeners.into_inner() {
            listener.end().await;
        }
        drop(ledger);
        if let Err(error) = keeper.await {
            tracing::error!(%error, "the keeper of the DHCP leases failed");
        }
    }
}

impl LeaseView {
    fn new(lease: Lease, snapshot: &Snapshot) -> Self {
        let Lease { address, hardware, client_id, hostname, state, since, expires } = lease;
        let mac = match &*hardware.0 {
            [1, octets @ ..] => octets.try_into().ok().and_then(MacAddress::from_octets),
            _ => None,
        };
        let served = snapshot.network_of(address);
        // A host's name is what it is configured with now.
        let configured = served
            .filter(|_| state == LeaseState::Static)
            .and_then(|served| snapshot.host_by_ip(served, address));
        let hostname = match configured.and_then(|host| host.hostname.as_ref()) {
            Some(name) => Some(name.as_str().into()),
            None => hostname,
        };
        let network = served.map(|served| served.id.clone());
        Self { address, network, state, mac, client_id, hostname, since, expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loop hands snapshots over from a thread of its own.
    #[tokio::test]
    async fn a_snapshot_can_be_applied_from_another_task() {
        let folder = tempfile::tempdir().unwrap();
        let service = Arc::new(Service::open(folder.path()).unwrap());
        let applying = service.clone();
        tokio::spawn(async move { applying.apply(Arc::new(Snapshot::default())).await })
            .await
            .unwrap()
            .unwrap();
        assert_eq!((service.leases().len(), service.status().listeners.len()), (0, 0));
        Arc::into_inner(service).unwrap().close().await;
    }

    #[tokio::test]
    async fn a_foreign_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("leases.journal"), "notes\n").unwrap();
        let error = Service::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("leases.journal"), "{error}");
    }
}
