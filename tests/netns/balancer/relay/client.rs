//! What is known of the client of a relayed connection: backends are told of it, and the name that it asks for leads it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::site::{serve_tls, site};
use super::{Balancer, FRONT, backend, client, echo, rest};
use crate::lab::{PATIENCE, until};

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
