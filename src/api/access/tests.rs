//! Who may do what, over every way in.

use axum::http::HeaderValue;

use super::*;
use crate::clock::moment;

const OPS: &str = "ops-token-0123456789";
const WATCH: &str = "watch-token-0123456789";

fn tokens() -> Tokens {
    Tokens::parse(&format!("ops write {OPS}\nwatch read {WATCH}\n")).unwrap()
}

fn access(tokens: Option<Tokens>, client_certificates: bool) -> Access {
    Access::new(Settings { tokens, client_certificates, writers: [0, 970].into(), readers: [1000].into() })
}

fn without_anything() -> Access {
    access(None, false)
}

fn tcp(address: &str) -> Peer {
    Peer::Tcp { address: address.parse().unwrap(), certificate: None }
}

fn with_certificate(role: Role) -> Peer {
    let client = ClientName { name: "plane".to_owned(), role };
    Peer::Tcp { address: "192.0.2.1:5000".parse().unwrap(), certificate: Some(Arc::new(client)) }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

const READ: (&Method, &str) = (&Method::GET, "/v1/config");
const CHANGE: (&Method, &str) = (&Method::PATCH, "/v1/config");
const PLAN: (&Method, &str) = (&Method::POST, "/v1/plan");

#[test]
fn without_anything_set_loopback_is_open_and_nobody_else_is_heard() {
    let access = without_anything();
    assert!(!access.asks());
    let caller = access.caller(&tcp("127.0.0.1:4000"), CHANGE, &HeaderMap::new(), moment()).unwrap();
    assert_eq!(
        caller,
        Caller {
            author: Author { name: String::new(), from: Some("127.0.0.1:4000".to_owned()) },
            role: Role::Write,
        }
    );
    // What nobody asks for is not looked at.
    assert!(access.caller(&tcp("[::1]:4000"), CHANGE, &bearer("whatever"), moment()).is_ok());
    let refused = access.caller(&tcp("192.0.2.1:4000"), READ, &HeaderMap::new(), moment());
    assert_eq!(refused, Err(Refusal::Unknown { certificates: false }));
}

#[test]
fn a_token_says_who_and_what_he_may() {
    let access = access(Some(tokens()), false);
    for peer in [tcp("192.0.2.1:4000"), tcp("127.0.0.1:4000"), Peer::Socket { uid: 4711 }] {
        let caller = access.caller(&peer, CHANGE, &bearer(OPS), moment()).unwrap();
        assert_eq!((caller.author.name.as_str(), caller.role), ("token ops", Role::Write));
        assert_eq!(caller.author.from, Some(peer.from()));
        for looks in [READ, PLAN, (&Method::HEAD, "/metrics"), (&Method::POST, "/v1/trace")] {
            assert!(access.caller(&peer, looks, &bearer(WATCH), moment()).is_ok(), "{looks:?}");
        }
        for changes in [
            CHANGE,
            (&Method::POST, "/v1/config"),
            (&Method::POST, "/v1/confirm"),
            (&Method::DELETE, "/v1/plan"),
        ] {
            let refused = access.caller(&peer, changes, &bearer(WATCH), moment()).unwrap_err();
            assert_eq!(refused.to_string(), "token watch may only look, and this takes the role write");
        }
    }
    for peer in [tcp("192.0.2.1:4000"), tcp("127.0.0.1:4000")] {
        let refused = access.caller(&peer, READ, &HeaderMap::new(), moment());
        assert_eq!(refused, Err(Refusal::Unknown { certificates: false }), "loopback is asked as well");
    }
}

#[test]
fn other_tokens_take_the_place_of_those_before() {
    let access = access(Some(tokens()), false);
    let peer = tcp("192.0.2.1:4000");
    access.replace_tokens(Tokens::parse("new write another-token-0123456789").unwrap());
    assert!(access.caller(&peer, READ, &bearer(OPS), moment()).is_err());
    assert!(access.caller(&peer, READ, &bearer("another-token-0123456789"), moment()).is_ok());
    access.replace_tokens(Tokens::default());
    assert!(
        access.asks() && access.caller(&peer, READ, &bearer("another-token-0123456789"), moment()).is_err()
    );
    // Where none were asked for, none are from now on.
    let open = without_anything();
    open.replace_tokens(tokens());
    assert!(!open.asks());
}

#[test]
fn a_certificate_is_as_good_as_a_token_and_a_token_goes_before_it() {
    let access = access(Some(tokens()), true);
    let caller = access.caller(&with_certificate(Role::Write), CHANGE, &HeaderMap::new(), moment()).unwrap();
    assert_eq!(caller.author.name, "certificate plane");
    assert!(access.caller(&with_certificate(Role::Read), CHANGE, &HeaderMap::new(), moment()).is_err());
    let caller = access.caller(&with_certificate(Role::Write), READ, &bearer(WATCH), moment()).unwrap();
    assert_eq!((caller.author.name.as_str(), caller.role), ("token watch", Role::Read));
    let refused = access.caller(&tcp("127.0.0.1:4000"), READ, &HeaderMap::new(), moment()).unwrap_err();
    assert!(refused.to_string().ends_with("or a client certificate"), "{refused}");
}

#[test]
fn the_socket_knows_its_users() {
    for access in [access(None, false), access(Some(tokens()), true)] {
        let may = |uid, request| access.caller(&Peer::Socket { uid }, request, &HeaderMap::new(), moment());
        assert_eq!(may(0, CHANGE).unwrap().author.name, "uid 0");
        assert_eq!(may(970, CHANGE).unwrap().author.from.as_deref(), Some("socket"));
        assert!(may(1000, READ).is_ok() && may(1000, PLAN).is_ok() && may(1000, CHANGE).is_err());
        let refused = may(65534, READ).unwrap_err();
        assert_eq!(refused.to_string(), "uid 65534 may do nothing here, and this takes the role write");
    }
}

#[test]
fn basic_is_for_looking_alone() {
    let access = access(Some(tokens()), false);
    let basic =
        |pair: &str| headers(&[("authorization", &format!("bAsIc {}", BASE64_STANDARD.encode(pair)))]);
    let peer = tcp("192.0.2.1:4000");
    let look = |pair: &str| access.caller(&peer, READ, &basic(pair), moment());
    assert_eq!(look(&format!("anybody:{OPS}")).unwrap().author.name, "token ops");
    assert!(look(OPS).is_err() && look(&format!("{OPS}:")).is_err());
    let change = access.caller(&peer, CHANGE, &basic(&format!("anybody:{OPS}")), moment());
    assert!(matches!(change, Err(Refusal::Wrong { .. })), "{change:?}");
}

#[test]
fn what_is_no_token_is_wrong() {
    let access = access(Some(tokens()), false);
    for fields in [
        &[("authorization", "")][..],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", OPS)],
        &[("authorization", "Digest username=\"ops\"")],
        &[("authorization", "Basic !")],
        &[("authorization", "Bearer ops-token-0123456789"), ("authorization", "Bearer ops-token-0123456789")],
    ] {
        let refused = access.caller(&tcp("192.0.2.1:1"), READ, &headers(fields), moment());
        assert!(matches!(refused, Err(Refusal::Wrong { .. })), "{fields:?}: {refused:?}");
        // Whoever presents nothing that can be right is not let in by the socket either.
        assert!(access.caller(&Peer::Socket { uid: 0 }, READ, &headers(fields), moment()).is_err());
    }
    assert!(
        access
            .caller(
                &tcp("192.0.2.2:1"),
                READ,
                &headers(&[("authorization", &format!("BEARER  {OPS} "))]),
                moment()
            )
            .is_ok()
    );
}

#[test]
fn a_source_that_guesses_is_told_to_wait_and_others_are_not() {
    let access = access(Some(tokens()), false);
    let (begin, guesser) = (moment(), tcp("192.0.2.66:4000"));
    let ask = |peer: &Peer, token: &str, now| access.caller(peer, READ, &bearer(token), now);
    let told: Vec<_> = (0..FAILURES.burst).map(|_| ask(&guesser, "guess", begin).unwrap_err()).collect();
    let last = told.iter().filter(|refusal| **refusal == Refusal::Wrong { last: true }).count();
    assert_eq!((told.len(), last), (10, 1));
    // What is right is not told from what is wrong meanwhile, from whatever port.
    let refused = ask(&tcp("192.0.2.66:4001"), OPS, begin).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "too many requests from 192.0.2.66 presented what is not known; try again in 1 s"
    );
    assert!(ask(&tcp("192.0.2.67:4000"), OPS, begin).is_ok());
    assert!(ask(&guesser, OPS, begin + Duration::from_secs(1)).is_ok());
    // Whoever presents nothing guesses nothing.
    for _ in 0..100 {
        let refused = access.caller(&tcp("192.0.2.68:1"), READ, &HeaderMap::new(), begin);
        assert_eq!(refused, Err(Refusal::Unknown { certificates: false }));
    }
    assert!(ask(&tcp("192.0.2.68:1"), OPS, begin).is_ok());
}

