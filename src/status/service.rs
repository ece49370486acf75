//! The services: how much of each is wanted and observed, since when it is so, and why not.

use schemars::JsonSchema;
use serde::Serialize;

use super::load_balancers::{self, LoadBalancersStatus};
use super::wanted::Count;
use super::{Board, Health, Wanted};
use crate::balancer::statistics::Overview;
use crate::clock::Timestamp;
use crate::reconcile::{Published, Trouble};
use crate::{dhcp, dns, ssh};

/// How a service does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServiceStatus {
    /// How it does.
    pub state: Health,
    /// Since when, as far as this process knows.
    pub since: Timestamp,
    /// Why it is not as wanted.
    pub why: Option<String>,
    /// How many are configured: objects; of DHCP networks, of DNS guest interfaces that it serves.
    pub wanted: usize,
    /// How many of them are there: read back from the kernel, listening, or of balancers not down. Absent while the
    /// kernel is not as wanted.
    pub observed: Option<usize>,
}

/// DHCP with what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DhcpStatus {
    /// How it does.
    #[serde(flatten)]
    pub head: ServiceStatus,
    /// What is served, and what happened.
    #[serde(flatten)]
    pub detail: dhcp::Status,
}

/// DNS with what it says itself.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DnsStatus {
    /// How it does.
    #[serde(flatten)]
    pub head: ServiceStatus,
    /// Who is asked, and what happened.
    #[serde(flatten)]
    pub detail: dns::Status,
}

/// SSH with what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SshStatus {
    /// How it does.
    #[serde(flatten)]
    pub head: ServiceStatus,
    /// Where it answers, and who is there.
    #[serde(flatten)]
    pub detail: ssh::Status,
}

/// The services.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Services {
    /// Addresses for guests.
    pub dhcp: DhcpStatus,
    /// Names for guests.
    pub dns: DnsStatus,
    /// Static routes.
    pub routes: ServiceStatus,
    /// Source translation.
    pub snat: ServiceStatus,
    /// Public addresses of single guests.
    pub eips: ServiceStatus,
    /// Public ports of guests.
    pub port_forwards: ServiceStatus,
    /// Firewall rules.
    pub firewall: ServiceStatus,
    /// Load balancers.
    pub load_balancers: LoadBalancersStatus,
    /// Commands for operators elsewhere.
    pub ssh: SshStatus,
}

/// What the engines say of themselves.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) dhcp: dhcp::Status,
    pub(super) dns: dns::Status,
    pub(super) balancers: &'a Overview,
    pub(super) ssh: ssh::Status,
}

impl Services {
    /// Each service by its name.
    #[must_use]
    pub const fn heads(&self) -> [(&'static str, &ServiceStatus); 9] {
        [
            ("dhcp", &self.dhcp.head),
            ("dns", &self.dns.head),
            ("routes", &self.routes),
            ("snat", &self.snat),
            ("eips", &self.eips),
            ("port_forwards", &self.port_forwards),
            ("firewall", &self.firewall),
            ("load_balancers", &self.load_balancers.head),
            ("ssh", &self.ssh.head),
        ]
    }

    pub(super) fn new(
        published: &Published,
        wanted: &Wanted,
        said: Said<'_>,
        board: &mut Board,
        now: Timestamp,
    ) -> Self {
        let Said { dhcp, dns, balancers, ssh } = said;
        let balancers = load_balancers::detail(balancers, board, now);
        let trouble = published.trouble.as_ref();
        let mut judge = |name: &'static str, count: &Count, ailing: Option<String>| {
            let (state, why) = judge(name, count, ailing, trouble, published.verified.is_some());
            let observed = matches!(state, Health::Ok | Health::Off | Health::Degraded);
            ServiceStatus {
                state,
                since: board.settle(name, state.name(), why.as_deref(), now),
                why,
                wanted: count.wanted,
                observed: observed.then_some(count.placed),
            }
        };
        Self {
            dhcp: DhcpStatus { head: judge("dhcp", &dhcp_count(&dhcp), dhcp_ails(&dhcp)), detail: dhcp },
            dns: DnsStatus { head: judge("dns", &dns_count(&dns, wanted), dns_ails(&dns)), detail: dns },
            routes: judge("routes", &wanted.routes, None),
            snat: judge("snat", &wanted.snat, None),
            eips: judge("eips", &wanted.eips, None),
            port_forwards: judge("port_forwards", &wanted.port_forwards, None),
            firewall: judge("firewall", &wanted.firewall, None),
            load_balancers: LoadBalancersStatus {
                head: judge("load_balancers", &balancers.count(), balancers.ails()),
                detail: balancers,
            },
            ssh: SshStatus { head: judge("ssh", &ssh_count(&ssh, wanted), ssh_ails(&ssh)), detail: ssh },
        }
    }
}

