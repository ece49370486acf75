//! The connection to libvirtd: opened, watched, and opened again when it breaks. Spawned by `Libvirt::open`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use virt::connect::Connect;

use super::call::failed;
use super::events::{self, Sink};
use super::instant::Image;
use crate::pool::config::Config;
use crate::pool::hypervisor::{Answer, Event, HypervisorError};

/// How often a connection that is broken is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Seconds between the library's own questions whether libvirtd is there, and how many may stay unanswered.
const KEEPALIVE: (i32, u32) = (5, 3);

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The first try is under way.
    Opening,
    /// It is open.
    Open,
    /// It broke, or could not be opened.
    Broken,
}

/// What calls, events and the keeper share.
#[derive(Debug)]
pub(super) struct Shared {
    connection: Mutex<Option<Arc<Held>>>,
    why: Mutex<String>,
    link: watch::Sender<Link>,
    pub(super) events: Arc<Sink>,
    pub(super) image: Arc<Image>,
}

/// An open connection. It is closed when the last call that uses it has come back.
pub(super) struct Held(Connect);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl std::ops::Deref for Held {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::debug!(error = error.message(), "closing the connection to libvirt");
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            connection: Mutex::default(),
            why: Mutex::new("it has not been opened yet".to_owned()),
            link: watch::channel(Link::Opening).0,
            events: Arc::default(),
            image: Arc::default(),
        }
    }
}

impl Shared {
    /// The connection that is open now.
    pub(super) fn connection(&self) -> Answer<Arc<Held>> {
        let connection = self.connection.lock().clone();
        connection.ok_or_else(|| HypervisorError::Disconnected(self.why.lock().clone()))
    }

    /// How it is.
    pub(super) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

/// Keeps the connection until it is aborted.
pub(super) async fn keep(config: Arc<Config>, shared: Arc<Shared>) {
    let deadline = Duration::from_secs(config.hypervisor.call_seconds);
    loop {
        let uri = config.hypervisor.uri.clone();
        let (sink, closed) = (shared.events.clone(), Arc::<Notify>::default());
        let told = closed.clone();
        let opening = tokio::task::spawn_blocking(move || open(&uri, &sink, &told));
        // A call that hangs here keeps its thread; no second one is begun before it is given up for good.
        let opened = match timeout(deadline, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => Err(HypervisorError::Disconnected(error.to_string())),
            Err(_) => Err(HypervisorError::Deadline { call: "connecting", after: deadline }),
        };
        match opened {
            Ok(connection) => {
                *shared.connection.lock() = Some(Arc::new(connection));
                shared.link.send_replace(Link::Open);
                shared.events.tell(Event::Opened);
                tracing::info!(uri = config.hypervisor.uri, "libvirt is connected");
                closed.notified().await;
                *shared.why.lock() = "the connection broke".to_owned();
                shared.link.send_replace(Link::Broken);
                // Calls that run keep it for as long as they do.
                let broken = shared.connection.lock().take();
                tokio::task::spawn_blocking(move || drop(broken));
                shared.events.tell(Event::Closed);
                tracing::warn!(uri = config.hypervisor.uri, "the connection to libvirt broke");
            }
            Err(error) => {
                tracing::warn!(uri = config.hypervisor.uri, %error, "libvirt is not reached");
                *shared.why.lock() = error.to_string();
                shared.link.send_replace(Link::Broken);
            }
        }
        sleep(RETRY).await;
    }
}

fn open(uri: &str, sink: &Arc<Sink>, closed: &Arc<Notify>) -> Answer<Held> {
    let uri = super::call::plain("connecting", uri)?;
    let connection = Held(Connect::open(Some(uri)).map_err(failed("connecting"))?);
    events::register(&connection, sink, closed)?;
    // Drivers inside of this process have no wire to watch.
    if let Err(error) = connection.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1) {
        tracing::debug!(error = error.message(), "no keepalive");
    }
    Ok(connection)
}
