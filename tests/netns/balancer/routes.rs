//! Rules, stickiness and what backends are told, from the outside.

use serde_json::json;

use super::backend::Backend;
use super::house::{Client, GUEST, House, http};

#[test]
fn rules_lead_edit_redirect_and_reject() {
    House::run(|house| {
        let (main, api) = (Backend::start(GUEST), Backend::start(GUEST));
        let address = api.address();
        let patch = json!({
            "default_pool": "main",
            "pools": {"api": {"backends": {"a": {"address": address.ip().to_string(), "port": address.port()}}}},
            "rules": {
                "hsts": {"priority": 1, "action": {
                    "set_headers": {"x-edge": "vr"}, "remove_headers": ["x-secret"],
                    "set_response_headers": {"strict-transport-security": "max-age=60"},
                }},
                "api": {"priority": 2, "match": {"path_prefix": ["/api/"]}, "action": {
                    "pool": "api", "rewrite_path": {"prefix": "/api/", "replacement": "/"},
                }},
                "old": {"priority": 3, "match": {"host": ["old.local"]}, "action": {
                    "redirect": {"location": "{scheme}://new.local{path}?{query}", "status": 301},
                }},
                "no": {"priority": 4, "match": {"path": ["/private"]}, "action": {
                    "reject": {"status": 403, "body": "no"},
                }},
            },
        });
        house.serve(http(&[&main], patch)).unwrap();
        let mut client = house.client();
        let mut ask = |request: &str| client.send(request).answer();
        let answer = ask("GET /a HTTP/1.1\r\nHost: demo\r\nX-Secret: 1\r\n\r\n");
        assert_eq!(answer.field("strict-transport-security"), "max-age=60");
        let seen = main.seen().pop().unwrap();
        assert_eq!((seen.fields("x-edge"), seen.fields("x-secret").len()), (vec!["vr"], 0));
        assert_eq!(ask("GET /api/v1?x=y HTTP/1.1\r\nHost: demo\r\n\r\n").status, 200);
        assert_eq!(api.seen().pop().unwrap().line(), "GET /v1?x=y HTTP/1.1");
        let answer = ask("GET /a?b=c HTTP/1.1\r\nHost: Old.Local\r\n\r\n");
        assert_eq!((answer.status, answer.field("location")), (301, "http://new.local/a?b=c"));
        for path in ["/private", "/x/../private", "/%70rivate", "/./private"] {
            let answer = ask(&format!("GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n"));
            assert_eq!((answer.status, answer.text().as_str()), (403, "no"), "{path}");
            assert_eq!(answer.field("strict-transport-security"), "max-age=60");
        }
        assert!(main.seen().is_empty());
    });
}

#[test]
fn everything_is_sent_to_https_in_one_line() {
    House::run(|house| {
        house.serve(json!({"address": super::house::VIP, "port": 80, "protocol": "http", "redirect_to_https": true})).unwrap();
        let answer = house.client().send("GET /a?b HTTP/1.1\r\nHost: demo:80\r\n\r\n").answer();
        assert_eq!((answer.status, answer.field("location")), (308, "https://demo/a?b"));
    });
}

#[test]
fn backends_are_told_of_the_client() {
    House::one(json!({}), |house, backend| {
        house.client().send("GET / HTTP/1.1\r\nHost: demo\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nConnection: x-forwarded-for\r\n\r\n").answer();
        let seen = backend.seen().pop().unwrap();
        assert_eq!(
            seen.fields("x-forwarded-for"),
            ["192.0.2.7"],
            "what the client named as its connection's is gone"
        );
        assert_eq!(
            (seen.fields("x-forwarded-proto"), seen.fields("x-forwarded-port")),
            (vec!["http"], vec!["80"])
        );
        assert_eq!(seen.fields("forwarded"), ["for=192.0.2.7;proto=http;host=demo"]);
        house.serve(http(&[backend], json!({"x_forwarded": false}))).unwrap();
        house.client().send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
        assert!(backend.seen().pop().unwrap().fields("x-forwarded-for").is_empty());
    });
}

