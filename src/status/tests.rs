//! The status of routers that lack something, compared with what a person should read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::balancer::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, CertificateStatistics,
    LatencyHistogram, PoolStatistics, Requests, Statistics,
};
use crate::config::Config;
use crate::plan::facts::{Capabilities, Connections, Device, Link, Traffic};
use crate::reconcile::Trouble;

const ALL: Capabilities = Capabilities {
    flowtable: true,
    log_group: true,
    conntrack_size: true,
    balancing: true,
    connection_limit: true,
    stickiness: true,
    vlan: true,
    vrf: true,
    wireguard: true,
};

fn config() -> Config {
    Config::default()
        .replace(json!({
            "version": 1,
            "hostname": "vr-1",
            "interfaces": {
                "public": {"device": "eth1", "roles": ["public"], "addresses": ["198.51.100.5/24"]},
                "guest": {"device": "eth2", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
            },
            "dhcp": {"guest": {"interface": "guest", "ranges": ["10.1.1.100-10.1.1.101"]}},
            "dns": {"forwarders": ["192.0.2.53"]},
            "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}},
        }))
        .unwrap()
}

fn link(index: u32, carrier: bool) -> Link {
    Link {
        mac: Some([0xfa, 0, 0, 0, 0, 1]),
        carrier,
        ..Link::ethernet(Device { index, name: format!("eth{index}").into() })
    }
}

fn published(links: &[(&str, Link)]) -> Published {
    Published {
        started: Timestamp::from_seconds(100),
        generation: 7,
        verified: Some(Timestamp::from_seconds(101)),
        config: config(),
        links: links.iter().map(|(id, link)| (id.parse().unwrap(), link.clone())).collect(),
        capabilities: ALL,
        generations: Arc::default(),
        trouble: None,
        last_change: None,
        repairs: 0,
        drift: Arc::default(),
        unconfirmed: None,
        went_back: None,
    }
}

fn dhcp(served: bool, dynamic_leases: u64) -> dhcp::Status {
    dhcp::Status {
        listeners: Vec::new(),
        networks: vec![dhcp::NetworkStatus {
            network: "guest".parse().unwrap(),
            interface: "guest".parse().unwrap(),
            subnet: "10.1.1.0/24".parse().unwrap(),
            server: "10.1.1.1".parse().unwrap(),
            relayed: false,
            served,
            range_addresses: 2,
            static_leases: 0,
            dynamic_leases,
            quarantined: 0,
            sent: BTreeMap::new(),
        }],
        storage_fault: None,
    }
}

fn dns(reachable: Option<bool>) -> dns::Status {
    dns::Status {
        listeners: vec![dns::status::ListenerStatus { address: "10.1.1.1".parse().unwrap(), running: true }],
        upstreams: vec![dns::status::UpstreamStatus {
            address: "192.0.2.53:53".parse().unwrap(),
            reachable,
            latency_ms: None,
            last_error: Some("timed out".to_owned()),
            queries: 1,
            failures: 1,
        }],
        names: 0,
        cache_entries: 0,
        cache_capacity: 10_000,
        connections: 0,
        counts: Default::default(),
    }
}

fn status(published: &Published, dhcp: dhcp::Status, dns: dns::Status, counters: Counters) -> Status {
    balancing(published, &Overview::default(), dhcp, dns, counters)
}

fn balancing(
    published: &Published,
    balancers: &Overview,
    dhcp: dhcp::Status,
    dns: dns::Status,
    counters: Counters,
) -> Status {
    let wanted = Wanted::new(&published.config, &published.links);
    let system = SystemStatus::default();
    let start = &Start::default();
    let ssh = ssh::Status::default();
    let inputs = Inputs { published, wanted: &wanted, dhcp, dns, balancers, ssh, counters, system, start };
    Status::new(inputs, &mut Board::default(), Timestamp::from_seconds(200))
}

fn text(status: Status, balancers: Statistics) -> String {
    let mut text = String::new();
    metrics(&mut text, status, balancers, vec![("forbidden", 3)]).unwrap();
    text
}

fn both() -> [(&'static str, Link); 2] {
    [("public", link(1, true)), ("guest", link(2, true))]
}

#[test]
fn all_is_well() {
    let traffic = Traffic { received_bytes: 5, ..Traffic::default() };
    let counters =
        Counters { connections: Some(Connections { count: 1, limit: 10 }), traffic: [(2, traffic)].into() };
    let status = status(&published(&both()), dhcp(true, 1), dns(Some(true)), counters);
    assert_eq!((status.state, status.reasons.as_slice()), (Health::Ok, [].as_slice()));
    assert_eq!((status.services.eips.wanted, status.services.eips.observed), (1, Some(1)));
    assert_eq!(status.services.snat.state, Health::Off);
    assert_eq!(status.interfaces["guest"].traffic, Some(traffic));
    assert_eq!(status.kernel.missing, []);
}

#[test]
fn what_is_missing_is_said_with_what_waits_for_it() {
    let mut published = published(&[("guest", link(2, false))]);
    published.capabilities.flowtable = false;
    let counters =
        Counters { connections: Some(Connections { count: 95, limit: 100 }), ..Counters::default() };
    let status = status(&published, dhcp(true, 2), dns(Some(false)), counters);
    assert_eq!(status.state, Health::Degraded);
    assert_eq!(
        status.reasons,
        [
            "interface `guest`: eth2 has no carrier",
            "interface `public`: no device named eth1 is there",
            "dhcp: every address of the ranges of `guest` is taken",
            "dns: forwarder 192.0.2.53:53 does not answer (timed out)",
            "eips: 1 of 1 wait for `public`",
            "the connection table holds 95 of at most 100; beyond that new ones are dropped",
        ]
    );
    assert_eq!(status.services.eips.observed, Some(0));
    assert_eq!(status.kernel.missing[0].feature, "flowtable");
}

#[test]
fn trouble_of_one_engine_is_its_own_and_trouble_of_the_kernel_is_everybodys() {
    let mut published = published(&both());
    let why = "dns: port 53 is taken; generation 7 runs on".to_owned();
    published.trouble = Some(Trouble { why, since: Timestamp::from_seconds(150), service: Some("dns") });
    let of_dns = status(&published, dhcp(true, 0), dns(None), Counters::default());
    assert_eq!(of_dns.state, Health::Failed);
    let states = of_dns.services.heads().map(|(name, head)| (name, head.state));
    assert!(
        states.contains(&("dns", Health::Failed)) && states.contains(&("eips", Health::Ok)),
        "{states:?}"
    );
    published.trouble = published.trouble.map(|trouble| Trouble { service: None, ..trouble });
    let of_kernel = status(&published, dhcp(true, 0), dns(None), Counters::default());
    let failed = of_kernel.services.heads().iter().filter(|(_, head)| head.state == Health::Failed).count();
    assert_eq!(failed, 3);
    assert_eq!(of_kernel.services.eips.observed, None);
}

#[test]
fn json_and_metrics_say_the_same() {
    let mut published = published(&both());
    published.last_change = Some((std::time::Duration::from_micros(1700), 4));
    let status = status(&published, dhcp(true, 1), dns(Some(true)), Counters::default());
    let value = serde_json::to_value(&status).unwrap();
    let at = |pointer: &str| value.pointer(pointer).cloned().unwrap_or(Value::Null);
    assert_eq!(at("/state"), "ok");
    assert_eq!(at("/kernel/flowtable"), true);
    assert_eq!(at("/services/dhcp/state"), "ok");
    assert_eq!(at("/services/dhcp/networks/0/subnet"), "10.1.1.0/24");
    assert_eq!(at("/services/dns/upstreams/0/address"), "192.0.2.53:53");
    assert_eq!(at("/interfaces/guest/mac"), "fa:00:00:00:00:01");
    assert_eq!(at("/last_change"), json!({"took_ms": 1.7, "steps": 4}));
    let text = text(status, Statistics::default());
    for line in [
        "vrouter_state{state=\"ok\"} 1.0",
        "vrouter_generation 7.0",
        "vrouter_last_change_seconds 0.0017",
        "vrouter_service_state{service=\"eips\",state=\"ok\"} 1.0",
        "vrouter_observed{service=\"eips\"} 1.0",
        "vrouter_dhcp_leases{network=\"guest\",state=\"dynamic\"} 1.0",
        "vrouter_dns_upstream_queries_total{upstream=\"192.0.2.53:53\"} 1.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// A balancer of which something was asked.
fn web() -> BalancerStatistics {
    let mut latency = LatencyHistogram { sum_ms: 21.5, ..LatencyHistogram::default() };
    (latency.buckets[0], latency.buckets[5], latency.buckets[13]) = (2, 1, 1);
    let traffic =
        crate::balancer::Traffic { current: 3, peak: 9, connections: 12, bytes_in: 100, bytes_out: 2000 };
    let requests = Requests { total: 4, current: 1, by_class: [0, 3, 0, 1, 0], latency };
    let backend = |state, requests| BackendStatistics {
        endpoint: "10.1.1.20:80".parse().unwrap(),
        weight: 100,
        backup: false,
        state,
        reason: "refused".to_owned(),
        since: Timestamp::from_seconds(150),
        checked: None,
        check_ms: Some(1.5),
        traffic,
        failures: 2,
        retries: 1,
        requests: Some(requests),
    };
    let backends = [
        ("a".parse().unwrap(), backend(BackendState::Up, requests)),
        ("b".parse().unwrap(), backend(BackendState::Down, Requests::default())),
    ];
    let pool = PoolStatistics {
        state: BalancerState::Degraded,
        reason: Some("1 of 2 backends: `b` is down (refused)".to_owned()),
        since: Timestamp::from_seconds(150),
        queued: 5,
        queue_failures: 6,
        backends: backends.into(),
    };
    BalancerStatistics {
        endpoint: "198.51.100.8:80".parse().unwrap(),
        protocol: "http",
        path: "proxy",
        state: BalancerState::Degraded,
        reason: Some("pool `app` is degraded".to_owned()),
        since: Timestamp::from_seconds(150),
        traffic,
        refused: 7,
        requests: Some(requests),
        pools: [("app".parse().unwrap(), pool)].into(),
    }
}

#[test]
fn a_balancer_that_lacks_a_backend_degrades_the_router() {
    let statistics = Statistics {
        balancers: [("web".parse().unwrap(), web())].into(),
        certificates: [(
            "demo".parse().unwrap(),
            CertificateStatistics {
                names: vec!["demo.local".to_owned()],
                not_after: Timestamp::from_seconds(199),
                expired: true,
                fingerprint: "sha256:00".to_owned(),
            },
        )]
        .into(),
    };
    let published = published(&both());
    let overview = statistics.overview();
    let status = balancing(&published, &overview, dhcp(true, 1), dns(Some(true)), Counters::default());
    assert_eq!(status.state, Health::Degraded);
    assert_eq!(
        status.reasons,
        ["load_balancers: certificate `demo` is expired: it ended 1970-01-01T00:03:19Z; \
          balancer `web` is degraded: pool `app` is degraded"]
    );
    let value = serde_json::to_value(&status.services.load_balancers).unwrap();
    assert_eq!(
        value,
        json!({
            "state": "degraded", "since": "1970-01-01T00:03:20Z", "why": status.services.load_balancers.head.why,
            "wanted": 1, "observed": 1, "configured": 1, "up": 0, "degraded": 1, "down": 0,
            "certificates_expired": 1, "certificates_expiring": 0,
            "reasons": ["certificate `demo` is expired: it ended 1970-01-01T00:03:19Z",
                        "balancer `web` is degraded: pool `app` is degraded"],
        })
    );
    let text = text(status, statistics);
    for line in [
        "vrouter_service_state{service=\"load_balancers\",state=\"degraded\"} 1.0",
        "vrouter_balancer_state{balancer=\"web\",state=\"degraded\"} 1.0",
        "vrouter_balancer_connections{balancer=\"web\"} 3.0",
        "vrouter_balancer_accepted_total{balancer=\"web\"} 12.0",
        "vrouter_balancer_traffic_bytes_total{balancer=\"web\",direction=\"out\"} 2000.0",
        "vrouter_balancer_refused_total{balancer=\"web\"} 7.0",
        "vrouter_balancer_requests_total{balancer=\"web\"} 4.0",
        "vrouter_balancer_responses_total{balancer=\"web\",class=\"4xx\"} 1.0",
        "vrouter_balancer_latency_seconds_sum{balancer=\"web\"} 0.0215",
        "vrouter_balancer_latency_seconds_count{balancer=\"web\"} 4",
        "vrouter_balancer_latency_seconds_bucket{le=\"0.0005\",balancer=\"web\"} 2",
        "vrouter_balancer_latency_seconds_bucket{le=\"0.025\",balancer=\"web\"} 3",
        "vrouter_balancer_latency_seconds_bucket{le=\"10.0\",balancer=\"web\"} 3",
        "vrouter_balancer_latency_seconds_bucket{le=\"+Inf\",balancer=\"web\"} 4",
        "vrouter_balancer_queued{balancer=\"web\",pool=\"app\"} 5.0",
        "vrouter_balancer_queue_failures_total{balancer=\"web\",pool=\"app\"} 6.0",
        "vrouter_backend_state{balancer=\"web\",pool=\"app\",backend=\"b\",state=\"down\"} 1.0",
        "vrouter_backend_state{balancer=\"web\",pool=\"app\",backend=\"b\",state=\"up\"} 0.0",
        "vrouter_backend_check_seconds{balancer=\"web\",pool=\"app\",backend=\"a\"} 0.0015",
        "vrouter_backend_latency_seconds_count{balancer=\"web\",pool=\"app\",backend=\"a\"} 4",
        "vrouter_certificate_expiry_seconds{certificate=\"demo\"} 199.0",
        "# UNIT vrouter_balancer_latency_seconds seconds",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // A backend that nobody asked has no histogram.
    assert!(
        !text.contains("vrouter_backend_latency_seconds_count{balancer=\"web\",pool=\"app\",backend=\"b\"}")
    );
    // A name is of one family.
    let mut families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let count = families.len();
    families.sort_by_key(|line| line.split(' ').next());
    families.dedup_by_key(|line| line.split(' ').next());
    assert_eq!(families.len(), count);
}
