//! Relayed connections that end before their time: who is silent, who breaks off, and what is cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use vrouter::clock;

use super::super::site::site;
use super::{Balancer, FRONT, backend, client};
use crate::lab::{PATIENCE, until};

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
