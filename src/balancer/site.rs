//! What a listener serves: one balancer, ready to be asked with every request.
//!
//! A site never changes: an edit makes the next one out of it, which shares whatever the edit does not name. Called by
//! `service.rs` to make them and by every connection.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};

use super::accept::Ending;
use super::backend::Backend;
use super::counters::Tally;
use super::health::{Checker, Passive, State, Turn};
use super::http::{HeadLimits, Times};
use super::key::Keyed;
use super::pool::{Manner, Pool};
use super::rules::Rules;
use super::snapshot::Snapshot;
use super::sticky::{Secret, Sticky};
use super::tls::{ListenerTls, TlsError};
use super::told::Told;
use super::upstream_tls::UpstreamTls;
use crate::clock::{self, Timestamp};
use crate::config::Id;
use crate::config::certificate::authorities;
use crate::config::load_balancer::{LoadBalancer, ProxyProtocol};
use crate::config::pool::{self, BackendTls};
use crate::plan::BackendName;

/// One balancer, ready to serve.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) id: Id,
    pub(crate) config: Arc<LoadBalancer>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) pools: BTreeMap<Id, Arc<PoolSite>>,
    pub(crate) tls: Option<Arc<ListenerTls>>,
    pub(crate) limits: HeadLimits,
    pub(crate) times: Times,
    pub(crate) body_limit: Option<u64>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(super) rules: Rules<Arc<PoolSite>>,
    /// What is hashed, for the algorithms that hash.
    pub(super) keyed: Keyed,
}

/// One of its pools.
#[derive(Debug)]
pub(crate) struct PoolSite {
    pub(crate) pool: Arc<Pool>,
    pub(crate) tls: Option<Arc<UpstreamTls>>,
    /// How clients stay with its backends, where they do.
    pub(crate) sticky: Option<Sticky>,
    settings: Option<BackendTls>,
    shared: Arc<PoolShared>,
}

/// What a pool keeps over all edits.
#[derive(Debug, Default)]
struct PoolShared {
    /// Who is told of backends that fail their clients, by the backend's number.
    passives: ArcSwap<HashMap<u64, Arc<Passive>>>,
    /// How many waited for a place in vain.
    unserved: AtomicU64,
}

impl PoolSite {
    /// What tells the TLS towards its backends from that of others; 0 for none.
    pub(crate) fn tls_number(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.number())
    }
}

/// A client at a listener.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) client: SocketAddrV4,
    /// Where it came to.
    pub(crate) local: SocketAddrV4,
    /// Whether it came within TLS.
    pub(crate) https: bool,
    /// What backends are told of it.
    pub(crate) told: Told,
    pub(crate) ending: Ending,
}

impl Visit {
    /// What the listener serves now.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.ending.site()
    }

    /// Whether the connection should take no further request.
    pub(crate) fn is_over(&self) -> bool {
        self.ending.is_near()
    }

    /// The same, for one that waits: it is woken when the answer changes.
    pub(crate) fn is_ending(&self, cx: &Context<'_>) -> bool {
        self.ending.poll_near(cx)
    }
}

impl Site {
    /// The site of a balancer, given what it was before: whatever did not change is shared.
    ///
    /// # Errors
    /// TLS cannot be spoken as configured.
    pub(crate) fn next(
        previous: Option<&Arc<Self>>,
        id: &Id,
        config: &Arc<LoadBalancer>,
        snapshot: &Snapshot,
        secret: &Secret,
        now: (Instant, Timestamp),
    ) -> Result<Arc<Self>, TlsError> {
        let mut certificates = Vec::new();
        for name in config.tls.iter().flat_map(|tls| &tls.certificates) {
            certificates.extend(snapshot.config().certificates().get(name).cloned());
        }
        let before = previous.and_then(|site| site.tls.as_ref());
        let tls = config.tls.as_ref().map(|tls| ListenerTls::next(before, tls, certificates)).transpose()?;
        if let Some(previous) = previous
            && Arc::ptr_eq(&previous.config, config)
            && previous.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr)
        {
            return Ok(previous.clone());
        }
        let manner =
            Manner { algorithm: config.algorithm, drain: Duration::from_secs(config.drain_seconds.into()) };
        let same_manner = previous.is_some_and(|site| {
            let stays = (&site.config.stickiness, site.config.protocol);
            site.manner() == manner && stays == (&config.stickiness, config.protocol)
        });
        let mut pools = BTreeMap::new();
        for (name, wanted) in &config.pools {
            let before = previous.and_then(|site| Some((site.pools.get(name)?, site.config.pools.get(name))));
            let pool = match before {
                Some((pool, same)) if same_manner && same == Some(wanted) => pool.clone(),
                _ => {
                    let before = before.map(|(pool, _)| pool);
                    let sticky = before.and_then(|pool| pool.sticky.as_ref());
                    let sticky = Sticky::new(config, sticky, secret, now.0);
                    Arc::new(PoolSite::next(before, (id, name), manner, wanted, sticky, now)?)
                }
            };
            pools.insert(name.clone(), pool);
        }
        for (name, gone) in previous.iter().flat_map(|site| &site.pools) {
            if !pools.contains_key(name) {
                gone.pool.retire(manner.drain, now.0);
            }
        }
        let milliseconds = |number: u32| Duration::from_millis(number.into());
        let times = &config.timeouts;
        Ok(Arc::new(Self {
            id: id.clone(),
            config: config.clone(),
            tally: previous.map(|site| site.tally.clone()).unwrap_or_default(),
            rules: Rules::new(config, |id| pools.get(id).cloned()),
            keyed: Keyed::of(config),
            pools,
            tls,
            limits: HeadLimits {
                head: config.limits.header_bytes as usize,
                fields: config.limits.headers as usize,
                target: config.limits.uri_bytes as usize,
            },
            times: Times {
                connect: milliseconds(times.connect_ms),
                client_header: milliseconds(times.client_header_ms),
                client_idle: milliseconds(times.client_idle_ms),
                server_idle: milliseconds(times.server_idle_ms),
                server_response: milliseconds(times.server_response_ms),
                tunnel_idle: milliseconds(times.tunnel_idle_ms),
            },
            body_limit: config.limits.body_bytes,
            proxy_protocol: config.proxy_protocol,
        }))
    }

    fn manner(&self) -> Manner {
        let drain = Duration::from_secs(self.config.drain_seconds.into());
        Manner { algorithm: self.config.algorithm, drain }
    }

    /// What it serves is gone: its pools end what they have.
    pub(crate) fn retire(&self, now: Instant) {
        for pool in self.pools.values() {
            pool.pool.retire(self.manner().drain, now);
        }
    }

    /// What checks say holds for its backends from now on.
    pub(crate) fn watch(&self, checker: &Checker, now: Instant) {
        for pool in self.pools.values() {
            pool.watch(checker, now);
        }
    }

    /// A check says something new of a backend.
    pub(crate) fn turned(&self, turn: &Turn, now: Instant) {
        let Some(pool) = self.pools.get(&turn.name.pool) else { return };
        for listed in pool.pool.backends() {
            let backend = &listed.backend;
            if backend.name().backend == turn.name.backend && backend.endpoint() == turn.endpoint {
                take_over(backend, &turn.state, now);
            }
        }
    }
}

