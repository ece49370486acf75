//! The checks at work: what is due is asked, what comes of it is published and remembered.
//!
//! One task owns the schedule, one writes to disk; a check that is under way is a task of its own, so nobody waits for
//! anybody. Called by the balancer's service.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{Id as TaskId, JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use super::entry::{BackendHealth, Turn};
use super::passive::{Passive, Seen};
use super::state::Outcome;
use super::table::Table;
use super::{probe, store};
use crate::balancer::condition::Health;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::plan::facts::Balanced;
use crate::plan::{Availability, BackendName};
use crate::store::{BackendFile, StoreError};

/// How many checks are under way at a time. It takes so many backends that keep silent at once to hold up another.
const UNDER_WAY: usize = 4096;
/// How many failed connections of clients may wait to be looked at; more say the same.
const SEEN: usize = 1024;
/// How long between two writes, and how often deadlines of what drains are looked at.
const PACE: Duration = Duration::from_secs(1);

/// The health checks of all balancers. They run until [`Checker::close`], or until this is dropped.
#[derive(Debug)]
pub struct Checker {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
    writing: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Something else is due.
    wake: Notify,
    /// Something is to be stored.
    stored: Notify,
    availability: watch::Sender<Arc<Availability>>,
    observer: Observer,
}

/// Who is told of every turn.
struct Observer(Box<dyn Fn(&Turn) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Checker {
    /// Begins with what is remembered in `state_dir`, watching nobody. Has to be called on a runtime, which checks run on.
    ///
    /// `observer` is told whenever the health of a backend or its reason is another than before, in order. It must be
    /// quick and must not call the checker: nobody else is told anything meanwhile.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(
        state_dir: &Path,
        observer: impl Fn(&Turn) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let (file, entries) = BackendFile::open(state_dir)?;
        let (sender, seen) = mpsc::channel(SEEN);
        let table = Table::new(store::read(entries), sender, clock::now());
        let availability = watch::Sender::new(Arc::new(table.availability().clone()));
        let shared = Arc::new(Shared {
            table: Mutex::new(table),
            wake: Notify::new(),
            stored: Notify::new(),
            availability,
            observer: Observer(Box::new(observer)),
        });
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run(shared.clone(), seen));
        let writing = tokio::spawn(write(shared.clone(), file, stopped));
        Ok(Self { shared, running, writing, stop })
    }

    /// Watches the backends that a configuration names. What is known of those that it leaves alone stays; what it takes
    /// away drains. Costs what differs from the configuration before; [`Checker::availability`] follows at once.
    pub fn apply(&self, config: &Config) {
        let mut table = self.shared.table.lock();
        table.apply(config, clock::moment(), clock::now());
        self.shared.publish(&table);
        drop(table);
        self.shared.wake.notify_one();
        self.shared.stored.notify_one();
    }

    /// Who is down and what drains, now and whenever that changes.
    #[must_use]
    pub fn availability(&self) -> watch::Receiver<Arc<Availability>> {
        self.shared.availability.subscribe()
    }

    /// How a backend is; nothing where it is not checked, and so taken to be up.
    #[must_use]
    pub fn health(&self, name: &BackendName) -> Option<BackendHealth> {
        self.shared.table.lock().health(name)
    }

    /// What connections of clients tell of a backend is to be told to this; nothing where it is not checked. It is good
    /// until the configuration changes the backend or its check.
    #[must_use]
    pub fn passive(&self, name: &BackendName) -> Option<Arc<Passive>> {
        self.shared.table.lock().passive(name)
    }

    /// The connections that drain, each until when.
    #[must_use]
    pub fn draining(&self) -> Vec<(Balanced, Timestamp)> {
        self.shared.table.lock().drains().iter().collect()
    }

    /// Ends all checks; what is known is on disk when this returns.
    pub async fn close(mut self) {
        self.running.abort();
        // It ends by being ended.
        let _ = (&mut self.running).await;
        let (stop, _) = oneshot::channel();
        // The writer ends when nobody can stop it any more, after a last write.
        drop(std::mem::replace(&mut self.stop, stop));
        if let Err(error) = (&mut self.writing).await {
            tracing::error!(%error, "what is known of backends was not written");
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Shared {
    /// Publishes what the table says, if it says anything new.
    fn publish(&self, table: &Table) {
        self.availability.send_if_modified(|published| {
            let is_new = **published != *table.availability();
            if is_new {
                *published = Arc::new(table.availability().clone());
            }
            is_new
        });
    }

    fn turned(&self, table: &Table, turn: &Turn) {
        (self.observer.0)(turn);
        let (Turn { name, endpoint, from, state }, now) = (turn, turn.state.health);
        if *from == now {
            return;
        }
        let BackendName { balancer, pool, backend } = name;
        let (before, now, reason) = (from.as_str(), now.as_str(), &state.reason);
        let line = format!("backend {backend} of {balancer} is {now}: {reason}");
        if state.health == Health::Down {
            tracing::warn!(%balancer, %pool, %backend, %endpoint, before, %reason, "{line}");
        } else {
            tracing::info!(%balancer, %pool, %backend, %endpoint, before, %reason, "{line}");
        }
        self.publish(table);
        self.stored.notify_one();
    }
}

/// Makes the checks that are due, for ever.
async fn run(shared: Arc<Shared>, mut seen: mpsc::Receiver<Seen>) {
    let tls = match probe::client_config() {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "there are no checks");
            return;
        }
    };
    let mut probes = Probes { running: JoinSet::new(), numbers: HashMap::new(), tls };
    let mut drained_at = clock::moment();
    loop {
        let (next, drains) = {
            let now = clock::moment();
            let mut table = shared.table.lock();
            if !table.drains().is_empty() && now >= drained_at {
                table.expire(clock::now());
                shared.publish(&table);
                shared.stored.notify_one();
                drained_at = now + PACE;
            }
            probes.begin(&mut table, now);
            let room = probes.running.len() < UNDER_WAY;
            (table.next_due().filter(|_| room), !table.drains().is_empty())
        };
        let until = |at: Option<std::time::Instant>| async move {
            match at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(joined) = probes.running.join_next_with_id(), if !probes.running.is_empty() => {
                let mut table = shared.table.lock();
                let mut ended = Some(joined);
                while let Some(joined) = ended {
                    probes.end(joined, &shared, &mut table);
                    ended = probes.running.try_join_next_with_id();
                }
            }
            Some(seen) = seen.recv() => {
                let mut table = shared.table.lock();
                if let Some(turn) = table.seen(seen, clock::moment(), clock::now()) {
                    shared.turned(&table, &turn);
                }
            }
            () = shared.wake.notified() => {}
            () = until(next) => {}
            () = until(drains.then_some(drained_at)) => {}
        }
    }
}

