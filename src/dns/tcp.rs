//! The TCP listener of one address: connections with many queries each, answered as the answers come (RFC 7766).
//!
//! What a client can hold is bounded: connections, queries that wait, octets, time. Called by `listener.rs`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{Client, Verdict};
use super::counters::add;
use super::engine::Engine;
use super::reply::Transport;
use crate::clock;

/// How many connections there are at a time, on all addresses.
const MAX_CONNECTIONS: usize = 256;
/// How many of them may be of one client.
const MAX_CONNECTIONS_OF_CLIENT: usize = 32;
/// How many queries of one connection wait for forwarders at a time; the rest is not read yet.
const MAX_WAITING: usize = 32;
/// How long a connection may be without a whole query (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// How long a client may take to take an answer.
const WRITE: Duration = Duration::from_secs(5);
/// The longest query; nothing that is asked here is longer.
const MAX_QUERY: usize = 4096;
/// How long accepting pauses after an error, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections of all addresses by client.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<Ipv4Addr, usize>>);

/// The place of one connection; dropping it makes room.
struct Place {
    connections: Arc<Connections>,
    client: Ipv4Addr,
}

impl Connections {
    fn enter(self: &Arc<Self>, client: Ipv4Addr) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&client).copied().unwrap_or(0);
        if own >= MAX_CONNECTIONS_OF_CLIENT || all.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        all.insert(client, own + 1);
        Some(Place { connections: self.clone(), client })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.client);
            }
        }
    }
}

/// Takes connections until the task is ended; they end with it.
pub(super) async fn serve(listener: TcpListener, engine: Arc<Engine>, connections: Arc<Connections>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, SocketAddr::V4(from))) => {
                    let client = *from.ip();
                    let served = engine.active().snapshot.serves(client);
                    match connections.enter(client).filter(|_| served) {
                        Some(place) => { running.spawn(converse(stream, client, engine.clone(), place)); }
                        None => add(&engine.counters.connections_refused),
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take connections");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
}

async fn converse(stream: TcpStream, client: Ipv4Addr, engine: Arc<Engine>, place: Place) {
    // Answers go out as they come, not when the one before is acknowledged.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(client = %client, %error, "answers may be held back");
    }
    let (reader, writer) = stream.into_split();
    let client = Client { address: client, transport: Transport::Tcp };
    let mut connection =
        Connection { reader, writer, octets: Vec::new(), client, engine, waiting: JoinSet::new() };
    if let Err(error) = connection.run().await {
        tracing::debug!(client = %client.address, %error, "a connection ended");
    }
    drop(place);
}

struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// What was read and is no whole query yet.
    octets: Vec<u8>,
    client: Client,
    engine: Arc<Engine>,
    waiting: JoinSet<Vec<u8>>,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        let mut open = true;
        let mut idle_at = clock::moment() + IDLE;
        while open || !self.waiting.is_empty() {
            tokio::select! {
                read = self.reader.read_buf(&mut self.octets), if open && self.waiting.len() < MAX_WAITING => {
                    open = read? > 0;
                }
                Some(answer) = self.waiting.join_next(), if !self.waiting.is_empty() => {
                    self.write(&answer.unwrap_or_default()).await?;
                    idle_at = clock::moment() + IDLE;
                }
                () = sleep_until(idle_at.into()), if self.waiting.is_empty() => return Ok(()),
            }
            while self.waiting.len() < MAX_WAITING {
                let Some(message) = self.take()? else { break };
                self.answer(message).await?;
                idle_at = clock::moment() + IDLE;
            }
        }
        Ok(())
    }

    /// Takes the next whole query out of what was read.
    fn take(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let Some((prefix, rest)) = self.octets.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length > MAX_QUERY {
            return Err(std::io::Error::other("a query that is too long"));
        }
        let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.octets.drain(..2 + length);
        Ok(Some(message))
    }

    async fn answer(&mut self, message: Vec<u8>) -> std::io::Result<()> {
        let active = self.engine.active();
        let mut out = Vec::new();
        match self.engine.decide(&message, self.client, &active, clock::moment(), &mut out) {
            Verdict::Silence => Ok(()),
            Verdict::Answer(_) => self.write(&out).await,
            Verdict::Ask(ask) => {
                let (engine, client) = (self.engine.clone(), self.client);
                self.waiting.spawn(async move { engine.find_out(&message, client, &active, &ask).await });
                Ok(())
            }
        }
    }

    /// Writes an answer behind its length. An answer that came to nothing is not written.
    async fn write(&mut self, answer: &[u8]) -> std::io::Result<()> {
        let Some(length) = u16::try_from(answer.len()).ok().filter(|length| *length > 0) else {
            return Ok(());
        };
        // Length and answer in one segment: some clients read no further than the first.
        let framed = [&length.to_be_bytes(), answer].concat();
        timeout(WRITE, self.writer.write_all(&framed)).await?
    }
}
