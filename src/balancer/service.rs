//! The balancers as a service that never restarts: each apply puts the next snapshot under it.
//!
//! What a snapshot wants and is not there is opened before anything is closed; a port that somebody else has costs its
//! own balancer and nothing else. Called by the daemon, which keeps one for its whole life, and by the loop.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::sleep;

use super::accept::{Listener, Open};
use super::counters::TrafficCounts;
use super::http::upstream;
use super::site::Site;
use super::snapshot::Snapshot;
use super::tls::TlsError;
use super::worker::Workers;
use crate::clock;
use crate::config::Id;
use crate::config::load_balancer::DataPath;

/// How often what waits is looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the balancers cannot be served as configured.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The service cannot start.
    #[error("the balancers' threads cannot be started: {0}")]
    Start(#[source] io::Error),
    /// Some balancers cannot be served; all others are.
    #[error("{0}")]
    Unserved(Unserved),
}

/// Balancers that cannot be served, and why.
#[derive(Debug)]
pub struct Unserved(pub Vec<(Id, Reason)>);

/// Why a balancer is not served.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Its port cannot be had.
    #[error("{0} cannot be listened on: {1}")]
    Listen(SocketAddrV4, io::Error),
    /// Its TLS cannot be spoken.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (id, reason)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "load balancer `{id}`: {reason}")?;
        }
        Ok(())
    }
}

/// The balancers in user space. Serves nothing until a snapshot is applied.
#[derive(Debug)]
pub struct Service {
    workers: Workers,
    state: Arc<Mutex<State>>,
    applying: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    sites: BTreeMap<Id, Arc<Site>>,
    listeners: BTreeMap<SocketAddrV4, Arc<Listener>>,
    /// Listeners that are not wanted any more, and until when their connections may go on.
    ending: Vec<(Instant, Arc<Listener>)>,
}

/// What went through the balancers, and how they do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Statistics {
    /// By balancer.
    pub balancers: BTreeMap<Id, BalancerStatistics>,
    /// Listeners that are not wanted any more and have connections still.
    pub ending_listeners: usize,
}

