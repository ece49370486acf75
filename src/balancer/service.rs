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
use tokio::sync::watch;
use tokio::time::sleep;

use super::accept::Listener;
use super::health::Checker;
use super::http::upstream;
use super::open::Open;
use super::report::{Report, Seen};
use super::secret;
use super::site::Site;
use super::snapshot::Snapshot;
use super::statistics::{Overview, Statistics};
use super::sticky::Secret;
use super::tls::TlsError;
use super::worker::Workers;
use crate::clock;
use crate::config::load_balancer::DataPath;
use crate::config::{Config, Faults, Id, Pointer, Rule};
use crate::plan::Availability;
use crate::store::StoreError;

/// How long an overview holds while nothing changes that somebody tells of.
const OVERVIEW: Duration = Duration::from_secs(5);
/// How often what waits is looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the balancers cannot be served as configured.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The service cannot start.
    #[error("the balancers' threads cannot be started: {0}")]
    Start(#[source] io::Error),
    /// What is known of backends cannot be read.
    #[error("what is known of backends cannot be read: {0}")]
    Store(#[from] StoreError),
    /// What cookies are signed with cannot be read or kept.
    #[error("what cookies are signed with cannot be kept: {0}")]
    Secret(#[source] io::Error),
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

impl Unserved {
    /// The same as faults of the configuration, each at the member that it is about.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for (id, reason) in &self.0 {
            let at = Pointer::root().key("load_balancers").key(id.as_str());
            let (member, rule) = match reason {
                Reason::Listen(..) => ("port", Rule::Conflict),
                Reason::Tls(_) => ("tls", Rule::InvalidValue),
            };
            faults.add(at.key(member), rule, reason.to_string());
        }
        faults
    }
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
    checker: Checker,
    /// What cookies are signed with.
    secret: Secret,
    state: Arc<Mutex<State>>,
    /// How each balancer was when somebody asked last, and since when.
    seen: Mutex<Seen>,
    /// What was said last of how balancers do; nothing where the configuration changed since.
    overview: Mutex<Option<KeptOverview>>,
    applying: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct KeptOverview {
    availability: Arc<Availability>,
    taken: Instant,
    overview: Overview,
}

#[derive(Debug, Default)]
struct State {
    config: Config,
    /// Why balancers are not served.
    unserved: BTreeMap<Id, String>,
    sites: BTreeMap<Id, Arc<Site>>,
    listeners: BTreeMap<SocketAddrV4, Arc<Listener>>,
    /// Listeners that are not wanted any more, and until when their connections may go on.
    ending: Vec<(Instant, Arc<Listener>)>,
}

impl Service {
    /// A service that serves nothing. Starts the threads that connections live on; health checks run on the caller's
    /// runtime. `state_dir` holds what is known of backends over a restart.
    ///
    /// # Errors
    /// The system gives no threads, or what is known cannot be read.
    pub fn open(state_dir: &Path) -> Result<Self, BalancerError> {
        let state = Arc::<Mutex<State>>::default();
        let told = Arc::downgrade(&state);
        let checker = Checker::open(state_dir, move |turn| {
            let site = told.upgrade().and_then(|state| state.lock().sites.get(&turn.name.balancer).cloned());
            if let Some(site) = site {
                site.turned(turn, clock::moment());
            }
        })?;
        let secret = secret::keep(state_dir).map_err(BalancerError::Secret)?;
        let workers = Workers::start().map_err(BalancerError::Start)?;
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
        Ok(Self {
            workers,
            checker,
            secret,
            state,
            seen: Mutex::default(),
            overview: Mutex::default(),
            applying: tokio::sync::Mutex::default(),
        })
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
        let mut changed = Vec::new();
        let config = snapshot.config();
        self.checker.apply(config);
        let proxied = config.load_balancers().iter().filter(|(_, config)| config.path() == DataPath::Proxy);
        for (id, config) in proxied {
            match Site::next(before.get(id), id, config, &snapshot, &self.secret, (now, at)) {
                Ok(site) => {
                    if before.get(id).is_none_or(|before| !Arc::ptr_eq(before, &site)) {
                        site.watch(&self.checker, now);
                        changed.push(site.clone());
                    }
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
                    listener.swap(site);
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
            state.config = config.clone();
            state.unserved = unserved.iter().map(|(id, reason)| (id.clone(), reason.to_string())).collect();
            unwanted
        };
        // What checks found between was told to the sites of before.
        changed.iter().for_each(|site| site.watch(&self.checker, now));
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
        *self.overview.lock() = None;
        if unserved.is_empty() { Ok(()) } else { Err(BalancerError::Unserved(Unserved(unserved))) }
    }

    /// What went through, and how balancers and their backends do.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let (config, sites, listening, reasons) = {
            let state = self.state.lock();
            let listening = state.listeners.keys().copied().collect();
            (state.config.clone(), state.sites.clone(), listening, state.unserved.clone())
        };
        let report =
            Report { checker: &self.checker, listening, reasons, now: clock::moment(), at: clock::now() };
        let mut seen = self.seen.lock();
        report.statistics(&config, &sites, &mut seen)
    }

    /// How balancers do, without what they count.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let availability = self.checker.availability().borrow().clone();
        let now = clock::moment();
        let mut kept = self.overview.lock();
        if let Some(kept) = &*kept
            && Arc::ptr_eq(&kept.availability, &availability)
            && now.duration_since(kept.taken) < OVERVIEW
        {
            return kept.overview.clone();
        }
        let overview = self.statistics().overview();
        *kept = Some(KeptOverview { availability, taken: now, overview: overview.clone() });
        overview
    }

    /// Who is down and what drains, for both ways of balancing; it changes by itself.
    #[must_use]
    pub fn availability(&self) -> watch::Receiver<Arc<Availability>> {
        self.checker.availability()
    }

    /// How many listeners are not wanted any more and have connections still.
    #[must_use]
    pub fn ending_listeners(&self) -> usize {
        self.state.lock().ending.len()
    }

    /// Closes every socket and ends every connection and thread.
    pub async fn close(self) {
        let listeners = std::mem::take(&mut self.state.lock().listeners);
        for listener in listeners.into_values() {
            listener.end().await;
        }
        self.workers.stop().await;
        self.checker.close().await;
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
