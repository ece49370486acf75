//! Names: of hosts and domains (RFC 1035, RFC 1123), of DNS records (RFC 4592, RFC 8552) and of kernel devices.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::text::{InvalidText, text_leaf};

/// The longest domain name as text without its final dot (RFC 1035 section 3.1).
const MAX_NAME: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// One label of letters, digits and hyphens (RFC 1123 section 2.1), kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if is_host_label(text) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(InvalidText::new(format!(
                "`{text}` is not a host name: one label of letters, digits and inner hyphens, at most 63"
            )))
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    Hostname,
    "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
    "One label of a host's name, such as `web1`."
);

/// A domain name in lower case without its final dot. Underscores are allowed (RFC 8552).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// The name as text, without a final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of `host` in this domain, unless it grows too long.
    #[must_use]
    pub fn host(&self, host: &Hostname) -> Option<Self> {
        let name = format!("{host}.{self}");
        (name.len() <= MAX_NAME).then(|| Self(name.into()))
    }

    /// Whether this name is `zone` or below it.
    #[must_use]
    pub fn is_within(&self, zone: &Self) -> bool {
        let name = self.0.strip_suffix(&*zone.0);
        name.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        domain(text, is_domain_label).map(Self).ok_or_else(|| {
            InvalidText::new(format!(
                "`{text}` is not a domain name: labels of at most 63 letters, digits, hyphens and underscores"
            ))
        })
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    DomainName,
    r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$",
    "A domain name, such as `demo.local`."
);

/// The owner of a DNS record: a domain name whose first label may be `*` (RFC 4592).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(Arc<str>);

impl RecordName {
    /// The name as text, without a final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecordName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let name = match text.strip_prefix("*.") {
            Some(parent) => domain(parent, is_domain_label).map(|parent| Arc::from(format!("*.{parent}"))),
            None => domain(text, is_domain_label),
        };
        name.filter(|name| name.len() <= MAX_NAME)
            .map(Self)
            .ok_or_else(|| InvalidText::new(format!("`{text}` is not a name that a record can have")))
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    RecordName,
    r"^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$",
    "The name of a record, such as `db.demo.local`, `_sip._udp.demo.local` or `*.apps.demo.local`."
);

/// The kernel's name of a network device (`linux/if.h`: IFNAMSIZ is 16 with the final zero).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let fits = (1..=15).contains(&text.len()) && !matches!(text, "." | ".." | "all" | "default" | "lo");
        if fits
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'"' | b'\\' | b'%'))
        {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText::new(format!("`{text}` is not a name that a network device can have here")))
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(DeviceName, r#"^[^/:"\\%\s]{1,15}$"#, "A network device's name in the kernel, such as `eth0`.");

fn domain(text: &str, label: fn(&str) -> bool) -> Option<Arc<str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let valid = !name.is_empty() && name.len() <= MAX_NAME && name.split('.').all(label);
    valid.then(|| name.to_ascii_lowercase().into())
}

fn is_host_label(label: &str) -> bool {
    is_domain_label(label) && !label.contains('_')
}

fn is_domain_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_lower_case_without_the_final_dot() {
        assert_eq!("Web1".parse::<Hostname>().unwrap().as_str(), "web1");
        assert_eq!("Demo.Local.".parse::<DomainName>().unwrap().as_str(), "demo.local");
        assert_eq!("*.Apps.demo.local".parse::<RecordName>().unwrap().as_str(), "*.apps.demo.local");
        assert_eq!("_sip._udp.demo.local".parse::<RecordName>().unwrap().as_str(), "_sip._udp.demo.local");
    }

    #[test]
    fn what_no_resolver_could_ask_for_is_refused() {
        let long_label = "x".repeat(64);
        let long_name = ["x".repeat(63).as_str(); 4].join(".");
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "a.*.b", "ä.local", &long_label, &long_name] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
            assert!(bad.parse::<RecordName>().is_err(), "{bad}");
        }
        for bad in ["a.b", "a_b", "*"] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }

    #[test]
    fn within_is_by_label() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        assert!(name("a.demo.local").is_within(&name("demo.local")));
        assert!(name("demo.local").is_within(&name("demo.local")));
        assert!(!name("xdemo.local").is_within(&name("demo.local")));
    }

    #[test]
    fn devices_are_named_as_the_kernel_allows() {
        for good in ["eth0", "enp0s31f6", "eth0.100", "br-lan"] {
            assert!(good.parse::<DeviceName>().is_ok(), "{good}");
        }
        for bad in ["", "lo", "all", "default", "..", "a/b", "a b", "a%d", "sixteen-letters-"] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad}");
        }
    }
}
