//! Which backends take connections: observed by the health checks, decided from beside the configuration.
//!
//! The balancer engine publishes it whenever a backend goes down or comes back, and when a backend that drains has drained
//! for long enough; the loop plans again by the same path as for a change. Cheap to clone, and compared at the cost of what
//! differs.

use std::net::Ipv4Addr;

use imbl::OrdSet;

use super::facts::Balanced;
use crate::config::Id;

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
