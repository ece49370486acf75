//! The console broker, reached by its control socket: connects, connects again, and says the manager's few words in the
//! broker's. Called by the manager as its [`Door`].

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::broker::client::{Client, ClientError};
use super::broker::control::CommandError;
use super::broker::event::{Backend, Event};
use super::broker::{self, BindError};
use super::door::{Binding, Door, DoorError, DoorEvent, DoorSession};

/// How many events wait for the manager. One that is this far behind lists anew.
const EVENTS: usize = 1024;
/// How long passes until the next try to reach the broker.
const AGAIN: Duration = Duration::from_millis(300);

/// A broker behind a control socket.
#[derive(Debug, Clone)]
pub struct ReachedBroker {
    socket: PathBuf,
    client: Arc<Mutex<Option<Client>>>,
}

impl ReachedBroker {
    /// The broker whose control socket this is. It is connected to once its events are asked for.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, client: Arc::default() }
    }

    fn client(&self) -> Result<Client, DoorError> {
        let client = self.client.lock().clone();
        client.ok_or_else(|| DoorError::Disconnected(format!("nobody answers at {}", self.socket.display())))
    }

    /// Keeps a connection and passes on what is told by it, until nobody listens.
    async fn keep(self, told: mpsc::Sender<DoorEvent>) {
        let mut reached = true;
        while !told.is_closed() {
            match Client::connect(&self.socket).await {
                Ok((client, mut events)) => {
                    *self.client.lock() = Some(client);
                    reached = true;
                    if told.send(DoorEvent::Opened).await.is_err() {
                        return;
                    }
                    while let Some(event) = events.recv().await {
                        if let Some(event) = of_broker(event)
                            && told.send(event).await.is_err()
                        {
                            return;
                        }
                    }
                    *self.client.lock() = None;
                }
                Err(error) => tracing::debug!(%error, "the broker is not reached"),
            }
            // Said once, however long it takes.
            if std::mem::take(&mut reached) && told.send(DoorEvent::Closed).await.is_err() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Door for ReachedBroker {
    async fn bind(&self, binding: &Binding) -> Result<(), DoorError> {
        let secret = |text: &str| {
            text.to_owned().try_into().map_err(|error| DoorError::Refused(format!("the secret: {error}")))
        };
        let binding = broker::event::Binding {
            console: binding.id.clone(),
            station: binding.station,
            backend: Backend::Address(binding.console),
            reserved_ms: milliseconds(binding.reserved),
            grace_ms: milliseconds(binding.grace),
            ticket: binding.ticket.as_deref().map(secret).transpose()?,
            password: Some(secret(&binding.password)?),
            tls: false,
        };
        self.client()?.bind(binding).await.map_err(refused)
    }

    async fn unbind(&self, id: &str) -> Result<Option<bool>, DoorError> {
        match self.client()?.unbind(id).await {
            Ok(()) => Ok(Some(false)),
            Err(ClientError::Refused(CommandError::Binding(BindError::InUse(_)))) => Ok(Some(true)),
            Err(ClientError::Refused(CommandError::Binding(BindError::Unknown(_)))) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    async fn kick(&self, id: &str) -> Result<(), DoorError> {
        match self.client()?.kick(id).await {
            Err(ClientError::Refused(CommandError::Binding(BindError::Unknown(_)))) => Ok(()),
            done => done.map_err(refused),
        }
    }

    async fn sessions(&self) -> Result<Vec<DoorSession>, DoorError> {
        let listing = self.client()?.list().await.map_err(refused)?;
        let session = |session: broker::event::Session| DoorSession {
            id: session.console,
            station: session.station,
            used: session.used,
            idle: Duration::from_millis(session.idle_ms),
            sent: session.sent,
            received: session.received,
        };
        Ok(listing.sessions.into_iter().map(session).collect())
    }

    async fn hand_over(&self, request: u64, console: OwnedFd) -> Result<(), DoorError> {
        self.client()?.hand_over(request, console).await.map_err(refused)
    }

    fn events(&self) -> mpsc::Receiver<DoorEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(self.clone().keep(sender));
        receiver
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn refused(error: ClientError) -> DoorError {
    match error {
        ClientError::Gone | ClientError::Silent => DoorError::Disconnected(error.to_string()),
        ClientError::Refused(_) => DoorError::Refused(error.to_string()),
    }
}

/// What the manager wants to hear of what the broker tells.
fn of_broker(event: Event) -> Option<DoorEvent> {
    Some(match event {
        Event::Used { console, .. } => DoorEvent::Used { id: console },
        Event::Ended { console, reason, used, sent, received, .. } => {
            DoorEvent::Ended { id: console, why: reason.to_string(), used, sent, received }
        }
        Event::Refused { station, reason } => DoorEvent::Refused { station, why: reason.to_string() },
        Event::Wanted { request, console } => DoorEvent::Wanted { request, id: console },
        Event::Lagged { .. } => DoorEvent::Opened,
        Event::Bound { .. } | Event::Opened { .. } | Event::Closed { .. } | Event::Away { .. } => {
            return None;
        }
    })
}
