//! What is known of a backend while the router runs: how busy it is, how it does, and whether it is on its way out.
//!
//! It outlives edits: a backend that stays what it is (balancer, pool, id, endpoint) keeps all of this. Moments are
//! arguments and are kept as milliseconds since the pool's origin, so that whoever picks reads them without a lock.
//! Called by `pool.rs`, by health checks with what they found, and by whoever carries connections.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use super::condition::{Condition, Health, Name};
use super::condition::{Serves, Standing, millis};
use super::counters::Tally;
use super::place::Place;
use super::pool::Pool;
use super::queue::Queue;
use crate::clock::Timestamp;
use crate::config::pool::Outlier;

/// How many times longer than `eject_seconds` a backend rests that fails again and again.
const MAX_REST: u32 = 8;
/// What stands for no bound of connections.
const UNBOUNDED: u32 = u32::MAX;

/// A backend at run time.
#[derive(Debug)]
pub struct Backend {
    name: Name,
    /// What no other backend of its pool had.
    number: u64,
    origin: Instant,
    /// What cookies call it.
    tag: OnceLock<u64>,
    pool: Weak<Pool>,
    queue: Arc<Queue>,
    active: AtomicU32,
    limit: AtomicU32,
    /// Whom it serves, by the pool's present view.
    serves: AtomicU8,
    health: AtomicU8,
    /// Failures in a row.
    failures: AtomicU32,
    /// Failures in a row that eject it; 0: none do.
    tolerated: AtomicU32,
    rest_seconds: AtomicU32,
    /// Until when it rests; 0: it does not.
    resting_until: AtomicU64,
    /// Since when its share grows; 0: it has grown.
    growing_since: AtomicU64,
    /// Rings when it begins or ceases to drain.
    drains: Notify,
    rare: Mutex<Rare>,
    /// What went to it.
    pub(super) tally: Tally,
}

/// What is read and written seldom.
#[derive(Debug)]
struct Rare {
    reason: Arc<str>,
    since: Timestamp,
    newcomer: bool,
    draining_until: Option<Instant>,
    /// How many rests it had without a good time between.
    rests: u32,
    /// When the last one ended, and how long it was, in milliseconds.
    last_rest: (u64, u64),
}

impl Backend {
    pub(super) fn new(
        name: Name,
        number: u64,
        pool: &Weak<Pool>,
        queue: &Arc<Queue>,
        origin: Instant,
        at: Timestamp,
    ) -> Self {
        Self {
            name,
            number,
            origin,
            tag: OnceLock::new(),
            pool: pool.clone(),
            queue: queue.clone(),
            active: AtomicU32::new(0),
            limit: AtomicU32::new(UNBOUNDED),
            serves: AtomicU8::new(Serves::Nobody as u8),
            health: AtomicU8::new(Health::Unknown as u8),
            failures: AtomicU32::new(0),
            tolerated: AtomicU32::new(0),
            rest_seconds: AtomicU32::new(0),
            resting_until: AtomicU64::new(0),
            growing_since: AtomicU64::new(0),
            drains: Notify::new(),
            tally: Tally::default(),
            rare: Mutex::new(Rare {
                reason: "not checked yet".into(),
                since: at,
                newcomer: false,
                draining_until: None,
                rests: 0,
                last_rest: (0, 0),
            }),
        }
    }

