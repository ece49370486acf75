//! The console broker: SPICE from a station to the one console that was reserved for it, and from nobody else.
//!
//! It is a process of its own, so that the pool's manager can be restarted while visitors work: the manager binds and
//! unbinds by the [`control`] socket and learns there what runs. The broker knows nothing of VMs. The VM's console has a
//! password that no station learns, or no port at all; the broker opens it for a station whose address is bound, whose
//! ticket fits where one is asked for, and whose further channels name the session of its first.
//!
//! - [`spice`]: what of the protocol matters. Pure.
//! - `table`, `seat`: who may reach what, and what runs. Pure.
//! - [`ticket`]: tickets and passwords.
//! - `link`: a channel's opening. `relay`: a channel that is through. `socket`, `counters`: what both need.
//! - [`event`]: what is told and asked. [`control`]: the socket. [`client`]: the manager's side of it.
//!
//! Called by `vrouter-pool broker`.

pub mod client;
pub mod control;
mod counters;
mod descriptors;
pub mod event;
mod link;
mod relay;
mod seat;
mod socket;
pub mod spice;
mod table;
pub mod ticket;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::event::{Binding, EndReason, Event, Refusal, Session};
use self::link::Opening;
use self::socket::{Patience, Wire};
use self::spice::{Link, TICKET};
use self::table::{Effect, Table, Target};
use self::ticket::{TicketError, TicketKey};

pub use self::table::BindError;

/// How many events a slow listener may be behind.
const EVENTS: usize = 1024;
/// How many refusals a second are told of; all are counted. A port scan shall not push out what matters.
const REFUSALS_TOLD: u32 = 10;
/// How long a station may take to say its first octet, and to finish a TLS handshake.
const FIRST_OCTET: Duration = Duration::from_secs(10);
/// The steps of time at one of which a station hears what became of its ticket.
const TICKET_STEP: Duration = Duration::from_millis(50);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first octet of a TLS record with a ClientHello (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// How a broker behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most connections of one session.
    pub channels: u16,
    /// How long a silent station is believed to be there.
    pub dead_after: Duration,
    /// What stations are greeted with that speak TLS, which is seen by their first octet.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { channels: 32, dead_after: Duration::from_secs(25), tls: None }
    }
}

/// A broker. Its clones are the same one.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    /// Rung when something may be over sooner than it was.
    changed: Notify,
    key: Arc<TicketKey>,
    tls: Option<TlsAcceptor>,
    patience: Patience,
    /// What its moments are counted from.
    started: Instant,
    refused: AtomicU64,
}

