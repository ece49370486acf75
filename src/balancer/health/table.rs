//! Which backends are watched, how each is, and who is asked next. Pure: time and chance are arguments.
//!
//! An edit costs what it changes: balancers that stay the same are not looked at. Called by `checker.rs`, which holds it
//! behind a lock.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imbl::ordmap::DiffItem;
use tokio::sync::mpsc;

use super::drain::Drains;
use super::entry::{
    BackendHealth, Entry, Job, LastCheck, Remembered, RememberedState, Turn, Unstored, interval,
};
use super::passive::{Passive, Seen};
use super::state::{Outcome, State, Thresholds};
use crate::balancer::condition::Health;
use crate::clock::Timestamp;
use crate::config::load_balancer::LoadBalancer;
use crate::config::pool::HealthCheck;
use crate::config::{Config, Id};
use crate::plan::{Availability, BackendName};

/// Backends that come in one change are first asked one after the other, this far apart: a thousand in half a second.
const STAGGER: Duration = Duration::from_micros(500);
/// How long after a check began a failed connection may bring the next one about.
const HASTE: Duration = Duration::from_secs(1);

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    config: Config,
    entries: HashMap<u64, Entry>,
    /// The entries' numbers by balancer, and by pool and backend within it.
    numbers: BTreeMap<Id, BTreeMap<(Id, Id), u64>>,
    due: BTreeSet<(Instant, u64)>,
    next_number: u64,
    availability: Availability,
    drains: Drains,
    remembered: HashMap<BackendName, RememberedState>,
    unstored: Unstored,
    seen: mpsc::Sender<Seen>,
}

/// A pool's check with what it takes to watch a backend by it.
struct Watch<'a> {
    check: Arc<HealthCheck>,
    digest: u64,
    now: Instant,
    wall: Timestamp,
    balancer: &'a Id,
    pool: &'a Id,
}

impl Table {
    pub(super) fn new(remembered: Remembered, seen: mpsc::Sender<Seen>, wall: Timestamp) -> Self {
        let drains = Drains::remembered(remembered.drains, wall);
        // The first plan is made before anything is configured here: whoever was down has no connections from the start.
        let down = remembered.states.iter().filter(|(_, known)| known.state.health == Health::Down);
        let availability = Availability {
            down: down.map(|(name, _)| name.clone()).collect(),
            draining: drains.iter().map(|(balanced, _)| balanced).collect(),
            ..Availability::default()
        };
        Self {
            config: Config::default(),
            entries: HashMap::new(),
            numbers: BTreeMap::new(),
            due: BTreeSet::new(),
            next_number: 0,
            availability,
            drains,
            remembered: remembered.states,
            unstored: Unstored::default(),
            seen,
        }
    }

    /// Watches what a configuration says, from `now` on.
    pub(super) fn apply(&mut self, config: &Config, now: Instant, wall: Timestamp) {
        let before = std::mem::replace(&mut self.config, config.clone());
        let next = Arc::new(std::mem::take(&mut self.availability)).following(&before, config);
        self.availability = Arc::unwrap_or_clone(next);
        let touched = self.drains.follow(&self.availability, &before, config, wall);
        self.unstored.drains.extend(touched);
        let mut first = now;
        for item in before.load_balancers().diff(config.load_balancers()) {
            match item {
                DiffItem::Add(id, new) => self.watch(id, new, &mut first, wall),
                DiffItem::Remove(id, _) => self.forget(id, None),
                DiffItem::Update { old: (id, old), new: (_, new) } => {
                    if old.pools != new.pools {
                        self.forget(id, Some(new));
                        self.watch(id, new, &mut first, wall);
                    }
                }
            }
        }
        // What nobody asked for by now is of another configuration.
        for (name, _) in self.remembered.drain() {
            self.availability.down.remove(&name);
            self.unstored.names.insert(name);
        }
    }

