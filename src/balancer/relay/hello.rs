//! The name that a TLS client asks for, out of its first octets, without ending its TLS.
//!
//! A ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2) may come in several records and segments. It is read
//! strictly: what the backend might read otherwise than is done here, leads nowhere. rustls' own reader refuses clients
//! whose TLS it does not speak itself, which is not for a relay to judge.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// How many octets a ClientHello may take with its records.
const LONGEST: usize = 32 * 1024;
/// The greatest fragment of a record (RFC 8446 section 5.1).
const LONGEST_FRAGMENT: usize = 1 << 14;
/// The type of records that carry handshakes.
const HANDSHAKE: u8 = 22;
/// The type of the first handshake message.
const CLIENT_HELLO: u8 = 1;
/// The extension that holds the name (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;
/// The type of names that are hosts.
const HOST_NAME: u8 = 0;

/// What the first octets of a client are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of one; more has to be read.
    Incomplete,
    /// A ClientHello, with the name that it asks for in lower case, if it does.
    Tls(Option<String>),
    /// Something else than TLS.
    Other,
    /// TLS that is not as it has to be.
    Malformed,
}

/// Reads a client's ClientHello, and returns what was read with it: the backend is to get all of it.
///
/// # Errors
/// The client was cut off, closed before it was done, or took too long.
pub async fn read(client: &mut TcpStream, deadline: Instant) -> io::Result<(Hello, Vec<u8>)> {
    let mut octets = Vec::new();
    loop {
        // No buffer is kept for a client that says nothing.
        timeout_at(deadline, client.readable()).await??;
        octets.reserve(1024);
        let read = timeout_at(deadline, client.read_buf(&mut octets)).await??;
        match server_name(&octets) {
            Hello::Incomplete if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Hello::Incomplete if octets.len() >= LONGEST => return Ok((Hello::Malformed, octets)),
            Hello::Incomplete => {}
            known => return Ok((known, octets)),
        }
    }
}

/// What octets from the beginning of a connection are. Pure; any octets may come.
#[must_use]
pub fn server_name(octets: &[u8]) -> Hello {
    if octets.first().is_some_and(|first| *first != HANDSHAKE) {
        return Hello::Other;
    }
    match handshake(octets) {
        Err(other) => other,
        Ok(message) => client_hello(Octets(&message)).map_or(Hello::Malformed, Hello::Tls),
    }
}

/// The content of the first handshake message, put together from its records.
fn handshake(octets: &[u8]) -> Result<Vec<u8>, Hello> {
    let mut records = Octets(octets);
    let mut message: Vec<u8> = Vec::new();
    loop {
        if let Some((&[kind, a, b, c], content)) = message.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != CLIENT_HELLO || length > LONGEST {
                return Err(Hello::Malformed);
            }
            if let Some(content) = content.get(..length) {
                return Ok(content.to_vec());
            }
        }
        let (kind, version) = match (records.u8(), records.u8()) {
            (Some(kind), Some(major)) => (kind, major),
            _ => return Err(Hello::Incomplete),
        };
        if kind != HANDSHAKE || version != 3 {
            return Err(Hello::Malformed);
        }
        let Some(length) = records.u8().and_then(|_| records.u16()) else { return Err(Hello::Incomplete) };
        let length = usize::from(length);
        if length == 0 || length > LONGEST_FRAGMENT {
            return Err(Hello::Malformed);
        }
        // A fragment that is not whole yet may hold all that is needed; whether it does is seen when it is whole.
        message.extend_from_slice(records.take(length).ok_or(Hello::Incomplete)?);
    }
}

/// The name in a ClientHello; nothing where it is malformed.
fn client_hello(mut hello: Octets<'_>) -> Option<Option<String>> {
    let _version = hello.u16()?;
    let _random = hello.take(32)?;
    let session = hello.u8()?;
    hello.take(session.into()).filter(|session| session.len() <= 32)?;
    let suites = hello.u16()?;
    hello.take(suites.into()).filter(|suites| suites.len() >= 2 && suites.len().is_multiple_of(2))?;
    let compressions = hello.u8()?;
    hello.take(compressions.into()).filter(|compressions| !compressions.is_empty())?;
    if hello.0.is_empty() {
        // A client from before there were extensions.
        return Some(None);
    }
    let mut extensions = hello.list()?;
    if !hello.0.is_empty() {
        return None;
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.list()?;
        if kind == SERVER_NAME && name.replace(host_name(content)?).is_some() {
            return None;
        }
    }
    Some(name)
}

/// The host of a server_name extension, which has to be the only name in it.
fn host_name(mut extension: Octets<'_>) -> Option<String> {
    let mut names = extension.list()?;
    let kind = names.u8()?;
    let name = names.list()?.0;
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let is_host = (1..=253).contains(&name.len()) && name.iter().all(plain);
    let is_alone = names.0.is_empty() && extension.0.is_empty();
    let name = std::str::from_utf8(name).ok()?;
    (kind == HOST_NAME && is_host && is_alone).then(|| name.to_ascii_lowercase())
}

