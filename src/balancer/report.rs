//! What the balancers count and know, put together for status, metrics and the page.
//!
//! Called by `service.rs` whenever somebody asks.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use super::backend::Backend;
use super::condition::Health;
use super::health::Checker;
use super::pool::Listed;
use super::site::{Site, check_name};
use super::statistics::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, CertificateStatistics,
    PoolStatistics, Statistics, Traffic, balancer_state, pool_state,
};
use crate::clock::Timestamp;
use crate::config::load_balancer::{BalancerProtocol, LoadBalancer};
use crate::config::{Config, Id, pool};
use crate::plan::BackendName;

/// How each balancer, and each of its pools, was when somebody asked last, and since when.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<Id, (Since, BTreeMap<Id, Since>)>);

type Since = (BalancerState, Timestamp);

/// Since when a state is so, given what was seen before.
fn since(before: Option<Since>, state: BalancerState, at: Timestamp) -> Timestamp {
    before.filter(|(before, _)| *before == state).map_or(at, |(_, since)| since)
}

/// What a report is made of, besides the balancers themselves.
pub(super) struct Report<'a> {
    pub(super) checker: &'a Checker,
    /// Where connections are taken.
    pub(super) listening: HashSet<SocketAddrV4>,
    /// Why balancers are not served.
    pub(super) reasons: BTreeMap<Id, String>,
    pub(super) now: Instant,
    pub(super) at: Timestamp,
}

