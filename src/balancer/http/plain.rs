//! The head of an answer that says of its connection and of its body what most do: both are read in passing.
//!
//! Where nobody changes its fields and the client takes text, they stay text: putting each of them into a map and out of it
//! again costs as much as anything else that is done for a request. What is unusual is left to whoever looks at each field.
//! Called by `answer.rs`; pure.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};

use super::answer::is_bodiless;
use super::head::{Framing, MAX_FIELDS, field_of};
use super::spare;

/// The fields of an answer, without those of its connection. That of the body's length is among them, where the client is
/// to have it.
#[derive(Debug)]
pub(super) enum Fields {
    /// As lines.
    Text(BytesMut),
    /// In a map.
    Map(HeaderMap),
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

/// What a field is about.
enum About {
    Body,
    Connection,
    Length,
    Coding,
    Hop,
}

impl Plain {
    /// Reads a whole head. Its fields become a map that shares the octets of `shared`, which is the same head, or text.
    /// Nothing where it is no final answer, or its fields need a closer look.
    pub(super) fn read(head: &[u8], shared: Option<&Bytes>) -> Option<Self> {
        let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let read = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, head, &mut fields)
            .ok()?;
        let status = StatusCode::from_u16(response.code?).ok()?;
        if read != httparse::Status::Complete(head.len()) || status.is_informational() {
            return None;
        }
        let version = if response.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let fields = match shared {
            None => {
                let mut text = spare::buffer();
                // Lines as they go on are hardly longer than they came.
                text.reserve(head.len());
                Fields::Text(text)
            }
            Some(_) => Fields::Map(spare::fields()),
        };
        let mut plain =
            Self { version, status, fields, length: None, chunked: false, close: false, keep_alive: false };
        for field in response.headers.iter() {
            if plain.take(field, shared).is_none() {
                match plain.fields {
                    Fields::Text(text) => spare::give_buffer(text),
                    Fields::Map(map) => spare::give_fields(map),
                }
                return None;
            }
        }
        Some(plain)
    }

    /// Takes a field; nothing where it needs a closer look.
    fn take(&mut self, field: &httparse::Header<'_>, shared: Option<&Bytes>) -> Option<()> {
        let httparse::Header { name, value } = *field;
        match about(name) {
            About::Hop => return Some(()),
            About::Body => {}
            About::Connection => {
                if value.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else if value.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                } else {
                    return None;
                }
                return Some(());
            }
            About::Coding => {
                if self.length.is_some() || self.version == Version::HTTP_10 {
                    return None;
                }
                let chunked = !self.chunked && value.eq_ignore_ascii_case(b"chunked");
                self.chunked = chunked;
                return chunked.then_some(());
            }
            About::Length => {
                let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
                if !digits || self.length.is_some() || self.chunked {
                    return None;
                }
                let number = |number, digit: &u8| number * 10 + u64::from(digit - b'0');
                self.length = Some(value.iter().fold(0, number));
                if self.status == StatusCode::NO_CONTENT {
                    return Some(());
                }
            }
        }
        match &mut self.fields {
            Fields::Text(text) => {
                for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                    text.extend_from_slice(part);
                }
            }
            Fields::Map(map) => {
                let (name, value) = field_of(shared?, field)?;
                map.append(name, value);
            }
        }
        Some(())
    }

    /// How its body is framed (RFC 9112 section 6.3).
    pub(super) fn framing(&self, method: &Method) -> Framing {
        if is_bodiless(method, self.status) {
            Framing::Empty
        } else if self.chunked {
            Framing::Chunked
        } else {
            self.length.map_or(Framing::Close, Framing::Length)
        }
    }

    /// Whether the connection outlives it, as its version has it.
    pub(super) fn persists(&self) -> bool {
        !self.close && (self.version != Version::HTTP_10 || self.keep_alive)
    }
}

