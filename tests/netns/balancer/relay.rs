//! Connections relayed to backends: both ways to their ends, with headers, by name, past backends that are not there.
//!
//! Here is the balancer that the tests in this folder stand before, with the clients and backends around it.

mod backends;
mod client;
mod ends;
mod octets;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use vrouter::balancer::backend::Backend;
use vrouter::balancer::pool::{Manner, Pool};
use vrouter::balancer::relay::{self, Event, Site};
use vrouter::clock;
use vrouter::config::load_balancer::LoadBalancer;
use vrouter::config::{Config, Id};
use vrouter::merge_patch;

use crate::lab::{PATIENCE, until};

/// Where clients come to.
const FRONT: &str = "10.1.0.5:443";

/// A balancer with its pools, and what was noted of its connections.
struct Balancer {
    config: Arc<LoadBalancer>,
    pools: BTreeMap<Id, Arc<Pool>>,
    notes: Mutex<Vec<String>>,
    inward: AtomicU64,
    outward: AtomicU64,
}

impl Site for Balancer {
    fn config(&self) -> &LoadBalancer {
        &self.config
    }

    fn pool(&self, id: &Id) -> Option<&Arc<Pool>> {
        self.pools.get(id)
    }

    fn stay(&self, _: &Id, _: SocketAddrV4) -> Option<Arc<Backend>> {
        None
    }

    fn note(&self, event: Event<'_>) {
        let note = match event {
            Event::TurnedAway => "turned away".to_owned(),
            Event::Failed(backend, reason) => format!("{}: {reason}", backend.endpoint()),
            Event::Retried(pool) => format!("{pool} retried"),
            Event::Taken(pool, backend, _) => format!("{pool} {}", backend.endpoint()),
            Event::Carried(_, _, inward, outward) => {
                self.inward.fetch_add(inward, Ordering::SeqCst);
                self.outward.fetch_add(outward, Ordering::SeqCst);
                return;
            }
            Event::Over(_, _, ended) => format!("over: {ended:?}"),
        };
        self.notes.lock().unwrap().push(note);
    }
}

impl Balancer {
    fn new(patch: Value) -> Arc<Self> {
        let mut document = json!({
            "version": 1,
            "interfaces": {"guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.0.5/16"]}},
            "load_balancers": {"relay": {
                "address": "10.1.0.5", "port": 443, "protocol": "tcp", "algorithm": "least_connections",
                "pools": {"all": {"backends": {"a": {"address": "10.1.0.20", "port": 80}}}},
            }},
        });
        merge_patch::merge(&mut document, json!({"load_balancers": {"relay": patch}}));
        let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
        let (id, config) = config.load_balancers().iter().next().unwrap();
        let manner = Manner { algorithm: config.algorithm, drain: Duration::ZERO };
        let pool = |name: &Id, pool| {
            Pool::new(id.clone(), name.clone(), manner, pool, clock::moment(), clock::now())
        };
        let pools = config.pools.iter().map(|(name, content)| (name.clone(), pool(name, content))).collect();
        let (notes, inward, outward) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { config: config.clone(), pools, notes, inward, outward })
    }

    /// Serves until what is returned is dropped; a value sent cuts every connection.
    fn serve(self: &Arc<Self>) -> watch::Sender<bool> {
        let listener = TcpListener::bind(FRONT).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = watch::channel(false);
        let site = self.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let mut gone = stopped.clone();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, from) = accepted.unwrap();
                            let (site, mut stopped) = (site.clone(), stopped.clone());
                            let (SocketAddr::V4(from), local) = (from, FRONT.parse().unwrap()) else { panic!() };
                            tokio::spawn(async move {
                                let stop = async { let _ = stopped.wait_for(|stop| *stop).await; };
                                relay::serve(stream, (from, local), &*site, stop).await;
                            });
                        }
                        ended = gone.wait_for(|_| false) => if ended.is_err() { return } else { std::future::pending().await },
                    }
                }
            });
        });
        stop
    }

    #[track_caller]
    fn notes(&self, expected: &[&str]) {
        let seen = || self.notes.lock().unwrap().clone();
        let start = Instant::now();
        while seen() != expected {
            assert!(start.elapsed() < PATIENCE, "{:#?} is not {expected:#?}", seen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Forgets what was noted once so many connections are over: the end is the last that is noted of one, so nothing of
    /// them comes later.
    fn forget(&self, connections: usize) {
        until("the connections are over", || {
            let mut notes = self.notes.lock().unwrap();
            let over = notes.iter().filter(|note| note.starts_with("over: ")).count();
            (over == connections).then(|| notes.clear())
        });
    }
}

/// A backend that handles connections one after the other.
fn backend(at: &str, handle: impl Fn(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| handle(stream.unwrap())));
}

/// Says who it is, then whatever it hears, until the other side ends.
fn echo(name: &'static str) -> impl Fn(TcpStream) + Send + 'static {
    move |mut stream| {
        let _ = stream.write_all(name.as_bytes());
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let _ = stream.write_all(&heard);
    }
}

fn client() -> TcpStream {
    let stream = TcpStream::connect(FRONT).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
