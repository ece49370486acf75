//! Health checks of backends that answer, refuse, keep silent, or cannot make up their mind.
//!
//! Here are the checks that the tests in this folder run, and the backends that change under them.

mod crowd;
mod kinds;
mod turns;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vrouter::balancer::health::{BackendHealth, Checker, Health};
use vrouter::config::Config;
use vrouter::plan::BackendName;

use crate::lab::until;

/// Checks at work on a runtime of their own.
struct Checks {
    runtime: Runtime,
    checker: Option<Checker>,
    turns: Arc<Mutex<Vec<String>>>,
}

impl Checks {
    fn open(state: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let turns = Arc::new(Mutex::new(Vec::new()));
        let seen = turns.clone();
        let checker = runtime.block_on(async {
            let observe = move |turn: &vrouter::balancer::health::Turn| {
                let (backend, state) = (&turn.name.backend, &turn.state);
                seen.lock().unwrap().push(format!("{backend} {}: {}", state.health.as_str(), state.reason));
            };
            Checker::open(state, observe).unwrap()
        });
        Self { runtime, checker: Some(checker), turns }
    }

    fn checker(&self) -> &Checker {
        self.checker.as_ref().unwrap()
    }

    /// Watches pools of one balancer.
    fn apply(&self, pools: Value) {
        let document = json!({
            "version": 1,
            "interfaces": {
                "guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.0.1/16"]},
                "public": {"device": "eth0", "roles": ["public"], "addresses": ["198.51.100.5/24"]},
            },
            "load_balancers": {"web": {
                "address": "198.51.100.5", "port": 80, "protocol": "tcp", "pools": pools,
                "default_pool": pools.as_object().unwrap().keys().next().unwrap(),
            }},
        });
        let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
        self.checker().apply(&config);
    }

    fn health(&self, pool: &str, backend: &str) -> BackendHealth {
        let id = |text: &str| text.parse().unwrap();
        let name = BackendName { balancer: id("web"), pool: id(pool), backend: id(backend) };
        self.checker().health(&name).unwrap()
    }

    #[track_caller]
    fn becomes(&self, pool: &str, backend: &str, health: Health, reason: &str) {
        until(&format!("{pool} {backend} is {health:?}: {reason}"), || {
            let state = self.health(pool, backend).state;
            (state.health == health && state.reason == reason).then_some(())
        });
    }

    fn down(&self) -> Vec<String> {
        let availability = self.checker().availability();
        let availability = availability.borrow();
        availability.down.iter().map(|name| name.backend.to_string()).collect()
    }

    fn close(mut self) {
        self.runtime.block_on(self.checker.take().unwrap().close());
    }
}

/// A backend that answers HTTP with the status of the moment; 0 keeps silent.
struct Web {
    status: Arc<AtomicU16>,
    requests: Arc<Mutex<Vec<(SocketAddr, String)>>>,
}

impl Web {
    fn serve(at: &str) -> Self {
        let listener = listen_for_many(at);
        let web = Self { status: Arc::new(AtomicU16::new(200)), requests: Arc::default() };
        let (status, requests) = (web.status.clone(), web.requests.clone());
        thread::spawn(move || {
            let mut silent = Vec::new();
            while let Some((mut stream, from)) = accept(&listener) {
                let mut text = [0; 2048];
                let length = stream.read(&mut text).unwrap_or(0);
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                requests.lock().unwrap().push((from, text));
                match status.load(Ordering::SeqCst) {
                    0 => silent.push(stream),
                    status => {
                        let body = "x".repeat(70_000) + " end of it";
                        let _ = write!(
                            stream,
                            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\nall is well {body}",
                            body.len() + 12
                        );
                    }
                }
            }
        });
        web
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn backend(address: &str, port: u16) -> Value {
    json!({"address": address, "port": port})
}

/// A listener with room for all who come at once.
fn listen_for_many(at: &str) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&at.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(4096).unwrap();
    socket
}

/// The next connection. One that was cut off before it was taken may have no address any more.
fn accept(listener: &socket2::Socket) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                if let Some(from) = from.as_socket() {
                    return Some((stream.into(), from));
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => return None,
        }
    }
}