fn about(name: &str) -> About {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        10 if is("connection") => About::Connection,
        14 if is("content-length") => About::Length,
        17 if is("transfer-encoding") => About::Coding,
        2 if is("te") => About::Hop,
        7 if is("upgrade") => About::Hop,
        10 if is("keep-alive") => About::Hop,
        14 if is("http2-settings") => About::Hop,
        16 if is("proxy-connection") => About::Hop,
        18 if is("proxy-authenticate") => About::Hop,
        19 if is("proxy-authorization") => About::Hop,
        _ => About::Body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(head: &str) -> Option<Plain> {
        let shared = Bytes::copy_from_slice(head.as_bytes());
        let (text, map) = (Plain::read(&shared, None), Plain::read(&shared, Some(&shared)));
        match (&text, &map) {
            (None, None) => {}
            (Some(text), Some(map)) => {
                // Both say the same, though a map says it in an order and in letters of its own.
                let lines = |plain: &Plain| {
                    let mut lines: Vec<_> = match &plain.fields {
                        Fields::Text(text) => {
                            String::from_utf8_lossy(text).lines().map(str::to_lowercase).collect()
                        }
                        Fields::Map(map) => map
                            .iter()
                            .map(|(name, value)| {
                                format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
                            })
                            .map(|line| line.to_lowercase())
                            .collect(),
                    };
                    lines.sort();
                    lines
                };
                assert_eq!(lines(text), lines(map));
                assert_eq!(text.framing(&Method::GET), map.framing(&Method::GET));
                assert_eq!(text.persists(), map.persists());
            }
            _ => panic!("read as text {text:?}, as a map {map:?}"),
        }
        text
    }

    fn read(fields: &str) -> Option<Plain> {
        text(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
    }

    fn lines(plain: &Plain) -> &[u8] {
        match &plain.fields {
            Fields::Text(text) => text,
            Fields::Map(_) => panic!("a map"),
        }
    }

    #[test]
    fn what_is_said_of_the_connection_goes_and_all_else_stays_as_it_came() {
        let fields = "Server: x\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nUPGRADE: h2c\r\nX: \r\n\
                      Set-Cookie: a=1\r\nproxy-authenticate: b\r\nset-cookie: b=ä\r\nContent-Length: 05\r\n";
        let plain = read(fields).unwrap();
        let left = "Server: x\r\nX: \r\nSet-Cookie: a=1\r\nset-cookie: b=ä\r\nContent-Length: 05\r\n";
        assert_eq!(lines(&plain), left.as_bytes());
        assert_eq!(plain.framing(&Method::GET), Framing::Length(5));
        assert_eq!(plain.framing(&Method::HEAD), Framing::Empty);
        assert!(plain.persists());
        let closed = read("connection: Close\r\ntransfer-encoding: Chunked\r\n").unwrap();
        assert!(lines(&closed).is_empty() && !closed.persists());
        assert_eq!(closed.framing(&Method::GET), Framing::Chunked);
        assert_eq!(read("").unwrap().framing(&Method::GET), Framing::Close);
        assert!(!text("HTTP/1.0 200 OK\r\n\r\n").unwrap().persists());
        assert!(text("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").unwrap().persists());
        let empty = text("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(lines(&empty).is_empty() && empty.framing(&Method::GET) == Framing::Empty);
    }

    #[test]
    fn what_is_unusual_needs_a_closer_look() {
        for fields in [
            "Connection: x-a\r\n",
            "Connection: close, x-a\r\n",
            "Connection: upgrade\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "X: a\r\n b\r\n",
            "X : a\r\n",
        ] {
            assert!(read(fields).is_none(), "{fields:?}");
        }
        for head in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
        ] {
            assert!(text(head).is_none(), "{head:?}");
        }
    }

    #[test]
    fn every_field_of_a_connection_goes() {
        for name in super::super::fields::OF_CONNECTION {
            assert!(lines(&read(&format!("{name}: close\r\n")).unwrap()).is_empty(), "{name}");
        }
    }
}
