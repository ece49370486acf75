//! The loop that owns the pool: it hears stations, broker, hypervisor and operators, plans, and has calls made. It waits
//! for nothing but its mail, so the signal port is answered whatever hangs.

mod calls;
mod desks;
mod look;
mod operators;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use self::desks::Desks;
use self::look::{Looks, Seen};
pub use self::operators::{Ask, Counters};
use super::config::Config;
use super::door::{Door, DoorEvent};
use super::hypervisor::{Event, Hypervisor, Lifecycle};
use super::journal::Journal;
use super::plan::{Action, plan, warnings};
use super::signal::Visit;
use super::slot::Now;
use super::state::{Call, CallError, Done, Pool};
use crate::clock;

/// How many messages wait for the loop.
const MAIL: usize = 1024;
/// How often time passes for the loop.
const TICK: Duration = Duration::from_millis(500);

/// What keeps the loop from going on.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The kernel gives no randomness.
    #[error("the kernel gives no random numbers: {0}")]
    Chance(#[from] getrandom::Error),
    /// Everybody who could send mail is gone.
    #[error("the loop's mail ended by itself")]
    MailEnded,
}

/// What the loop hears.
#[derive(Debug)]
enum Mail {
    /// A call came back.
    Done { name: String, number: u64, result: Result<Done, CallError> },
    /// What was looked at.
    Seen(Box<Seen>),
}

/// The loop and what it owns.
#[derive(Debug)]
pub struct Manager<H, D> {
    pool: Pool,
    hypervisor: Arc<H>,
    door: Arc<D>,
    journal: Journal,
    desks: Desks,
    looks: Looks,
    counters: Counters,
    started: Instant,
    sender: mpsc::Sender<Mail>,
    mail: mpsc::Receiver<Mail>,
}

/// By what the rest of the house reaches the loop.
#[derive(Debug)]
pub struct Doors {
    /// Stations.
    pub visits: mpsc::Receiver<Visit>,
    /// Operators.
    pub asks: mpsc::Receiver<Ask>,
    /// Told once the loop shall end; sessions go on without it.
    pub stop: oneshot::Receiver<()>,
}

impl<H: Hypervisor, D: Door> Manager<H, D> {
    /// A loop that has not looked yet.
    #[must_use]
    pub fn new(config: Config, journal: Journal, hypervisor: Arc<H>, door: Arc<D>) -> Self {
        let (sender, mail) = mpsc::channel(MAIL);
        let started = clock::moment();
        let now = Now { time: clock::now(), at: Duration::ZERO };
        Self {
            pool: Pool::new(config, journal.draining(), now),
            hypervisor,
            door,
            journal,
            desks: Desks::default(),
            looks: Looks::default(),
            counters: Counters::default(),
            started,
            sender,
            mail,
        }
    }

