//! Where the tests of health checks and of relays take place, and the TLS server that both ask.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use crate::lab::Lab;

/// A namespace in which every address of 10.1.0.0/16 is at home, and all backends with them.
pub(super) fn site() -> Lab {
    let mut lab = Lab::new();
    lab.namespace("router");
    lab.ok("router", "ip route add local 10.1.0.0/16 dev lo");
    lab
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
