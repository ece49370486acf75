//! What a load balancer is: a port of an address, pools behind it, and how one leads to the other.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::ops::{Deref, RangeInclusive};

use super::balancer_rule::{self, BalancerRule};
use super::certificate;
use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::limits::MAX_POOLS;
use super::net::AddressMatch;
use super::pool;
use super::port_forward::Transport;
use super::wire;
pub use super::wire::{
    Algorithm, Alpn, BalancerProtocol, CipherPolicy, ClientCertificates, ClientVerification, Hash, HashOn,
    Limits, Pool, ProxyProtocol, Stickiness, StickinessType, Timeouts, Tls, TlsVersion,
};

/// The cookie of balancers that name none.
pub const COOKIE: &str = "VRSID";
/// The most rules of one balancer.
pub const MAX_RULES: usize = 1024;

/// A load balancer that is valid by itself; its members are those of the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancer(wire::LoadBalancer);

impl Deref for LoadBalancer {
    type Target = wire::LoadBalancer;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What carries connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataPath {
    /// The kernel translates packets; the client's address stays.
    Kernel,
    /// This process relays connections and requests.
    Proxy,
}

impl DataPath {
    /// The word for status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Proxy => "proxy",
        }
    }
}

impl LoadBalancer {
    /// Address and port together.
    #[must_use]
    pub const fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.0.address.get(), self.0.port)
    }

    /// The transport.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.0.protocol {
            BalancerProtocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        }
    }

    /// Whether requests are told apart within connections.
    #[must_use]
    pub const fn is_http(&self) -> bool {
        matches!(self.0.protocol, BalancerProtocol::Http | BalancerProtocol::Https)
    }

    /// What carries its connections.
    #[must_use]
    pub fn path(&self) -> DataPath {
        if self.is_http() || beyond_kernel(&self.0).is_some() { DataPath::Proxy } else { DataPath::Kernel }
    }

    /// The pool of whatever no rule leads elsewhere.
    #[must_use]
    pub fn default_pool(&self) -> Option<(&Id, &Pool)> {
        match &self.0.default_pool {
            Some(id) => self.0.pools.get_key_value(id),
            None if self.0.pools.len() == 1 => self.0.pools.iter().next(),
            None => None,
        }
    }

    /// The rules as they decide: by priority, ties by id.
    #[must_use]
    pub fn rules_in_order(&self) -> Vec<(&Id, &BalancerRule)> {
        let mut rules: Vec<_> = self.0.rules.iter().collect();
        rules.sort_by_key(|(_, rule)| rule.priority);
        rules
    }

    /// Whether backends of http are told of the client by header fields.
    #[must_use]
    pub fn tells_of_client(&self) -> bool {
        self.0.x_forwarded.unwrap_or(true)
    }

    /// The name of the cookie by which clients stay, where they stay by one.
    #[must_use]
    pub fn cookie_name(&self) -> Option<&str> {
        let sticky = self.0.stickiness.as_ref().filter(|sticky| sticky.kind != StickinessType::Source)?;
        Some(sticky.cookie_name.as_ref().map_or(COOKIE, |name| name.as_str()))
    }

    /// Whether a client's address may use it.
    #[must_use]
    pub fn admits(&self, client: std::net::Ipv4Addr) -> bool {
        let among = |sources: &[AddressMatch]| sources.iter().any(|source| source.range().contains(client));
        !among(&self.0.denied_sources) && self.0.allowed_sources.as_deref().is_none_or(among)
    }
}

/// What the kernel cannot do for a balancer of connections, in words.
fn beyond_kernel(wire: &wire::LoadBalancer) -> Option<&'static str> {
    let by = |pool: &dyn Fn(&Pool) -> bool| wire.pools.values().any(pool);
    let kernel = matches!(wire.algorithm, Algorithm::RoundRobin | Algorithm::Random | Algorithm::Source);
    if !kernel {
        Some("this algorithm")
    } else if wire.proxy_protocol.is_some() {
        Some("the PROXY protocol")
    } else if !wire.sni.is_empty() {
        Some("a choice by name")
    } else if by(&|pool| pool.backends.values().any(|backend| backend.max_connections.is_some())) {
        Some("`max_connections` of a backend")
    } else if by(&|pool| pool.slow_start_seconds > 0) {
        Some("slow start")
    } else if by(&|pool| pool.outlier.is_some()) {
        Some("a rest after failures")
    } else {
        None
    }
}

impl FlatNoun for LoadBalancer {
    type Wire = wire::LoadBalancer;

