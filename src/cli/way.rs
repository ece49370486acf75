//! The way to a router: over a socket, or inside the process that is the router, where what is asked at once is bounded.
//! Called by `client.rs`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::address::Address;

/// How many commands ask at once inside a router: what an answer is taken apart into is many times as large.
const TURNS: usize = 4;
/// How many documents are held for it at once.
const DOCUMENTS: usize = 2;
/// How long a command waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a connection to the router's API in this process, unless whoever asks may not any more.
pub type Dial = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

/// What commands inside a router share.
#[derive(Debug)]
pub struct Bounds {
    turns: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    /// The largest document that it takes, in octets.
    pub(super) document: u64,
}

impl Bounds {
    /// For a router that takes documents of so many octets.
    #[must_use]
    pub fn new(document: u64) -> Self {
        let [turns, documents] = [TURNS, DOCUMENTS].map(|count| Arc::new(Semaphore::new(count)));
        Self { turns, documents, document }
    }

    /// A turn to hold a document.
    pub(super) async fn document_turn(&self) -> io::Result<OwnedSemaphorePermit> {
        turn(&self.documents, "documents are on their way").await
    }
}

async fn turn(semaphore: &Arc<Semaphore>, what: &str) -> io::Result<OwnedSemaphorePermit> {
    let busy = || io::Error::new(io::ErrorKind::ResourceBusy, format!("too many {what} at once; try again"));
    timeout(PATIENCE, semaphore.clone().acquire_owned()).await.map_err(|_| busy())?.map_err(|_| busy())
}

/// Where a router is asked.
pub(super) enum Way {
    /// Where it answers everybody.
    To(Address),
    /// In this process.
    Within(Within),
}

/// By a connection that says of itself who asks.
pub(super) struct Within {
    dial: Dial,
    bounds: Arc<Bounds>,
    /// The turn of a command that ends; one that goes on for ever takes one with each question.
    turn: Option<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Within {
    pub(super) fn new(dial: Dial, bounds: Arc<Bounds>, endless: bool) -> Self {
        Self { dial, bounds, turn: (!endless).then(Mutex::default) }
    }

    /// A connection, and the turn of the question where it is the question's.
    pub(super) async fn connect(&self) -> io::Result<(DuplexStream, Option<OwnedSemaphorePermit>)> {
        let held = self.turn.as_ref().is_some_and(|turn| turn.lock().is_some());
        let mut taken = if held { None } else { Some(turn(&self.bounds.turns, "commands run").await?) };
        if let (Some(kept), false) = (&self.turn, held) {
            *kept.lock() = taken.take();
        }
        Ok(((self.dial)()?, taken))
    }
}

impl Way {
    /// What the `Host` field of a request says (RFC 9112 section 3.2).
    pub(super) fn host(&self) -> String {
        match self {
            Self::To(address) => address.host(),
            Self::Within(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(address) => address.fmt(f),
            Self::Within(_) => f.write_str("this end of the connection"),
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
