//! The manager's side of the broker's control socket. Called by the manager; it connects again when the events end.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::control::{Command, CommandError, Line, Listing, Request};
use super::descriptors::{self, Lines};
use super::event::{Binding, Event};

/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How many commands may wait to be sent.
const COMMANDS: usize = 64;
/// How many events may wait to be taken.
const EVENTS: usize = 1024;

/// How often a manager that is behind is told so.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker is not there any more.
    #[error("the console broker is gone")]
    Gone,
    /// It did not answer in time.
    #[error("the console broker has not answered within {} s", ANSWER.as_secs())]
    Silent,
    /// It refused.
    #[error("the console broker: {0}")]
    Refused(#[from] CommandError),
}

struct Call {
    command: Command,
    descriptor: Option<OwnedFd>,
    answer: oneshot::Sender<Result<Option<Listing>, CommandError>>,
}

/// A connection to a broker. Its clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
}

impl Client {
    /// Connects to a broker. The events end when the connection does; then nothing but a new connection helps.
    ///
    /// # Errors
    /// No broker listens there.
    pub async fn connect(path: &Path) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let stream = UnixStream::connect(path).await?;
        let (calls, taken) = mpsc::channel(COMMANDS);
        let (told, events) = mpsc::channel(EVENTS);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, taken, told).await {
                tracing::warn!(%error, "the console broker is gone");
            }
        });
        Ok((Self { calls }, events))
    }

    /// Lets a station reach a console.
    ///
    /// # Errors
    /// See [`super::Broker::bind`], and what happens to connections.
    pub async fn bind(&self, binding: Binding) -> Result<(), ClientError> {
        self.call(Command::Bind(binding), None).await.map(drop)
    }

    /// Takes back a reservation that was not used.
    ///
    /// # Errors
    /// See [`super::Broker::unbind`], and what happens to connections.
    pub async fn unbind(&self, console: &str) -> Result<(), ClientError> {
        self.call(Command::Unbind { console: console.to_owned() }, None).await.map(drop)
    }

    /// Ends whatever a console is bound for.
    ///
    /// # Errors
    /// See [`super::Broker::kick`], and what happens to connections.
    pub async fn kick(&self, console: &str) -> Result<(), ClientError> {
        self.call(Command::Kick { console: console.to_owned() }, None).await.map(drop)
    }

    /// What is bound and what runs.
    ///
    /// # Errors
    /// What happens to connections.
    pub async fn list(&self) -> Result<Listing, ClientError> {
        self.call(Command::List, None).await.map(Option::unwrap_or_default)
    }

    /// Brings the descriptor that [`Event::Wanted`] asked for.
    ///
    /// # Errors
    /// The channel does not wait any more, and what happens to connections.
    pub async fn hand_over(&self, request: u64, descriptor: OwnedFd) -> Result<(), ClientError> {
        self.call(Command::HandOver { request }, Some(descriptor)).await.map(drop)
    }

    async fn call(
        &self,
        command: Command,
        descriptor: Option<OwnedFd>,
    ) -> Result<Option<Listing>, ClientError> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            let call = Call { command, descriptor, answer };
            self.calls.send(call).await.map_err(|_| ClientError::Gone)?;
            answered.await.map_err(|_| ClientError::Gone)
        };
        let answer = timeout(ANSWER, exchange).await.map_err(|_| ClientError::Silent)??;
        Ok(answer?)
    }
}

async fn converse(
    stream: UnixStream,
    mut calls: mpsc::Receiver<Call>,
    told: mpsc::Sender<Event>,
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut waiting = BTreeMap::new();
    let mut next = 1;
    let mut missed = 0;
    loop {
        tokio::select! {
            call = calls.recv() => {
                let Some(call) = call else { return Ok(()) };
                waiting.retain(|_, answer: &mut oneshot::Sender<_>| !answer.is_closed());
                let request = Request { id: next, command: call.command };
                let text = serde_json::to_vec(&request).map_err(io::Error::other)?;
                waiting.insert(next, call.answer);
                next += 1;
                timeout(ANSWER, descriptors::write(&stream, text, call.descriptor))
                    .await
                    .map_err(io::Error::other)??;
            }
            () = sleep(AGAIN), if missed > 0 => told_of(&told, &mut missed),
            line = lines.next(&stream) => {
                let Some(line) = line? else { return Ok(()) };
                match serde_json::from_slice(&line).map_err(io::Error::other)? {
                    Line::Done { id, ok } => answer(&mut waiting, id, Ok(ok)),
                    Line::Failed { id, error } => answer(&mut waiting, id, Err(error)),
                    Line::Happened(event) => tell(&told, event, &mut missed),
                }
            }
        }
    }
}

fn answer(
    waiting: &mut BTreeMap<u64, oneshot::Sender<Result<Option<Listing>, CommandError>>>,
    id: u64,
    result: Result<Option<Listing>, CommandError>,
) {
    if let Some(answer) = waiting.remove(&id) {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(result);
    }
}

/// Tells of what was dropped, once there is room for it.
fn told_of(told: &mpsc::Sender<Event>, missed: &mut u64) {
    if *missed > 0 && told.try_send(Event::Lagged { missed: *missed }).is_ok() {
        *missed = 0;
    }
}

/// Passes an event on without ever waiting: answers travel on the same connection. What is dropped is told of.
fn tell(told: &mpsc::Sender<Event>, event: Event, missed: &mut u64) {
    told_of(told, missed);
    if *missed > 0 || told.try_send(event).is_err() {
        *missed = missed.saturating_add(1);
    }
}
