//! A pool at run time: its backends, which of them take part now, and a place at one of them for whoever comes.
//!
//! ```text
//! config ──update──▶ table ──refresh──▶ view ──pick──▶ place
//!                      ▲                           └──▶ queue
//!   health, failures ──┘
//! ```
//!
//! A pool is made once and lives as long as the configuration has it; edits change its table, so those who wait and
//! those who are served notice nothing. Whoever picks reads the view without a lock. Called by the service for edits and
//! by whoever carries connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use super::backend::{Backend, Name};
use super::condition::{Serves, millis};
use super::place::Place;
use super::queue::{Left, Queue, is_among};
use super::view::{Member, View};
use crate::clock::Timestamp;
use crate::config::load_balancer::Algorithm;
use crate::config::{Id, pool};

/// Why there is no place at a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No backend takes part: all are down, disabled, without weight or removed.
    #[error("no backend of the pool is up")]
    NoBackend,
    /// All have their `max_connections`, and as many wait as may.
    #[error("every backend has its `max_connections`, and the pool's queue is full")]
    QueueFull,
    /// All had their `max_connections` for the queue's `timeout_ms`.
    #[error("every backend had its `max_connections` until the queue's `timeout_ms` passed")]
    QueueTimeout,
}

/// What a balancer says about each of its pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Which backend is next.
    pub algorithm: Algorithm,
    /// How long what a backend has goes on after it was disabled or removed.
    pub drain: Duration,
}

/// What whoever asks for a place wishes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// What is hashed, for the algorithms that hash.
    pub key: u64,
    /// The backend that the client stays with. While it is well and enabled, no other serves, though it may have no weight
    /// or be a backup that nobody else needs.
    pub stay: Option<&'a Arc<Backend>>,
    /// Backends that failed this request already; they are taken again only where there is no other.
    pub tried: &'a [Arc<Backend>],
}

/// A backend of a pool, as status shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its share.
    pub weight: u16,
    /// Whether it takes part, as far as the configuration goes.
    pub enabled: bool,
    /// Whether it takes part only while no other does.
    pub backup: bool,
    /// Whether it was removed and ends what it has.
    pub leaving: bool,
}

/// A pool at run time.
#[derive(Debug)]
pub struct Pool {
    balancer: Id,
    id: Id,
    origin: Instant,
    queue: Arc<Queue>,
    table: Mutex<Table>,
    view: ArcSwap<View>,
    /// When the view has to be built again, in milliseconds since the origin.
    until: AtomicU64,
    turn: AtomicU64,
}

/// What the configuration says, with the state that belongs to it.
#[derive(Debug)]
struct Table {
    algorithm: Algorithm,
    slow_start: Duration,
    members: Vec<Member>,
    /// Those who were removed and have connections still.
    leaving: Vec<Arc<Backend>>,
    /// The number of the next backend.
    next: u64,
}

