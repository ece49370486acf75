//! What is remembered of backends across a restart: to the store's entries and back. Called by `checker.rs`.

use std::hash::Hasher;
use std::net::SocketAddrV4;

use siphasher::sip::SipHasher13;

use super::drain::Drains;
use super::entry::{Entry, Remembered, RememberedState, Unstored};
use super::state::State;
use super::table::Table;
use crate::balancer::condition::Health;
use crate::clock::Timestamp;
use crate::config::pool::HealthCheck;
use crate::plan::BackendName;
use crate::plan::facts::Balanced;
use crate::store::backends::{self, StoredBackend, StoredDrain};

/// A digest of a check, the same in every build: whether what is remembered was found out in the same way.
pub(super) fn digest(check: &HealthCheck) -> u64 {
    let mut hasher = SipHasher13::new();
    // The wire types can always be written; were one not, its backends would only be asked anew.
    hasher.write(&serde_json::to_vec(check).unwrap_or_default());
    hasher.finish()
}

/// What the store's entries, oldest first, say.
pub(super) fn read(entries: Vec<backends::Entry>) -> Remembered {
    let mut remembered = Remembered::default();
    let mut drains = std::collections::BTreeMap::new();
    for entry in entries {
        match entry {
            backends::Entry::Backend(stored) => {
                let Some(name) = name(&stored.name) else { continue };
                let health = if stored.up { Health::Up } else { Health::Down };
                let state = State::remembered(health, stored.reason.into(), stored.since);
                let known = RememberedState { endpoint: stored.endpoint, check: stored.check, state };
                remembered.states.insert(name, known);
            }
            backends::Entry::Gone { name: gone } => {
                if let Some(name) = name(&gone) {
                    remembered.states.remove(&name);
                }
            }
            backends::Entry::Drain(drain) => {
                drains.insert(balanced(&drain), drain.until);
            }
        }
    }
    remembered.drains = drains.into_iter().collect();
    remembered
}

/// The entries that say what changed.
pub(super) fn changes(table: &Table, unstored: &Unstored) -> Vec<backends::Entry> {
    let backends = unstored.names.iter().map(|name| match table.entry(name).and_then(backend) {
        Some(stored) => backends::Entry::Backend(stored),
        None => backends::Entry::Gone { name: text(name) },
    });
    // What does not drain any more is over since ever.
    let until = |balanced| table.drains().until(balanced).unwrap_or_default();
    let drains = unstored.drains.iter().map(|balanced| drain(*balanced, until(balanced)));
    backends.chain(drains).collect()
}

/// The entries that say all.
pub(super) fn all(table: &Table) -> Vec<backends::Entry> {
    let backends = table.entries().filter_map(backend).map(backends::Entry::Backend);
    let drains = Drains::iter(table.drains()).map(|(balanced, until)| drain(balanced, until));
    backends.chain(drains).collect()
}

/// What is stored of a backend; nothing where nothing is known.
fn backend(entry: &Entry) -> Option<StoredBackend> {
    let up = match entry.state.health {
        Health::Unknown => return None,
        Health::Up => true,
        Health::Down => false,
    };
    Some(StoredBackend {
        name: text(&entry.name),
        endpoint: entry.endpoint,
        check: entry.digest,
        up,
        reason: entry.state.reason.clone().into_owned(),
        since: entry.state.since,
    })
}

fn text(name: &BackendName) -> [String; 3] {
    [&name.balancer, &name.pool, &name.backend].map(|id| id.as_str().to_owned())
}

fn name([balancer, pool, backend]: &[String; 3]) -> Option<BackendName> {
    Some(BackendName {
        balancer: balancer.parse().ok()?,
        pool: pool.parse().ok()?,
        backend: backend.parse().ok()?,
    })
}

fn drain(balanced: Balanced, until: Timestamp) -> backends::Entry {
    let Balanced { address, protocol, port, backend, backend_port } = balanced;
    let backend = SocketAddrV4::new(backend, backend_port);
    backends::Entry::Drain(StoredDrain { address, protocol, port, backend, until })
}

fn balanced(stored: &StoredDrain) -> Balanced {
    Balanced {
        address: stored.address,
        protocol: stored.protocol,
        port: stored.port,
        backend: *stored.backend.ip(),
        backend_port: stored.backend.port(),
    }
}
