//! The personality brought up and ended: the tasks of the last run are answered, the port is served, the machine's first
//! configuration is asked of its host. Called by the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::callback::Deliveries;
use super::door::{self, House, WAITING};
use super::ledger::Ledger;
use super::request::Bodies;
use super::tasks::{State, Task};
use super::worker::{self, Worker};
use super::{server, vport};
use crate::api::accept;
use crate::reconcile::Handle;
use crate::status::Reporter;
use crate::store::StoreError;

/// What the personality is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the management node's commands are listened for.
    pub listen: Vec<SocketAddr>,
    /// The virtio-serial port by which the host says what the machine is.
    pub port: PathBuf,
}

/// What of the machine it has.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Where its tasks are remembered.
    pub state_dir: &'a Path,
    /// The machine's memory in octets: what is held of bodies is to fit it.
    pub memory: u64,
}

/// Starts the personality; what `servers` holds then ends once `stop` says so. Has to be called on a runtime.
///
/// # Errors
/// The tasks of the last run cannot be read.
pub async fn start(
    options: Options,
    listeners: Vec<TcpListener>,
    machine: Machine<'_>,
    (handle, reporter): (Handle, Arc<Reporter>),
    servers: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let published = handle.published();
    let (ledger, left) =
        Ledger::open(machine.state_dir, |generation| worker::ran(&published, generation)).await?;
    let ledger = Arc::new(ledger);
    let deliveries = Deliveries::new(ledger.clone());
    if !left.is_empty() {
        tracing::info!(tasks = left.len(), "answers to ZStack's commands of before the start are delivered");
    }
    for Task { uuid, callback, state, .. } in left {
        if let State::Answered { answer, .. } = state {
            deliveries.deliver(uuid, callback, answer);
        }
    }
    let (queue, waiting) = mpsc::channel(WAITING);
    let counts = Arc::new(worker::Counts::default());
    let worker = Worker {
        handle: handle.clone(),
        ledger: ledger.clone(),
        deliveries: deliveries.clone(),
        counts: counts.clone(),
    };
    servers.spawn(worker.run(waiting));
    let hung_up = Arc::new(AtomicU64::new(0));
    let router = door::router(House {
        handle: handle.clone(),
        reporter,
        ledger,
        deliveries,
        queue,
        worked: counts,
        hung_up: hung_up.clone(),
        bodies: Bodies::within(machine.memory),
    });
    for listener in listeners {
        let (router, handle, hung_up) = (router.clone(), handle.clone(), hung_up.clone());
        servers.spawn(accept::serve(server::Port { listener, router, handle, hung_up }, stop.clone()));
    }
    if published.generation == 0 {
        let mut stop = stop.clone();
        servers.spawn(async move {
            tokio::select! {
                () = vport::first_boot(options.port, handle) => {}
                // Whoever could say so may be gone, which says the same.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
    Ok(())
}
