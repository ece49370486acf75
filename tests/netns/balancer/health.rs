//! Health checks of backends that answer, refuse, keep silent, or cannot make up their mind.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vrouter::balancer::health::{BackendHealth, Checker, Condition};
use vrouter::config::Config;
use vrouter::plan::BackendName;

use crate::lab::{Lab, until};

/// A namespace in which every address of 10.1.0.0/16 is at home, and all backends with them.
pub(super) fn site() -> Lab {
    let mut lab = Lab::new();
    lab.namespace("router");
    lab.ok("router", "ip route add local 10.1.0.0/16 dev lo");
    lab
}

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
                seen.lock().unwrap().push(format!(
                    "{backend} {}: {}",
                    state.condition.as_str(),
                    state.reason
                ));
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
    fn becomes(&self, pool: &str, backend: &str, condition: Condition, reason: &str) {
        until(&format!("{pool} {backend} is {condition:?}: {reason}"), || {
            let state = self.health(pool, backend).state;
            (state.condition == condition && state.reason == reason).then_some(())
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

#[test]
fn a_flapping_backend_is_followed_with_its_reasons() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let check = json!({
            "type": "http", "path": "/health?deep=1", "host": "www.demo.local", "source": "10.1.0.1",
            "interval_seconds": 1, "timeout_seconds": 1, "unhealthy_threshold": 2,
        });
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": check}}));
        checks.becomes("all", "a", Condition::Up, "http: status 200");
        web.says(503);
        checks.becomes("all", "a", Condition::Down, "http: status 503");
        assert_eq!(checks.down(), ["a"]);
        web.says(0);
        checks.becomes("all", "a", Condition::Down, "no answer within 1 s");
        web.says(204);
        checks.becomes("all", "a", Condition::Up, "http: status 204");
        assert!(checks.down().is_empty());
        let (from, request) = web.requests.lock().unwrap()[0].clone();
        assert_eq!(from.ip(), Ipv4Addr::new(10, 1, 0, 1));
        assert!(request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: www.demo.local\r\n"), "{request}");
        let turns = checks.turns.lock().unwrap().clone();
        let changes: Vec<&str> = turns.iter().map(String::as_str).collect();
        assert_eq!(
            changes,
            [
                "a up: http: status 200",
                "a down: http: status 503",
                "a down: no answer within 1 s",
                "a up: http: status 204"
            ]
        );
        let last = checks.health("all", "a").last.unwrap();
        assert!(last.took < Duration::from_secs(1), "{last:?}");
        checks.close();
    });
}

/// One server for each kind of check, and those that say nothing.
fn servers() -> (Web, TcpListener, UdpSocket) {
    let web = Web::serve("10.1.0.20:80");
    let silent = TcpListener::bind("10.1.0.20:81").unwrap();
    let banner = TcpListener::bind("10.1.0.20:25").unwrap();
    thread::spawn(move || {
        for stream in banner.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"220 mail.dem");
            thread::sleep(Duration::from_millis(50));
            let _ = stream.write_all(b"o.local ESMTP\r\n");
        }
    });
    let echo = UdpSocket::bind("10.1.0.20:53").unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 100];
        while let Ok((length, from)) = echo.recv_from(&mut datagram) {
            let _ = echo.send_to(&datagram[..length], from);
        }
    });
    let mute = UdpSocket::bind("10.1.0.20:54").unwrap();
    serve_tls("10.1.0.20:443", "www.demo.local");
    (web, silent, mute)
}

