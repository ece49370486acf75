//! One forwarder: asking it over UDP, and over TCP where its answer does not fit.
//!
//! Every question goes out from a port and with an id of its own, both random (RFC 5452 section 9), on a socket that
//! hears this forwarder alone. Called by `forward.rs`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::answer::Ask;
use super::health::{Health, SILENCE};
use super::name::write_name;
use super::received::{Received, Unusable};
use super::wire::{CLASS_IN, MAX_UDP, Rcode, flag, kind};
use crate::clock;

/// The longest that an answer is waited for while the forwarder answers others.
pub(super) const PATIENCE: Duration = Duration::from_millis(4500);
/// The room for an answer: some servers send more than they were asked for.
const DATAGRAM: usize = 4096;

/// A forwarder.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddrV4,
    health: Mutex<Health>,
    pub(super) queries: AtomicU64,
    pub(super) failures: AtomicU64,
    /// One at a time finds out if it answers anybody.
    probing: Semaphore,
}

/// Why a forwarder gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// This machine has no socket or no randomness to give.
    #[error("no socket for a question: {0}")]
    Local(io::Error),
    /// The way there, or the forwarder, refused.
    #[error("{0}")]
    Refused(io::Error),
    /// What came cannot be used.
    #[error("{0}")]
    Unusable(#[from] Unusable),
    /// Nothing came.
    #[error("no answer within {} seconds", SILENCE.as_secs())]
    Silence,
}

impl Upstream {
    pub(super) fn new(address: SocketAddrV4) -> Self {
        Self {
            address,
            health: Mutex::default(),
            queries: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            probing: Semaphore::new(1),
        }
    }

    /// Looks at its health, or changes it.
    pub(super) fn health<T>(&self, look: impl FnOnce(&mut Health) -> T) -> T {
        look(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks it, and remembers how that went.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Received, Failure> {
        let asked = clock::moment();
        self.queries.fetch_add(1, Ordering::Relaxed);
        let result = tokio::select! {
            result = self.exchange(ask) => result,
            () = self.patience(asked) => Err(Failure::Silence),
        };
        let now = clock::moment();
        let took = now.saturating_duration_since(asked);
        let (before, after) = self.health(|health| {
            let before = health.reachable();
            match &result {
                Ok(_) => health.answered(now, took),
                // That says nothing about the forwarder.
                Err(error @ Failure::Local(_)) => health.noted(error.to_string()),
                Err(error) => health.failed(asked, now, error.to_string()),
            }
            (before, health.reachable())
        });
        if let Err(error) = &result {
            self.failures.fetch_add(1, Ordering::Relaxed);
            if before != after {
                tracing::warn!(forwarder = %self.address, %error, "a forwarder is down");
            }
        } else if before == Some(false) {
            tracing::info!(forwarder = %self.address, "a forwarder is back");
        }
        result
    }

    /// Waits until there is no more hope: not long where the forwarder says nothing to anybody. One that is asked for
    /// a name that takes it long is told from one that is gone by a question that takes nobody long.
    async fn patience(&self, asked: Instant) {
        let answers = || self.health(|health| health.has_answered_since(asked));
        let silent_at = asked + SILENCE;
        sleep(SILENCE / 2).await;
        if !answers()
            && let Ok(_permit) = self.probing.try_acquire()
        {
            let begun = clock::moment();
            let probe = timeout_at(silent_at.into(), self.over_udp(&Ask::root_servers(), true)).await;
            if matches!(probe, Ok(Ok(_) | Err(Failure::Unusable(_)))) {
                let now = clock::moment();
                self.health(|health| health.answered(now, now.saturating_duration_since(begun)));
            }
        }
        sleep_until(silent_at.into()).await;
        if answers() {
            sleep(PATIENCE - SILENCE).await;
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<Received, Failure> {
        match self.over_udp(ask, true).await {
            // RFC 6891 section 7: who does not understand is asked in the old way.
            Err(Failure::Unusable(Unusable::NoEdns)) => match self.over_udp(ask, false).await {
                Err(Failure::Unusable(Unusable::NoEdns)) => Ok(Received::empty(Rcode::SERVFAIL)),
                Err(Failure::Unusable(_)) => self.over_tcp(ask, false).await,
                result => result,
            },
            Err(Failure::Unusable(_)) => self.over_tcp(ask, true).await,
            result => result,
        }
    }

    async fn over_udp(&self, ask: &Ask, edns: bool) -> Result<Received, Failure> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(Failure::Local)?;
        socket.connect(self.address).await.map_err(Failure::Refused)?;
        let query = query(ask, edns)?;
        socket.send(&query).await.map_err(Failure::Refused)?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(Failure::Refused)?;
            match Received::read(buffer.get(..length).unwrap_or_default(), &query) {
                // Somebody else's, or a guess at ours: the right one may still come.
                Err(Unusable::Foreign) => {}
                result => return Ok(result?),
            }
        }
    }

    async fn over_tcp(&self, ask: &Ask, edns: bool) -> Result<Received, Failure> {
        let query = query(ask, edns)?;
        let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes(), query.as_slice()].concat();
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(&framed).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let answer: Vec<u8> = exchange.await.map_err(Failure::Refused)?;
        Ok(Received::read(&answer, &query)?)
    }
}

/// A question as a message.
fn query(ask: &Ask, edns: bool) -> Result<Vec<u8>, Failure> {
    let random = clock::random_u64().map_err(|error| Failure::Local(io::Error::other(error)))?;
    let [i1, i2, ..] = random.to_ne_bytes();
    let checking = if ask.checking_disabled { flag::CHECKING_DISABLED } else { 0 };
    let [f1, f2] = (flag::RECURSION_DESIRED | checking).to_be_bytes();
    let mut message = vec![i1, i2, f1, f2, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    write_name(&ask.name, &mut message);
    message.extend_from_slice(&[ask.kind, CLASS_IN].map(u16::to_be_bytes).concat());
    if edns {
        let flags = if ask.dnssec_ok { flag::DNSSEC_OK } else { 0 };
        message.push(0);
        message.extend_from_slice(&[kind::OPT, MAX_UDP, 0, flags, 0].map(u16::to_be_bytes).concat());
    }
    Ok(message)
}
