//! The PROXY protocol's header: how a backend learns who the client is, before the first octet of the client's.
//!
//! Called for each connection to a backend by `http` and `relay`.

use std::net::SocketAddrV4;

use ppp::v2::{Builder, Command, Protocol, Version};

use crate::config::load_balancer::ProxyProtocol;

/// The header that a backend is told of the client by; `local` is where the client came to.
pub(crate) fn header(version: ProxyProtocol, client: SocketAddrV4, local: SocketAddrV4) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => {
            let (from, to) = (client.ip(), local.ip());
            format!("PROXY TCP4 {from} {to} {} {}\r\n", client.port(), local.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            let addresses = ppp::v2::IPv4::new(*client.ip(), *local.ip(), client.port(), local.port());
            Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
                .build()
                // Only what is longer than 64 KiB cannot be written.
                .unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_as_they_were_written() {
        let client = "192.0.2.1:40000".parse().unwrap();
        let local = "198.51.100.7:80".parse().unwrap();
        let text = header(ProxyProtocol::V1, client, local);
        assert_eq!(text, b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 80\r\n");
        let binary = header(ProxyProtocol::V2, client, local);
        let read = ppp::v2::Header::try_from(binary.as_slice()).unwrap();
        assert_eq!(
            read.addresses,
            ppp::v2::Addresses::IPv4(ppp::v2::IPv4::new(*client.ip(), *local.ip(), 40000, 80))
        );
        assert_eq!(binary.len(), 28);
    }
}