    /// Which backend it is.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub const fn endpoint(&self) -> SocketAddrV4 {
        self.name.endpoint
    }

    /// What no other backend of its pool had.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What cookies call it; made once.
    pub(super) fn tag(&self, make: impl FnOnce() -> u64) -> u64 {
        *self.tag.get_or_init(make)
    }

    /// How many connections or requests it has.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// How many it has at most.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNBOUNDED)
    }

    /// Whether it takes what is new at present.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.serves.load(Ordering::Acquire) == Serves::Anybody as u8
    }

    /// Whether it serves the clients that stay with it at present.
    #[must_use]
    pub fn keeps_clients(&self) -> bool {
        self.serves.load(Ordering::Acquire) != Serves::Nobody as u8
    }

    /// What health checks say of it.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            up if up == Health::Up as u8 => Health::Up,
            down if down == Health::Down as u8 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// What health checks say of it, why, and since when.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let rare = self.rare.lock();
        Condition { health: self.health(), reason: rare.reason.clone(), since: rare.since }
    }

    /// Takes what a health check found; `at` is the time of the day that status shows. The pool follows at once.
    ///
    /// Whether its health is another than before is returned; a new reason alone is none.
    pub fn set_health(&self, health: Health, reason: &str, now: Instant, at: Timestamp) -> bool {
        let mut rare = self.rare.lock();
        if *rare.reason != *reason {
            rare.reason = reason.into();
        }
        let before = self.health();
        let proven = std::mem::take(&mut rare.newcomer) && health != Health::Unknown;
        if before == health && !proven {
            return false;
        }
        if before != health {
            rare.since = at;
        }
        self.health.store(health as u8, Ordering::Release);
        if health == Health::Up && (before == Health::Down || proven) {
            self.grow(now);
        }
        drop(rare);
        self.tell_pool(now);
        before != health
    }

    /// Takes a condition of before a restart; the next check confirms or corrects it.
    pub fn restore(&self, condition: &Condition, now: Instant) {
        let mut rare = self.rare.lock();
        rare.reason.clone_from(&condition.reason);
        rare.since = condition.since;
        rare.newcomer = false;
        self.health.store(condition.health as u8, Ordering::Release);
        drop(rare);
        self.tell_pool(now);
    }

    /// It failed a connection or a request. Whether it rests from now on is returned.
    pub fn failed(&self, now: Instant) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let tolerated = self.tolerated.load(Ordering::Relaxed);
        if tolerated == 0 || failures < tolerated {
            return false;
        }
        let now_ms = self.millis(now);
        let mut rare = self.rare.lock();
        if self.resting_until.load(Ordering::Relaxed) != 0 {
            return false;
        }
        // Whoever was well for as long as the last rest begins anew.
        let (ended, lasted) = rare.last_rest;
        rare.rests = if now_ms > ended.saturating_add(lasted) { 1 } else { (rare.rests + 1).min(MAX_REST) };
        let rest = u64::from(self.rest_seconds.load(Ordering::Relaxed)) * 1000 * u64::from(rare.rests);
        rare.last_rest = (now_ms + rest, rest);
        self.resting_until.store(now_ms + rest, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        drop(rare);
        self.tell_pool(now);
        true
    }

    /// It did what was asked of it.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How long it rests after failures still.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let left = self.resting_until.load(Ordering::Relaxed).saturating_sub(self.millis(now));
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Until when what it has may go on, where it is disabled or removed.
    #[must_use]
    pub fn draining_until(&self) -> Option<Instant> {
        self.rare.lock().draining_until
    }

    /// Waits until what it has is to be cut off. Whoever carries a connection waits for this beside its work.
    pub async fn cut(&self) {
        loop {
            let mut changed = std::pin::pin!(self.drains.notified());
            // From here on no ring is missed.
            changed.as_mut().enable();
            let until = self.draining_until();
            tokio::select! {
                () = tokio::time::sleep_until(until.unwrap_or(self.origin).into()), if until.is_some() => return,
                () = changed => {}
            }
        }
    }

    /// Takes a place, if there is one.
    pub(super) fn try_hold(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == UNBOUNDED {
            self.active.fetch_add(1, Ordering::SeqCst);
        } else {
            let more = |active| (active < limit).then_some(active + 1);
            self.active.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        }
        Some(Place::new(self.clone()))
    }

    /// Whether it has no more than it may have: a place that is given back may go on to the next.
    pub(super) fn is_within_limit(&self) -> bool {
        self.active.load(Ordering::SeqCst) <= self.limit.load(Ordering::Relaxed)
    }

    /// Whether it is of the pool with this queue.
    pub(super) fn belongs_to(&self, queue: &Arc<Queue>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }

    /// Makes room again, without a look at those who wait.
    pub(super) fn let_go(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(super) fn has_room(&self) -> bool {
        self.active.load(Ordering::SeqCst) < self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_serves(&self, serves: Serves) {
        self.serves.store(serves as u8, Ordering::Release);
    }

    pub(super) fn configure(&self, limit: Option<u32>, outlier: Option<Outlier>) {
        self.limit.store(limit.unwrap_or(UNBOUNDED), Ordering::Relaxed);
        let (tolerated, rest) =
            outlier.map_or((0, 0), |outlier| (outlier.consecutive_failures, outlier.eject_seconds));
        self.tolerated.store(tolerated, Ordering::Relaxed);
        self.rest_seconds.store(rest, Ordering::Relaxed);
        if tolerated == 0 {
            self.resting_until.store(0, Ordering::Relaxed);
        }
    }

    /// Nobody asks how it does any more.
    pub(super) fn forget_health(&self, at: Timestamp) {
        let mut rare = self.rare.lock();
        rare.newcomer = false;
        if self.health.swap(Health::Unknown as u8, Ordering::AcqRel) != Health::Unknown as u8 {
            rare.since = at;
        }
        if &*rare.reason != "not checked" {
            rare.reason = "not checked".into();
        }
    }

    /// It comes to others that are at work: it takes part once a check finds it well.
    pub(super) fn set_newcomer(&self) {
        self.rare.lock().newcomer = true;
    }

    /// What it has goes on until then at most, or for ever; an earlier end that was said before stays.
    pub(super) fn drain(&self, until: Option<Instant>) {
        let mut rare = self.rare.lock();
        let until = until.map(|until| rare.draining_until.map_or(until, |before| before.min(until)));
        if std::mem::replace(&mut rare.draining_until, until) != until {
            drop(rare);
            self.drains.notify_waiters();
        }
    }

    /// Its share begins to grow.
    pub(super) fn grow(&self, now: Instant) {
        self.growing_since.store(self.millis(now), Ordering::Relaxed);
    }

    /// How far its share has grown over so many milliseconds, from 0 to 1000.
    pub(super) fn grown(&self, now_ms: u64, over_ms: u64) -> u64 {
        let since = self.growing_since.load(Ordering::Relaxed);
        if since == 0 || now_ms.saturating_sub(since) >= over_ms {
            return 1000;
        }
        (now_ms.saturating_sub(since) * 1000 / over_ms).max(1)
    }

    /// How it stands now; a rest that is over is ended.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let until = self.resting_until.load(Ordering::Relaxed);
        if until != 0 && until <= self.millis(now) {
            self.resting_until.store(0, Ordering::Relaxed);
            self.grow(now);
        }
        if self.health() == Health::Down {
            Standing::Dead
        } else if self.resting_until.load(Ordering::Relaxed) != 0 {
            Standing::Resting
        } else if self.rare.lock().newcomer {
            Standing::Newcomer
        } else {
            Standing::Live
        }
    }

    /// When its rest ends, in milliseconds since the origin.
    pub(super) fn resting_until_ms(&self) -> Option<u64> {
        Some(self.resting_until.load(Ordering::Relaxed)).filter(|until| *until != 0)
    }

    /// Milliseconds since the origin, from 1, so that 0 can stand for never.
    pub(super) fn millis(&self, moment: Instant) -> u64 {
        millis(self.origin, moment)
    }

    fn tell_pool(&self, now: Instant) {
        if let Some(pool) = self.pool.upgrade() {
            pool.refresh(now);
        }
    }
}
