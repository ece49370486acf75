//! The broker's control socket: JSON lines on a Unix socket, for the pool's manager and for nobody else.
//!
//! ```text
//! → {"id":1,"command":{"bind":{"console":"win7-5921","station":"10.0.0.7","backend":"descriptor","reserved_ms":10000}}}
//! ← {"id":1,"ok":null}
//! ← {"event":"bound","console":"win7-5921","station":"10.0.0.7"}
//! → {"id":2,"command":"list"}
//! ← {"id":2,"ok":{"sessions":[…],"refused":0}}
//! → {"id":3,"command":{"hand_over":{"request":0}}}      with a descriptor beside it (SCM_RIGHTS)
//! ```
//!
//! Every connection is told every event. Whoever connects lists first: bindings and sessions outlive all managers.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::descriptors::{self, Lines};
use super::event::{Binding, Event, Session};
use super::{BindError, Broker};

/// The most managers and tools at a time.
const MAX_CONNECTIONS: usize = 8;
/// How long one may leave what it is told unread.
const UNREAD: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a manager asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Lets a station reach a console.
    Bind(Binding),
    /// Takes a reservation back that was not used.
    Unbind {
        /// The binding's console.
        console: String,
    },
    /// Ends whatever a console is bound for.
    Kick {
        /// The binding's console.
        console: String,
    },
    /// Lists what is bound and what runs.
    List,
    /// Brings the descriptor that an event asked for.
    HandOver {
        /// The event's number.
        request: u64,
    },
}

/// A command with the number that its answer carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by whoever asks.
    pub id: u64,
    /// What is asked for.
    pub command: Command,
}

/// What is bound and what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// Every binding.
    pub sessions: Vec<Session>,
    /// How many connections were turned away since the broker's start.
    pub refused: u64,
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CommandError {
    /// The bindings do not allow it.
    #[error(transparent)]
    Binding(#[from] BindError),
    /// Nobody waits for that descriptor any more.
    #[error("nobody waits for descriptor {0} any more")]
    NotWanted(u64),
    /// A descriptor was announced and did not come.
    #[error("no descriptor came with the command")]
    NoDescriptor,
    /// The line is no command.
    #[error("not a command: {0}")]
    Syntax(String),
}

/// A line from the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Not done. It is tried first: a missing `ok` would read as one that is null.
    Failed {
        /// The command's number; 0 where it could not be read.
        id: u64,
        /// Why.
        error: CommandError,
    },
    /// Done.
    Done {
        /// The command's number.
        id: u64,
        /// What was asked for, if it was the list.
        ok: Option<Listing>,
    },
    /// Something happened.
    Happened(Event),
}

/// Opens the control socket. A socket file that a dead broker left is replaced.
///
/// # Errors
/// A broker lives there, or the folder cannot be written to.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another broker listens there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves managers until the future is dropped.
pub async fn serve(broker: Broker, listener: UnixListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut managers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "no manager is accepted");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Ok(place) = room.clone().try_acquire_owned() else {
                    tracing::warn!("there are {MAX_CONNECTIONS} managers already");
                    continue;
                };
                let broker = broker.clone();
                managers.spawn(async move {
                    if let Err(error) = converse(&broker, stream).await {
                        tracing::warn!(%error, "a manager's connection ended");
                    }
                    drop(place);
                });
            }
            Some(_) = managers.join_next() => {}
        }
    }
}

async fn converse(broker: &Broker, stream: UnixStream) -> io::Result<()> {
    // The file's mode keeps others out; this holds where somebody widened it.
    let user = stream.peer_cred()?.uid();
    if user != 0 && user != geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {user} is no manager")));
    }
    let mut events = broker.events();
    let mut lines = Lines::default();
    loop {
        let line = tokio::select! {
            line = lines.next(&stream) => match line? {
                Some(line) => answer(broker, &line, &mut lines),
                None => return Ok(()),
            },
            event = events.recv() => Line::Happened(match event {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => Event::Lagged { missed },
                Err(RecvError::Closed) => return Ok(()),
            }),
        };
        let text = serde_json::to_vec(&line).map_err(io::Error::other)?;
        timeout(UNREAD, descriptors::write(&stream, text, None)).await.map_err(io::Error::other)??;
    }
}

fn answer(broker: &Broker, line: &[u8], lines: &mut Lines) -> Line {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Line::Failed { id: 0, error: CommandError::Syntax(error.to_string()) },
    };
    let id = request.id;
    let done = match request.command {
        Command::Bind(binding) => broker.bind(binding).map_err(CommandError::from),
        Command::Unbind { console } => broker.unbind(&console).map_err(CommandError::from),
        Command::Kick { console } => broker.kick(&console).map_err(CommandError::from),
        Command::List => {
            let listing = Listing { sessions: broker.list(), refused: broker.refused() };
            return Line::Done { id, ok: Some(listing) };
        }
        Command::HandOver { request } => match lines.descriptor() {
            None => Err(CommandError::NoDescriptor),
            Some(descriptor) => match broker.hand_over(request, descriptor) {
                true => Ok(()),
                false => Err(CommandError::NotWanted(request)),
            },
        },
    };
    match done {
        Ok(()) => Line::Done { id, ok: None },
        Err(error) => Line::Failed { id, error },
    }
}
