//! How a client stays with its backend: by its address, by a cookie of the balancer's, or by one of the application's.
//!
//! - The balancer's cookie says all by itself: which backend, since when, and a code that only this router can make. It
//!   holds through restarts and edits and takes no memory here. Whatever does not carry the code is as good as none.
//! - An application's cookie is left as it is. Which backend set it is remembered, as addresses are: bounded, forgotten
//!   after a time without a word, and not kept through a restart. A client whose value nobody knows is served by anybody
//!   and stays there.
//!
//! A backend that is down, rests, is disabled or removed has nobody staying with it: the client is served by another, stays
//! there, and gets the cookie that says so. One that only lost its weight, or a backup that is not needed any more, keeps
//! its clients. Called by whoever carries connections and requests.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use ring::hmac;
use siphasher::sip128::SipHasher13;

use super::backend::Backend;
use super::fields::cookies;
use super::pool::Pool;
use super::remembered::Remembered;
use crate::clock::Timestamp;
use crate::config::load_balancer::{BalancerProtocol, LoadBalancer, StickinessType};

/// How long a client is remembered where the configuration does not say, in seconds.
const REMEMBERED_SECONDS: u32 = 1800;
/// A cookie is given anew when this part of its life has passed, so that it ends after a time without a word.
const RENEWED_AFTER: u64 = 10;
/// The octets of the code in a cookie: half of SHA-256, which nobody guesses.
const CODE: usize = 16;

/// What cookies are signed with.
#[derive(Debug, Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Of random octets that nobody else knows and that outlive a restart; 32 are as good as any more.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// The code of a text; `purpose` keeps codes for different ends apart.
    fn code(&self, purpose: &[u8], backend: &Backend, issued: u64) -> [u8; CODE] {
        let mut context = hmac::Context::with_key(&self.0);
        let name = backend.name();
        context.update(purpose);
        for part in [name.balancer.as_str(), name.pool.as_str(), name.backend.as_str()] {
            // No id holds a blank.
            context.update(b" ");
            context.update(part.as_bytes());
        }
        context.update(&name.endpoint.ip().octets());
        context.update(&name.endpoint.port().to_be_bytes());
        context.update(&issued.to_be_bytes());
        let mut code = [0; CODE];
        code.iter_mut().zip(context.sign().as_ref()).for_each(|(octet, signed)| *octet = *signed);
        code
    }

    /// What a backend is called in cookies: the same always, and nothing that says where it is.
    fn tag(&self, backend: &Backend) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.code(b"backend", backend, 0);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// How clients of a balancer stay.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    kind: StickinessType,
    seconds: Option<u32>,
    cookie: String,
    secure: bool,
}

/// How clients stay with the backends of one pool.
#[derive(Debug)]
pub struct Sticky {
    settings: Settings,
    secret: Secret,
    remembered: Arc<Remembered>,
}

/// What a client brought with it.
#[derive(Debug, Default)]
pub struct Brought {
    /// The backend that it stays with.
    pub backend: Option<Arc<Backend>>,
    /// What it is remembered by.
    client: Option<u128>,
    /// Whether its cookie is to be given anew.
    late: bool,
}

