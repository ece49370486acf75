//! Connections relayed to backends: both ways to their ends, with headers, by name, past backends that are not there.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
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

use super::health::{serve_tls, site};
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

#[test]
fn either_side_may_end_its_half() {
    let lab = site();
    lab.inside("router", || {
        backend("10.1.0.20:80", echo("hello "));
        let balancer = Balancer::new(json!({}));
        let _serving = balancer.serve();
        let mut stream = client();
        stream.write_all(b"and goodbye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream), "hello and goodbye");
        balancer.notes(&["all 10.1.0.20:80", "over: Closed"]);
        assert_eq!(balancer.inward.load(Ordering::SeqCst), 11);
        assert_eq!(balancer.outward.load(Ordering::SeqCst), 17);
    });
}

/// A gigabyte each way at once, through pipes, with ends that are slow now and then.
#[test]
fn a_gigabyte_each_way_arrives_as_it_was_sent() {
    const CHUNK: usize = 1 << 16;
    const CHUNKS: u64 = 1 << 14;
    fn chunk(number: u64) -> Vec<u8> {
        // Another one each time, at little cost: no chunk can stand for another.
        let mut chunk: Vec<u8> = vec![7; CHUNK];
        chunk[..8].copy_from_slice(&number.to_be_bytes());
        chunk[CHUNK - 8..].copy_from_slice(&number.to_le_bytes());
        chunk
    }
    fn both_ways(stream: TcpStream) {
        let mut out = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            for number in 0..CHUNKS {
                out.write_all(&chunk(number)).unwrap();
            }
            out.shutdown(Shutdown::Write).unwrap();
        });
        let mut stream = stream;
        let mut heard = vec![0; CHUNK];
        for number in 0..CHUNKS {
            stream.read_exact(&mut heard).unwrap();
            assert!(heard == chunk(number), "chunk {number}");
            if number.is_multiple_of(4001) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        assert_eq!(stream.read(&mut heard).unwrap(), 0);
        writer.join().unwrap();
    }
    let lab = site();
    lab.inside("router", || {
        let (done, both) = mpsc::channel();
        backend("10.1.0.20:80", move |stream| {
            both_ways(stream);
            done.send(()).unwrap();
        });
        let balancer = Balancer::new(json!({}));
        let _serving = balancer.serve();
        let begin = Instant::now();
        both_ways(client());
        both.recv_timeout(PATIENCE).unwrap();
        eprintln!("a gigabyte each way in {:?} (debug build)", begin.elapsed());
        balancer.notes(&["all 10.1.0.20:80", "over: Closed"]);
        for way in [&balancer.inward, &balancer.outward] {
            assert_eq!(way.load(Ordering::SeqCst), CHUNKS * CHUNK as u64);
        }
    });
}

