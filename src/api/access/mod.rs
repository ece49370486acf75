//! Who may speak: what a request proves of its sender, what he may do, and how often he may be wrong.
//!
//! A request counts as whoever its `Authorization` says, else as its connection's certificate or key of SSH, else as the user
//! at the other end of the socket. Where neither tokens nor client certificates are set, TCP is for loopback alone and asks
//! nobody. Everything here is decided from arguments; files are read by the daemon. Called by `mod.rs` of the API for each
//! request, before anything of its body is read.

mod peer;
pub mod tls;
mod token;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;

pub(super) use self::peer::Source;
pub use self::peer::{ClientName, Peer};
pub use self::token::{MAX_TOKENS, Role, Token, TokenFault, Tokens};
use super::throttle::{Buckets, Rate};
use crate::store::Author;

/// How often a source may present what is wrong.
pub(super) const FAILURES: Rate = Rate { burst: 10, per_second: 1 };
/// How many sources are remembered that presented what is wrong.
pub(super) const FAILING_SOURCES: usize = 4096;

/// What the router is started with of who may speak.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Tokens; absent where none are used, which is not the same as a file without any.
    pub tokens: Option<Tokens>,
    /// Whether clients show certificates.
    pub client_certificates: bool,
    /// Users who may do everything on the socket.
    pub writers: BTreeSet<u32>,
    /// Users who may look on the socket.
    pub readers: BTreeSet<u32>,
}

/// Who may speak.
#[derive(Debug)]
pub struct Access {
    tokens: ArcSwap<Option<Tokens>>,
    client_certificates: bool,
    writers: BTreeSet<u32>,
    readers: BTreeSet<u32>,
    failures: Mutex<Buckets<Source>>,
}

/// Whoever sent a request, once it is known that he may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who he is and where.
    pub author: Author,
    /// What he may do.
    pub role: Role,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Nothing says who sent it.
    #[error("the request has to say who sends it: `Authorization: Bearer TOKEN`{}", or_certificate(.certificates))]
    Unknown {
        /// Whether a certificate would do.
        certificates: bool,
    },
    /// What it presents is known to nobody.
    #[error("the token is not known")]
    Wrong {
        /// It was the last that its source may get wrong for now.
        last: bool,
    },
    /// Too much was presented that was wrong.
    #[error("too many requests from {from} presented what is not known; try again in {} s", .wait.as_secs_f64().ceil())]
    Throttled {
        /// Where they came from.
        from: String,
        /// How long it takes until the next is looked at.
        wait: Duration,
    },
    /// It is known who sent it, and he may not.
    #[error("{who} may {may}, and this takes the role write")]
    Forbidden {
        /// Who.
        who: String,
        /// What he may do instead.
        may: &'static str,
    },
    /// A page of another site made a browser send it.
    #[error("a page of another site sent this through a browser")]
    CrossSite,
}

fn or_certificate(certificates: &bool) -> &'static str {
    if *certificates { ", or a client certificate" } else { "" }
}

/// What a request shows of its sender.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Nothing,
    Token(String),
    /// Something that is no token, or one in a way that is not for this request.
    Other,
}