#[test]
fn pages_of_other_sites_change_nothing_through_a_browser() {
    let access = access(None, false);
    let peer = tcp("127.0.0.1:4000");
    let send =
        |request, fields: &[(&'static str, &str)]| access.caller(&peer, request, &headers(fields), moment());
    let host = ("host", "127.0.0.1:7270");
    for fields in [
        &[host, ("sec-fetch-site", "cross-site")][..],
        &[host, ("sec-fetch-site", "same-site")],
        &[host, ("origin", "http://elsewhere.example")],
        &[host, ("origin", "null")],
        &[("origin", "http://127.0.0.1:7270")],
    ] {
        assert_eq!(send(CHANGE, fields), Err(Refusal::CrossSite), "{fields:?}");
        assert_eq!(send(PLAN, fields), Err(Refusal::CrossSite), "{fields:?}");
        assert!(send(READ, fields).is_ok(), "{fields:?}: what he reads he does not get to see");
    }
    for fields in [
        &[host][..],
        &[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:7270")],
        &[host, ("sec-fetch-site", "none")],
        &[host, ("origin", "http://127.0.0.1:7270")],
    ] {
        assert!(send(CHANGE, fields).is_ok(), "{fields:?}");
    }
}

#[test]
fn a_foreign_name_for_loopback_leads_nowhere() {
    let open = access(None, false);
    let look = |access: &Access, host: &str| {
        access.caller(&tcp("127.0.0.1:4000"), READ, &headers(&[("host", host)]), moment()).is_ok()
    };
    for host in ["", "localhost", "LOCALHOST:7270", "127.0.0.1", "127.0.0.1:7270", "[::1]:7270", "[::1]"] {
        assert!(look(&open, host), "{host}");
    }
    for host in ["rebound.example:7270", "rebound.example", "localhost.example", "127.0.0.1.example:7270"] {
        assert!(!look(&open, host), "{host}");
    }
    let asks = access(Some(tokens()), false);
    let with_token = headers(&[("host", "router.example"), ("authorization", &format!("Bearer {OPS}"))]);
    assert!(asks.caller(&tcp("127.0.0.1:4000"), READ, &with_token, moment()).is_ok());
}
