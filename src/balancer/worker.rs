//! The threads that connections live on: one for each core, each with a runtime of its own.
//!
//! A connection stays on its thread, and so do the connections to backends that it uses; nothing is handed from one core
//! to another while a request is served. A new connection goes where the fewest are. Called by `service.rs` and
//! `accept.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::accept::Taken;
use super::hands::Hands;
use super::http::spare;

/// One thread.
#[derive(Debug)]
pub(crate) struct Worker {
    handle: Handle,
    connections: AtomicUsize,
    /// Its tasks for connections.
    hands: Arc<Hands<Taken>>,
}

impl Worker {
    /// Its runtime, to start tasks on and to register sockets with.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Serves a connection.
    pub(crate) fn serve(&self, taken: Taken) {
        self.hands.give(&self.handle, taken);
    }

    /// A connection is there; it is over when what is returned is dropped.
    pub(crate) fn occupy(self: &Arc<Self>) -> Occupied {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Occupied(self.clone())
    }

    fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A connection on a worker.
#[derive(Debug)]
pub(crate) struct Occupied(Arc<Worker>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All threads. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Arc<[Arc<Worker>]>,
    first: Arc<Worker>,
    ends: Vec<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
}

impl Workers {
    /// Starts one thread for each core.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::with_capacity(cores);
        let mut ends = Vec::with_capacity(cores);
        for number in 0..cores {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (stop, stopped) = oneshot::channel::<()>();
            let (end, ended) = oneshot::channel();
            thread::Builder::new().name(format!("balancer-{number}")).spawn(move || {
                spare::keep_sleeps();
                // Either way, the other end is gone.
                let _ = runtime.block_on(stopped);
                drop(runtime);
                let _ = end.send(());
            })?;
            workers.push(Arc::new(Worker {
                handle,
                connections: AtomicUsize::new(0),
                hands: Arc::new(Hands::new()),
            }));
            ends.push((stop, ended));
        }
        let first = workers.first().cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { workers: workers.into(), first, ends })
    }

    /// All of them.
    pub(crate) const fn all(&self) -> &Arc<[Arc<Worker>]> {
        &self.workers
    }

    /// The one for what is not a connection.
    pub(crate) const fn first(&self) -> &Arc<Worker> {
        &self.first
    }

    /// Ends every task and every thread.
    pub(crate) async fn stop(self) {
        let (stops, ends): (Vec<_>, Vec<_>) = self.ends.into_iter().unzip();
        drop(stops);
        for end in ends {
            // It cannot end otherwise.
            let _ = end.await;
        }
    }
}

/// The worker with the fewest connections; `own` where others have no fewer.
pub(crate) fn least_busy<'a>(workers: &'a [Arc<Worker>], own: &'a Arc<Worker>) -> &'a Arc<Worker> {
    workers
        .iter()
        .min_by_key(|worker| worker.load())
        .filter(|worker| worker.load() < own.load())
        .unwrap_or(own)
}
