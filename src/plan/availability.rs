//! Which backends take connections: observed by the health checks, decided from beside the configuration.
//!
//! The balancer engine publishes it whenever a backend goes down or comes back, and when a backend that drains has drained
//! for long enough; the loop plans again by the same path as for a change. Cheap to clone, and compared at the cost of what
//! differs.

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