    /// Forgets the backends of a balancer that are not watched any more by what it is now.
    fn forget(&mut self, balancer: &Id, now: Option<&LoadBalancer>) {
        let watched = |pool: &Id, backend: &Id| {
            let pool = now.and_then(|balancer| balancer.pools.get(pool));
            pool.is_some_and(|pool| pool.health_check.is_some() && pool.backends.contains_key(backend))
        };
        let own = self.numbers.get(balancer).into_iter().flat_map(BTreeMap::keys);
        let gone: Vec<BackendName> = own
            .filter(|(pool, backend)| !watched(pool, backend))
            .map(|(pool, backend)| BackendName {
                balancer: balancer.clone(),
                pool: pool.clone(),
                backend: backend.clone(),
            })
            .collect();
        for name in gone {
            self.remove(&name);
        }
        if now.is_none() {
            self.numbers.remove(balancer);
        }
    }

    fn remove(&mut self, name: &BackendName) -> Option<Entry> {
        let own = self.numbers.get_mut(&name.balancer)?;
        let number = own.remove(&(name.pool.clone(), name.backend.clone()))?;
        self.availability.down.remove(name);
        let entry = self.entries.remove(&number)?;
        if entry.state.health != Health::Unknown {
            self.unstored.names.insert(name.clone());
        }
        self.due.remove(&(entry.next, number));
        Some(entry)
    }

    /// Watches the backends of a balancer; those that are watched already and did not change are left alone.
    fn watch(&mut self, balancer: &Id, new: &LoadBalancer, first: &mut Instant, wall: Timestamp) {
        for (pool, content) in new.pools.iter() {
            let Some(check) = &content.health_check else { continue };
            let digest = super::store::digest(check);
            let mut shared: Option<Arc<HealthCheck>> = None;
            for (backend, wanted) in content.backends.iter() {
                let (endpoint, asked_at) = (wanted.endpoint(), check.endpoint(wanted));
                let name =
                    BackendName { balancer: balancer.clone(), pool: pool.clone(), backend: backend.clone() };
                let known = self.entry(&name);
                if known.is_some_and(|known| known.endpoint == endpoint && *known.check == *check) {
                    continue;
                }
                let check = shared.get_or_insert_with(|| Arc::new(check.clone())).clone();
                let watch = Watch { check, digest, now: *first, wall, balancer, pool };
                self.add(backend, endpoint, asked_at, &watch);
                *first += STAGGER;
            }
        }
    }

    fn add(&mut self, backend: &Id, endpoint: SocketAddrV4, asked_at: SocketAddrV4, watch: &Watch<'_>) {
        let Watch { check, digest, now, wall, balancer, pool } = watch;
        let name =
            BackendName { balancer: (*balancer).clone(), pool: (*pool).clone(), backend: backend.clone() };
        let before = self.remove(&name).filter(|before| before.endpoint == endpoint);
        let stored = self.remembered.remove(&name);
        if stored.is_some() {
            // It is written anew, or forgotten.
            self.unstored.names.insert(name.clone());
        }
        let stored = stored.filter(|stored| stored.endpoint == endpoint);
        // Another check has to prove it anew, but who was down is not trusted before.
        let state = match (before, stored) {
            (Some(before), _) => before.state.unproven(),
            (None, Some(stored)) if stored.check == *digest || stored.state.health == Health::Down => {
                stored.state
            }
            _ => State::unknown(*wall),
        };
        if state.health == Health::Down {
            self.availability.down.insert(name.clone());
        } else {
            self.availability.down.remove(&name);
        }
        let number = self.next_number;
        self.next_number += 1;
        let passive = Arc::new(Passive::new(number, self.seen.clone()));
        self.due.insert((*now, number));
        let own = self.numbers.entry(name.balancer.clone()).or_default();
        own.insert((name.pool.clone(), name.backend.clone()), number);
        let (check, digest) = (check.clone(), *digest);
        let entry = Entry {
            name,
            endpoint,
            asked_at,
            check,
            digest,
            state,
            last: None,
            began: None,
            under_way: false,
            next: *now,
            passive,
        };
        self.entries.insert(number, entry);
    }

