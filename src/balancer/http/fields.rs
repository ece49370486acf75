//! Fields that are meant for one connection and go no further (RFC 9110 section 7.6.1).
//!
//! Called for every request and every answer; pure.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

/// How many fields are meant for one connection.
const COUNT: usize = 8;
/// The fields that are meant for one connection, whether `Connection` names them or not.
pub(super) const OF_CONNECTION: [HeaderName; COUNT] = [
    CONNECTION,
    TE,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

/// The same, as they are written.
const NAMES: [&str; COUNT] = [
    "connection",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
];

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
        // Most messages have none of these or one, which one pass tells.
        let mut there = [false; COUNT];
        for place in fields.keys().filter_map(place) {
            there.get_mut(place).into_iter().for_each(|there| *there = true);
        }
        let [connection, te, upgrade, ..] = there;
        let wants_upgrade = connection && said.read(fields);
        let te = te.then(|| fields.remove(TE)).flatten();
        said.trailers = te.is_some_and(|te| has_token(&te, b"trailers"));
        let protocol = upgrade.then(|| fields.remove(UPGRADE)).flatten();
        // HTTP/2 is agreed upon with one neighbour: handed on, it would hide requests from us.
        let known = |protocol: &HeaderValue| {
            !tokens(protocol).any(|name| {
                name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2")) || name.is_empty()
            })
        };
        if wants_upgrade && version == Version::HTTP_11 {
            said.upgrade = protocol.filter(known);
        }
        for (name, _) in OF_CONNECTION.iter().zip(there).filter(|(_, there)| *there) {
            fields.remove(name);
        }
        said
    }

    /// Reads `Connection`, takes out what it names, and says whether `upgrade` is named.
    fn read(&mut self, fields: &mut HeaderMap) -> bool {
        let mut upgrade = false;
        let (first, others) = match fields.entry(CONNECTION) {
            http::header::Entry::Occupied(entry) => {
                let (_, mut options) = entry.remove_entry_mult();
                (options.next(), options.collect())
            }
            http::header::Entry::Vacant(_) => (None, Vec::new()),
        };
        for token in first.iter().chain(&others).flat_map(tokens).filter(|token| !token.is_empty()) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                upgrade = true;
            } else if let Ok(name) = HeaderName::from_bytes(token)
                && ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE].contains(&name)
            {
                fields.remove(name);
            }
        }
        upgrade
    }
}

/// Whether a client of this version understands interim answers and chunks.
pub(super) fn is_modern(version: Version) -> bool {
    version != Version::HTTP_10 && version != Version::HTTP_09
}

/// What a field lists.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&octet| octet == b',').map(<[u8]>::trim_ascii)
}

fn has_token(value: &HeaderValue, wanted: &[u8]) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The place of a field among those that are meant for one connection.
fn place(name: &HeaderName) -> Option<usize> {
    let name = name.as_str();
    // Lengths tell most of them apart from all others.
    let place = match name.len() {
        2 => 1,
        7 => 2,
        10 if name.starts_with('c') => 0,
        10 => 3,
        14 => 5,
        16 => 4,
        18 => 6,
        19 => 7,
        _ => return None,
    };
    (NAMES.get(place) == Some(&name)).then_some(place)
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
    fn every_field_of_a_connection_is_found() {
        for (number, name) in OF_CONNECTION.iter().enumerate() {
            assert_eq!(place(name), Some(number), "{name}");
        }
        assert_eq!(place(&HOST), None);
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
