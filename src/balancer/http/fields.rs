//! Fields that are meant for one connection and go no further (RFC 9110 section 7.6.1).
//!
//! Called for every request and every answer; pure.

use std::cell::RefCell;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The most fields that a map without any keeps room for.
const ROOM: usize = 128;
/// How many maps a worker keeps.
const SPARE: usize = 64;

thread_local! {
    /// Maps without fields, whose room is there for the next answer: making it anew costs as much as filling it.
    static SPARES: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// A map without fields.
pub(super) fn spare() -> HeaderMap {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Keeps the room of a map that nobody needs any more.
pub(super) fn give_back(mut fields: HeaderMap) {
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARE && fields.capacity() <= ROOM {
            fields.clear();
            spares.push(fields);
        }
    });
}

/// What the sender of a message said of its connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Connection {
    /// The connection ends with this message.
    pub(super) close: bool,
    /// It goes on, said by a sender that would otherwise close.
    pub(super) keep_alive: bool,
    /// It is to become something else, and what.
    pub(super) upgrade: Option<HeaderValue>,
    /// Trailers are understood.
    pub(super) trailers: bool,
}

impl Connection {
    /// Whether the connection outlives the message, as its version has it.
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::HTTP_10 || self.keep_alive)
    }

    /// Takes what is said of the connection out of `fields`, with every field that `Connection` names. The fields that
    /// say how a message is framed and where it goes are never among them: who names those means no good.
    pub(super) fn take(fields: &mut HeaderMap, version: Version) -> Self {
        let mut said = Self::default();
        let mut upgrade = false;
        if fields.contains_key(CONNECTION) {
            let options: Vec<HeaderValue> = match fields.entry(CONNECTION) {
                http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
                http::header::Entry::Vacant(_) => Vec::new(),
            };
            let tokens = options.iter().flat_map(|value| value.as_bytes().split(|&octet| octet == b','));
            for token in tokens.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
                if token.eq_ignore_ascii_case(b"close") {
                    said.close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    said.keep_alive = true;
                } else if token.eq_ignore_ascii_case(b"upgrade") {
                    upgrade = true;
                } else if let Ok(name) = HeaderName::from_bytes(token)
                    && ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE].contains(&name)
                {
                    fields.remove(name);
                }
            }
        }
        if let Some(te) = fields.remove(TE) {
            let codings = te.as_bytes().split(|&octet| octet == b',');
            said.trailers =
                codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
        }
        let protocol = fields.remove(UPGRADE);
        // HTTP/2 is agreed upon with one neighbour: handed on, it would hide requests from us.
        let known = |protocol: &HeaderValue| {
            !protocol.as_bytes().split(|&octet| octet == b',').any(|name| {
                let name = name.trim_ascii();
                name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2")) || name.is_empty()
            })
        };
        if upgrade && version == Version::HTTP_11 {
            said.upgrade = protocol.filter(known);
        }
        for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
            fields.remove(name);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(fields: &[(&'static str, &'static str)]) -> (Connection, Vec<String>) {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let said = Connection::take(&mut map, Version::HTTP_11);
        (said, map.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_named_goes_and_what_frames_stays() {
        let (said, left) = taken(&[
            ("connection", "Close, X-A"),
            ("connection", " x-b ,, host,content-length"),
            ("x-a", "1"),
            ("x-b", "2"),
            ("x-c", "3"),
            ("host", "demo"),
            ("content-length", "3"),
            ("keep-alive", "5"),
            ("proxy-authorization", "secret"),
        ]);
        let mut left = left;
        left.sort();
        assert_eq!(left, ["content-length", "host", "x-c"]);
        assert!(said.close && !said.persists(Version::HTTP_11));
    }

    #[test]
    fn an_upgrade_takes_both_fields_and_is_never_to_http_2() {
        let upgrade =
            |connection, protocol| taken(&[("connection", connection), ("upgrade", protocol)]).0.upgrade;
        assert_eq!(upgrade("keep-alive, Upgrade", "websocket").unwrap(), "websocket");
        assert_eq!(upgrade("keep-alive", "websocket"), None);
        assert_eq!(upgrade("upgrade", "h2c"), None);
        assert_eq!(upgrade("upgrade", "websocket, H2C"), None);
        assert_eq!(upgrade("upgrade", "websocket,"), None);
    }

    #[test]
    fn versions_differ_in_what_silence_means() {
        let (silent, _) = taken(&[]);
        assert!(silent.persists(Version::HTTP_11) && !silent.persists(Version::HTTP_10));
        let (kept, _) = taken(&[("connection", "keep-alive")]);
        assert!(kept.persists(Version::HTTP_10));
        let (trailers, left) = taken(&[("te", "gzip, Trailers"), ("connection", "te")]);
        assert!(trailers.trailers && left.is_empty());
    }
}