impl Report<'_> {
    /// Everything that is known.
    pub(super) fn statistics(
        &self,
        config: &Config,
        sites: &BTreeMap<Id, Arc<Site>>,
        seen: &mut Seen,
    ) -> Statistics {
        seen.0.retain(|id, _| config.load_balancers().contains_key(id));
        let balancers = config.load_balancers().iter().map(|(id, balancer)| {
            let statistics = self.balancer(id, balancer, sites.get(id).map(|site| &**site), seen);
            (id.clone(), statistics)
        });
        let balancers = balancers.collect();
        let at = i64::try_from(self.at.seconds()).unwrap_or(i64::MAX);
        let certificates = config.certificates().iter().map(|(id, certificate)| {
            let statistics = CertificateStatistics {
                names: certificate.names().to_vec(),
                not_after: Timestamp::from_seconds(
                    u64::try_from(certificate.not_after()).unwrap_or_default(),
                ),
                expired: certificate.not_after() < at,
                fingerprint: certificate.fingerprint().to_owned(),
            };
            (id.clone(), statistics)
        });
        Statistics { balancers, certificates: certificates.collect() }
    }

    fn balancer(
        &self,
        id: &Id,
        balancer: &LoadBalancer,
        site: Option<&Site>,
        seen: &mut Seen,
    ) -> BalancerStatistics {
        let (before, pools_before) =
            seen.0.remove(id).map_or((None, BTreeMap::new()), |(own, pools)| (Some(own), pools));
        let pool =
            |name: &Id, backends: BTreeMap<Id, BackendStatistics>, (queued, queue_failures): (u64, u64)| {
                let (state, reason) = pool_state(&backends);
                let since = since(pools_before.get(name).copied(), state, self.at);
                PoolStatistics { state, reason, since, queued, queue_failures, backends }
            };
        let pools: BTreeMap<Id, PoolStatistics> = match site {
            Some(site) => site
                .pools
                .iter()
                .map(|(name, own)| {
                    let wanted = balancer.pools.get(name);
                    let listed = own.pool.backends();
                    let backends = listed.iter().map(|listed| {
                        (listed.backend.name().backend.clone(), self.backend(listed, wanted, balancer))
                    });
                    let queue = (own.pool.waiting() as u64, own.count_unserved());
                    (name.clone(), pool(name, backends.collect(), queue))
                })
                .collect(),
            None => balancer
                .pools
                .iter()
                .map(|(name, own)| (name.clone(), pool(name, self.kernel_pool(id, name, own), (0, 0))))
                .collect(),
        };
        let (state, reason) = self.state(id, balancer, site, &pools);
        let since = since(before, state, self.at);
        let seen_pools = pools.iter().map(|(name, pool)| (name.clone(), (pool.state, pool.since))).collect();
        seen.0.insert(id.clone(), ((state, since), seen_pools));
        BalancerStatistics {
            endpoint: balancer.endpoint(),
            protocol: match balancer.protocol {
                BalancerProtocol::Tcp => "tcp",
                BalancerProtocol::Udp => "udp",
                BalancerProtocol::Http => "http",
                BalancerProtocol::Https => "https",
            },
            path: balancer.path().as_str(),
            state,
            reason,
            since,
            traffic: site.map(|site| site.tally.traffic()).unwrap_or_default(),
            refused: site.map_or(0, |site| site.tally.refused()),
            requests: site.filter(|_| balancer.is_http()).map(|site| site.tally.requests()),
            pools,
        }
    }

    fn state(
        &self,
        id: &Id,
        balancer: &LoadBalancer,
        site: Option<&Site>,
        pools: &BTreeMap<Id, PoolStatistics>,
    ) -> (BalancerState, Option<String>) {
        if let Some(reason) = self.reasons.get(id) {
            return (BalancerState::Down, Some(reason.clone()));
        }
        if site.is_some() && !self.listening.contains(&balancer.endpoint()) {
            return (BalancerState::Down, Some("nobody listens".to_owned()));
        }
        balancer_state(pools)
    }

    fn backend(
        &self,
        listed: &Listed,
        wanted: Option<&pool::Pool>,
        balancer: &LoadBalancer,
    ) -> BackendStatistics {
        let backend: &Backend = &listed.backend;
        let known = self.checker.health(&check_name(backend));
        let last = known.as_ref().and_then(|known| known.last.as_ref());
        let condition = backend.condition();
        let checked = wanted.is_some_and(|pool| pool.health_check.is_some());
        let rest = backend.rest(self.now);
        let (state, reason) = if listed.leaving || (!listed.enabled && backend.active() > 0) {
            (BackendState::Draining, "taken away, its connections may end".to_owned())
        } else if !listed.enabled {
            (BackendState::Disabled, "disabled".to_owned())
        } else if condition.health == Health::Down {
            (BackendState::Down, condition.reason.to_string())
        } else if let Some(rest) = rest {
            (BackendState::Ejected, format!("failed often in a row, rests {} s", rest.as_secs()))
        } else if checked && condition.health == Health::Unknown {
            (BackendState::Unchecked, condition.reason.to_string())
        } else {
            (BackendState::Up, condition.reason.to_string())
        };
        let tally = &backend.tally;
        let traffic = if balancer.is_http() {
            // A connection is shared by requests of many clients: what is served at once is what a backend feels.
            Traffic { current: backend.active().into(), ..tally.traffic() }
        } else {
            tally.traffic()
        };
        BackendStatistics {
            endpoint: backend.endpoint(),
            weight: listed.weight,
            backup: listed.backup,
            state,
            reason,
            since: condition.since,
            checked: last.map(|last| last.at),
            check_ms: last.map(|last| last.took.as_secs_f64() * 1000.0),
            traffic,
            failures: tally.failures(),
            retries: tally.retries(),
            requests: balancer.is_http().then(|| tally.requests()),
        }
    }

    /// A pool that the kernel serves: what is known of it is what checks say.
    fn kernel_pool(&self, balancer: &Id, id: &Id, pool: &pool::Pool) -> BTreeMap<Id, BackendStatistics> {
        let backends = pool.backends.iter().map(|(backend, wanted)| {
            let name = BackendName { balancer: balancer.clone(), pool: id.clone(), backend: backend.clone() };
            let known = self.checker.health(&name);
            let last = known.as_ref().and_then(|known| known.last.as_ref());
            let state = match known.as_ref().map(|known| known.state.health) {
                _ if !wanted.enabled => BackendState::Disabled,
                Some(Health::Down) => BackendState::Down,
                Some(Health::Unknown) => BackendState::Unchecked,
                Some(Health::Up) | None => BackendState::Up,
            };
            let reason = known.as_ref().map_or("not checked", |known| &*known.state.reason);
            let statistics = BackendStatistics {
                endpoint: wanted.endpoint(),
                weight: wanted.weight,
                backup: wanted.backup,
                state,
                reason: if wanted.enabled { reason.to_owned() } else { "disabled".to_owned() },
                since: known.as_ref().map_or(self.at, |known| known.state.since),
                checked: last.map(|last| last.at),
                check_ms: last.map(|last| last.took.as_secs_f64() * 1000.0),
                traffic: Traffic::default(),
                failures: 0,
                retries: 0,
                requests: None,
            };
            (backend.clone(), statistics)
        });
        backends.collect()
    }
}