/// A backend, as checks know it.
pub(crate) fn check_name(backend: &Backend) -> BackendName {
    let name = backend.name();
    BackendName { balancer: name.balancer.clone(), pool: name.pool.clone(), backend: name.backend.clone() }
}

fn take_over(backend: &Backend, state: &State, now: Instant) {
    backend.set_health(state.health, &state.reason, now, state.since);
}

impl PoolSite {
    fn next(
        previous: Option<&Arc<Self>>,
        (balancer, id): (&Id, &Id),
        manner: Manner,
        wanted: &pool::Pool,
        sticky: Option<Sticky>,
        (now, at): (Instant, Timestamp),
    ) -> Result<Self, TlsError> {
        let pool = match previous {
            Some(previous) => {
                previous.pool.update(manner, wanted, now, at);
                previous.pool.clone()
            }
            None => Pool::new(balancer.clone(), id.clone(), manner, wanted, now, at),
        };
        let tls = match (&wanted.tls, previous) {
            (None, _) => None,
            (wanted, Some(previous)) if previous.settings == *wanted => previous.tls.clone(),
            (Some(wanted), _) => {
                let roots = wanted.ca_pem.as_ref().filter(|_| wanted.verify).map(|pem| authorities(pem));
                let roots = roots.transpose().map_err(TlsError::Authorities)?;
                let name = wanted.server_name.as_ref().map(|name| name.as_str());
                Some(Arc::new(UpstreamTls::new(roots, name)?))
            }
        };
        let shared = previous.map(|previous| previous.shared.clone()).unwrap_or_default();
        Ok(Self { pool, tls, sticky, settings: wanted.tls.clone(), shared })
    }

    /// Takes over what the checks say of its backends, and tells them of failures from now on.
    fn watch(&self, checker: &Checker, now: Instant) {
        let mut passives = HashMap::new();
        for listed in self.pool.backends() {
            let backend = &listed.backend;
            let name = check_name(backend);
            if let Some(passive) = checker.passive(&name) {
                passives.insert(backend.number(), passive);
            }
            if let Some(known) = checker.health(&name) {
                take_over(backend, &known.state, now);
            }
        }
        self.shared.passives.store(Arc::new(passives));
    }

    /// A backend did what a client asked.
    pub(crate) fn succeeded(&self, backend: &Backend) {
        backend.succeeded();
        if let Some(passive) = self.shared.passives.load().get(&backend.number()) {
            passive.succeeded();
        }
    }

    /// A backend failed a client, for this reason.
    pub(crate) fn failed(&self, backend: &Backend, reason: &str) {
        backend.tally.failed();
        backend.failed(clock::moment());
        self.told(backend, reason);
    }

    /// The checks are told that a backend failed a client.
    pub(crate) fn told(&self, backend: &Backend, reason: &str) {
        if let Some(passive) = self.shared.passives.load().get(&backend.number()) {
            passive.failed(reason);
        }
    }

    /// Somebody waited for a place in vain.
    pub(crate) fn unserved(&self) {
        self.shared.unserved.fetch_add(1, Ordering::Relaxed);
    }

    /// How many waited in vain.
    pub(crate) fn count_unserved(&self) -> u64 {
        self.shared.unserved.load(Ordering::Relaxed)
    }
}