/// The checks that are under way.
struct Probes {
    running: JoinSet<Outcome>,
    /// The entry that each is for.
    numbers: HashMap<TaskId, u64>,
    tls: Arc<ClientConfig>,
}

impl Probes {
    fn begin(&mut self, table: &mut Table, now: std::time::Instant) {
        for job in table.due(now, UNDER_WAY.saturating_sub(self.running.len())) {
            let tls = self.tls.clone();
            let task = self.running.spawn(async move { probe::probe(job.endpoint, &job.check, &tls).await });
            self.numbers.insert(task.id(), job.number);
        }
    }

    fn end(
        &mut self,
        joined: Result<(TaskId, Outcome), tokio::task::JoinError>,
        shared: &Shared,
        table: &mut Table,
    ) {
        let (id, outcome) = match joined {
            Ok(ended) => ended,
            // Only a bug ends one so; its backend goes on to be asked.
            Err(error) => (error.id(), Outcome::Undecided(format!("the check failed: {error}").into())),
        };
        let Some(number) = self.numbers.remove(&id) else { return };
        // Where there is no chance, intervals are the shortest that are allowed.
        let chance = clock::random_u64().unwrap_or_default();
        if let Some(turn) = table.done(number, outcome, clock::moment(), clock::now(), chance) {
            shared.turned(table, &turn);
        }
    }
}

/// Writes what changed, every second at most and once more at the end.
async fn write(shared: Arc<Shared>, mut file: BackendFile, mut stopped: oneshot::Receiver<()>) {
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = shared.stored.notified() => {
                tokio::select! {
                    () = sleep(PACE) => {}
                    _ = &mut stopped => stopping = true,
                }
            }
            _ = &mut stopped => stopping = true,
        }
        store_changes(&shared, &mut file).await;
    }
}

async fn store_changes(shared: &Shared, file: &mut BackendFile) {
    let (unstored, changes, all) = {
        let mut table = shared.table.lock();
        let unstored = table.take_unstored();
        if unstored.is_empty() {
            return;
        }
        let changes = store::changes(&table, &unstored);
        let all = file.is_due(table.len()).then(|| store::all(&table));
        (unstored, changes, all)
    };
    let written = match all {
        Some(all) => file.rewrite(&all).await,
        None => file.append(&changes).await,
    };
    if let Err(error) = written {
        tracing::warn!(%error, "what is known of backends is not on disk, and will be tried again");
        shared.table.lock().put_back(unstored);
        shared.stored.notify_one();
    }
}