    /// Runs until it is told to stop. `alive` is called while all is well, for the watchdog.
    ///
    /// # Errors
    /// What keeps it from going on; what the hypervisor or the broker do is never among that.
    pub async fn run(mut self, doors: Doors, mut alive: impl FnMut(&Pool)) -> Result<(), ManagerError> {
        let Doors { mut visits, mut asks, mut stop } = doors;
        let mut hypervisor = self.hypervisor.events();
        let mut broker = self.door.events();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let now = self.now();
                    self.pool.tick(now);
                    alive(&self.pool);
                }
                mail = self.mail.recv() => match mail.ok_or(ManagerError::MailEnded)? {
                    Mail::Done { name, number, result } => self.done(&name, number, result),
                    Mail::Seen(seen) => self.seen(*seen),
                },
                Some(visit) = visits.recv() => self.visit(visit),
                Some(ask) = asks.recv() => self.ask(ask),
                event = hypervisor.recv() => match event {
                    Some(event) => self.hypervisor(&event),
                    None => hypervisor = self.hypervisor.events(),
                },
                event = broker.recv() => match event {
                    Some(event) => self.broker(event),
                    None => broker = self.door.events(),
                },
                _ = &mut stop => return Ok(()),
            }
            self.go_on()?;
        }
    }

    fn now(&self) -> Now {
        Now { time: clock::now(), at: clock::moment().saturating_duration_since(self.started) }
    }

    /// What follows from whatever was heard: new looks, new calls, new words for stations.
    fn go_on(&mut self) -> Result<(), ManagerError> {
        let now = self.now();
        self.look(now);
        for name in warnings(&self.pool) {
            let slot = self.pool.slots().get(&name);
            let station = slot.and_then(super::slot::Slot::station);
            tracing::info!(vm = name, ?station, "nobody touches anything; the session ends soon");
            self.pool.warned(&name);
        }
        for action in plan(&self.pool, now) {
            self.begin(&action, now)?;
        }
        for stray in self.pool.take_strays() {
            self.release(stray);
        }
        for record in self.pool.take_records() {
            self.counters.session(&record);
            tracing::info!(
                target: "audit",
                vm = record.vm, uuid = record.uuid, station = record.station.map(display), begun = %record.begun,
                gone = %record.gone, sent = record.sent, received = record.received,
                "a session is over: {}; its VM and overlay are gone", record.why
            );
            self.journal.session(&record);
        }
        let finished = self.pool.take_finished();
        self.counters.finished(&finished);
        self.desks.tell(&self.pool, &finished, now);
        Ok(())
    }

    /// Starts an action.
    fn begin(&mut self, action: &Action, now: Now) -> Result<(), ManagerError> {
        let mut chance = Ok(());
        let mut draw = || {
            clock::random_u64().unwrap_or_else(|error| {
                chance = Err(error);
                0
            })
        };
        let started = self.pool.begin(action, now, &mut draw);
        chance?;
        if let Some(started) = started {
            self.counters.began(action);
            tracing::debug!(?action, "begins");
            // The mark that says that somebody was in it goes with the domain.
            if let (Call::Undefine, Some(record)) = (&started.call, self.pool.ending(&started.name, now)) {
                self.journal.ending(&record);
            }
            calls::spawn(&self.pool, &self.hypervisor, &self.door, started, self.sender.clone());
        }
        Ok(())
    }

    fn done(&mut self, name: &str, number: u64, result: Result<Done, CallError>) {
        if let Err(error) = &result {
            self.counters.failed();
            tracing::warn!(vm = name, error = error.text, "a call failed");
        }
        let now = self.now();
        self.pool.done(name, number, result, now);
    }

    fn visit(&mut self, visit: Visit) {
        let now = self.now();
        match visit {
            Visit::Arrived { station, connection, told } => {
                self.desks.arrived(station, connection, told);
                self.pool.arrive(station, now);
            }
            Visit::Left { station, connection } => {
                if self.desks.left(station, connection) {
                    self.pool.leave(station);
                }
            }
        }
    }

    fn hypervisor(&mut self, event: &Event) {
        match event {
            Event::Closed => {
                tracing::warn!("the hypervisor is not reached");
                self.pool.hypervisor(false);
            }
            Event::Opened | Event::Lost => self.looks.list_soon(),
            Event::Lifecycle { name, what: Lifecycle::Rebooted } => {
                let now = self.now();
                self.pool.guest_restarted(name, now);
            }
            Event::Lifecycle { name, .. } => {
                if self.pool.slots().contains_key(name) {
                    self.looks.list_soon();
                }
            }
            Event::Graphics { name, phase, .. } => {
                let now = self.now();
                self.pool.console_entered(name, *phase, now);
            }
        }
    }

    fn broker(&mut self, event: DoorEvent) {
        let now = self.now();
        match &event {
            DoorEvent::Closed => tracing::warn!("the broker is not reached"),
            DoorEvent::Opened => self.looks.sessions_soon(),
            DoorEvent::Refused { station, why } => {
                self.counters.refused();
                tracing::info!(%station, why, "a connection to a console was turned away");
            }
            DoorEvent::Wanted { request, id } => self.hand_over(*request, id),
            DoorEvent::Used { .. } | DoorEvent::Ended { .. } => {}
        }
        self.pool.door(&event, now);
    }
}
