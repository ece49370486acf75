//! The connection to libvirtd: opened, watched, and opened again when it breaks. Spawned by `Libvirt::open`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use virt::connect::Connect;

use super::call::failed;
use super::events::{self, Sink};
use super::instant::Image;
use crate::pool::config::Config;
use crate::pool::hypervisor::{Answer, Event, HypervisorError};

/// How often a connection that is broken is tried again.
const RETRY: Duration = Duration::from_secs(1);

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

/// A connection just opened, and what is rung when it breaks.
type Fresh = (Held, Arc<Notify>);

/// Keeps the connection until it is aborted.
pub(super) async fn keep(config: Arc<Config>, shared: Arc<Shared>) {
    let deadline = Duration::from_secs(config.hypervisor.call_seconds);
    let mut under_way: Option<JoinHandle<Answer<Fresh>>> = None;
    loop {
        let mut opening = under_way.take().unwrap_or_else(|| {
            let (uri, sink) = (config.hypervisor.uri.clone(), shared.events.clone());
            tokio::task::spawn_blocking(move || {
                let closed = Arc::<Notify>::default();
                Ok((open(&uri, &sink, &closed)?, closed))
            })
        });
        let opened = match timeout(deadline, &mut opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => Err(HypervisorError::Disconnected(error.to_string())),
            Err(_) => {
                // A call that hangs keeps its thread: it is waited for again, however long that takes, and no second one begun.
                under_way = Some(opening);
                Err(HypervisorError::Deadline { call: "connecting", after: deadline })
            }
        };
        match opened {
            Ok((connection, closed)) => {
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

// The library's keepalive is left off. In libvirt 9.0 a connection that it gives up while threads wait in calls is never closed
// nor told of, and the process crashes once libvirtd answers again. A libvirtd on this host that hangs is noticed by the
// deadlines of calls, one that dies by its socket.
fn open(uri: &str, sink: &Arc<Sink>, closed: &Arc<Notify>) -> Answer<Held> {
    let uri = super::call::plain("connecting", uri)?;
    let connection = Held(Connect::open(Some(uri)).map_err(failed("connecting"))?);
    events::register(&connection, sink, closed)?;
    Ok(connection)
}
