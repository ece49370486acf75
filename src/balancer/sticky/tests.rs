//! Who stays where, and what forged, foreign and old cookies come to.

use http::header::COOKIE;
use serde_json::{Value, json};

use super::super::backend::Health;
use super::super::pool::Wish;
use super::super::testing::{Bench, balancer, members};
use super::*;
use crate::config::load_balancer::Algorithm;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

struct Site {
    bench: Bench,
    sticky: Sticky,
}

impl Site {
    fn new(stickiness: &Value) -> Self {
        let bench = Bench::new(Algorithm::RoundRobin, &members(&[100, 100, 100]));
        let sticky = Self::sticky(stickiness, None, b"secret", &bench);
        Self { bench, sticky }
    }

    fn sticky(stickiness: &Value, before: Option<&Sticky>, secret: &[u8], bench: &Bench) -> Sticky {
        let members = json!({ "pools": { "app": {} }, "stickiness": stickiness });
        Sticky::new(&balancer(&members), before, &Secret::new(secret), bench.start).unwrap()
    }

    /// One request at a second: the backend that served it, and the cookie that was set.
    fn request(
        &self,
        client: Ipv4Addr,
        cookie: &str,
        app: &str,
        second: u64,
    ) -> (Arc<Backend>, Option<String>) {
        let mut headers = HeaderMap::new();
        if !cookie.is_empty() {
            headers.insert(COOKIE, cookie.parse().unwrap());
        }
        let (now, at) = (self.bench.at(second * 1000), Timestamp::from_seconds(1_000_000 + second));
        let brought = self.sticky.brought(&self.bench.pool, client, Some(&headers), now, at);
        let wish = Wish { stay: brought.backend.as_ref(), ..Wish::default() };
        let place = self.bench.pool.try_pick(wish, now).unwrap().unwrap();
        self.sticky.chosen(&brought, place.backend(), now);
        let mut answer = HeaderMap::new();
        if !app.is_empty() {
            answer.insert(SET_COOKIE, app.parse().unwrap());
        }
        self.sticky.answered(&brought, place.backend(), &mut answer, now, at);
        let set =
            answer.get_all(SET_COOKIE).iter().next_back().map(|value| value.to_str().unwrap().to_owned());
        (place.backend().clone(), set)
    }

    fn down(&self, backend: &Backend, second: u64) {
        backend.set_health(Health::Down, "down", self.bench.at(second * 1000), Timestamp::default());
    }
}

fn pair(set: &str) -> &str {
    set.split(';').next().unwrap()
}

#[test]
fn a_cookie_says_where_its_client_stays() {
    let site = Site::new(&json!({ "type": "cookie", "seconds": 1000 }));
    let (first, set) = site.request(CLIENT, "", "", 0);
    let set = set.unwrap();
    assert!(set.starts_with("VRSID="), "{set}");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=1000"), "{set}");
    assert!(!set.contains("10.1") && !set.contains("b0"), "it says nothing of the backend: {set}");
    for second in 1..50 {
        let (backend, again) = site.request(CLIENT, &format!("x=1; {}", pair(&set)), "", second);
        assert!(Arc::ptr_eq(&backend, &first) && again.is_none());
    }
    // Given anew, so that it ends after a time without a word.
    let (backend, renewed) = site.request(CLIENT, pair(&set), "", 500);
    assert!(Arc::ptr_eq(&backend, &first));
    let renewed = renewed.unwrap();
    assert!(Arc::ptr_eq(&site.request(CLIENT, pair(&renewed), "", 1400).0, &first));
    let (_, set_after_end) = site.request(CLIENT, pair(&set), "", 1400);
    assert!(set_after_end.is_some(), "an old one counts for nothing");
    // Of a backend that is down: it moves on and is told so.
    site.down(&first, 1500);
    let (second, moved) = site.request(CLIENT, pair(&renewed), "", 1450);
    assert!(!Arc::ptr_eq(&second, &first));
    let moved = moved.unwrap();
    assert!((0..9).all(|_| Arc::ptr_eq(&site.request(CLIENT, pair(&moved), "", 1451).0, &second)));
    // It holds through a restart with the same secret, and through none with another.
    for (secret, holds) in [(&b"secret"[..], true), (b"other", false)] {
        let sticky = Site::sticky(&json!({ "type": "cookie", "seconds": 1000 }), None, secret, &site.bench);
        let headers = HeaderMap::from_iter([(COOKIE, pair(&moved).parse().unwrap())]);
        // The tags of a process are made once, with its secret.
        let bench = Bench::new(Algorithm::RoundRobin, &members(&[100, 100, 100]));
        let at = Timestamp::from_seconds(1_001_460);
        let brought = sticky.brought(&bench.pool, CLIENT, Some(&headers), bench.start, at);
        assert_eq!(brought.backend.map(|backend| backend.endpoint()), holds.then(|| second.endpoint()));
    }
}

