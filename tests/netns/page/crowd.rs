//! Statistics that a page has to show: one of every state, and very many.

use std::net::{Ipv4Addr, SocketAddrV4};

use vrouter::balancer::statistics::{balancer_state, pool_state};
use vrouter::balancer::{
    BackendState, BackendStatistics, BalancerStatistics, CertificateStatistics, LatencyHistogram,
    PoolStatistics, Requests, Statistics, Traffic,
};
use vrouter::clock::{Timestamp, now};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(now().seconds() - seconds)
}

fn traffic(scale: u64) -> Traffic {
    Traffic {
        current: scale % 97,
        peak: scale % 97 + 40,
        connections: scale * 1013,
        bytes_in: scale * 1_000_003,
        bytes_out: scale * 17_000_041,
    }
}

fn requests(scale: u64) -> Requests {
    let mut latency = LatencyHistogram { sum_ms: 1.0, ..LatencyHistogram::default() };
    for (bucket, share) in latency.buckets.iter_mut().zip([1, 4, 30, 60, 40, 20, 9, 5, 3, 2, 1, 0, 0, 0]) {
        *bucket = share * scale;
    }
    let total = latency.count();
    let by_class = [scale / 9, total * 94 / 100, total * 4 / 100, total * 2 / 100, scale / 7];
    Requests { total, current: scale % 13, by_class, latency }
}

fn backend(address: [u8; 4], state: BackendState, reason: &str, scale: u64, http: bool) -> BackendStatistics {
    BackendStatistics {
        endpoint: SocketAddrV4::new(Ipv4Addr::from(address), 8080),
        weight: 100,
        backup: false,
        state,
        reason: reason.to_owned(),
        since: ago(scale * 777),
        checked: Some(ago(scale % 5)),
        check_ms: (state == BackendState::Up).then_some(1.3),
        traffic: traffic(scale),
        failures: scale / 11,
        retries: scale / 13,
        requests: http.then(|| requests(scale)),
    }
}

fn pool(backends: Vec<(String, BackendStatistics)>) -> PoolStatistics {
    let backends = backends.into_iter().map(|(id, one)| (id.parse().unwrap(), one)).collect();
    let (state, reason) = pool_state(&backends);
    PoolStatistics { state, reason, since: ago(90), queued: 3, queue_failures: 1, backends }
}

fn balancer(port: u16, protocol: &'static str, pools: Vec<(&str, PoolStatistics)>) -> BalancerStatistics {
    let pools = pools.into_iter().map(|(id, pool)| (id.parse().unwrap(), pool)).collect();
    let (state, reason) = balancer_state(&pools);
    let http = protocol.starts_with("http");
    BalancerStatistics {
        endpoint: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), port),
        protocol,
        path: if http { "proxy" } else { "kernel" },
        state,
        reason,
        since: ago(2 * HOUR),
        traffic: traffic(60),
        refused: 2,
        requests: http.then(|| requests(60)),
        pools,
    }
}

/// Balancers and backends in every state, with this reason where something ails, and certificates in every state.
pub(crate) fn every_state(reason: &str) -> Statistics {
    let of = |index: u8, state, why: &str| {
        (format!("node-{index}"), backend([10, 1, 1, index], state, why, u64::from(index), true))
    };
    let mut spare = of(7, BackendState::Up, "status 200");
    spare.1.backup = true;
    let app = pool(vec![
        of(1, BackendState::Up, "status 200"),
        of(2, BackendState::Unchecked, "not checked yet"),
        of(3, BackendState::Down, reason),
        of(4, BackendState::Ejected, "5 failures in a row"),
        of(5, BackendState::Draining, "12 connections end by 09:12:33Z"),
        of(6, BackendState::Disabled, "disabled by the configuration"),
        spare,
    ]);
    let api = pool(vec![of(21, BackendState::Up, "status 204"), of(22, BackendState::Up, "status 204")]);
    let plain = |index: u8, state, why: &str| {
        (format!("db-{index}"), backend([10, 1, 2, index], state, why, 40 + u64::from(index), false))
    };
    let db = pool(vec![plain(1, BackendState::Up, "connected"), plain(2, BackendState::Up, "connected")]);
    let gone = pool(vec![("only".to_owned(), backend([10, 1, 3, 1], BackendState::Down, reason, 9, false))]);
    let balancers = [
        ("shop", balancer(443, "https", vec![("app", app), ("api", api.clone())])),
        ("intranet", balancer(80, "http", vec![("api", api)])),
        ("database", balancer(5432, "tcp", vec![("db", db)])),
        ("mail", balancer(25, "tcp", vec![("relay", gone)])),
    ];
    let certificate = |names: &[&str], not_after: Timestamp| CertificateStatistics {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_after,
        expired: not_after < now(),
        fingerprint: format!("sha256:{}", "5e".repeat(32)),
    };
    let certificates = [
        ("wildcard", certificate(&["example.com", "*.example.com"], now().after(200 * DAY))),
        ("shop", certificate(&["shop.example.com"], now().after(9 * DAY))),
        ("old", certificate(&[reason], ago(3 * DAY))),
    ];
    Statistics {
        balancers: balancers.into_iter().map(|(id, one)| (id.parse().unwrap(), one)).collect(),
        certificates: certificates.into_iter().map(|(id, one)| (id.parse().unwrap(), one)).collect(),
    }
}

/// A thousand balancers of twenty backends.
pub(crate) fn thousand() -> Statistics {
    let one = |number: u16| {
        let backends = (1..=20_u8).map(|index| {
            let state = match (number % 50, index) {
                (7, _) | (9, 3) => BackendState::Down,
                _ => BackendState::Up,
            };
            let [high, low] = number.to_be_bytes();
            let address = [10, 100 + high, low, index];
            (format!("node-{index:02}"), backend(address, state, "status 200", u64::from(number + 1), true))
        });
        balancer(1000 + number, "http", vec![("app", pool(backends.collect()))])
    };
    let balancers = (0..1000).map(|number| (format!("lb{number:04}").parse().unwrap(), one(number)));
    Statistics { balancers: balancers.collect(), ..Statistics::default() }
}

/// So much more went through each.
pub(crate) fn pass(statistics: &mut Statistics, connections: u64) {
    let grow = |traffic: &mut Traffic| {
        traffic.connections += connections;
        traffic.bytes_in += connections * 900;
        traffic.bytes_out += connections * 40_000;
    };
    for balancer in statistics.balancers.values_mut() {
        grow(&mut balancer.traffic);
        if let Some(requests) = &mut balancer.requests {
            requests.total += 3 * connections;
        }
        for backend in balancer.pools.values_mut().flat_map(|pool| pool.backends.values_mut()) {
            grow(&mut backend.traffic);
        }
    }
}
