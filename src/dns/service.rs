//! DNS as a service that never restarts: each apply puts the next snapshot under it.
//!
//! Called by the daemon, which keeps one for its whole life, and by the loop.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Active, Engine};
use super::forward::Group;
use super::listener::{DnsError, Listener, Open};
use super::snapshot::Snapshot;
use super::status::{ListenerStatus, Status, UpstreamStatus};
use super::tcp::Connections;
use super::upstream::Upstream;
use super::worker::Worker;
use crate::clock;

/// DNS for the guests. Listens nowhere until a snapshot is applied.
#[derive(Debug)]
pub struct Service {
    worker: Worker,
    engine: Arc<Engine>,
    connections: Arc<Connections>,
    listeners: Mutex<BTreeMap<Ipv4Addr, Listener>>,
    /// Held while a snapshot is applied: the number of the next group of forwarders.
    applying: tokio::sync::Mutex<u32>,
}

impl Service {
    /// A service that listens nowhere and knows nothing. Starts the thread that it runs on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new() -> Result<Self, DnsError> {
        Ok(Self {
            worker: Worker::start().map_err(DnsError::Start)?,
            engine: Arc::new(Engine::new(clock::moment())),
            connections: Arc::default(),
            listeners: Mutex::default(),
            applying: tokio::sync::Mutex::new(0),
        })
    }

    /// Puts a snapshot under the service. Sockets that are wanted and open are not touched; the cache, the counters
    /// and what is known of forwarders stay. May be called from several tasks.
    ///
    /// # Errors
    /// A socket cannot be opened; then nothing has changed.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), DnsError> {
        let mut next_number = self.applying.lock().await;
        // A listener whose task ended, which only a bug can do, is opened anew.
        self.close_where(|_, listener| !listener.is_running()).await;
        let missing: Vec<Ipv4Addr> = {
            let listeners = self.listeners();
            snapshot.listeners().iter().filter(|address| !listeners.contains_key(address)).copied().collect()
        };
        let opened: Vec<(Ipv4Addr, Open)> = missing
            .into_iter()
            .map(|address| Open::new(address, self.worker.handle()).map(|open| (address, open)))
            .collect::<Result<_, _>>()?;
        let before = self.engine.active();
        let groups = if before.snapshot.shares_groups(&snapshot) {
            before.groups.clone()
        } else {
            regroup(&before.groups, snapshot.groups(), &mut next_number)
        };
        self.engine.swap(Active { snapshot: snapshot.clone(), groups });
        for (address, open) in opened {
            let listener = open.serve(self.worker.handle(), &self.engine, &self.connections);
            self.listeners().insert(address, listener);
        }
        self.close_where(|address, _| !snapshot.listeners().contains(address)).await;
        Ok(())
    }

    async fn close_where(&self, unwanted: impl Fn(&Ipv4Addr, &Listener) -> bool) {
        let closed: Vec<Listener> = {
            let mut listeners = self.listeners();
            let (gone, kept) = std::mem::take(&mut *listeners).into_iter().partition(|(a, l)| unwanted(a, l));
            *listeners = kept;
            BTreeMap::into_values(gone).collect()
        };
        for listener in closed {
            listener.close().await;
        }
    }

    /// The state of the service.
    #[must_use]
    pub fn status(&self) -> Status {
        let active = self.engine.active();
        let listeners = self.listeners();
        let upstreams: BTreeMap<SocketAddrV4, &Arc<Upstream>> = active
            .groups
            .iter()
            .flat_map(|group| &group.upstreams)
            .map(|upstream| (upstream.address, upstream))
            .collect();
        Status {
            listeners: listeners
                .iter()
                .map(|(address, listener)| ListenerStatus {
                    address: *address,
                    running: listener.is_running(),
                })
                .collect(),
            upstreams: upstreams.into_values().map(|upstream| upstream_status(upstream)).collect(),
            names: active.snapshot.names(),
            cache_entries: self.engine.forwarder.cache.len(),
            cache_capacity: active.snapshot.cache_entries(),
            connections: self.connections.len(),
            counts: self.engine.counters.read(),
        }
    }

    /// Closes every socket and ends the thread; the addresses are free when this returns.
    pub async fn close(self) {
        self.worker.stop().await;
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The groups of forwarders that are wanted, out of those that are there as far as possible: a list that stays keeps
/// its number and with it what it answered, a forwarder that stays keeps what is known of it.
fn regroup(groups: &[Arc<Group>], wanted: &[Vec<SocketAddrV4>], next_number: &mut u32) -> Vec<Arc<Group>> {
    let mut known: BTreeMap<SocketAddrV4, Arc<Upstream>> = groups
        .iter()
        .flat_map(|group| &group.upstreams)
        .map(|upstream| (upstream.address, upstream.clone()))
        .collect();
    let mut by_list: BTreeMap<Vec<SocketAddrV4>, Arc<Group>> =
        groups.iter().map(|group| (group.addresses().collect(), group.clone())).collect();
    let mut group_of = |list: &Vec<SocketAddrV4>| {
        if let Some(group) = by_list.get(list) {
            return group.clone();
        }
        let mut upstream = |address: &SocketAddrV4| {
            known.entry(*address).or_insert_with(|| Arc::new(Upstream::new(*address))).clone()
        };
        let group =
            Arc::new(Group { number: *next_number, upstreams: list.iter().map(&mut upstream).collect() });
        *next_number = next_number.wrapping_add(1);
        by_list.insert(list.clone(), group.clone());
        group
    };
    wanted.iter().map(&mut group_of).collect()
}

fn upstream_status(upstream: &Upstream) -> UpstreamStatus {
    upstream.health(|health| UpstreamStatus {
        address: upstream.address,
        reachable: health.reachable(),
        latency_ms: health.latency().map(|latency| latency.as_secs_f64() * 1000.0),
        last_error: health.last_error().map(str::to_owned),
        queries: upstream.queries.load(Ordering::Relaxed),
        failures: upstream.failures.load(Ordering::Relaxed),
    })
}