impl Sticky {
    /// How clients of a pool stay, where they do. What `before` remembers goes on, as long as it is of the same kind.
    #[must_use]
    pub fn new(
        balancer: &LoadBalancer,
        before: Option<&Self>,
        secret: &Secret,
        now: Instant,
    ) -> Option<Self> {
        let wanted = balancer.stickiness.as_ref()?;
        let settings = Settings {
            kind: wanted.kind,
            seconds: wanted.seconds,
            cookie: balancer.cookie_name().unwrap_or_default().to_owned(),
            secure: balancer.protocol == BalancerProtocol::Https,
        };
        let same = |before: &&Self| {
            before.settings.kind == settings.kind && before.settings.cookie == settings.cookie
        };
        let remembered = before.filter(same).map(|before| before.remembered.clone());
        let remembered = remembered.unwrap_or_else(|| Arc::new(Remembered::new(now)));
        Some(Self { settings, secret: secret.clone(), remembered })
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// What a client brings; `headers` are those of its request, where there is one.
    #[must_use]
    pub fn brought(
        &self,
        pool: &Pool,
        client: Ipv4Addr,
        headers: Option<&HeaderMap>,
        now: Instant,
        at: Timestamp,
    ) -> Brought {
        let own = || headers.into_iter().flat_map(cookies).filter(|(name, _)| *name == self.settings.cookie);
        let client = match self.settings.kind {
            StickinessType::Source => Some(u128::from(client.to_bits())),
            StickinessType::AppCookie => {
                own().map(|(_, value)| value).find(|value| !value.is_empty()).map(digest)
            }
            // A client may bring several of one name; the first that is ours counts.
            StickinessType::Cookie => {
                return own().find_map(|(_, value)| self.read(pool, value, at)).unwrap_or_default();
            }
        };
        let within = Duration::from_secs(self.settings.seconds.unwrap_or(REMEMBERED_SECONDS).into());
        let known = client.and_then(|client| self.remembered.find(client, within, now));
        Brought { backend: known.filter(|backend| backend.keeps_clients()), client, late: false }
    }

    /// A backend was chosen for the client.
    pub fn chosen(&self, brought: &Brought, backend: &Arc<Backend>, now: Instant) {
        let known = brought.backend.as_ref().is_some_and(|known| Arc::ptr_eq(known, backend));
        if let Some(client) = brought.client.filter(|_| !known) {
            self.remembered.keep(client, backend, now);
        }
    }

    /// The backend answered: what the answer has to carry is added to it, and what it carries is remembered.
    pub fn answered(
        &self,
        brought: &Brought,
        backend: &Arc<Backend>,
        answer: &mut HeaderMap,
        now: Instant,
        at: Timestamp,
    ) {
        match self.settings.kind {
            StickinessType::Source => {}
            StickinessType::Cookie => {
                let known = brought.backend.as_ref().is_some_and(|known| Arc::ptr_eq(known, backend));
                if (!known || brought.late)
                    && let Ok(cookie) = HeaderValue::try_from(self.write(backend, at))
                {
                    answer.append(SET_COOKIE, cookie);
                }
            }
            StickinessType::AppCookie => {
                let texts = answer.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
                let pairs = texts.filter_map(|line| line.split(';').next()?.split_once('='));
                for (_, value) in pairs.filter(|(name, _)| name.trim() == self.settings.cookie) {
                    let value = value.trim().trim_matches('"');
                    if !value.is_empty() {
                        self.remembered.keep(digest(value), backend, now);
                    }
                }
            }
        }
    }

    /// `<tag><second of issue><code>`, in hexadecimal digits.
    fn write(&self, backend: &Backend, at: Timestamp) -> String {
        let issued = self.settings.seconds.map_or(0, |_| at.seconds());
        let tag = backend.tag(|| self.secret.tag(backend));
        let code = u128::from_be_bytes(self.secret.code(b"cookie", backend, issued));
        let mut text = format!(
            "{}={tag:016x}{issued:010x}{code:032x}; Path=/; HttpOnly; SameSite=Lax",
            self.settings.cookie
        );
        if let Some(seconds) = self.settings.seconds {
            text.push_str(&format!("; Max-Age={seconds}"));
        }
        if self.settings.secure {
            text.push_str("; Secure");
        }
        text
    }

    fn read(&self, pool: &Pool, value: &str, at: Timestamp) -> Option<Brought> {
        let plain = |text: &&str| text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        let value = Some(value).filter(plain).filter(|value| value.len() == 58)?;
        let tag = u64::from_str_radix(value.get(..16)?, 16).ok()?;
        let issued = u64::from_str_radix(value.get(16..26)?, 16).ok()?;
        let code = u128::from_str_radix(value.get(26..)?, 16).ok()?;
        let backend = pool.find(|backend| backend.tag(|| self.secret.tag(backend)) == tag)?;
        let expected = self.secret.code(b"cookie", &backend, issued);
        // As long for a code that is nearly right as for any other.
        let differs = expected.iter().zip(code.to_be_bytes()).fold(0, |all, (one, two)| all | (one ^ two));
        let seconds = self.settings.seconds.map(u64::from);
        let age = at.since(Timestamp::from_seconds(issued));
        if differs != 0 || seconds.is_some_and(|seconds| age > seconds) {
            return None;
        }
        let late = match seconds {
            Some(seconds) => age.saturating_mul(RENEWED_AFTER) >= seconds,
            // It had an end, and shall have none now.
            None => issued != 0,
        };
        Some(Brought { backend: Some(backend), client: None, late })
    }
}

/// What a cookie's value is remembered by. It differs from any other's, unless somebody makes two of their own agree.
fn digest(value: &str) -> u128 {
    let hash = SipHasher13::new().hash(value.as_bytes());
    hash.as_u128()
}

#[cfg(test)]
mod tests;