#[test]
fn backends_are_told_of_the_client() {
    let lab = site();
    lab.inside("router", || {
        let (told, heard) = mpsc::channel();
        backend("10.1.0.20:80", move |mut stream| {
            let mut octets = Vec::new();
            stream.read_to_end(&mut octets).unwrap();
            told.send(octets).unwrap();
        });
        for version in ["v1", "v2"] {
            let balancer = Balancer::new(json!({"proxy_protocol": version}));
            let serving = balancer.serve();
            let mut stream = client();
            let SocketAddr::V4(own) = stream.local_addr().unwrap() else { panic!() };
            stream.write_all(b"request").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let octets = heard.recv_timeout(PATIENCE).unwrap();
            let parsed = ppp::HeaderResult::parse(&octets);
            let length = match parsed {
                ppp::HeaderResult::V1(Ok(header)) => {
                    assert_eq!(version, "v1");
                    let expected =
                        ppp::v1::Addresses::new_tcp4(*own.ip(), Ipv4Addr::new(10, 1, 0, 5), own.port(), 443);
                    assert_eq!(header.addresses, expected);
                    header.header.len()
                }
                ppp::HeaderResult::V2(Ok(header)) => {
                    assert_eq!(version, "v2");
                    let expected = ppp::v2::IPv4::new(*own.ip(), Ipv4Addr::new(10, 1, 0, 5), own.port(), 443);
                    assert_eq!(header.addresses, ppp::v2::Addresses::IPv4(expected));
                    header.header.len()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(&octets[length..], b"request");
            // The header is not the client's.
            until("the count", || (balancer.inward.load(Ordering::SeqCst) == 7).then_some(()));
            drop((stream, serving));
            until("the port is free", || TcpListener::bind(FRONT).ok());
        }
    });
}

#[test]
fn tls_clients_are_led_by_the_name_they_ask_for() {
    let lab = site();
    lab.inside("router", || {
        for (at, name) in [("10.1.0.20:443", "www.demo.local"), ("10.1.0.21:443", "mail.demo.local")] {
            serve_tls(at, name);
        }
        backend("10.1.0.22:22", echo("SSH-2.0-other\r\n"));
        let pool = |address: &str, port: u16| json!({"backends": {"a": {"address": address, "port": port}}});
        let balancer = Balancer::new(json!({
            "pools": {"all": null, "www": pool("10.1.0.20", 443), "mail": pool("10.1.0.21", 443), "rest": pool("10.1.0.22", 22)},
            "sni": {"www.demo.local": "www", "*.demo.local": "mail"},
            "default_pool": "rest",
            "timeouts": {"client_header_ms": 500},
        }));
        let _serving = balancer.serve();
        for (name, pool) in [("www.demo.local", "www"), ("mail.demo.local", "mail")] {
            let line = format!("openssl s_client -connect {FRONT} -servername {name} -verify_hostname {name}");
            let said = lab.run("router", &line);
            assert!(said.stdout.contains("BEGIN CERTIFICATE"), "{}{}", said.stdout, said.stderr);
            assert!(!said.stdout.contains("hostname mismatch"), "{}", said.stdout);
            until("the pool", || balancer.notes.lock().unwrap().iter().any(|note| note.starts_with(pool)).then_some(()));
        }
        balancer.forget(2);
        // A hello in single octets is as good.
        let mut stream = client();
        stream.set_nodelay(true).unwrap();
        for octet in hello("MAIL.demo.local") {
            stream.write_all(&[octet]).unwrap();
        }
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1, "an answer of the mail server");
        drop(stream);
        until("the mail pool", || {
            balancer.notes.lock().unwrap().iter().any(|note| note == "mail 10.1.0.21:443").then_some(())
        });
        // What is not TLS goes to the pool of the rest.
        let mut stream = client();
        stream.write_all(b"SSH-2.0-client\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream), "SSH-2.0-other\r\nSSH-2.0-client\r\n");
        // What begins like TLS and is none, or does not come, leads nowhere.
        balancer.forget(2);
        let mut stream = client();
        stream.write_all(&[22, 3, 1, 0, 4, 2, 0, 0, 0]).unwrap();
        assert_eq!(rest(stream), "");
        let mut stream = client();
        stream.write_all(&[22, 3, 1]).unwrap();
        let begin = Instant::now();
        assert_eq!(rest(stream), "");
        assert!(begin.elapsed() > Duration::from_millis(400));
        balancer.notes(&["turned away", "turned away"]);
    });
}

/// What a TLS client says first.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client =
        rustls::ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut octets = Vec::new();
    client.write_tls(&mut octets).unwrap();
    octets
}

#[test]
fn a_backend_that_does_not_answer_is_passed_over() {
    let lab = site();
    lab.inside("router", || {
        backend("10.1.0.22:80", echo("here "));
        // Its queue is full, so whoever comes gets no answer.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"10.1.0.21:80".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let _waiting = TcpStream::connect("10.1.0.21:80").unwrap();
        let server = |address: &str| json!({"address": address, "port": 80});
        let balancer = Balancer::new(json!({
            "algorithm": "least_connections", "proxy_protocol": "v1", "timeouts": {"connect_ms": 300},
            "pools": {"all": {"backends": {"a": server("10.1.0.20"), "b": server("10.1.0.21"), "c": server("10.1.0.22")}}},
        }));
        let _serving = balancer.serve();
        for _ in 0..3 {
            let mut stream = client();
            stream.write_all(b"I am").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let said = rest(stream);
            assert!(said.starts_with("here ") && said.ends_with("I am"), "{said:?}");
        }
        let notes = balancer.notes.lock().unwrap().join("\n");
        assert!(notes.contains("10.1.0.20:80: connection refused\nall retried"), "{notes}");
        assert!(notes.contains("10.1.0.21:80: no connection within 300 ms\nall retried"), "{notes}");
    });
}

#[test]
fn a_client_that_nobody_serves_is_let_go() {
    let lab = site();
    lab.inside("router", || {
        let balancer = Balancer::new(json!({}));
        let _serving = balancer.serve();
        assert_eq!(rest(client()), "");
        let refused = "10.1.0.20:80: connection refused";
        balancer.notes(&[
            refused,
            "all retried",
            refused,
            "all retried",
            refused,
            "all retried",
            refused,
            "turned away",
        ]);
    });
}

#[test]
fn who_is_silent_too_long_and_who_breaks_off_ends_the_connection() {
    let lab = site();
    lab.inside("router", || {
        let (kept, connections) = mpsc::channel();
        backend("10.1.0.20:80", move |stream| kept.send(stream).unwrap());
        let balancer = Balancer::new(json!({
            "timeouts": {"client_idle_ms": 400, "server_idle_ms": 5000},
        }));
        let stop = balancer.serve();
        let cut = |stream: &mut TcpStream| {
            stream.read(&mut [0; 1]).unwrap_err().kind() == ErrorKind::ConnectionReset
        };
        // Both ends of a connection over which a word went.
        let met = || {
            let mut stream = client();
            let mut server = connections.recv_timeout(PATIENCE).unwrap();
            stream.write_all(b"x").unwrap();
            server.read_exact(&mut [0; 1]).unwrap();
            (stream, server)
        };
        // Words in either direction keep it.
        let (mut stream, mut server) = met();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            stream.write_all(b"x").unwrap();
            server.read_exact(&mut [0; 1]).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        let begin = Instant::now();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        assert!(begin.elapsed() > Duration::from_millis(300));
        balancer.notes(&["all 10.1.0.20:80", "over: ClientIdle"]);
        // A backend that breaks off is no backend that is done.
        let (mut stream, server) = met();
        socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert!(cut(&mut stream));
        // Nor is a client.
        let (stream, mut server) = met();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        assert!(cut(&mut server));
        // When the backend is gone from the configuration and its time is over, what is left is cut.
        let (mut stream, _server) = met();
        for pool in balancer.pools.values() {
            pool.retire(Duration::ZERO, clock::moment());
        }
        assert!(cut(&mut stream));
        until("the cut", || (balancer.notes.lock().unwrap().last()? == "over: Cut").then_some(()));
        drop(stop);
    });
}

#[test]
fn what_is_ended_before_its_end_is_cut_on_both_sides() {
    let lab = site();
    lab.inside("router", || {
        let (kept, connections) = mpsc::channel();
        backend("10.1.0.20:80", move |stream| kept.send(stream).unwrap());
        for is_told in [true, false] {
            let balancer = Balancer::new(json!({}));
            let stop = balancer.serve();
            let mut stream = client();
            let mut server = connections.recv_timeout(PATIENCE).unwrap();
            balancer.notes(&["all 10.1.0.20:80"]);
            // Either it is told, or it is dropped with the runtime that it is on.
            if is_told {
                stop.send(true).unwrap();
            }
            drop(stop);
            for end in [&mut stream, &mut server] {
                assert_eq!(end.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
            balancer.notes(&["all 10.1.0.20:80", "over: Cut"]);
            until("the port is free", || TcpListener::bind(FRONT).ok());
        }
    });
}