#[test]
fn a_client_stays_with_its_backend_until_that_is_gone() {
    House::run(|house| {
        let (one, two) = (Backend::start(GUEST), Backend::start(GUEST));
        for stickiness in [json!({"type": "cookie"}), json!({"type": "source", "seconds": 60})] {
            house.serve(http(&[&one, &two], json!({"stickiness": stickiness}))).unwrap();
            let first = house.client().send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
            let cookie = first.field("set-cookie").split(';').next().unwrap().to_owned();
            for _ in 0..6 {
                let answer = Client::connect(80)
                    .send(format!("GET / HTTP/1.1\r\nHost: demo\r\nCookie: {cookie}\r\n\r\n"))
                    .answer();
                assert_eq!(answer.field("x-backend"), first.field("x-backend"), "{stickiness}");
            }
            let own = if first.field("x-backend") == one.address().to_string() { "b0" } else { "b1" };
            let without =
                json!({"stickiness": stickiness, "pools": {"main": {"backends": {own: {"enabled": false}}}}});
            house.serve(http(&[&one, &two], without)).unwrap();
            let answer = Client::connect(80)
                .send(format!("GET / HTTP/1.1\r\nHost: demo\r\nCookie: {cookie}\r\n\r\n"))
                .answer();
            assert_ne!(answer.field("x-backend"), first.field("x-backend"), "{stickiness}");
        }
    });
}

#[test]
fn the_proxy_protocol_goes_before_the_first_request_of_each_connection() {
    use std::io::{Read, Write};

    House::run(|house| {
        let listener = std::net::TcpListener::bind((GUEST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let backends = json!({"b0": {"address": GUEST, "port": port}});
        let balancer = json!({"proxy_protocol": "v1", "pools": {"main": {"backends": backends}}});
        house.serve(http(&[], balancer)).unwrap();
        let mut client = house.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n");
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = [0; 4096];
            let mut text = String::new();
            while !text.ends_with("\r\n\r\n") {
                let count = stream.read(&mut read).unwrap();
                text += std::str::from_utf8(&read[..count]).unwrap();
            }
            assert!(text.starts_with("PROXY TCP4 192.0.2.7 192.0.2.7 "), "{text}");
            assert!(text.contains(" 80\r\nGET / HTTP/1.1\r\n"), "{text}");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            assert_eq!(client.answer().text(), "ok");
        }
    });
}

#[test]
fn tcp_that_the_kernel_cannot_balance_is_relayed() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        house.serve(http(&[&backend], json!({"protocol": "tcp", "algorithm": "least_connections"}))).unwrap();
        let mut client = house.client();
        let answer = client.send("GET / HTTP/1.0\r\n\r\n").answer();
        assert_eq!(answer.text(), "0 octets");
        assert_eq!(backend.seen().pop().unwrap().line(), "GET / HTTP/1.0", "nobody read it on its way");
        drop(client);
        crate::lab::until("it is counted", || {
            let balancer = house.balancer();
            (balancer.traffic.current == 0 && balancer.traffic.bytes_in > 0 && balancer.requests.is_none())
                .then_some(())
        });
    });
}

/// HTTP waits for what a client says before it takes a connection; whoever is relayed may have to hear something first.
#[test]
fn a_port_that_changes_its_protocol_lets_servers_speak_first() {
    use std::io::Write;

    House::run(|house| {
        let backend = Backend::start(GUEST);
        let greeter = std::net::TcpListener::bind((GUEST, 0)).unwrap();
        let port = greeter.local_addr().unwrap().port();
        let relayed = json!({
            "protocol": "tcp", "algorithm": "least_connections",
            "pools": {"main": {"backends": {"b0": {"address": GUEST, "port": port}}}},
        });
        for _ in 0..2 {
            house.serve(http(&[&backend], json!({}))).unwrap();
            let mut client = house.client();
            assert_eq!(client.send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer().status, 200);
            // Silent, and taken all the same in the end.
            let silent = house.client();
            crate::lab::until("it is taken", || (house.balancer().traffic.current == 2).then_some(()));
            drop((client, silent));
            house.serve(http(&[], relayed.clone())).unwrap();
            let mut client = house.client();
            let (mut stream, _) = greeter.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            assert_eq!(client.exactly(5).as_deref(), Some(&b"hello"[..]));
        }
    });
}