/// One balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BalancerStatistics {
    /// Whether its port is listened on.
    pub listening: bool,
    /// What went through it.
    pub traffic: TrafficCounts,
    /// Its pools.
    pub pools: BTreeMap<Id, PoolStatistics>,
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PoolStatistics {
    /// Whether a backend takes part.
    pub up: bool,
    /// Who waits for a place at a backend.
    pub waiting: usize,
    /// What went through it.
    pub traffic: TrafficCounts,
    /// Its backends.
    pub backends: BTreeMap<Id, BackendStatistics>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BackendStatistics {
    /// Where it is.
    #[schemars(with = "String")]
    pub endpoint: SocketAddrV4,
    /// What checks say: unknown, up or down.
    pub health: &'static str,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: clock::Timestamp,
    /// Whether it takes what is new.
    pub open: bool,
    /// Connections or requests of this moment.
    pub active: u32,
    /// How many seconds it rests after failures still.
    pub rests_seconds: u64,
    /// What went through it.
    pub traffic: TrafficCounts,
}

impl Service {
    /// A service that serves nothing. Starts the threads that it runs on. `state_dir` holds what outlives a restart.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn open(_state_dir: &Path) -> Result<Self, BalancerError> {
        let workers = Workers::start().map_err(BalancerError::Start)?;
        let state = Arc::<Mutex<State>>::default();
        for (number, worker) in workers.all().iter().enumerate() {
            let state = Arc::downgrade(&state);
            worker.handle().spawn(async move {
                loop {
                    sleep(SWEEP).await;
                    let Some(state) = state.upgrade() else { return };
                    let wanted = if number == 0 {
                        state.lock().tidy(clock::moment())
                    } else {
                        state.lock().endpoints()
                    };
                    drop(state);
                    upstream::sweep(&wanted);
                }
            });
        }
        Ok(Self { workers, state, applying: tokio::sync::Mutex::default() })
    }

    /// Puts a snapshot under the service: what it does not change goes on untouched. May be called from several tasks.
    ///
    /// # Errors
    /// Some balancers cannot be served; everything else is as the snapshot says.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), BalancerError> {
        let _applying = self.applying.lock().await;
        let now = clock::moment();
        let at = clock::now();
        let before = self.state.lock().sites.clone();
        let mut unserved = Vec::new();
        let mut sites = BTreeMap::new();
        let proxied = snapshot.balancers().iter().filter(|(_, config)| config.path() == DataPath::Proxy);
        for (id, config) in proxied {
            match Site::next(before.get(id), id, config, &snapshot, (now, at)) {
                Ok(site) => {
                    sites.insert(id.clone(), site);
                }
                Err(error) => unserved.push((id.clone(), Reason::Tls(error))),
            }
        }
        let mut opened = Vec::new();
        let mut kept = BTreeMap::new();
        for site in sites.values() {
            let local = site.config.endpoint();
            let running =
                self.state.lock().listeners.get(&local).filter(|listener| listener.is_running()).cloned();
            match running {
                Some(listener) => {
                    listener.swap(site.clone());
                    kept.insert(local, listener);
                }
                None => match Open::new(local) {
                    Ok(open) => opened.push((open, site.clone())),
                    Err(error) => unserved.push((site.id.clone(), Reason::Listen(local, error))),
                },
            }
        }
        let workers = self.workers.all();
        for (number, (open, site)) in opened.into_iter().enumerate() {
            let own = workers.get(number % workers.len()).unwrap_or(self.workers.first());
            match Listener::serve(open, site.clone(), own, workers) {
                Ok(listener) => {
                    kept.insert(listener.local(), listener);
                }
                Err(error) => {
                    unserved.push((site.id.clone(), Reason::Listen(site.config.endpoint(), error)));
                }
            }
        }
        let unwanted: Vec<Arc<Listener>> = {
            let mut state = self.state.lock();
            let listeners = std::mem::replace(&mut state.listeners, kept);
            let is_kept = |listener: &Arc<Listener>| {
                state.listeners.get(&listener.local()).is_some_and(|kept| Arc::ptr_eq(kept, listener))
            };
            let unwanted = listeners.into_values().filter(|listener| !is_kept(listener)).collect();
            state.sites = sites.clone();
            unwanted
        };
        for listener in unwanted {
            let drain = Duration::from_secs(listener.site().config.drain_seconds.into());
            listener.end().await;
            self.state.lock().ending.push((now + drain, listener));
        }
        for (id, site) in before {
            if !sites.contains_key(&id) {
                site.retire(now);
            }
        }
        self.state.lock().tidy(now);
        if unserved.is_empty() { Ok(()) } else { Err(BalancerError::Unserved(Unserved(unserved))) }
    }

    /// What went through, and how backends do.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let (sites, listeners, ending) = {
            let state = self.state.lock();
            let listening: HashSet<SocketAddrV4> = state.listeners.keys().copied().collect();
            (state.sites.clone(), listening, state.ending.len())
        };
        let now = clock::moment();
        let balancers = sites.iter().map(|(id, site)| {
            let listening = listeners.contains(&site.config.endpoint());
            let pools = site.pools.iter().map(|(id, pool)| {
                let backends = pool.pool.backends().into_iter().map(|listed| {
                    let backend = &listed.backend;
                    let condition = backend.condition();
                    let statistics = BackendStatistics {
                        endpoint: backend.endpoint(),
                        health: condition.health.as_str(),
                        reason: condition.reason.to_string(),
                        since: condition.since,
                        open: backend.is_open(),
                        active: backend.active(),
                        rests_seconds: backend.rest(now).map_or(0, |rest| rest.as_secs()),
                        traffic: backend.traffic().read(),
                    };
                    (backend.name().backend.clone(), statistics)
                });
                let statistics = PoolStatistics {
                    up: pool.pool.is_up(),
                    waiting: pool.pool.waiting(),
                    traffic: pool.traffic.read(),
                    backends: backends.collect(),
                };
                (id.clone(), statistics)
            });
            let statistics =
                BalancerStatistics { listening, traffic: site.traffic.read(), pools: pools.collect() };
            (id.clone(), statistics)
        });
        Statistics { balancers: balancers.collect(), ending_listeners: ending }
    }

    /// Closes every socket and ends every connection and thread.
    pub async fn close(self) {
        let listeners = std::mem::take(&mut self.state.lock().listeners);
        for listener in listeners.into_values() {
            listener.end().await;
        }
        self.workers.stop().await;
    }
}

impl State {
    /// Cuts what was allowed to go on and has not ended in time, and forgets what has ended. What connections may be kept
    /// for is returned.
    fn tidy(&mut self, now: Instant) -> HashSet<upstream::Endpoint> {
        self.ending.retain(|(until, listener)| {
            if now >= *until {
                listener.cut();
            }
            listener.connections() > 0
        });
        self.endpoints()
    }

    fn endpoints(&self) -> HashSet<upstream::Endpoint> {
        let pools = self
            .sites
            .values()
            .flat_map(|site| site.config.pools.iter().map(|(id, pool)| (site.pools.get(id), pool)));
        pools
            .flat_map(|(site, pool)| {
                let number = site.map_or(0, |site| site.tls_number());
                let wanted = pool.backends.values().filter(|backend| backend.enabled);
                wanted.map(move |backend| (backend.endpoint(), number))
            })
            .collect()
    }
}