/// Kinds of checks, each by the name of its pool, with the port that is asked and what comes of it.
fn cases() -> Vec<(&'static str, u16, Value, Condition, &'static str)> {
    vec![
        ("tcp", 80, json!({"type": "tcp"}), Condition::Up, "connected"),
        ("refused", 9, json!({"type": "tcp"}), Condition::Down, "connection refused"),
        (
            "greeting",
            25,
            json!({"type": "tcp", "expect": "220 mail.demo.local"}),
            Condition::Up,
            "the expected answer",
        ),
        (
            "other",
            25,
            json!({"type": "tcp", "expect": "220 news"}),
            Condition::Down,
            "not the expected answer",
        ),
        (
            "mute",
            81,
            json!({"type": "tcp", "send": "?", "expect": "!"}),
            Condition::Down,
            "no answer within 1 s",
        ),
        ("body", 80, json!({"type": "http", "expected_body": "is well"}), Condition::Up, "http: status 200"),
        (
            "behind",
            80,
            json!({"type": "http", "expected_body": "end of it"}),
            Condition::Down,
            "http: the body lacks the expected text",
        ),
        (
            "status",
            80,
            json!({"type": "http", "expected_status": ["404"]}),
            Condition::Down,
            "http: status 200",
        ),
        ("https", 443, json!({"type": "https", "host": "www.demo.local"}), Condition::Up, "http: status 200"),
        ("tls", 443, json!({"type": "tls", "host": "www.demo.local"}), Condition::Up, "TLS 1.3"),
        (
            "othername",
            443,
            json!({"type": "tls", "host": "elsewhere.local"}),
            Condition::Down,
            "tls: received fatal alert: AccessDenied",
        ),
        (
            "plain",
            25,
            json!({"type": "tls"}),
            Condition::Down,
            "tls: received corrupt message of type InvalidContentType",
        ),
        (
            "echo",
            53,
            json!({"type": "udp", "send": "ping", "expect": "pi"}),
            Condition::Up,
            "the expected answer",
        ),
        ("answer", 53, json!({"type": "udp", "send": "ping"}), Condition::Up, "an answer"),
        ("shut", 9, json!({"type": "udp", "send": "ping"}), Condition::Down, "connection refused"),
        ("quiet", 54, json!({"type": "udp", "send": "ping"}), Condition::Up, "no refusal within 1 s"),
        (
            "late",
            54,
            json!({"type": "udp", "send": "ping", "expect": "pong"}),
            Condition::Down,
            "no answer within 1 s",
        ),
    ]
}

#[test]
fn every_kind_of_check_says_why() {
    let lab = site();
    lab.inside("router", || {
        let _kept = servers();
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let cases = cases();
        let mut pools = serde_json::Map::new();
        for (name, port, check, ..) in &cases {
            let mut check = check.clone();
            for (member, value) in
                [("interval_seconds", 1), ("timeout_seconds", 1), ("unhealthy_threshold", 1)]
            {
                check[member] = json!(value);
            }
            let pool = json!({"backends": {"a": backend("10.1.0.20", *port)}, "health_check": check});
            pools.insert((*name).to_owned(), pool);
        }
        // What the router lacks says nothing about a backend.
        let check =
            json!({"type": "tcp", "source": "198.51.100.5", "unhealthy_threshold": 1, "interval_seconds": 1});
        pools.insert(
            "own".into(),
            json!({"backends": {"a": backend("10.1.0.20", 80)}, "health_check": check}),
        );
        checks.apply(Value::Object(pools));
        for (name, _, _, condition, reason) in cases {
            checks.becomes(name, "a", condition, reason);
        }
        let own = until("a check without a source", || checks.health("own", "a").last);
        let reason = "cannot check from 198.51.100.5: Cannot assign requested address (os error 99)";
        assert_eq!(own.outcome.reason(), reason);
        assert_eq!(checks.health("own", "a").state.condition, Condition::Unknown);
        checks.close();
    });
}

/// A TLS server that knows one name and answers HTTP.
pub(super) fn serve_tls(at: &str, name: &str) {
    let site = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(site.signing_key.serialize_der().into());
    let signing = provider.key_provider.load_private_key(key).unwrap();
    let mut resolver = rustls::server::ResolvesServerCertUsingSni::new();
    let certified = rustls::sign::CertifiedKey::new(vec![site.cert.der().clone()], signing);
    resolver.add(name, certified).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let config = Arc::new(config);
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            thread::spawn(move || {
                let Ok(mut acceptor) = rustls::ServerConnection::new(config) else { return };
                let mut stream = stream.unwrap();
                let mut tls = rustls::Stream::new(&mut acceptor, &mut stream);
                if tls.read(&mut [0; 1000]).is_ok() {
                    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
}

#[test]
fn silent_backends_hold_up_nobody() {
    let lab = site();
    lab.inside("router", || {
        let fast = Web::serve("10.1.0.20:80");
        // Its connections are made by the kernel and never looked at.
        let _silent = listen_for_many("0.0.0.0:81");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let silent: serde_json::Map<String, Value> = (0..1000_u16)
            .map(|number| {
                (format!("s{number:04}"), backend(&format!("10.1.{}.{}", 4 + number / 250, 1 + number % 250), 81))
            })
            .collect();
        let check = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 20});
        let quick = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 1, "unhealthy_threshold": 1, "healthy_threshold": 1});
        checks.apply(json!({
            "fast": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": quick},
            "slow": {"backends": silent, "health_check": check},
        }));
        checks.becomes("fast", "a", Condition::Up, "http: status 200");
        // All of the silent ones are being asked by now, and go on to be for twenty seconds.
        thread::sleep(Duration::from_secs(1));
        for status in [500, 200, 500] {
            fast.says(status);
            let begin = Instant::now();
            let condition = if status == 200 { Condition::Up } else { Condition::Down };
            checks.becomes("fast", "a", condition, &format!("http: status {status}"));
            // An interval with its jitter, and what a busy machine takes.
            assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
        }
        assert_eq!(checks.health("slow", "s0999").last, None, "it is still being asked");
        checks.close();
    });
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

