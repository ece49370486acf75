//! Bounds: how great a request may be, how long what may take, how many connections there are.

use std::time::{Duration, Instant};

use serde_json::json;

use super::house::{Client, House};
use crate::lab::until;

#[test]
fn a_request_that_is_too_great_is_refused_by_what_is_too_great_about_it() {
    let limits =
        json!({"limits": {"header_bytes": 2048, "headers": 16, "uri_bytes": 100, "body_bytes": 1000}});
    House::one(limits, |house, backend| {
        let long = "x".repeat(5000);
        let field = |n| format!("X-{n}: 1\r\n");
        let chunk = format!("3e8\r\n{}\r\n", "y".repeat(1000));
        let cases = [
            (format!("GET /{long} HTTP/1.1\r\n"), 414),
            (format!("GET /{long} HTTP/1.1\r\nHost: demo\r\n\r\n"), 414),
            (format!("GET /{} HTTP/1.1\r\nHost: demo\r\n\r\n", "x".repeat(100)), 414),
            (format!("GET / HTTP/1.1\r\nHost: demo\r\nX: {long}\r\n\r\n"), 431),
            (format!("GET / HTTP/1.1\r\nHost: demo\r\nX: {long}"), 431),
            (format!("GET / HTTP/1.1\r\nHost: demo\r\n{}\r\n", (0..16).map(field).collect::<String>()), 431),
            ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 1001\r\n\r\n".to_owned(), 413),
            (
                format!("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}1\r\nz"),
                413,
            ),
        ];
        for (sent, status) in cases {
            let mut client = house.client();
            let answer = client.send(&sent).answer();
            assert_eq!((answer.status, answer.field("connection")), (status, "close"), "{:.60}", sent);
            client.is_closed();
            assert!(backend.seen().is_empty());
        }
        let fits = format!(
            "POST /{} HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n",
            "x".repeat(99)
        );
        assert_eq!(house.client().send(fits).answer().status, 200);
    });
}

#[test]
fn a_client_that_is_slow_loses_its_place() {
    let timeouts = json!({"timeouts": {"client_header_ms": 300, "client_idle_ms": 600}});
    House::one(timeouts, |house, _| {
        // A head octet by octet: each is progress, and still it takes too long.
        let mut client = house.client();
        let begun = Instant::now();
        for octet in "GET /slow HTTP/1.1\r\nHost: demo\r\n".bytes() {
            client.send([octet]);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(client.answer().status, 408);
        client.is_closed();
        assert!(begun.elapsed() < Duration::from_secs(5));
        // Nobody answers a client that asked nothing.
        house.client().is_closed();
        let mut client = house.client();
        assert_eq!(client.send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer().status, 200);
        client.is_closed();
        // A body that stops.
        let mut client = house.client();
        client.send("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 10\r\n\r\nhalf");
        assert_eq!(client.answer().status, 408);
        client.is_closed();
        // An answer that nobody takes.
        let mut client = house.client();
        client.send("GET /big HTTP/1.1\r\nHost: demo\r\n\r\n");
        until("the connection is over", || (house.balancer().traffic.current == 0).then_some(()));
    });
}

#[test]
fn a_backend_that_is_slow_or_away_is_said_to_be() {
    let timeouts = json!({"timeouts": {"server_response_ms": 200, "server_idle_ms": 200, "connect_ms": 300}});
    House::one(timeouts, |house, backend| {
        let ask = |path: &str| {
            Client::connect(80).send(format!("GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n")).answer().status
        };
        assert_eq!(ask("/silent"), 504);
        backend.stop();
        until("the port is closed", || {
            std::net::TcpStream::connect(backend.address()).is_err().then_some(())
        });
        assert_eq!(ask("/"), 502);
        house
            .serve(super::house::http(
                &[backend],
                json!({"pools": {"main": {"backends": {"b0": {"enabled": false}}}}}),
            ))
            .unwrap();
        assert_eq!(ask("/"), 503);
    });
}

#[test]
fn connections_beyond_the_most_wait_for_their_turn() {
    House::one(json!({"max_connections": 2}), |house, _| {
        let request = "GET / HTTP/1.1\r\nHost: demo\r\n\r\n";
        let (mut one, mut two, mut three) = (house.client(), house.client(), house.client());
        assert_eq!(one.send(request).answer().status, 200);
        assert_eq!(two.send(request).answer().status, 200);
        three.send(request);
        until("two are served", || (house.balancer().requests.unwrap().by_class[1] == 2).then_some(()));
        assert_eq!(house.balancer().traffic.current, 2);
        drop(one);
        assert_eq!(three.answer().status, 200);
    });
}
