//! What is known of balancers before anything was counted or checked: what their statistics begin with.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::{
    BackendState, BackendStatistics, BalancerStatistics, CertificateStatistics, PoolStatistics, Requests,
    Statistics, Traffic, balancer_state, pool_state,
};
use crate::clock::Timestamp;
use crate::config::load_balancer::{BalancerProtocol, LoadBalancer, Pool};
use crate::config::{Config, Id};

impl Statistics {
    /// What is known of the balancers of a configuration before anything was counted or checked.
    #[must_use]
    pub fn configured(config: &Config, since: Timestamp) -> Self {
        let balancers = config.load_balancers().iter();
        let certificates = config.certificates().iter().map(|(id, certificate)| {
            // What expired before 1970 did so long ago.
            let not_after = u64::try_from(certificate.not_after()).unwrap_or_default();
            let statistics = CertificateStatistics {
                names: certificate.names().to_vec(),
                not_after: Timestamp::from_seconds(not_after),
                expired: not_after < since.seconds(),
                fingerprint: certificate.fingerprint().to_owned(),
            };
            (id.clone(), statistics)
        });
        Self {
            balancers: balancers.map(|(id, noun)| (id.clone(), configured(noun, since))).collect(),
            certificates: certificates.collect(),
        }
    }
}

fn configured(balancer: &LoadBalancer, since: Timestamp) -> BalancerStatistics {
    let requests = balancer.is_http().then(Requests::default);
    let pools: BTreeMap<Id, PoolStatistics> = balancer
        .pools
        .iter()
        .map(|(id, pool)| (id.clone(), configured_pool(pool, requests, since)))
        .collect();
    let (state, reason) = balancer_state(&pools);
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
        traffic: Traffic::default(),
        refused: 0,
        requests,
        pools,
    }
}

fn configured_pool(pool: &Pool, requests: Option<Requests>, since: Timestamp) -> PoolStatistics {
    let backends = pool.backends.iter().map(|(id, backend)| {
        let (state, reason) = match (backend.enabled, &pool.health_check) {
            (false, _) => (BackendState::Disabled, "disabled by the configuration"),
            (true, Some(_)) => (BackendState::Unchecked, "not checked yet"),
            (true, None) => (BackendState::Up, "not checked"),
        };
        let statistics = BackendStatistics {
            endpoint: SocketAddrV4::new(backend.address.get(), backend.port),
            weight: backend.weight,
            backup: backend.backup,
            state,
            reason: reason.to_owned(),
            since,
            checked: None,
            check_ms: None,
            traffic: Traffic::default(),
            failures: 0,
            retries: 0,
            requests,
        };
        (id.clone(), statistics)
    });
    let backends = backends.collect();
    let (state, reason) = pool_state(&backends);
    PoolStatistics { state, reason, since, queued: 0, queue_failures: 0, backends }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::BalancerState;
    use super::*;

    pub(in super::super) fn statistics() -> Statistics {
        let config = Config::default()
            .replace(json!({
                "version": 1,
                "interfaces": {
                    "public": {"device": "eth1", "roles": ["public"], "addresses": ["198.51.100.5/24"]},
                    "guest": {"device": "eth2", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
                },
                "load_balancers": {"web": {
                    "address": "198.51.100.8", "port": 80, "protocol": "http",
                    "pools": {
                        "app": {"health_check": {"type": "tcp"}, "backends": {
                            "a": {"address": "10.1.1.20", "port": 80},
                            "b": {"address": "10.1.1.21", "port": 80, "enabled": false},
                            "c": {"address": "10.1.1.22", "port": 80, "backup": true}}},
                        "api": {"backends": {"a": {"address": "10.1.1.20", "port": 81}}}},
                    "default_pool": "app"}},
            }))
            .unwrap();
        Statistics::configured(&config, Timestamp::from_seconds(7))
    }

    #[test]
    fn what_is_configured_is_known_before_anything_is_counted() {
        let statistics = statistics();
        let web = &statistics.balancers["web"];
        assert_eq!(
            (web.endpoint.to_string().as_str(), web.protocol, web.path),
            ("198.51.100.8:80", "http", "proxy")
        );
        assert_eq!((web.state, &web.reason, web.requests.is_some()), (BalancerState::Up, &None, true));
        let states: Vec<_> = web.pools["app"].backends.values().map(|one| (one.state, one.backup)).collect();
        let (no, checks) = (BackendState::Disabled, BackendState::Unchecked);
        assert_eq!(states, [(checks, false), (no, false), (checks, true)]);
        assert_eq!(web.pools["api"].backends["a"].state, BackendState::Up);
        assert_eq!(statistics.overview().balancers["web"], (BalancerState::Up, None));
    }
}