#[test]
fn a_thousand_backends_cost_little() {
    let lab = site();
    lab.inside("router", || {
        let listener = listen_for_many("0.0.0.0:80");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        thread::spawn(move || {
            while accept(&listener).is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let backends: serde_json::Map<String, Value> = (0..1000_u16)
            .map(|number| {
                (
                    format!("b{number:04}"),
                    backend(&format!("10.1.{}.{}", 4 + number / 250, 1 + number % 250), 80),
                )
            })
            .collect();
        let check = json!({"type": "tcp", "interval_seconds": 1, "timeout_seconds": 1});
        checks.apply(json!({"all": {"backends": backends, "health_check": check}}));
        until("all are up", || (checks.turns.lock().unwrap().len() == 1000).then_some(()));
        let busy = || checks.runtime.block_on(checks.runtime.spawn(async { thread_time() })).unwrap();
        let (before, checked, begin) = (busy(), accepted.load(Ordering::SeqCst), Instant::now());
        until("four thousand checks", || (accepted.load(Ordering::SeqCst) >= checked + 4000).then_some(()));
        let (cost, took) = (busy() - before, begin.elapsed());
        let each = cost / 4000;
        eprintln!("4,000 checks in {took:?}: {cost:?} of one core, {each:?} each (debug build)");
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert!(each < Duration::from_millis(1), "{each:?}");
        assert!(checks.down().is_empty());
        checks.close();
    });
}

/// How long the calling thread has been running on a processor (proc(5), `schedstat`).
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_restart_keeps_what_was_known_until_the_first_check() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let check = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 20, "unhealthy_threshold": 1});
        let pools = json!({"all": {
            "backends": {"a": backend("10.1.0.20", 80), "b": backend("10.1.0.20", 9)}, "health_check": check,
        }});
        let checks = Checks::open(state.path());
        checks.apply(pools.clone());
        checks.becomes("all", "a", Condition::Up, "http: status 200");
        checks.becomes("all", "b", Condition::Down, "connection refused");
        web.says(500);
        checks.becomes("all", "a", Condition::Down, "http: status 500");
        let since = checks.health("all", "a").state.since;
        web.says(0);
        checks.close();
        let checks = Checks::open(state.path());
        assert_eq!(checks.down(), ["a", "b"], "before anything is configured");
        checks.apply(pools);
        let before = checks.health("all", "a").state;
        assert_eq!((before.condition, &*before.reason, before.since), (Condition::Down, "http: status 500", since));
        checks.close();
        // The first good answer is enough.
        web.says(200);
        let checks = Checks::open(state.path());
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": {
            "type": "http", "interval_seconds": 1, "timeout_seconds": 20, "unhealthy_threshold": 1, "healthy_threshold": 50,
        }}}));
        checks.becomes("all", "a", Condition::Up, "http: status 200");
        assert_eq!(checks.turns.lock().unwrap().len(), 1);
        checks.close();
    });
}

#[test]
fn connections_of_clients_take_a_backend_down_between_two_checks() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let check = json!({"type": "http", "interval_seconds": 600, "unhealthy_threshold": 3});
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": check}}));
        checks.becomes("all", "a", Condition::Up, "http: status 200");
        let id = |text: &str| text.parse().unwrap();
        let name = BackendName { balancer: id("web"), pool: id("all"), backend: id("a") };
        let passive = checks.checker().passive(&name).unwrap();
        web.says(503);
        for _ in 0..2 {
            passive.failed("connection refused");
        }
        passive.succeeded();
        for _ in 0..2 {
            passive.failed("connection refused");
        }
        // The check that they brought forward is no third failure of theirs.
        until("a check brought forward", || {
            (checks.health("all", "a").last?.outcome.reason() == "http: status 503").then_some(())
        });
        assert_eq!(checks.health("all", "a").state.condition, Condition::Up);
        passive.failed("connection refused");
        checks.becomes("all", "a", Condition::Down, "connections of clients: connection refused");
        checks.close();
    });
}