/// The state of a service. What keeps an engine from taking a configuration over concerns that engine; all else that
/// keeps a configuration from being carried out concerns every service that the configuration wants something of.
fn judge(
    name: &str,
    count: &Count,
    ailing: Option<String>,
    trouble: Option<&Trouble>,
    verified: bool,
) -> (Health, Option<String>) {
    if count.wanted == 0 {
        return (Health::Off, None);
    }
    if let Some(trouble) = trouble.filter(|trouble| trouble.service.is_none_or(|service| service == name)) {
        return (Health::Failed, Some(trouble.why.clone()));
    }
    if !verified {
        return (Health::Starting, None);
    }
    let waiting = (count.placed < count.wanted && !count.waiting_for.is_empty()).then(|| {
        let interfaces: Vec<String> = count.waiting_for.iter().map(|id| format!("`{id}`")).collect();
        let missing = count.wanted - count.placed;
        format!("{missing} of {} wait for {}", count.wanted, interfaces.join(", "))
    });
    match [waiting, ailing].into_iter().flatten().reduce(|first, second| format!("{first}; {second}")) {
        Some(why) => (Health::Degraded, Some(why)),
        None => (Health::Ok, None),
    }
}

fn dhcp_count(dhcp: &dhcp::Status) -> Count {
    let (served, waiting): (Vec<_>, Vec<_>) = dhcp.networks.iter().partition(|network| network.served);
    Count {
        wanted: dhcp.networks.len(),
        placed: served.len(),
        waiting_for: waiting.into_iter().map(|network| network.interface.clone()).collect(),
    }
}

fn dhcp_ails(dhcp: &dhcp::Status) -> Option<String> {
    let full = dhcp.networks.iter().filter(|network| {
        let taken = network.dynamic_leases + network.quarantined;
        network.range_addresses > 0 && taken >= network.range_addresses
    });
    let mut reasons: Vec<String> = full
        .map(|network| format!("every address of the ranges of `{}` is taken", network.network))
        .collect();
    reasons.extend(
        dhcp.storage_fault
            .as_ref()
            .map(|fault| format!("leases cannot be stored, so only configured hosts are served: {fault}")),
    );
    reasons.into_iter().reduce(|first, second| format!("{first}; {second}"))
}

fn dns_count(dns: &dns::Status, wanted: &Wanted) -> Count {
    let listening = dns.listeners.iter().filter(|listener| listener.running).count();
    // An interface with several guest subnets has several addresses; as long as all listen, it counts once.
    let placed =
        if listening < dns.listeners.len() { listening.min(wanted.dns.placed) } else { wanted.dns.placed };
    Count { placed, ..wanted.dns.clone() }
}

fn dns_ails(dns: &dns::Status) -> Option<String> {
    let silent: Vec<String> = dns
        .upstreams
        .iter()
        .filter(|upstream| upstream.reachable == Some(false))
        .map(|upstream| {
            let why = upstream.last_error.as_deref().unwrap_or("no answer");
            format!("forwarder {} does not answer ({why})", upstream.address)
        })
        .collect();
    silent.into_iter().reduce(|first, second| format!("{first}; {second}"))
}

fn ssh_count(ssh: &ssh::Status, wanted: &Wanted) -> Count {
    let placed = if ssh.listeners.is_empty() { 0 } else { wanted.ssh.placed };
    Count { placed, ..wanted.ssh.clone() }
}

fn ssh_ails(ssh: &ssh::Status) -> Option<String> {
    let fault = ssh.storage_fault.as_ref()?;
    Some(format!("the host key is not kept, and clients will not know the router again: {fault}"))
}