impl Pool {
    /// A pool with all its backends as unknown. `at` is the time of the day that status shows.
    #[must_use]
    pub fn new(
        balancer: Id,
        id: Id,
        manner: Manner,
        config: &pool::Pool,
        now: Instant,
        at: Timestamp,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            balancer,
            id,
            origin: now,
            queue: Arc::new(Queue::new(config.queue)),
            table: Mutex::new(Table {
                algorithm: manner.algorithm,
                slow_start: Duration::ZERO,
                members: Vec::new(),
                leaving: Vec::new(),
                next: 0,
            }),
            view: ArcSwap::from_pointee(View::default()),
            until: AtomicU64::new(u64::MAX),
            turn: AtomicU64::new(0),
        });
        pool.update(manner, config, now, at);
        pool
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &Id {
        &self.id
    }

    /// Its balancer's id.
    #[must_use]
    pub const fn balancer(&self) -> &Id {
        &self.balancer
    }

    /// Takes another configuration. Backends that stay keep their state; those that go end what they have.
    pub fn update(self: &Arc<Self>, manner: Manner, config: &pool::Pool, now: Instant, at: Timestamp) {
        let mut table = self.table.lock();
        let in_use = !self.view.load().is_empty();
        let drain = now + manner.drain;
        let before = std::mem::take(&mut table.members);
        let mut leaving = std::mem::take(&mut table.leaving);
        for (id, wanted) in &config.backends {
            let same = |backend: &Arc<Backend>| {
                backend.name().backend == *id && backend.endpoint() == wanted.endpoint()
            };
            // They stand in the order of their ids, as in the configuration.
            let known = before.binary_search_by(|member| member.backend.name().backend.cmp(id)).ok();
            let known = known.and_then(|place| before.get(place)).filter(|member| same(&member.backend));
            let returned = || leaving.iter().find(|backend| same(backend));
            let backend = match known.map(|member| &member.backend).or_else(returned) {
                Some(backend) => backend.clone(),
                None => {
                    table.next += 1;
                    let backend = self.backend(id, wanted, table.next, at);
                    if in_use && config.health_check.is_some() {
                        backend.set_newcomer();
                    }
                    backend
                }
            };
            if config.health_check.is_none() {
                backend.forget_health(at);
            }
            backend.configure(wanted.max_connections, config.outlier);
            if !wanted.enabled {
                backend.drain(Some(drain));
            } else {
                backend.drain(None);
                if in_use && known.is_none_or(|member| !member.takes_part()) {
                    backend.grow(now);
                }
            }
            let (weight, enabled, backup) = (wanted.weight, wanted.enabled, wanted.backup);
            table.members.push(Member { backend, weight, enabled, backup });
        }
        leaving.extend(before.into_iter().map(|member| member.backend));
        leaving.retain(|backend| {
            let stays = table.members.iter().any(|member| Arc::ptr_eq(&member.backend, backend));
            !stays && backend.active() > 0
        });
        for backend in &leaving {
            backend.drain(Some(drain));
        }
        table.leaving = leaving;
        table.algorithm = manner.algorithm;
        table.slow_start = Duration::from_secs(config.slow_start_seconds.into());
        self.queue.configure(config.queue);
        self.rebuild(table, now);
    }

    /// Ends the pool: it is not in the configuration any more. What its backends have goes on for so long.
    pub fn retire(&self, drain: Duration, now: Instant) {
        let mut table = self.table.lock();
        let members = std::mem::take(&mut table.members);
        table.leaving.extend(members.into_iter().map(|member| member.backend));
        for backend in &table.leaving {
            backend.drain(Some(now + drain));
        }
        self.rebuild(table, now);
    }

    /// Looks again who takes part: somebody's state changed, or time has come.
    pub fn refresh(&self, now: Instant) {
        self.rebuild(self.table.lock(), now);
    }

    /// Its backends, with those that were removed and have connections still.
    #[must_use]
    pub fn backends(&self) -> Vec<Listed> {
        let table = self.table.lock();
        let members = table.members.iter().map(|member| Listed {
            backend: member.backend.clone(),
            weight: member.weight,
            enabled: member.enabled,
            backup: member.backup,
            leaving: false,
        });
        let leaving = table.leaving.iter().filter(|backend| backend.active() > 0).map(|backend| Listed {
            backend: backend.clone(),
            weight: 0,
            enabled: false,
            backup: false,
            leaving: true,
        });
        members.chain(leaving).collect()
    }

    /// How many wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether a backend takes part at present.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.view.load().is_empty()
    }

    /// The first backend that is meant, of those that serve who stays with them.
    pub(super) fn find(&self, meant: impl Fn(&Backend) -> bool) -> Option<Arc<Backend>> {
        let view = self.view.load();
        view.backends().iter().chain(view.keepers()).find(|backend| meant(backend)).cloned()
    }

    /// A place at a backend. Where all have their `max_connections`, waits in line; dropping the future leaves the line.
    ///
    /// # Errors
    /// There is no backend, or no place within the queue's bounds.
    pub async fn pick(&self, wish: Wish<'_>, now: Instant) -> Result<Place, Unavailable> {
        match self.try_pick(wish, now)? {
            Some(place) => Ok(place),
            // Apart, since hardly anybody has to.
            None => Box::pin(self.wait(wish, now)).await,
        }
    }

    /// Waits in line for a place.
    async fn wait(&self, wish: Wish<'_>, now: Instant) -> Result<Place, Unavailable> {
        let mut wish = wish;
        loop {
            let stay = self.present(wish);
            let ticket = self.queue.stand(stay, self.avoided(wish), now).ok_or(Unavailable::QueueFull)?;
            // A place may have become free before it was seen that somebody waits.
            let view = self.view.load_full();
            self.queue.settle(view.backends(), view.keepers());
            match ticket.place().await {
                Ok(place) => return Ok(place),
                Err(Left::Late) => return Err(Unavailable::QueueTimeout),
                // The backend that the client stayed with is gone, or all were: another serves it, if there is one.
                Err(Left::Gone) => wish.stay = None,
            }
            if let Some(place) = self.try_pick(wish, now)? {
                return Ok(place);
            }
        }
    }

    /// A place at a backend, or nothing where it takes waiting.
    ///
    /// # Errors
    /// There is no backend.
    pub fn try_pick(&self, wish: Wish<'_>, now: Instant) -> Result<Option<Place>, Unavailable> {
        if millis(self.origin, now) >= self.until.load(Ordering::Relaxed) {
            // Others go on with the view that there is while one builds the next.
            if let Some(table) = self.table.try_lock() {
                self.rebuild(table, now);
            }
        }
        let view = self.view.load();
        if let Some(stay) = self.present(wish) {
            return Ok(stay.try_hold());
        }
        if view.is_empty() {
            return Err(Unavailable::NoBackend);
        }
        if self.queue.is_busy() {
            return Ok(None);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Ok(view.choose(wish.key, turn, self.avoided(wish)))
    }

    /// The backend that the client stays with, if it takes part and has not failed this request.
    fn present<'a>(&self, wish: Wish<'a>) -> Option<&'a Arc<Backend>> {
        wish.stay.filter(|stay| {
            stay.keeps_clients() && stay.belongs_to(&self.queue) && !is_among(stay, wish.tried)
        })
    }

    /// The backends that are not wanted again: none where there are no others.
    fn avoided<'a>(&self, wish: Wish<'a>) -> &'a [Arc<Backend>] {
        let others = || self.view.load().backends().iter().any(|member| !is_among(member, wish.tried));
        if wish.tried.is_empty() || others() { wish.tried } else { &[] }
    }

    fn backend(
        self: &Arc<Self>,
        id: &Id,
        wanted: &pool::Backend,
        number: u64,
        at: Timestamp,
    ) -> Arc<Backend> {
        let name = Name {
            balancer: self.balancer.clone(),
            pool: self.id.clone(),
            backend: id.clone(),
            endpoint: wanted.endpoint(),
        };
        Arc::new(Backend::new(name, number, &Arc::downgrade(self), &self.queue, self.origin, at))
    }

    fn rebuild(&self, table: MutexGuard<'_, Table>, now: Instant) {
        let (view, until) = View::build(table.algorithm, &table.members, table.slow_start, now, self.origin);
        // Those who take part stand in the order of the members, and so do the keepers.
        let (mut part, mut keepers) = (view.backends().iter().peekable(), view.keepers().iter().peekable());
        for member in &table.members {
            let is_next = |next: &&Arc<Backend>| Arc::ptr_eq(next, &member.backend);
            member.backend.set_serves(if part.next_if(is_next).is_some() {
                Serves::Anybody
            } else if keepers.next_if(is_next).is_some() {
                Serves::Stayers
            } else {
                Serves::Nobody
            });
        }
        for backend in &table.leaving {
            backend.set_serves(Serves::Nobody);
        }
        let view = Arc::new(view);
        self.view.store(view.clone());
        self.until.store(until, Ordering::Relaxed);
        drop(table);
        self.queue.settle(view.backends(), view.keepers());
    }
}
