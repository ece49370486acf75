//! The path of a request, as rules read it and as backends get it. Pure; called by whoever carries requests.
//!
//! One resource can be written in many ways, and a rule must not be passed by another way to write what it means. So a
//! path is brought into its normal form first (RFC 3986 section 6.2.2): what needs no escape has none, escapes are in
//! upper case, dot segments are resolved. That form is what rules match, and what is forwarded.
//!
//! Servers go further, each in its own way: some take `%2F` or a backslash for a slash, some merge slashes, some cut
//! parameters off segments. A path whose dot segments depend on that is refused. Where it says something else when it is
//! read like that, rules that reject are asked about that reading too.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// A percent sign without two hexadecimal digits.
    #[error("an escape in the path is none")]
    Escape,
    /// A control character, escaped.
    #[error("the path has control characters")]
    Control,
    /// Where it leads depends on who reads it.
    #[error("the path hides where it leads")]
    Ambiguous,
}

/// A path that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    normal: Cow<'a, str>,
    /// What lenient servers make of it, where that is something else.
    lenient: Option<String>,
}

impl<'a> Path<'a> {
    /// Reads the path of a request's target, without its query. `*` is taken as it is.
    ///
    /// # Errors
    /// Nobody can tell where it leads.
    pub fn read(path: &'a str) -> Result<Self, PathFault> {
        if is_plain(path.as_bytes()) {
            return Ok(Self { normal: Cow::Borrowed(path), lenient: None });
        }
        let escaped = unescape(path, |octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet))?;
        let normal = resolve(&escaped);
        // Both have to lead to the same place, whether slashes are merged before dots are resolved or after that.
        let (as_sent, as_forwarded) = (Lenient::read(&escaped)?, Lenient::read(&normal)?);
        if as_sent.segments() != as_forwarded.segments() || as_forwarded.has_dots() {
            return Err(PathFault::Ambiguous);
        }
        let lenient = Some(as_forwarded.text()).filter(|lenient| *lenient != normal);
        let normal = if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) };
        Ok(Self { normal, lenient })
    }

    /// The path in its normal form: what rules match and what is forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.normal
    }

    /// What lenient servers make of it, where that is something else; for rules that reject.
    #[must_use]
    pub fn lenient(&self) -> Option<&str> {
        self.lenient.as_deref()
    }

    /// Whether it was written in another way.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        matches!(self.normal, Cow::Owned(_))
    }
}

/// Whether there is nothing in it that could be written in another way.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&octet| {
        let doubtful =
            matches!(octet, b'%' | b'\\' | b';') || (before == b'/' && matches!(octet, b'/' | b'.'));
        before = octet;
        !doubtful
    })
}

/// Undoes the escapes of octets that `plain` names, and writes the others in upper case.
fn unescape(path: &str, plain: impl Fn(u8) -> bool) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let digits = behind.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(PathFault::Escape)?;
        if octet.is_ascii_control() {
            return Err(PathFault::Control);
        }
        if plain(octet) {
            out.push(char::from(octet));
        } else {
            out.push('%');
            out.extend(digits.into_iter().flat_map(str::chars).map(|digit| digit.to_ascii_uppercase()));
        }
        rest = behind.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