    /// The checks that are to be made now, so many at most. Each is under way until [`Table::done`] is told of it.
    pub(super) fn due(&mut self, now: Instant, room: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        while jobs.len() < room {
            let Some((at, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.due.remove(&(at, number));
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.began = Some(now);
                entry.under_way = true;
                jobs.push(Job { number, endpoint: entry.asked_at, check: entry.check.clone() });
            }
        }
        jobs
    }

    /// When the next check is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the outcome of a check. The next one begins an interval after this one did, or now if that is over.
    pub(super) fn done(
        &mut self,
        number: u64,
        outcome: Outcome,
        now: Instant,
        wall: Timestamp,
        chance: u64,
    ) -> Option<Turn> {
        let entry = self.entries.get_mut(&number).filter(|entry| entry.under_way)?;
        let began = entry.began.unwrap_or(now);
        entry.under_way = false;
        entry.next = (began + interval(&entry.check, chance)).max(now);
        self.due.insert((entry.next, number));
        let took = now.duration_since(began);
        entry.last = Some(LastCheck { at: wall, took, outcome: outcome.clone() });
        if matches!(outcome, Outcome::Well(_)) {
            entry.passive.succeeded();
        }
        let thresholds = Thresholds::from(&*entry.check);
        self.turn(number, |state| state.next(outcome, thresholds, wall))
    }

    /// Takes a failed connection: the next check comes soon, and so many in a row need none.
    pub(super) fn seen(&mut self, seen: Seen, now: Instant, wall: Timestamp) -> Option<Turn> {
        let entry = self.entries.get_mut(&seen.number)?;
        let soon = entry.began.map_or(now, |began| (began + HASTE).max(now));
        if !entry.under_way && soon < entry.next {
            self.due.remove(&(entry.next, seen.number));
            entry.next = soon;
            self.due.insert((soon, seen.number));
        }
        if seen.failures < entry.check.unhealthy_threshold {
            return None;
        }
        let reason = Cow::Owned(format!("connections of clients: {}", seen.reason));
        self.turn(seen.number, |state| state.condemned(reason, wall))
    }

    /// Changes what is known of a backend, and what follows from it.
    fn turn(&mut self, number: u64, next: impl FnOnce(State) -> State) -> Option<Turn> {
        let entry = self.entries.get_mut(&number)?;
        let state = next(entry.state.clone());
        let before = std::mem::replace(&mut entry.state, state.clone());
        let (from, to) = (before.health, state.health);
        if from != to {
            if to == Health::Down {
                self.availability.down.insert(entry.name.clone());
            } else {
                self.availability.down.remove(&entry.name);
            }
            self.unstored.names.insert(entry.name.clone());
        } else if before.reason == state.reason {
            return None;
        }
        Some(Turn { name: entry.name.clone(), endpoint: entry.endpoint, from, state })
    }

    /// Ends what drained for long enough.
    pub(super) fn expire(&mut self, wall: Timestamp) {
        let over = self.drains.expire(&mut self.availability, wall);
        self.unstored.drains.extend(over);
    }

    /// Whether anything drains.
    pub(super) fn drains(&self) -> &Drains {
        &self.drains
    }

    /// What is to be published.
    pub(super) const fn availability(&self) -> &Availability {
        &self.availability
    }

    /// How a backend is; nothing where it is not checked.
    pub(super) fn health(&self, name: &BackendName) -> Option<BackendHealth> {
        let entry = self.entry(name)?;
        Some(BackendHealth { state: entry.state.clone(), last: entry.last.clone() })
    }

    /// What is known of a backend; nothing where it is not checked.
    pub(super) fn entry(&self, name: &BackendName) -> Option<&Entry> {
        let own = self.numbers.get(&name.balancer)?;
        self.entries.get(own.get(&(name.pool.clone(), name.backend.clone()))?)
    }

    /// All backends that are checked.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.numbers.values().flat_map(BTreeMap::values).filter_map(|number| self.entries.get(number))
    }

    /// What connections of clients tell of a backend is told to this; nothing where it is not checked.
    pub(super) fn passive(&self, name: &BackendName) -> Option<Arc<Passive>> {
        self.entry(name).map(|entry| entry.passive.clone())
    }

    /// How much there is to be stored.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.drains.iter().count()
    }

    /// Puts back what could not be stored.
    pub(super) fn put_back(&mut self, unstored: Unstored) {
        self.unstored.names.extend(unstored.names);
        self.unstored.drains.extend(unstored.drains);
    }

    /// What changed since this was called last.
    pub(super) fn take_unstored(&mut self) -> Unstored {
        std::mem::take(&mut self.unstored)
    }
}
