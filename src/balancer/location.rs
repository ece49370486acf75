//! Where a client is sent: a text with parts of the request in it. Pure; called by whoever answers with a redirect.
//!
//! Nothing of a request gets into it that could end a line, name another host, or be read in another way.

use http::HeaderValue;

use super::host::Host;
use crate::config::http as wanted;

/// What a redirect knows of the request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `http` or `https`, as the client came.
    pub scheme: &'a str,
    /// The host that it asked for.
    pub host: &'a Host<'a>,
    /// The port of the balancer, for hosts that name none.
    pub port: u16,
    /// The path in its normal form.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
}

/// A location, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Scheme,
    Host,
    Port,
    Path,
    Query,
}

impl Location {
    /// A location of the configuration.
    #[must_use]
    pub fn new(location: &wanted::Location) -> Self {
        let mut parts = Vec::new();
        let mut rest = location.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, next) = behind.split_once('}').unwrap_or((behind, ""));
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "scheme" => Part::Scheme,
                "host" => Part::Host,
                "port" => Part::Port,
                "path" => Part::Path,
                "query" => Part::Query,
                other => Part::Text(format!("{{{other}}}")),
            });
            rest = next;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Self(parts)
    }

    /// The same place with https, on its own port.
    #[must_use]
    pub fn https() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        Self(vec![text("https://"), Part::Host, Part::Path, text("?"), Part::Query])
    }

    /// The value of the Location field for a request. A query that is not there takes the question mark before it along.
    #[must_use]
    pub fn write(&self, asked: &Asked<'_>) -> HeaderValue {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Scheme => out.push_str(asked.scheme),
                Part::Host => out.push_str(asked.host.name()),
                Part::Port => out.push_str(&asked.host.port().unwrap_or(asked.port).to_string()),
                Part::Path => push_path(&mut out, asked.path),
                Part::Query => match asked.query.filter(|query| !query.is_empty()) {
                    Some(query) => push(&mut out, query),
                    None if out.ends_with(['?', '&']) => drop(out.pop()),
                    None => {}
                },
            }
        }
        // Everything in it is visible ASCII by now.
        HeaderValue::try_from(out).unwrap_or_else(|_| HeaderValue::from_static("/"))
    }
}

/// Adds a path. Several slashes at its begin would name a host where nothing stands before them; and so would `*`, which
/// means the server itself and is no path (RFC 9112 section 3.3), right behind a host.
fn push_path(out: &mut String, path: &str) {
    let inside = path.strip_prefix('/').unwrap_or_default().trim_start_matches(['/', '\\']);
    if !out.ends_with('/') {
        out.push('/');
    }
    push(out, inside);
}

/// Adds text; what does not belong into a URI is escaped (RFC 3986 section 2).
fn push(out: &mut String, text: &str) {
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(location: &str, host: &str, path: &str, query: Option<&str>) -> String {
        let host = Host::read(host).unwrap();
        let asked = Asked { scheme: "http", host: &host, port: 8080, path, query };
        let value = Location::new(&location.parse().unwrap()).write(&asked);
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn parts_of_the_request_stand_in_their_places() {
        let all = "{scheme}://{host}:{port}{path}?{query}";
        assert_eq!(write(all, "Demo.local:81", "/a", Some("b=1")), "http://demo.local:81/a?b=1");
        assert_eq!(write(all, "demo.local", "/a", None), "http://demo.local:8080/a");
        assert_eq!(write("/new", "demo.local", "/a", Some("b")), "/new");
        assert_eq!(write("/new{path}", "demo.local", "/a/b", None), "/new/a/b");
        assert_eq!(write("https://x/?to={path}&{query}", "demo.local", "/a", None), "https://x/?to=/a");
        let host = Host::read("[::1]:80").unwrap();
        let asked = Asked { scheme: "http", host: &host, port: 80, path: "/a", query: Some("q") };
        assert_eq!(Location::https().write(&asked), "https://[::1]/a?q");
    }

    #[test]
    fn a_path_names_no_host() {
        assert_eq!(write("{path}", "demo.local", "//evil.example/x", None), "/evil.example/x");
        assert_eq!(write("{path}", "demo.local", "/\\evil.example", None), "/evil.example");
        assert_eq!(write("/{path}", "demo.local", "//evil.example", None), "/evil.example");
        assert_eq!(write("{path}", "demo.local", "/a\\b\"<", Some("x")), "/a%5Cb%22%3C");
        assert_eq!(
            write("https://{host}{path}", "demo.local", "/@evil.example", None),
            "https://demo.local/@evil.example"
        );
    }

    #[test]
    fn the_server_itself_is_no_path() {
        assert_eq!(write("{scheme}://{host}{path}", "demo.local", "*", None), "http://demo.local/");
        assert_eq!(write("/new{path}", "demo.local", "*", None), "/new/");
    }

    proptest! {
        /// Whatever a client sends: one line, and the host that it asked for.
        #[test]
        fn nothing_splits_a_field(path in "/\\PC*", query in proptest::option::of("[\\x00-\\xff]*")) {
            let host = Host::read("demo.local").unwrap();
            let asked = Asked { scheme: "http", host: &host, port: 80, path: &path, query: query.as_deref() };
            let value = Location::https().write(&asked);
            let text = value.to_str().unwrap();
            prop_assert!(text.starts_with("https://demo.local/"));
            prop_assert!(text.bytes().all(|octet| octet.is_ascii_graphic()));
        }
    }
}
