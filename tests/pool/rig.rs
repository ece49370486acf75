//! A manager on a made-up host, in a runtime of its own, which can be killed between any two calls.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use vrouter::pool::config::Config;
use vrouter::pool::door::Door;
use vrouter::pool::fake::{Delays, FakeHost, FakeHypervisor};
use vrouter::pool::journal::Journal;
use vrouter::pool::manager::{Ask, Doors, Manager, ManagerError};
use vrouter::pool::signal::{self, Visit};
use vrouter::pool::slot::State;
use vrouter::pool::state::Told;
use vrouter::pool::status::Status;

use crate::lab::PATIENCE;

/// A configuration whose files are in this folder.
pub(crate) fn config(folder: &Path, more: &str) -> Config {
    let text = format!(
        "base = \"kiosk\"\n[control]\nstate_dir = {folder:?}\n[clones]\noverlay_dir = \"/overlays\"\n{more}"
    );
    Config::parse(&text).unwrap()
}

/// A manager that runs.
pub(crate) struct Running {
    pub(crate) asks: mpsc::Sender<Ask>,
    visits: mpsc::Sender<Visit>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ManagerError>>,
}

impl Running {
    pub(crate) fn start<D: Door>(config: &Config, host: &Arc<FakeHost>, door: Arc<D>) -> Self {
        let hypervisor = FakeHypervisor::new(host.clone(), Delays::NONE);
        Self::with(config, hypervisor, door)
    }

    pub(crate) fn with<D: Door>(config: &Config, hypervisor: FakeHypervisor, door: Arc<D>) -> Self {
        let journal = Journal::open(&config.control.state_dir).unwrap();
        let (visits, visited) = mpsc::channel(256);
        let (asks, asked) = mpsc::channel(256);
        let (stop, stopped) = oneshot::channel();
        let manager = Manager::new(config.clone(), journal, Arc::new(hypervisor), door);
        let doors = Doors { visits: visited, asks: asked, stop: stopped };
        let task = tokio::spawn(manager.run(doors, |_| {}));
        Self { asks, visits, stop, task }
    }

    /// Opens a signal port.
    pub(crate) fn signal_port(&self, most: u16) -> SocketAddr {
        let listener = signal::listen("127.0.0.1:0".parse().unwrap(), "").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(signal::serve(listener, most, self.visits.clone()));
        address
    }

    /// A station connects without a socket. What it is told.
    pub(crate) async fn arrive(&self, station: IpAddr) -> watch::Receiver<Told> {
        let (told, listening) = watch::channel(Told::Wait { position: 0, reason: String::new() });
        // A manager that is dead is not told.
        let _ = self.visits.send(Visit::Arrived { station, connection: 0, told }).await;
        listening
    }

    /// How the pool is; nothing where the manager is dead.
    pub(crate) async fn status(&self) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Status(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Waits until the pool is like this.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let started = std::time::Instant::now();
        loop {
            let status = self.status().await;
            if let Some(status) = status.as_ref().filter(|status| holds(status)) {
                return status.clone();
            }
            assert!(started.elapsed() < PATIENCE, "never {what}: {status:#?}");
            // Time is made up in some tests, and other processes take their own.
            std::thread::sleep(Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every slot has a clean VM.
    pub(crate) async fn full(&self) -> Status {
        let full = |status: &Status| status.slots.len() == status.count(State::Clean);
        self.until("full", full).await
    }

    /// Ends the manager in order.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}
