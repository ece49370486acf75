//! Which backends take connections: observed by the health checks, decided from beside the configuration.
//!
//! The balancer engine publishes it whenever a backend goes down or comes back, and when a backend that drains has drained
//! for long enough; the loop plans again by the same path as for a change. Cheap to clone, and compared at the cost of what
//! differs.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdSet;
use imbl::ordmap::DiffItem;

use super::facts::Balanced;
use crate::config::load_balancer::{DataPath, LoadBalancer};
use crate::config::pool::Backend;
use crate::config::port_forward::Transport;
use crate::config::{Config, Id};

/// Which backends take connections. Those that are not mentioned do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Availability {
    /// Backends that are down: they take no connections, and lose those that they have.
    pub down: OrdSet<BackendName>,
    /// Former endpoints that drain: backends that were removed, moved or disabled, or whose balancer was. They keep the
    /// connections that they have for as long as they are mentioned here, and lose what is left then.
    pub draining: OrdSet<Balanced>,
    /// Addresses whose listeners were removed and whose connections go on: the router keeps them as its own.
    pub held: OrdSet<Ipv4Addr>,
}

impl Availability {
    /// Whether a backend takes connections.
    #[must_use]
    pub fn is_up(&self, balancer: &Id, pool: &Id, backend: &Id) -> bool {
        // Mostly all are: nothing has to be put together to find that out.
        self.down.is_empty()
            || !self.down.contains(&BackendName {
                balancer: balancer.clone(),
                pool: pool.clone(),
                backend: backend.clone(),
            })
    }

    /// Whether connections to an address go on although nothing is configured on it.
    #[must_use]
    pub fn keeps(&self, address: Ipv4Addr) -> bool {
        let lowest = |address| Balanced {
            address,
            protocol: 0,
            port: 0,
            backend: Ipv4Addr::UNSPECIFIED,
            backend_port: 0,
        };
        self.held.contains(&address)
            || self.draining.range(lowest(address)..).next().is_some_and(|found| found.address == address)
    }
}

/// A backend, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName {
    /// The balancer.
    pub balancer: Id,
    /// Its pool.
    pub pool: Id,
    /// The backend.
    pub backend: Id,
}

/// A backend by the ids in its balancer.
#[derive(Clone, Copy)]
struct InBalancer<'a> {
    pool: &'a Id,
    backend: &'a Id,
}

/// The backends that a balancer of the kernel's means to have connections.
fn serving(balancer: &LoadBalancer) -> impl Iterator<Item = (InBalancer<'_>, &Backend)> {
    balancer.default_pool().into_iter().flat_map(|(pool, content)| {
        let enabled = content.backends.iter().filter(|(_, backend)| backend.enabled);
        enabled.map(move |(id, backend)| (InBalancer { pool, backend: id }, backend))
    })
}

fn balanced(balancer: &LoadBalancer, backend: &Backend) -> Balanced {
    Balanced {
        address: balancer.address.get(),
        protocol: protocol(balancer),
        port: balancer.port,
        backend: backend.address.get(),
        backend_port: backend.port,
    }
}

/// The transport's number in the IANA registry.
fn protocol(balancer: &LoadBalancer) -> u8 {
    match balancer.transport() {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

impl Availability {
    /// What follows when a configuration takes the place of another: backends that lose their part drain, for as long as
    /// whoever publishes the next availability lets them, and addresses of listeners that go are kept. The same where
    /// nothing of that is so.
    #[must_use]
    pub fn following(self: &Arc<Self>, before: &Config, after: &Config) -> Arc<Self> {
        let mut next = Self::clone(self);
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for item in before.load_balancers().diff(after.load_balancers()) {
            match item {
                DiffItem::Add(_, new) => come.push(new),
                DiffItem::Remove(id, old) => gone.push((id, old, old.drain_seconds)),
                DiffItem::Update { old: (id, old), new: (_, new) } => {
                    gone.push((id, old, new.drain_seconds));
                    come.push(new);
                }
            }
        }
        for (id, old, _) in gone.into_iter().filter(|(.., drain_seconds)| *drain_seconds > 0) {
            next.release(id, old, after);
        }
        for balancer in come {
            next.claim(balancer);
        }
        if next == **self { self.clone() } else { Arc::new(next) }
    }

    /// Everything that a balancer had drains.
    fn release(&mut self, id: &Id, balancer: &LoadBalancer, after: &Config) {
        let address = balancer.address.get();
        if balancer.path() == DataPath::Proxy {
            if !after.serves_ports_on(address) {
                self.held.insert(address);
            }
            return;
        }
        for (name, backend) in serving(balancer) {
            if self.is_up(id, name.pool, name.backend) {
                self.draining.insert(balanced(balancer, backend));
            }
        }
    }

    /// What a balancer has does not drain.
    fn claim(&mut self, balancer: &LoadBalancer) {
        if balancer.path() == DataPath::Kernel {
            for (_, backend) in serving(balancer) {
                self.draining.remove(&balanced(balancer, backend));
            }
        }
    }
}
