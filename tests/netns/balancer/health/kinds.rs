//! Kinds of checks: what each asks of a backend, and what it says came of it.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use vrouter::balancer::health::Health;

use super::super::site::{serve_tls, site};
use super::{Checks, Web, backend};
use crate::lab::until;

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
fn cases() -> Vec<(&'static str, u16, Value, Health, &'static str)> {
    vec![
        ("tcp", 80, json!({"type": "tcp"}), Health::Up, "connected"),
        ("refused", 9, json!({"type": "tcp"}), Health::Down, "connection refused"),
        (
            "greeting",
            25,
            json!({"type": "tcp", "expect": "220 mail.demo.local"}),
            Health::Up,
            "the expected answer",
        ),
        ("other", 25, json!({"type": "tcp", "expect": "220 news"}), Health::Down, "not the expected answer"),
        (
            "mute",
            81,
            json!({"type": "tcp", "send": "?", "expect": "!"}),
            Health::Down,
            "no answer within 1 s",
        ),
        ("body", 80, json!({"type": "http", "expected_body": "is well"}), Health::Up, "http: status 200"),
        (
            "behind",
            80,
            json!({"type": "http", "expected_body": "end of it"}),
            Health::Down,
            "http: the body lacks the expected text",
        ),
        ("status", 80, json!({"type": "http", "expected_status": ["404"]}), Health::Down, "http: status 200"),
        ("https", 443, json!({"type": "https", "host": "www.demo.local"}), Health::Up, "http: status 200"),
        ("tls", 443, json!({"type": "tls", "host": "www.demo.local"}), Health::Up, "TLS 1.3"),
        (
            "othername",
            443,
            json!({"type": "tls", "host": "elsewhere.local"}),
            Health::Down,
            "tls: received fatal alert: AccessDenied",
        ),
        (
            "plain",
            25,
            json!({"type": "tls"}),
            Health::Down,
            "tls: received corrupt message of type InvalidContentType",
        ),
        (
            "echo",
            53,
            json!({"type": "udp", "send": "ping", "expect": "pi"}),
            Health::Up,
            "the expected answer",
        ),
        ("answer", 53, json!({"type": "udp", "send": "ping"}), Health::Up, "an answer"),
        ("shut", 9, json!({"type": "udp", "send": "ping"}), Health::Down, "connection refused"),
        ("quiet", 54, json!({"type": "udp", "send": "ping"}), Health::Up, "no refusal within 1 s"),
        (
            "late",
            54,
            json!({"type": "udp", "send": "ping", "expect": "pong"}),
            Health::Down,
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
        for (name, _, _, health, reason) in cases {
            checks.becomes(name, "a", health, reason);
        }
        let own = until("a check without a source", || checks.health("own", "a").last);
        let reason = "cannot check from 198.51.100.5: Cannot assign requested address (os error 99)";
        assert_eq!(own.outcome.reason(), reason);
        assert_eq!(checks.health("own", "a").state.health, Health::Unknown);
        checks.close();
    });
}
