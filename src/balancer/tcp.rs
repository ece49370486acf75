//! What a relayed connection needs of the site that it came to, and what is counted of it.
//!
//! Called by `accept.rs`; `relay` calls back.

use std::net::SocketAddrV4;
use std::sync::Arc;

use super::backend::Backend;
use super::pool::Pool;
use super::relay::{self, Event};
use super::site::Site;
use crate::clock;
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

    fn stay(&self, pool: &Id, client: SocketAddrV4) -> Option<Arc<Backend>> {
        let pool = self.0.pools.get(pool)?;
        let sticky = pool.sticky.as_ref()?;
        sticky.brought(&pool.pool, *client.ip(), None, clock::moment(), clock::now()).backend
    }

    fn note(&self, event: Event<'_>) {
        let Self(site) = self;
        match event {
            Event::TurnedAway => site.tally.turned_away(),
            Event::Failed(backend, reason) => {
                site.tally.failed();
                backend.tally.failed();
                if let Some(pool) = site.pools.get(&backend.name().pool) {
                    pool.told(backend, reason);
                }
            }
            Event::Retried(_) => site.tally.retried(),
            Event::Taken(pool, backend, client) => {
                backend.tally.opened();
                let Some(pool) = site.pools.get(pool) else { return };
                pool.succeeded(backend);
                if let Some(sticky) = &pool.sticky {
                    let now = clock::moment();
                    let brought = sticky.brought(&pool.pool, *client.ip(), None, now, clock::now());
                    sticky.chosen(&brought, backend, now);
                }
            }
            Event::Carried(_, backend, inward, outward) => {
                site.tally.carried(inward, outward);
                backend.tally.carried(inward, outward);
            }
            Event::Over(_, backend, _) => backend.tally.closed(),
        }
    }
}