#[test]
fn cookies_of_others_count_for_nothing() {
    let site = Site::new(&json!({ "type": "cookie", "cookie_name": "stay" }));
    let (_, set) = site.request(CLIENT, "", "", 0);
    let value = pair(set.as_deref().unwrap()).strip_prefix("stay=").unwrap().to_owned();
    let other = Site::new(&json!({ "type": "cookie", "cookie_name": "stay" }));
    assert!(
        other.request(CLIENT, &format!("stay={value}"), "", 0).1.is_none(),
        "the same router and backend"
    );
    for place in 0..value.len() {
        let mut forged = value.clone().into_bytes();
        forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(site.request(CLIENT, &format!("stay={forged}"), "", 0).1.is_some(), "octet {place}");
    }
    for forged in
        [String::new(), "x".into(), value.to_uppercase(), format!("{value}0"), format!("+{}", &value[1..])]
    {
        assert!(site.request(CLIENT, &format!("stay={forged}"), "", 0).1.is_some(), "{forged}");
    }
    // Beside one that is forged, ours counts.
    assert!(site.request(CLIENT, &format!("stay=x; stay={value}"), "", 0).1.is_none());
}

#[test]
fn an_address_stays_until_it_was_silent_for_long() {
    let site = Site::new(&json!({ "type": "source", "seconds": 60 }));
    let (first, set) = site.request(CLIENT, "", "", 0);
    assert!(set.is_none());
    assert!((1..20).all(|step| Arc::ptr_eq(&site.request(CLIENT, "", "", step * 59).0, &first)));
    let silent = 19 * 59 + 60;
    let brought = site.sticky.brought(
        &site.bench.pool,
        CLIENT,
        None,
        site.bench.at(silent * 1000),
        Timestamp::default(),
    );
    assert!(brought.backend.is_none());
    // What is remembered goes on through an edit, but not into another kind.
    let (kept, _) = site.request(CLIENT, "", "", silent);
    let edited =
        Site::sticky(&json!({ "type": "source", "seconds": 90 }), Some(&site.sticky), b"secret", &site.bench);
    let found = edited.brought(
        &site.bench.pool,
        CLIENT,
        None,
        site.bench.at((silent + 70) * 1000),
        Timestamp::default(),
    );
    assert!(Arc::ptr_eq(&found.backend.unwrap(), &kept));
    // A backend that is down keeps nobody.
    site.down(&kept, silent + 71);
    let (moved, _) = site.request(CLIENT, "", "", silent + 72);
    assert!(!Arc::ptr_eq(&moved, &kept));
    assert!((0..9).all(|_| Arc::ptr_eq(&site.request(CLIENT, "", "", silent + 72).0, &moved)));
}

#[test]
fn the_clients_that_are_remembered_are_bounded() {
    let site = Site::new(&json!({ "type": "source" }));
    for client in 0..100_000 {
        site.request(Ipv4Addr::from_bits(client), "", "", 0);
    }
    let most = usize::try_from(super::super::remembered::MOST).unwrap();
    assert!(site.sticky.remembered() <= most, "{} are remembered", site.sticky.remembered());
}

#[test]
fn a_session_stays_where_the_application_began_it() {
    let site = Site::new(&json!({ "type": "app_cookie", "cookie_name": "JSESSIONID", "seconds": 600 }));
    let (first, set) = site.request(CLIENT, "", "JSESSIONID=abc; Path=/; HttpOnly", 0);
    assert_eq!(set.unwrap(), "JSESSIONID=abc; Path=/; HttpOnly", "it is left as it is");
    site.request(CLIENT, "", "JSESSIONID=def", 0);
    assert!((1..20).all(|second| Arc::ptr_eq(&site.request(CLIENT, "JSESSIONID=abc", "", second).0, &first)));
    // One that nobody knows is served by anybody and stays there.
    let (any, _) = site.request(CLIENT, "JSESSIONID=unknown", "", 20);
    assert!((0..9).all(|_| Arc::ptr_eq(&site.request(CLIENT, "JSESSIONID=unknown", "", 21).0, &any)));
    // Where its backend is down, the session goes on elsewhere.
    site.down(&first, 22);
    let (moved, _) = site.request(CLIENT, "JSESSIONID=abc", "", 23);
    assert!(!Arc::ptr_eq(&moved, &first));
    assert!((0..9).all(|_| Arc::ptr_eq(&site.request(CLIENT, "JSESSIONID=abc", "", 24).0, &moved)));
}
