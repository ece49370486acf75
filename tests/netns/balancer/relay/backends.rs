//! Backends of relayed connections that are not there, or do not answer.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::json;

use super::super::site::site;
use super::{Balancer, backend, client, echo, rest};

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