/// Octets that are taken off from the front.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    /// Octets with their length, of sixteen bits, before them.
    fn list(&mut self) -> Option<Octets<'a>> {
        let length = self.u16()?;
        self.take(length.into()).map(Octets)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::server::Acceptor;

    use super::*;

    /// What rustls says first to a host.
    fn hello(host: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = host.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut octets = Vec::new();
        client.write_tls(&mut octets).unwrap();
        octets
    }

    /// The same message in records of so many octets.
    fn in_records(octets: &[u8], length: usize) -> Vec<u8> {
        let record = |fragment: &[u8]| {
            let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
            [&[HANDSHAKE, 3, 1], &length[..], fragment].concat()
        };
        octets[5..].chunks(length).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_however_it_is_cut() {
        let whole = hello("WWW.demo.local");
        let found = Hello::Tls(Some("www.demo.local".to_owned()));
        assert_eq!(server_name(&whole), found);
        for length in [1, 2, 3, 7, 100] {
            let records = in_records(&whole, length);
            assert_eq!(server_name(&records), found, "{length}");
            for end in 0..records.len() {
                assert_eq!(server_name(&records[..end]), Hello::Incomplete, "{end} of records of {length}");
            }
        }
        // What follows is not looked at.
        assert_eq!(server_name(&[&whole[..], b"\x17\x03\x03"].concat()), found);
    }

    #[test]
    fn who_asks_for_no_name_and_who_speaks_no_tls() {
        assert_eq!(server_name(&hello("192.0.2.1")), Hello::Tls(None));
        assert_eq!(server_name(b""), Hello::Incomplete);
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n"), Hello::Other);
        assert_eq!(server_name(b"SSH-2.0-x\r\n"), Hello::Other);
        // TLS 1.0 without extensions.
        let old = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0]].concat();
        let record = [&[HANDSHAKE, 3, 1, 0, 45, 1, 0, 0, 41][..], &old].concat();
        assert_eq!(server_name(&record), Hello::Tls(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let with = |extensions: &[u8]| {
            let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
            let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0], &length[..], extensions].concat();
            let length = u8::try_from(hello.len()).unwrap();
            [&[HANDSHAKE, 3, 3, 0, length + 4, 1, 0, 0, length][..], &hello].concat()
        };
        let name = |name: &[u8]| {
            let length = u8::try_from(name.len()).unwrap();
            [&[0, 0, 0, length + 5, 0, length + 3, 0, 0, length][..], name].concat()
        };
        assert_eq!(server_name(&with(&name(b"a.local"))), Hello::Tls(Some("a.local".to_owned())));
        let cases = [
            with(&[name(b"a.local"), name(b"b.local")].concat()),
            with(&name(b"")),
            with(&name(b"a\0.local")),
            with(&name("\u{e4}.local".as_bytes())),
            with(&[0, 0, 0, 4, 0, 2, 0, 0]),
            with(&[0]),
            with(&[&name(b"a.local")[..], &[0, 1, 0, 9]].concat()),
            [&[HANDSHAKE, 3, 3, 0, 0][..], &with(&[])].concat(),
            [&[HANDSHAKE, 2, 0, 0, 9][..], &with(&[])].concat(),
            vec![HANDSHAKE, 3, 3, 0xff, 0xff],
            vec![HANDSHAKE, 3, 3, 0, 4, 2, 0, 0, 0],
            vec![HANDSHAKE, 3, 3, 0, 4, 1, 0xff, 0xff, 0xff],
        ];
        for case in cases {
            assert_eq!(server_name(&case), Hello::Malformed, "{case:02x?}");
        }
    }

    proptest! {
        /// Whatever comes, something is said of it; and what has a name here has the same by rustls, where it reads it.
        #[test]
        fn any_octets_are_judged(
            flips in prop::collection::vec((0..600_usize, any::<u8>()), 0..4), length in 1..700_usize, cut in 0..900_usize
        ) {
            let mut octets = in_records(&hello("www.demo.local"), length);
            for (at, octet) in flips {
                let at = at % octets.len();
                octets[at] = octet;
            }
            octets.truncate(cut.max(1));
            let said = server_name(&octets);
            let mut acceptor = Acceptor::default();
            let mut rest = &octets[..];
            while !rest.is_empty() && acceptor.read_tls(&mut rest).is_ok() {
                match acceptor.accept() {
                    Ok(Some(accepted)) => {
                        let hello = accepted.client_hello();
                        if let (Some(name), Hello::Tls(found)) = (hello.server_name(), &said) {
                            prop_assert_eq!(found.as_deref(), Some(name));
                        }
                        prop_assert_ne!(said, Hello::Incomplete);
                        break;
                    }
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
