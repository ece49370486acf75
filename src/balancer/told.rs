//! What a backend is told of the client: X-Forwarded-For, -Proto, -Port and Forwarded (RFC 7239).
//!
//! Made once for a connection, and added to each of its requests: as text where nobody else has a say in these fields,
//! which is ready but for the first request of each host. Called by whoever carries requests.

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// What is told of one client.
#[derive(Debug)]
pub struct Told {
    client: HeaderValue,
    proto: HeaderValue,
    port: HeaderValue,
    /// The parts of Forwarded that are the same for all requests.
    element: String,
    /// The text for the host that was asked for last.
    last: Mutex<Option<(HeaderValue, Bytes)>>,
}

impl Told {
    /// Of a client that came to `port`, by https where `secure`.
    #[must_use]
    pub fn new(client: Ipv4Addr, port: u16, secure: bool) -> Self {
        let proto = if secure { "https" } else { "http" };
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            client: value(client.to_string()),
            proto: HeaderValue::from_static(proto),
            port: HeaderValue::from(port),
            element: format!("for={client};proto={proto}"),
            last: Mutex::default(),
        }
    }

    /// The fields as they stand in a head; nothing where the request has one of them already, or no host.
    #[must_use]
    pub fn text(&self, headers: &HeaderMap, host: Option<&HeaderValue>) -> Option<Bytes> {
        let host = host?;
        if headers.keys().any(is_told) {
            return None;
        }
        let mut last = self.last.lock();
        if let Some((_, text)) = last.as_ref().filter(|(known, _)| known == host) {
            return Some(text.clone());
        }
        let mut fields = HeaderMap::new();
        self.tell(&mut fields, Some(host));
        let mut text = BytesMut::with_capacity(192);
        for (name, value) in &fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                text.put_slice(part);
            }
        }
        let text = text.freeze();
        // What is kept must not hold on to the whole head that the host stood in.
        let host = HeaderValue::from_bytes(host.as_bytes()).ok()?;
        *last = Some((host, text.clone()));
        Some(text)
    }

    /// Adds it to a request. Addresses stand behind those that were there; scheme and port in place of what was there,
    /// since only the nearest balancer knows them. `host` is what the client asked for, as it was sent.
    pub fn tell(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let client = match joined(headers, &FOR) {
            Some(mut before) => {
                before.extend_from_slice(self.client.as_bytes());
                HeaderValue::try_from(before).unwrap_or_else(|_| self.client.clone())
            }
            None => self.client.clone(),
        };
        headers.insert(FOR, client);
        headers.insert(PROTO, self.proto.clone());
        headers.insert(PORT, self.port.clone());
        let before = joined(headers, &http::header::FORWARDED).filter(|before| is_closed(before));
        let mut forwarded = before.unwrap_or_default();
        forwarded.extend_from_slice(self.element.as_bytes());
        if let Some(host) = host {
            forwarded.extend_from_slice(b";host=");
            push_value(&mut forwarded, host.as_bytes());
        }
        if let Ok(value) = HeaderValue::try_from(forwarded) {
            headers.insert(http::header::FORWARDED, value);
        }
    }
}

/// Whether it is one of the fields by which backends are told.
fn is_told(name: &HeaderName) -> bool {
    matches!(name.as_str(), "forwarded" | "x-forwarded-for" | "x-forwarded-port" | "x-forwarded-proto")
}

/// The values of a field as one list, ready for one more. Nothing where there is none.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for value in headers.get_all(name).iter().filter(|value| !value.as_bytes().trim_ascii().is_empty()) {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    (!out.is_empty()).then_some(out)
}

/// Whether every quoted text ends: one that does not would swallow what is added.
fn is_closed(list: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for &octet in list {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// Adds a value as a token where it is one, or within quotes (RFC 7239 section 4).
fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    let token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    if !value.is_empty() && value.iter().all(token) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &[(&'static str, &'static str)], host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::try_from(host).unwrap();
        Told::new(Ipv4Addr::new(192, 0, 2, 7), 8443, true).tell(&mut headers, Some(&host));
        headers
    }

    #[test]
    fn a_client_is_named_behind_those_before() {
        let headers = told(&[], "demo.local");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=https;host=demo.local");
        let before = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2, 10.0.0.3"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=\"[2001:db8::1]:4711\""),
        ];
        let headers = told(&before, "demo.local:8443");
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-port"], "8443");
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]:4711\", for=192.0.2.7;proto=https;host=\"demo.local:8443\""
        );
    }

    #[test]
    fn the_text_says_what_the_fields_say() {
        let told = Told::new(Ipv4Addr::new(192, 0, 2, 7), 80, false);
        for host in ["demo.local", "demo.local:8080", "demo.local"] {
            let host = HeaderValue::try_from(host).unwrap();
            let mut fields = HeaderMap::new();
            told.tell(&mut fields, Some(&host));
            let text = told.text(&HeaderMap::new(), Some(&host)).unwrap();
            let lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().map(str::to_owned).collect();
            let expected = fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            assert_eq!(lines, expected.collect::<Vec<_>>());
            assert_eq!(lines.len(), 4);
        }
        for name in [FOR, PROTO, PORT, http::header::FORWARDED] {
            let before = HeaderMap::from_iter([(name, HeaderValue::from_static("x"))]);
            assert_eq!(told.text(&before, Some(&HeaderValue::from_static("demo.local"))), None);
        }
    }

    #[test]
    fn a_quote_that_does_not_end_swallows_nothing() {
        for bad in ["for=\"x", "for=\"x\\\"", "for=a, for=\"b"] {
            let headers = told(&[("forwarded", bad)], "demo.local");
            assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=https;host=demo.local", "{bad}");
        }
        let headers = told(&[("forwarded", "for=\"a\\\"b\"")], "a\"b\\c");
        assert_eq!(headers["forwarded"], "for=\"a\\\"b\", for=192.0.2.7;proto=https;host=\"a\\\"b\\\\c\"");
    }
}