/// Resolves dot segments (RFC 3986 section 5.2.4).
pub(super) fn resolve(path: &str) -> String {
    let Some(inside) = path.strip_prefix('/') else { return path.to_owned() };
    let mut kept: Vec<&str> = Vec::new();
    for segment in inside.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    // A dot segment at the end leaves a slash there.
    if matches!(inside.rsplit('/').next(), Some("." | "..")) {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// A path as lenient servers read it: all escapes undone, any separator a slash, no empty segments, no parameters.
struct Lenient(String);

impl Lenient {
    fn read(path: &str) -> Result<Self, PathFault> {
        Ok(Self(unescape(path, |octet| octet.is_ascii() && octet != b'%')?))
    }

    /// All segments but empty ones, dots among them.
    fn all(&self) -> impl Iterator<Item = &str> {
        let without_parameters = |segment: &str| segment.find(';').map_or(segment.len(), |at| at);
        self.0
            .split(['/', '\\'])
            .map(move |segment| segment.get(..without_parameters(segment)).unwrap_or_default())
            .filter(|segment| !segment.is_empty())
    }

    fn has_dots(&self) -> bool {
        self.all().any(|segment| matches!(segment, "." | ".."))
    }

    fn segments(&self) -> Vec<&str> {
        let mut kept = Vec::new();
        for segment in self.all() {
            match segment {
                "." => {}
                ".." => drop(kept.pop()),
                _ => kept.push(segment),
            }
        }
        kept
    }

    fn text(&self) -> String {
        let inside = self.segments().join("/");
        let ends = self.0.ends_with(['/', '\\']) && !inside.is_empty();
        format!("/{inside}{}", if ends { "/" } else { "" })
    }
}

/// A path of the configuration, written as requests are: for the normal form, and for the lenient one.
#[must_use]
pub fn wanted(path: &str) -> (String, String) {
    let unreserved = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    let normal = unescape(path, unreserved).unwrap_or_else(|_| path.to_owned());
    let lenient =
        unescape(path, |octet| octet.is_ascii() && octet != b'%').unwrap_or_else(|_| path.to_owned());
    (normal, lenient)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> Result<String, PathFault> {
        Path::read(path).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn one_resource_is_written_in_one_way() {
        for (written, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b", "/a/b"),
            ("/%2e%67it", "/.git"),
            ("/a/../.git", "/.git"),
            ("/a/./b/../.git/", "/a/.git/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%7euser/%c3%a4?", "/~user/%C3%A4?"),
            ("/.well-known/acme", "/.well-known/acme"),
            ("/group%2Fname", "/group%2Fname"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("//a", "//a"),
            ("/...", "/..."),
        ] {
            assert_eq!(normal(written).as_deref(), Ok(expected), "{written}");
        }
        assert!(!Path::read("/.well-known/acme").unwrap().is_changed());
        assert!(Path::read("/%61").unwrap().is_changed());
    }

    #[test]
    fn what_hides_where_it_leads_is_refused() {
        for path in [
            "/public/..%2f.git",
            "/public%2f..%2f.git",
            "/a/%2e%2e%5c.git",
            "/a\\..\\.git",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a//../b",
            "/a/.%2f",
            "/a%5c%2e%2e",
            "/%2e%2e%2f",
            "/a/%2E%2E;/b",
        ] {
            assert_eq!(normal(path), Err(PathFault::Ambiguous), "{path}");
        }
        for path in ["/a%00", "/a%0d%0ab", "/%7f"] {
            assert_eq!(normal(path), Err(PathFault::Control), "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%+1", "/%é"] {
            assert_eq!(normal(path), Err(PathFault::Escape), "{path}");
        }
    }

    #[test]
    fn lenient_servers_are_foreseen() {
        for (path, lenient) in [
            ("/a/b", None),
            ("/~a/", None),
            ("//.git", Some("/.git")),
            ("/a%2f.git", Some("/a/.git")),
            ("/a\\.git/", Some("/a/.git/")),
            ("/admin;x/y", Some("/admin/y")),
            ("/a%3ab", Some("/a:b")),
            ("/%c3%a4", None),
        ] {
            assert_eq!(Path::read(path).unwrap().lenient(), lenient, "{path}");
        }
    }

    proptest! {
        /// The normal form is normal, whatever is written; nothing that a lenient server reads leads above it.
        #[test]
        fn the_normal_form_stays_as_it_is(path in r"/([a-c./;\\]|%2[eEfF]|%5[cC]|%41|%25|%3[aA]){0,12}") {
            if let Ok(path) = Path::read(&path) {
                let again = Path::read(path.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert!(!again.is_changed());
                prop_assert!(path.as_str().split('/').all(|segment| segment != "." && segment != ".."));
                let lenient = path.lenient().unwrap_or(path.as_str());
                prop_assert!(lenient.split(['/', '\\']).all(|segment| segment != "." && segment != ".."));
            }
        }
    }
}