impl Access {
    /// Access as it is set.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { tokens, client_certificates, writers, readers } = settings;
        let failures = Mutex::new(Buckets::new(FAILURES, FAILING_SOURCES));
        Self { tokens: ArcSwap::from_pointee(tokens), client_certificates, writers, readers, failures }
    }

    /// Puts other tokens in the place of those that are known. Whether tokens are asked for at all stays as it was.
    pub fn replace_tokens(&self, tokens: Tokens) {
        if self.tokens.load().is_some() {
            self.tokens.store(Arc::new(Some(tokens)));
        }
    }

    /// Whether those who come over TCP are asked who they are.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.client_certificates || self.tokens.load().is_some()
    }

    /// Who sent a request, if he may.
    ///
    /// # Errors
    /// Why he may not.
    pub(super) fn caller(
        &self,
        peer: &Peer,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let needed = needed(method, path);
        if !is_safe(method) && from_another_site(headers) || self.is_misled(peer, headers) {
            return Err(Refusal::CrossSite);
        }
        let (name, role) = self.identify(peer, method, headers, now)?;
        match role {
            Some(role) if role >= needed => {
                Ok(Caller { author: Author { name, from: Some(peer.from()) }, role })
            }
            Some(_) => Err(Refusal::Forbidden { who: name, may: "only look" }),
            None => Err(Refusal::Forbidden { who: name, may: "do nothing here" }),
        }
    }

    /// Whether a name that somebody else gave to this machine's loopback led a browser here (DNS rebinding): where nobody
    /// is asked who he is, the host has to be one that only this machine can mean.
    fn is_misled(&self, peer: &Peer, headers: &HeaderMap) -> bool {
        let unasked = matches!(peer, Peer::Tcp { .. }) && !self.asks();
        unasked && headers.get(header::HOST).is_some_and(|host| !host.to_str().is_ok_and(is_local))
    }

    /// Who sent a request, and his role where he has one. The name is empty where nobody is asked.
    fn identify(
        &self,
        peer: &Peer,
        method: &Method,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(String, Option<Role>), Refusal> {
        let tokens = self.tokens.load();
        if let Some(tokens) = tokens.as_ref() {
            let presented = presented(method, headers);
            if presented != Presented::Nothing {
                let source = peer.source();
                let throttled = |wait| Refusal::Throttled { from: source.to_string(), wait };
                self.failures.lock().check(&source, now).map_err(throttled)?;
                let known = match &presented {
                    Presented::Token(token) => tokens.find(token),
                    Presented::Other | Presented::Nothing => None,
                };
                return match known {
                    Some(token) => Ok((format!("token {}", token.name), Some(token.role))),
                    None => Err(Refusal::Wrong { last: self.failures.lock().take(&source, now) }),
                };
            }
        }
        match peer {
            Peer::Tcp { certificate: Some(client), .. } => {
                Ok((format!("certificate {}", client.name), Some(client.role)))
            }
            Peer::Ssh { key, .. } => Ok((format!("ssh key {}", key.name), Some(key.role))),
            Peer::Tcp { .. } if !self.asks() && peer.is_loopback() => Ok((String::new(), Some(Role::Write))),
            Peer::Tcp { .. } => Err(Refusal::Unknown { certificates: self.client_certificates }),
            Peer::Socket { uid } => {
                let role = match uid {
                    uid if self.writers.contains(uid) => Some(Role::Write),
                    uid if self.readers.contains(uid) => Some(Role::Read),
                    _ => None,
                };
                Ok((format!("uid {uid}"), role))
            }
        }
    }
}

/// Whether a method changes nothing (RFC 9110 section 9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What it takes to send a request: looking is for everybody, and so is asking what would be.
fn needed(method: &Method, path: &str) -> Role {
    let asks = *method == Method::POST && matches!(path, "/v1/plan" | "/v1/trace");
    if is_safe(method) || asks { Role::Read } else { Role::Write }
}

/// What a request presents. `Basic` is for browsers, which keep it and send it by themselves: it is taken where nothing
/// can be changed with it, and its password is the token (RFC 7617).
fn presented(method: &Method, headers: &HeaderMap) -> Presented {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (field, None) = (fields.next(), fields.next()) else { return Presented::Other };
    let Some(field) = field else { return Presented::Nothing };
    let Some((scheme, rest)) = field.to_str().ok().and_then(|text| text.trim().split_once(' ')) else {
        return Presented::Other;
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Presented::Token(rest.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") && is_safe(method) {
        let pair = BASE64_STANDARD.decode(rest).ok().and_then(|octets| String::from_utf8(octets).ok());
        if let Some((_, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
            return Presented::Token(password.to_owned());
        }
    }
    Presented::Other
}

/// Whether a browser says that a page of another site made it send a request (Fetch Metadata; RFC 6454 section 7).
fn from_another_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.is_none() || authority != host
}

/// Whether a host, with or without a port, is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests;