struct State {
    table: Table,
    /// How each connection is ended.
    cuts: BTreeMap<u64, Arc<Notify>>,
    /// Channels that wait for a descriptor.
    wanted: BTreeMap<u64, oneshot::Sender<OwnedFd>>,
    next_request: u64,
    /// The second in which refusals are counted, and how many were told in it.
    told: (u64, u32),
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("table", &self.state.lock().table).finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker to which nobody is bound. Making its key takes a moment of computing.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(settings: &Settings) -> Result<Self, TicketError> {
        let state = State {
            table: Table::new(usize::from(settings.channels), settings.tls.is_some()),
            cuts: BTreeMap::new(),
            wanted: BTreeMap::new(),
            next_request: 0,
            told: (0, 0),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                events: broadcast::channel(EVENTS).0,
                changed: Notify::new(),
                key: Arc::new(TicketKey::new()?),
                tls: settings.tls.clone().map(TlsAcceptor::from),
                patience: Patience::within(settings.dead_after),
                started: Instant::now(),
                refused: AtomicU64::new(0),
            }),
        })
    }

    /// Lets a station reach a console from now on.
    ///
    /// # Errors
    /// The console or the station has a binding, or the binding cannot be kept.
    pub fn bind(&self, binding: Binding) -> Result<(), BindError> {
        self.decide(|table, now| table.bind(binding, now))
    }

    /// Takes back a reservation that was not used.
    ///
    /// # Errors
    /// It is not there, or it was used.
    pub fn unbind(&self, console: &str) -> Result<(), BindError> {
        self.decide(|table, _| table.unbind(console))
    }

    /// Ends a session or a reservation, whatever it is doing.
    ///
    /// # Errors
    /// It is not there.
    pub fn kick(&self, console: &str) -> Result<(), BindError> {
        self.decide(|table, _| table.kick(console))
    }

    /// Everything that is bound, with what runs.
    #[must_use]
    pub fn list(&self) -> Vec<Session> {
        self.shared.state.lock().table.list(self.now())
    }

    /// How many stations are bound. It needs what every connection needs, so a broker that hangs does not answer.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.shared.state.lock().table.len()
    }

    /// How many connections were turned away.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Hands over the descriptor that [`Event::Wanted`] asked for. False where nobody waits for it any more.
    #[must_use]
    pub fn hand_over(&self, request: u64, descriptor: OwnedFd) -> bool {
        let waiting = self.shared.state.lock().wanted.remove(&request);
        waiting.is_some_and(|waiting| waiting.send(descriptor).is_ok())
    }

    /// Serves stations on this listener until the future is dropped, which cuts their connections.
    pub async fn serve(&self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "no connection is accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Ends reservations and graces whose time is over, until the future is dropped. To be run once beside the listeners.
    pub async fn expire(&self) {
        loop {
            let deadline = self.shared.state.lock().table.deadline();
            let changed = self.shared.changed.notified();
            match deadline {
                Some(deadline) => tokio::select! {
                    () = sleep_until(self.shared.started + deadline) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
            let mut state = self.shared.state.lock();
            let effects = state.table.tick(self.now());
            self.perform(&mut state, effects);
        }
    }

    /// Begins to serve a connection, if its station is bound.
    fn take(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let address = peer.ip().to_canonical();
        let mut state = self.shared.state.lock();
        let (key, counters) = match state.table.admit(address) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(&mut state, address, refusal),
        };
        let cut = Arc::<Notify>::default();
        state.cuts.insert(key, cut.clone());
        drop(state);
        let broker = self.clone();
        connections.spawn(async move {
            let connection = async {
                match broker.open(stream, address, key).await {
                    Ok(opened) => {
                        let session = |number| {
                            broker.shared.state.lock().table.session_is(address, key, number);
                        };
                        relay::run(opened, &counters, || broker.now(), session).await
                    }
                    Err(refusal) => {
                        broker.refuse(&mut broker.shared.state.lock(), address, refusal);
                        // It was never open, so the reason says nothing.
                        EndReason::ViewerLeft
                    }
                }
            };
            let reason = tokio::select! {
                reason = connection => reason,
                () = cut.notified() => EndReason::Kicked,
            };
            broker.closed(address, key, reason);
        });
    }

    /// Brings a connection to where it relays.
    async fn open(&self, stream: TcpStream, address: IpAddr, key: u64) -> Result<link::Opened, Refusal> {
        socket::prepare_station(&stream, self.shared.patience).map_err(|_| Refusal::NotSpice)?;
        let mut first = [0];
        let peeked = timeout(FIRST_OCTET, stream.peek(&mut first)).await;
        let Ok(Ok(1)) = peeked else { return Err(Refusal::NotSpice) };
        let tls = first == [TLS_HANDSHAKE];
        let station: Box<dyn Wire> = if tls {
            let acceptor = self.shared.tls.as_ref().ok_or(Refusal::NotSpice)?;
            let accepted = timeout(FIRST_OCTET, acceptor.accept(stream)).await;
            Box::new(accepted.map_err(|_| Refusal::NotSpice)?.map_err(|_| Refusal::NotSpice)?)
        } else {
            Box::new(stream)
        };
        Opening { broker: self, address, key, tls }.run(station).await
    }

    fn link(&self, address: IpAddr, key: u64, link: Link, tls: bool) -> Result<Target, Refusal> {
        self.shared.state.lock().table.link(address, key, link, tls)
    }

    /// Opens a ticket, away from the threads that relay. How long the arithmetic takes says something of the key; a station
    /// sees nothing of that, because it goes on at a whole step of time (RUSTSEC-2023-0071).
    async fn open_ticket(&self, encrypted: [u8; TICKET]) -> Option<Vec<u8>> {
        let key = self.shared.key.clone();
        let mut goes_on = Instant::now() + TICKET_STEP;
        let opened = tokio::task::spawn_blocking(move || key.open(&encrypted)).await.ok().flatten();
        while goes_on <= Instant::now() {
            goes_on += TICKET_STEP;
        }
        sleep_until(goes_on).await;
        opened
    }

    fn redeem(&self, address: IpAddr, key: u64, offered: Option<&[u8]>) -> Result<(), Refusal> {
        let mut state = self.shared.state.lock();
        let effects = state.table.redeem(address, key, offered, self.now())?;
        self.perform(&mut state, effects);
        Ok(())
    }

    fn authenticated(&self, address: IpAddr, key: u64, tls: bool) {
        let mut state = self.shared.state.lock();
        let effects = state.table.authenticated(address, key, tls, self.now());
        self.perform(&mut state, effects);
    }

    fn closed(&self, address: IpAddr, key: u64, reason: EndReason) {
        let mut state = self.shared.state.lock();
        state.cuts.remove(&key);
        let effects = state.table.closed(address, key, reason, self.now());
        self.perform(&mut state, effects);
    }

    fn key(&self) -> &TicketKey {
        &self.shared.key
    }

    /// Asks for a descriptor of a console and waits for it.
    async fn want(&self, console: &str) -> io::Result<Box<dyn Wire>> {
        let (sender, receiver) = oneshot::channel();
        let request = {
            let mut state = self.shared.state.lock();
            state.wanted.retain(|_, waiting| !waiting.is_closed());
            let request = state.next_request;
            state.next_request += 1;
            state.wanted.insert(request, sender);
            self.tell(Event::Wanted { request, console: console.to_owned() });
            request
        };
        let descriptor = receiver.await;
        self.shared.state.lock().wanted.remove(&request);
        socket::adopt(descriptor.map_err(io::Error::other)?)
    }

    fn decide(
        &self,
        decision: impl FnOnce(&mut Table, Duration) -> Result<Vec<Effect>, BindError>,
    ) -> Result<(), BindError> {
        let mut state = self.shared.state.lock();
        let effects = decision(&mut state.table, self.now())?;
        self.perform(&mut state, effects);
        Ok(())
    }

    /// Does what was decided. Events leave in the order in which they happened, because the lock is held.
    fn perform(&self, state: &mut State, effects: Vec<Effect>) {
        // Nothing done, nothing changed: waking `expire` for that would keep it awake for ever.
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Tell(event) => self.tell(event),
                Effect::Cut(key) => {
                    if let Some(cut) = state.cuts.get(&key) {
                        cut.notify_one();
                    }
                }
            }
        }
        self.shared.changed.notify_one();
    }

    fn refuse(&self, state: &mut State, station: IpAddr, reason: Refusal) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        let second = self.now().as_secs();
        if state.told.0 != second {
            state.told = (second, 0);
        }
        state.told.1 = state.told.1.saturating_add(1);
        if state.told.1 <= REFUSALS_TOLD {
            self.tell(Event::Refused { station, reason });
        }
    }

    fn tell(&self, event: Event) {
        tracing::debug!(?event, "broker");
        // Nobody listens while the manager is away; it lists what is there when it comes back.
        let _ = self.shared.events.send(event);
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }
}
