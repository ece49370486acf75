//! What of a connection or a request is hashed, for the algorithms that hash. Called by whoever carries them.

use std::net::Ipv4Addr;

use http::{HeaderMap, HeaderName};

use super::choose::hash;
use super::fields::cookies;
use crate::config::load_balancer::{Algorithm, HashOn, LoadBalancer};

/// Which part is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyed {
    /// None: the algorithm does not hash.
    Nothing,
    /// The client's address.
    Source,
    /// Path and query.
    Uri,
    /// The first value of a field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

impl Keyed {
    /// What a balancer hashes.
    #[must_use]
    pub fn of(balancer: &LoadBalancer) -> Self {
        match balancer.algorithm {
            Algorithm::Source => Self::Source,
            Algorithm::ConsistentHash => {
                let name =
                    || balancer.hash.as_ref().and_then(|hash| hash.name.as_ref()).map(|name| name.as_str());
                match balancer.hash.as_ref().map(|hash| hash.on) {
                    None | Some(HashOn::Source) => Self::Source,
                    Some(HashOn::Uri) => Self::Uri,
                    Some(HashOn::Header) => name()
                        .and_then(|name| HeaderName::try_from(name).ok())
                        .map_or(Self::Source, Self::Header),
                    Some(HashOn::Cookie) => name().map_or(Self::Source, |name| Self::Cookie(name.to_owned())),
                }
            }
            _ => Self::Nothing,
        }
    }

    /// The key of a connection, or of a request with these fields and this target: path and query as they are forwarded.
    /// Where the field or cookie is not there, the client's address takes its place.
    #[must_use]
    pub fn key(&self, client: Ipv4Addr, request: Option<(&HeaderMap, &str)>) -> u64 {
        let source = || hash(&client.octets());
        match (self, request) {
            (Self::Nothing, _) => 0,
            (Self::Uri, Some((_, target))) => hash(target.as_bytes()),
            (Self::Header(name), Some((headers, _))) => {
                headers.get(name).map_or_else(source, |value| hash(value.as_bytes()))
            }
            (Self::Cookie(wanted), Some((headers, _))) => {
                let found = cookies(headers).find(|(name, _)| name == wanted);
                found.map_or_else(source, |(_, value)| hash(value.as_bytes()))
            }
            (Self::Source, _) | (_, None) => source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::super::testing::balancer;
    use super::*;

    #[test]
    fn the_part_that_is_named_is_hashed() {
        let keyed = |hash| {
            let members = json!({ "algorithm": "consistent_hash", "pools": { "app": {} }, "hash": hash });
            Keyed::of(&balancer(&members))
        };
        let (one, two) = (Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(10, 1, 1, 2));
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("alice"));
        headers.insert("cookie", HeaderValue::from_static("a=1; sid=alice"));
        let request = Some((&headers, "/a?b"));
        let header = keyed(json!({ "on": "header", "name": "X-User" }));
        assert_eq!(header.key(one, request), header.key(two, request));
        let cookie = keyed(json!({ "on": "cookie", "name": "sid" }));
        assert_eq!(cookie.key(one, request), header.key(two, request));
        let uri = keyed(json!({ "on": "uri" }));
        assert_eq!(uri.key(one, request), hash(b"/a?b"));
        let empty = HeaderMap::new();
        for keyed in [header, cookie, keyed(json!({ "on": "source" }))] {
            assert_ne!(keyed.key(one, Some((&empty, "/"))), keyed.key(two, Some((&empty, "/"))));
        }
        let turns = balancer(&json!({ "pools": { "app": {} } }));
        assert_eq!(Keyed::of(&turns), Keyed::Nothing);
    }
}