    fn read(wire: wire::LoadBalancer, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let mut own = Faults::default();
        within(&at.key("port"), wire.port.into(), 1..=65_535, &mut own);
        within(&at.key("drain_seconds"), wire.drain_seconds.into(), 0..=86_400, &mut own);
        if wire.max_connections == Some(0) {
            own.add(at.key("max_connections"), Rule::OutOfRange, "nobody could use it");
        }
        if wire.allowed_sources.as_ref().is_some_and(Vec::is_empty) {
            let detail = "nobody could use it; leave the member out to allow anybody";
            own.add(at.key("allowed_sources"), Rule::OutOfRange, detail);
        }
        check_pools(&wire, at, &mut own);
        check_protocol(&wire, at, &mut own);
        check_choice(&wire, at, &mut own);
        check_numbers(&wire, at, &mut own);
        if let Some(tls) = &wire.tls {
            check_tls(tls, &at.key("tls"), &mut own);
        }
        let valid = own.is_empty();
        faults.merge(own);
        valid.then_some(Self(wire))
    }

    fn write(&self) -> wire::LoadBalancer {
        self.0.clone()
    }
}

fn check_pools(wire: &wire::LoadBalancer, at: &Pointer, faults: &mut Faults) {
    if wire.pools.len() > MAX_POOLS {
        let detail = format!("{} pools are more than the {MAX_POOLS} of a balancer", wire.pools.len());
        faults.add(at.key("pools"), Rule::OutOfRange, detail);
    }
    for (id, pool) in &wire.pools {
        pool::check(pool, wire.protocol, &at.key("pools").key(id.as_str()), faults);
    }
    let dangling = |id: &Id| format!("there is no pool `{id}` in this balancer");
    match &wire.default_pool {
        Some(id) if !wire.pools.contains_key(id) => {
            faults.add(at.key("default_pool"), Rule::DanglingReference, dangling(id));
        }
        None if wire.pools.is_empty()
            && !wire.redirect_to_https
            && !wire.rules.values().any(|rule| rule.action.is_final()) =>
        {
            faults.add(at.key("pools"), Rule::MissingField, "there is nothing that it could lead to");
        }
        None if wire.pools.len() > 1 && wire.rules.is_empty() && wire.sni.is_empty() => {
            let detail = "of several pools, it takes one for whatever no rule leads elsewhere";
            faults.add(at.key("default_pool"), Rule::MissingField, detail);
        }
        _ => {}
    }
    for (host, pool) in wire.sni.iter().filter(|(_, pool)| !wire.pools.contains_key(*pool)) {
        faults.add(at.key("sni").key(&host.to_string()), Rule::DanglingReference, dangling(pool));
    }
    if wire.rules.len() > MAX_RULES {
        let detail = format!("{} rules are more than the {MAX_RULES} of a balancer", wire.rules.len());
        faults.add(at.key("rules"), Rule::OutOfRange, detail);
    }
    for (id, rule) in &wire.rules {
        balancer_rule::check(rule, &wire.pools, &at.key("rules").key(id.as_str()), faults);
    }
}

/// Members that another protocol has no use for are faults: whoever wrote them expects something of them.
fn check_protocol(wire: &wire::LoadBalancer, at: &Pointer, faults: &mut Faults) {
    use BalancerProtocol::{Http, Https, Tcp, Udp};
    let protocol = wire.protocol;
    let http = matches!(protocol, Http | Https);
    let mut only = |named: bool, member: &str, fits: bool, protocols: &str| {
        if named && !fits {
            faults.add(at.key(member), Rule::Contradiction, format!("`{member}` is for {protocols}"));
        }
    };
    only(!wire.rules.is_empty(), "rules", http, "http and https");
    only(wire.redirect_to_https, "redirect_to_https", protocol == Http, "http");
    only(!wire.sni.is_empty(), "sni", protocol == Tcp, "tcp");
    only(wire.tls.is_some(), "tls", protocol == Https, "https");
    only(wire.x_forwarded == Some(true), "x_forwarded", http, "http and https");
    only(wire.proxy_protocol.is_some(), "proxy_protocol", protocol != Udp, "tcp, http and https");
    only(wire.limits != Limits::DEFAULT, "limits", http, "http and https");
    if protocol == Https && wire.tls.is_none() {
        faults.add(at.key("tls"), Rule::MissingField, "https takes `tls` with at least one certificate");
    }
    if protocol == Udp
        && let Some(what) = beyond_kernel(wire)
    {
        let detail = format!("udp is balanced by the kernel, which cannot do {what}");
        faults.add(at.clone(), Rule::Unsupported, detail);
    }
}

