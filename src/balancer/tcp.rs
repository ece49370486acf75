//! What a relayed connection needs of the site that it came to, and what is counted of it.
//!
//! Called by `accept.rs`; `relay` calls back.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::backend::Backend;
use super::pool::Pool;
use super::relay::{self, Event};
use super::site::Site;
use crate::config::Id;
use crate::config::load_balancer::LoadBalancer;

/// A site as relayed connections see it.
pub(crate) struct Tcp(pub(crate) Arc<Site>);

impl relay::Site for Tcp {
    fn config(&self) -> &LoadBalancer {
        &self.0.config
    }

    fn pool(&self, id: &Id) -> Option<&Arc<Pool>> {
        self.0.pools.get(id).map(|pool| &pool.pool)
    }

    fn stay(&self, _pool: &Id, _client: SocketAddrV4) -> Option<Arc<Backend>> {
        None
    }

    fn note(&self, event: Event<'_>) {
        let Self(site) = self;
        match event {
            Event::TurnedAway => site.tally.turned_away(),
            Event::Failed(backend, reason) => {
                site.tally.failed();
                backend.tally().failed();
                if let Some(pool) = site.pools.get(&backend.name().pool) {
                    pool.told(backend, reason);
                }
            }
            Event::Retried(_) => site.tally.retried(),
            Event::Taken(pool, backend, _) => {
                backend.tally().opened();
                if let Some(pool) = site.pools.get(pool) {
                    pool.succeeded(backend);
                }
            }
            Event::Carried(_, backend, inward, outward) => {
                site.tally.carried(inward, outward);
                backend.tally().carried(inward, outward);
            }
            Event::Over(_, backend, _) => backend.tally().closed(),
        }
    }
}
