//! The host that a request asks for. Pure; called by whoever carries requests, for rules and for redirects.

use std::borrow::Cow;

use memchr::memchr;

/// A host without its port, in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads what stands in Host or `:authority`: a name or an address, perhaps with a port (RFC 9110 section 7.2).
    /// Nothing where it is anything else, such as a name with somebody's name before it.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(literal) => {
                let (inside, behind) = literal.split_once(']')?;
                inside.parse::<std::net::Ipv6Addr>().ok()?;
                (
                    text.get(..inside.len() + 2)?,
                    if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) },
                )
            }
            None => match memchr(b':', text.as_bytes()) {
                Some(colon) => (text.get(..colon)?, text.get(colon + 1..)),
                None => (text, None),
            },
        };
        // A port that is empty is that of the scheme (RFC 3986 section 3.2.3).
        let port = match port.filter(|port| !port.is_empty()) {
            Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > 255 || !(name.starts_with('[') || has_labels(name)) {
            return None;
        }
        let lower = !name.bytes().any(|octet| octet.is_ascii_uppercase());
        let name = if lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) };
        Some(Self { name, port })
    }

    /// The name, or the address; that of IPv6 within brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, where one is named.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Whether a name is labels with dots between them, none of which is empty.
fn has_labels(name: &str) -> bool {
    let mut before = b'.';
    let known = name.bytes().all(|octet| {
        let before = std::mem::replace(&mut before, octet);
        match octet {
            b'.' => before != b'.',
            b'-' | b'_' | b'~' => true,
            octet => octet.is_ascii_alphanumeric(),
        }
    });
    known && before != b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_one_way() {
        for (text, name, port) in [
            ("www.Demo.local", "www.demo.local", None),
            ("www.demo.local.:8080", "www.demo.local", Some(8080)),
            ("demo.local:", "demo.local", None),
            ("10.1.1.20:80", "10.1.1.20", Some(80)),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("[::1]", "[::1]", None),
            ("a_b", "a_b", None),
        ] {
            let host = Host::read(text).unwrap();
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in [
            "",
            ".",
            ":80",
            "a b",
            "user@demo.local",
            "demo.local/x",
            "demo.local:80x",
            "demo.local:99999",
            "a:b:c",
            "[::1",
            "[::1]x",
            "[demo]",
            "demo.local\r\nx: y",
            "demo.local?",
            "[",
            "]",
            ".demo",
            "demo..",
            "demo..local",
            "a%2eb",
            "demo:+80",
        ] {
            assert_eq!(Host::read(text), None, "{text:?}");
        }
    }
}
