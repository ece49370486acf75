//! What rules and redirects read of a request: paths have one normal form, hosts are plain, cookies and parameters are
//! those that were sent, and a redirect stays on the host that was asked for. Input: lines of a target, a host, a
//! cookie field and a location of the configuration.
#![no_main]

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use url::Url;
use vrouter::balancer::fields::{cookies, parameters};
use vrouter::balancer::host::Host;
use vrouter::balancer::location::{Asked, Location};
use vrouter::balancer::path::Path;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(4, |octet| *octet == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (target, named, cookie, location) = (line(), line(), line(), line());
    let host = std::str::from_utf8(named).ok().and_then(Host::read);
    if let Some(host) = &host {
        host_laws(host);
    }
    cookie_laws(cookie);
    let Ok(target) = PathAndQuery::try_from(target) else { return };
    if let Some(query) = target.query() {
        parameter_laws(query);
    }
    let Ok(path) = Path::read(target.path()) else { return };
    path_laws(&path, target.path());
    if let Some(host) = host {
        let location = std::str::from_utf8(location).ok().and_then(|location| location.parse().ok());
        let location = location.as_ref().map(Location::new);
        let asked =
            Asked { scheme: "http", host: &host, port: 8080, path: path.as_str(), query: target.query() };
        location_laws(&asked, location.as_ref());
    }
});

fn host_laws(host: &Host<'_>) {
    let name = host.name();
    assert!(!name.is_empty() && name.len() <= 255 && !name.ends_with('.'), "{name}");
    assert!(name.bytes().all(|octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase()), "{name}");
    assert!(!name.contains(['/', '@', '?', '#', '%', '\\']), "{name}");
    let written = host.port().map_or(name.to_owned(), |port| format!("{name}:{port}"));
    assert_eq!(Host::read(&written).as_ref(), Some(host));
}

fn cookie_laws(cookie: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(cookie) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("cookie", value);
    let pairs = cookie.iter().filter(|octet| **octet == b';').count() + 1;
    let found: Vec<_> = cookies(&headers).collect();
    assert!(found.len() <= pairs);
    for (name, value) in found {
        assert!(!name.contains(['=', ';']) && !value.contains(';'));
        assert_eq!(name.trim_matches([' ', '\t']), name);
    }
}

fn parameter_laws(query: &str) {
    let found: Vec<_> = parameters(query).collect();
    let expected: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    assert_eq!(found, expected);
}

/// What a server makes of a path that takes every escape, either slash and parameters of segments into account.
fn lenient(path: &str) -> Vec<Vec<u8>> {
    let (mut octets, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for segment in octets.split(|octet| matches!(octet, b'/' | b'\\')) {
        match segment.split(|octet| *octet == b';').next().unwrap_or_default() {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment.to_vec()),
        }
    }
    kept
}

fn path_laws(path: &Path<'_>, sent: &str) {
    let normal = path.as_str();
    let again = Path::read(normal).expect("its own normal form is refused");
    assert_eq!((again.as_str(), again.is_changed(), again.lenient()), (normal, false, path.lenient()));
    assert_eq!(path.is_changed(), normal != sent);
    assert!(normal == "*" || normal.starts_with('/'));
    PathAndQuery::try_from(normal).expect("what is forwarded is no target");
    for text in [normal, path.lenient().unwrap_or(normal)] {
        assert!(text.split(['/', '\\']).all(|segment| segment != "." && segment != ".."), "{text}");
        assert!(!text.bytes().any(|octet| octet.is_ascii_control()));
    }
    // Whoever reads it, and whichever of both: it leads to the same place.
    assert_eq!(lenient(normal), lenient(sent));
    if path.lenient().is_none() {
        let plain: Vec<Vec<u8>> =
            normal.split('/').filter(|segment| !segment.is_empty()).map(Vec::from).collect();
        assert_eq!(lenient(normal).len(), plain.len(), "a lenient reader sees another path: {normal}");
    }
}

fn location_laws(asked: &Asked<'_>, location: Option<&Location>) {
    let visible = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_graphic);
    if let Some(location) = location {
        assert!(visible(&location.write(asked)));
    }
    // Names that no browser goes to lead nowhere.
    let Ok(here) = Url::parse(&format!("http://{}/", asked.host.name())) else { return };
    for template in [
        "{path}?{query}",
        "/{path}",
        "/new{path}?{query}",
        "http://{host}{path}",
        "{scheme}://{host}/x?to={path}&{query}",
    ] {
        let value = Location::new(&template.parse().expect("a location")).write(asked);
        let text = value.to_str().expect("a text");
        let there = here.join(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((there.host(), there.username(), there.password()), (here.host(), "", None), "{text}");
    }
    let there = Location::https().write(asked);
    let there = Url::parse(there.to_str().expect("a text")).expect("a URL");
    assert_eq!((there.scheme(), there.host()), ("https", here.host()));
}