fn check_choice(wire: &wire::LoadBalancer, at: &Pointer, faults: &mut Faults) {
    let http = matches!(wire.protocol, BalancerProtocol::Http | BalancerProtocol::Https);
    if let Some(hash) = &wire.hash {
        let at = at.key("hash");
        if wire.algorithm != Algorithm::ConsistentHash {
            faults.add(at.clone(), Rule::Contradiction, "`hash` goes with the algorithm consistent_hash");
        }
        if hash.on != HashOn::Source && !http {
            faults.add(at.key("on"), Rule::Contradiction, "tcp and udp have the client's address alone");
        }
        let named = matches!(hash.on, HashOn::Header | HashOn::Cookie);
        match &hash.name {
            None if named => {
                faults.add(at.key("name"), Rule::MissingField, "it takes the name of the field or cookie")
            }
            Some(_) if !named => {
                faults.add(at.key("name"), Rule::Contradiction, "`name` goes with header or cookie")
            }
            _ => {}
        }
    }
    if let Some(sticky) = &wire.stickiness {
        let at = at.key("stickiness");
        let by_cookie = sticky.kind != StickinessType::Source;
        if by_cookie && !http {
            faults.add(at.key("type"), Rule::Contradiction, "cookies are of http and https");
        }
        if sticky.cookie_name.is_some() && !by_cookie {
            faults.add(
                at.key("cookie_name"),
                Rule::Contradiction,
                "`cookie_name` goes with cookie or app_cookie",
            );
        }
        if sticky.cookie_name.is_none() && sticky.kind == StickinessType::AppCookie {
            let detail = "it takes the name of the application's cookie";
            faults.add(at.key("cookie_name"), Rule::MissingField, detail);
        }
        if let Some(seconds) = sticky.seconds {
            within(&at.key("seconds"), seconds.into(), 1..=31_536_000, faults);
        }
    }
}

fn check_numbers(wire: &wire::LoadBalancer, at: &Pointer, faults: &mut Faults) {
    let Timeouts {
        connect_ms,
        client_header_ms,
        client_idle_ms,
        server_idle_ms,
        server_response_ms,
        tunnel_idle_ms,
    } = wire.timeouts;
    let timeouts = at.key("timeouts");
    within(&timeouts.key("connect_ms"), connect_ms.into(), 1..=3_600_000, faults);
    within(&timeouts.key("client_header_ms"), client_header_ms.into(), 1..=3_600_000, faults);
    within(&timeouts.key("client_idle_ms"), client_idle_ms.into(), 1..=86_400_000, faults);
    within(&timeouts.key("server_idle_ms"), server_idle_ms.into(), 1..=86_400_000, faults);
    within(&timeouts.key("server_response_ms"), server_response_ms.into(), 1..=86_400_000, faults);
    within(&timeouts.key("tunnel_idle_ms"), tunnel_idle_ms.into(), 1..=86_400_000, faults);
    let Limits { header_bytes, headers, uri_bytes, body_bytes: _ } = wire.limits;
    let limits = at.key("limits");
    within(&limits.key("header_bytes"), header_bytes.into(), 1024..=1_048_576, faults);
    within(&limits.key("headers"), headers.into(), 16..=256, faults);
    within(&limits.key("uri_bytes"), uri_bytes.into(), 64..=65_536, faults);
}

fn check_tls(tls: &Tls, at: &Pointer, faults: &mut Faults) {
    if tls.certificates.is_empty() {
        faults.add(at.key("certificates"), Rule::OutOfRange, "it takes a certificate at least");
    }
    let mut seen = BTreeSet::new();
    for (index, id) in tls.certificates.iter().enumerate() {
        if !seen.insert(id) {
            let detail = format!("certificate `{id}` is named twice");
            faults.add(at.key("certificates").index(index), Rule::Conflict, detail);
        }
    }
    let mut protocols = tls.alpn.clone();
    protocols.dedup();
    if tls.alpn.is_empty() || tls.alpn.len() > 2 || protocols.len() != tls.alpn.len() {
        faults.add(at.key("alpn"), Rule::OutOfRange, "it takes h2, http/1.1 or both, each once");
    }
    if let Some(clients) = &tls.client_certificates
        && let Err(detail) = certificate::authorities(&clients.ca_pem)
    {
        faults.add(at.key("client_certificates").key("ca_pem"), Rule::InvalidValue, detail);
    }
}

/// Reports a number that is out of its range.
pub(super) fn within(at: &Pointer, value: u64, range: RangeInclusive<u64>, faults: &mut Faults) {
    if !range.contains(&value) {
        let detail = format!("{value} is not from {} to {}", range.start(), range.end());
        faults.add(at.clone(), Rule::OutOfRange, detail);
    }
}
