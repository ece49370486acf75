//! What a pool is: backends that share connections, and how they are watched.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::certificate;
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::load_balancer::within;
use super::status_code::StatusRange;
use super::wire::BalancerProtocol;
pub use super::wire::{Backend, BackendTls, HealthCheck, HealthCheckType, Outlier, Pool, Queue};

/// The most backends of one pool.
pub const MAX_BACKENDS: usize = 1024;

impl Backend {
    /// Address and port together.
    #[must_use]
    pub const fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address.get(), self.port)
    }

    /// Whether it is wanted for new connections, if it is well.
    #[must_use]
    pub const fn takes_part(&self) -> bool {
        self.enabled && self.weight > 0
    }
}

impl HealthCheck {
    /// Where a backend is asked.
    #[must_use]
    pub fn endpoint(&self, backend: &Backend) -> SocketAddrV4 {
        SocketAddrV4::new(backend.address.get(), self.port.unwrap_or(backend.port))
    }

    /// Whether a status says well.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        if self.expected_status.is_empty() {
            (200..400).contains(&status)
        } else {
            self.expected_status.iter().any(|range: &StatusRange| range.contains(status))
        }
    }

    const fn is_http(&self) -> bool {
        matches!(self.kind, HealthCheckType::Http | HealthCheckType::Https)
    }
}

/// Reports what a pool can get wrong by itself.
pub(super) fn check(pool: &Pool, protocol: BalancerProtocol, at: &Pointer, faults: &mut Faults) {
    check_backends(pool, at, faults);
    if let Some(check) = &pool.health_check {
        check_health(check, &at.key("health_check"), faults);
    }
    if let Some(tls) = &pool.tls {
        check_tls(tls, protocol, &at.key("tls"), faults);
    }
    within(&at.key("slow_start_seconds"), pool.slow_start_seconds.into(), 0..=86_400, faults);
    let queue = at.key("queue");
    within(&queue.key("size"), pool.queue.size.into(), 0..=65_536, faults);
    within(&queue.key("timeout_ms"), pool.queue.timeout_ms.into(), 1..=600_000, faults);
    if let Some(outlier) = pool.outlier {
        let at = at.key("outlier");
        let (failures, rest) = (outlier.consecutive_failures, outlier.eject_seconds);
        within(&at.key("consecutive_failures"), failures.into(), 1..=1000, faults);
        within(&at.key("eject_seconds"), rest.into(), 1..=3600, faults);
    }
}

fn check_backends(pool: &Pool, at: &Pointer, faults: &mut Faults) {
    let at = at.key("backends");
    if pool.backends.len() > MAX_BACKENDS {
        let detail = format!("{} backends are more than the {MAX_BACKENDS} of a pool", pool.backends.len());
        faults.add(at.clone(), Rule::OutOfRange, detail);
    }
    let mut seen: BTreeMap<(Ipv4Addr, u16), &Id> = BTreeMap::new();
    for (id, backend) in &pool.backends {
        let at = at.key(id.as_str());
        within(&at.key("port"), backend.port.into(), 1..=65_535, faults);
        within(&at.key("weight"), backend.weight.into(), 0..=1000, faults);
        if backend.max_connections == Some(0) {
            let detail = "a backend without connections serves nobody; `enabled: false` takes it out";
            faults.add(at.key("max_connections"), Rule::OutOfRange, detail);
        }
        if let Some(other) = seen.insert((backend.address.get(), backend.port), id) {
            let detail =
                format!("{}:{} is backend `{other}` of this pool already", backend.address, backend.port);
            faults.add(at, Rule::Conflict, detail);
        }
    }
}

fn check_health(check: &HealthCheck, at: &Pointer, faults: &mut Faults) {
    within(&at.key("interval_seconds"), check.interval_seconds.into(), 1..=3600, faults);
    within(&at.key("timeout_seconds"), check.timeout_seconds.into(), 1..=300, faults);
    within(&at.key("healthy_threshold"), check.healthy_threshold.into(), 1..=100, faults);
    within(&at.key("unhealthy_threshold"), check.unhealthy_threshold.into(), 1..=100, faults);
    within(&at.key("jitter_percent"), check.jitter_percent.into(), 0..=50, faults);
    if check.port == Some(0) {
        faults.add(at.key("port"), Rule::OutOfRange, "there is no port 0");
    }
    let words = matches!(check.kind, HealthCheckType::Tcp | HealthCheckType::Udp);
    let mut only = |named: bool, member: &str, fits: bool, kinds: &str| {
        if named && !fits {
            let detail = format!("`{member}` is for checks of the type {kinds}");
            faults.add(at.key(member), Rule::Contradiction, detail);
        }
    };
    only(!check.expected_status.is_empty(), "expected_status", check.is_http(), "http or https");
    only(check.expected_body.is_some(), "expected_body", check.is_http(), "http or https");
    only(
        check.host.is_some(),
        "host",
        check.is_http() || check.kind == HealthCheckType::Tls,
        "http, https or tls",
    );
    only(check.send.is_some(), "send", words, "tcp or udp");
    only(check.expect.is_some(), "expect", words, "tcp or udp");
}

fn check_tls(tls: &BackendTls, protocol: BalancerProtocol, at: &Pointer, faults: &mut Faults) {
    if !matches!(protocol, BalancerProtocol::Http | BalancerProtocol::Https) {
        let detail = "TLS towards backends is for http and https; tcp passes what clients send";
        faults.add(at.clone(), Rule::Contradiction, detail);
    }
    match &tls.ca_pem {
        None if tls.verify => {
            let detail =
                "to verify a backend it takes those who may vouch for it; `verify: false` takes anybody";
            faults.add(at.key("ca_pem"), Rule::MissingField, detail);
        }
        None => {}
        Some(pem) => {
            if let Err(detail) = certificate::authorities(pem) {
                faults.add(at.key("ca_pem"), Rule::InvalidValue, detail);
            }
        }
    }
}
