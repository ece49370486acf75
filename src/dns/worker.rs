//! The thread that DNS runs on, with a runtime of its own.
//!
//! Nothing that the rest of the router is busy with delays an answer, and answers cost less than where several threads
//! hand them to each other: one thread answers more than any guest network asks. Called by `service.rs`.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread that DNS runs on. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    handle: Handle,
    _stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("dns".to_owned()).spawn(move || {
            // Either way, the other end is gone.
            let _ = runtime.block_on(stopped);
            drop(runtime);
            let _ = end.send(());
        })?;
        Ok(Self { handle, _stop: stop, ended })
    }

    /// Its runtime, to start tasks and to register sockets.
    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends every task and the thread.
    pub(super) async fn stop(self) {
        let Self { _stop: stop, ended, .. } = self;
        drop(stop);
        // It cannot end otherwise.
        let _ = ended.await;
    }
}
