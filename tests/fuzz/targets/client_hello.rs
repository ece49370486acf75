//! The first octets of TLS clients: what is known of them does not change as more come, names are plain, and are those
//! that another reader finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;
use vrouter::balancer::relay::hello::{Hello, server_name};

mod pieces;

fuzz_target!(|data: &[u8]| {
    let Some((octets, cuts)) = pieces::split(data) else { return };
    let said = server_name(octets);
    let mut length = 0;
    for piece in pieces::cut(octets, cuts) {
        length += piece.len();
        let early = server_name(&octets[..length]);
        assert!(
            early == Hello::Incomplete || early == said,
            "{early:?} after {length} octets, then {said:?}"
        );
    }
    if let Hello::Tls(Some(name)) = &said {
        let plain =
            |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_.".contains(&octet);
        assert!((1..=253).contains(&name.len()) && name.bytes().all(plain));
    }
    let mut acceptor = Acceptor::default();
    let mut rest = octets;
    while !rest.is_empty() && acceptor.read_tls(&mut rest).is_ok() {
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                assert_ne!(said, Hello::Incomplete);
                let hello = accepted.client_hello();
                if let (Some(name), Hello::Tls(found)) = (hello.server_name(), &said) {
                    assert_eq!(found.as_deref(), Some(name));
                }
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
});
