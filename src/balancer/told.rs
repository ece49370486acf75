//! What a backend is told of the client: X-Forwarded-For, -Proto, -Port and Forwarded (RFC 7239).
//!
//! Written straight into a request's head where nobody else has a say in these fields, and set among its others where
//! they are there already or rules may change them. Called by whoever carries requests.

use std::net::Ipv4Addr;

use http::{HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The longest that the fields are up to the host, in octets.
const LONGEST: usize = 136;

/// What is told of one client.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    client: Ipv4Addr,
    port: u16,
    proto: &'static str,
}

impl Told {
    /// Of a client that came to `port`, by https where `secure`.
    #[must_use]
    pub const fn new(client: Ipv4Addr, port: u16, secure: bool) -> Self {
        Self { client, port, proto: if secure { "https" } else { "http" } }
    }

    /// Writes the fields as they stand in a head. `host` is what the client asked for, as it was sent.
    pub fn write(&self, host: &[u8], out: &mut impl FnMut(&[u8])) {
        let (mut text, mut length) = ([0; LONGEST], 0);
        let mut add = |more: &[u8]| {
            if let Some(place) = text.get_mut(length..length + more.len()) {
                place.copy_from_slice(more);
                length += more.len();
            }
        };
        add(b"x-forwarded-for: ");
        dotted(self.client, &mut add);
        add(b"\r\nx-forwarded-proto: ");
        add(self.proto.as_bytes());
        add(b"\r\nx-forwarded-port: ");
        add(itoa::Buffer::new().format(self.port).as_bytes());
        add(b"\r\nforwarded: ");
        self.element(&mut add);
        out(text.get(..length).unwrap_or_default());
        write_host(host, out);
        out(b"\r\n");
    }

    /// Adds it to a request. Addresses stand behind those that were there; scheme and port in place of what was there,
    /// since only the nearest balancer knows them. `host` is what the client asked for, as it was sent.
    pub fn tell(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let mut client = joined(headers, &FOR).unwrap_or_default();
        dotted(self.client, &mut |text| client.extend_from_slice(text));
        let before = joined(headers, &http::header::FORWARDED).filter(|before| is_closed(before));
        let mut forwarded = before.unwrap_or_default();
        self.element(&mut |text| forwarded.extend_from_slice(text));
        if let Some(host) = host {
            write_host(host.as_bytes(), &mut |text| forwarded.extend_from_slice(text));
        }
        for (name, value) in [(FOR, client), (http::header::FORWARDED, forwarded)] {
            // It is made of what was valid before.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        headers.insert(PROTO, HeaderValue::from_static(self.proto));
        headers.insert(PORT, HeaderValue::from(self.port));
    }

    /// The element of Forwarded that is ours, up to the host.
    fn element(&self, out: &mut impl FnMut(&[u8])) {
        out(b"for=");
        dotted(self.client, out);
        out(b";proto=");
        out(self.proto.as_bytes());
    }
}

/// Whether a request has none of the fields by which backends are told.
#[must_use]
pub fn is_untold(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| {
        matches!(name.as_str(), "forwarded" | "x-forwarded-for" | "x-forwarded-port" | "x-forwarded-proto")
    })
}

/// Writes an address without a formatter: it is in every request.
fn dotted(address: Ipv4Addr, out: &mut impl FnMut(&[u8])) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out(b".");
        }
        out(itoa::Buffer::new().format(octet).as_bytes());
    }
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

/// Writes the rest of that element: the host.
fn write_host(host: &[u8], out: &mut impl FnMut(&[u8])) {
    out(b";host=");
    write_value(host, out);
}

/// Writes a value as a token where it is one, or within quotes (RFC 7239 section 4).
fn write_value(value: &[u8], out: &mut impl FnMut(&[u8])) {
    let token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    if !value.is_empty() && value.iter().all(token) {
        return out(value);
    }
    out(b"\"");
    for octet in value {
        if matches!(octet, b'"' | b'\\') {
            out(b"\\");
        }
        out(std::slice::from_ref(octet));
    }
    out(b"\"");
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
    fn the_longest_has_room() {
        let longest = Told::new(Ipv4Addr::BROADCAST, u16::MAX, true);
        let mut text = Vec::new();
        longest.write(b"x", &mut |more| text.extend_from_slice(more));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("x-forwarded-for: 255.255.255.255\r\nx-forwarded-proto: https\r\n"), "{text}");
        assert!(text.ends_with("65535\r\nforwarded: for=255.255.255.255;proto=https;host=x\r\n"), "{text}");
    }

    #[test]
    fn what_is_written_says_what_the_fields_say() {
        let told = Told::new(Ipv4Addr::new(192, 0, 2, 107), 80, false);
        for host in ["demo.local", "demo.local:8080", "a\"b"] {
            let host = HeaderValue::try_from(host).unwrap();
            let mut fields = HeaderMap::new();
            told.tell(&mut fields, Some(&host));
            let mut text = Vec::new();
            told.write(host.as_bytes(), &mut |more| text.extend_from_slice(more));
            let mut lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().map(str::to_owned).collect();
            let expected = fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let mut expected: Vec<_> = expected.collect();
            expected.sort();
            lines.sort();
            assert_eq!(lines, expected);
            assert_eq!(lines.len(), 4);
        }
        for name in [FOR, PROTO, PORT, http::header::FORWARDED] {
            assert!(!is_untold(&HeaderMap::from_iter([(name, HeaderValue::from_static("x"))])));
        }
        assert!(is_untold(&HeaderMap::new()));
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
