//! Where the router answers: a socket in the file system, or a host and a port.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;

/// The socket that `vrouterd` listens on unless it is told otherwise.
pub(super) const SOCKET: &str = "/run/vrouter/api.sock";
/// The ports of URLs that name none (RFC 9110 section 4.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Where a router answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(Url),
    /// On a socket in the file system.
    Unix(PathBuf),
}

/// The `http` or `https` URL of a router, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// What the `Host` field of a request says (RFC 9112 section 3.2).
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp(url) => url.authority(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(url) => write!(f, "{url}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Url {
    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a URL is http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:7270";
        let uri: Uri = text.parse().map_err(|_| wanted.to_owned())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("`{other}` is not spoken here; {wanted}")),
            None => return Err(wanted.to_owned()),
        };
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains(['@', '#']);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if !bare || host.is_empty() {
            return Err(format!("{wanted}, with nothing before or behind it"));
        }
        let default = if secure { HTTPS_PORT } else { HTTP_PORT };
        Ok(Self { secure, host: host.to_owned(), port: port(&uri, default).ok_or(wanted)? })
    }
}

/// The port that is named, or the scheme's; nothing where the one that is named is none.
fn port(uri: &Uri, default: u16) -> Option<u16> {
    match uri.port() {
        Some(port) => Some(port.as_u16()),
        None if uri.authority().is_some_and(|authority| authority.as_str().ends_with(']')) => Some(default),
        None if uri.authority()?.as_str() == uri.host()? => Some(default),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (text, host, port, shown) in [
            ("http://127.0.0.1:7270", "127.0.0.1", 7270, "http://127.0.0.1:7270"),
            ("http://vr-1.example:7270/", "vr-1.example", 7270, "http://vr-1.example:7270"),
            ("HTTP://router", "router", 80, "http://router:80"),
            ("http://[2001:db8::1]:7270", "2001:db8::1", 7270, "http://[2001:db8::1]:7270"),
            ("http://[::1]", "::1", 80, "http://[::1]:80"),
            ("https://router", "router", 443, "https://router:443"),
            ("https://192.0.2.1:7270/", "192.0.2.1", 7270, "https://192.0.2.1:7270"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.to_string().as_str()),
                (host, port, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        for text in [
            "",
            "127.0.0.1:7270",
            "ftp://router:7270",
            "http://",
            "http://router:7270/v1",
            "http://router:7270/?x=1",
            "http://user:secret@router:7270",
            "http://router:70000",
            "http://router:",
            "unix:///run/vrouter/api.sock",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
