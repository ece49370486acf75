//! What picks and rules cost. Printed, not judged: run by hand, optimised, with `--ignored --nocapture`.

#![expect(
    clippy::disallowed_macros,
    clippy::print_stdout,
    reason = "figures are for whoever runs this by hand"
)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::choose::mix;
use super::host::Host;
use super::path::Path;
use super::pool::Wish;
use super::rules::{Request, Rules};
use super::sticky::{Secret, Sticky};
use super::testing::{Bench, balancer, members};
use super::told::Told;
use crate::clock::{self, Timestamp};
use crate::config::load_balancer::Algorithm;

const ROUNDS: u32 = 200_000;
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn print(what: &str, rounds: u32, start: Instant) {
    let nanos = start.elapsed().as_nanos() / u128::from(rounds);
    println!("{what:<60} {nanos:>8} ns");
}

fn measure(what: &str, mut work: impl FnMut(u64)) {
    (0..1000).for_each(&mut work);
    let start = clock::moment();
    (0..u64::from(ROUNDS)).for_each(&mut work);
    print(what, ROUNDS, start);
}

#[test]
#[ignore = "figures"]
fn picks() {
    for count in [3, 20, 1000] {
        for (name, algorithm) in [
            ("round_robin", Algorithm::RoundRobin),
            ("least_connections", Algorithm::LeastConnections),
            ("random", Algorithm::Random),
            ("consistent_hash", Algorithm::ConsistentHash),
        ] {
            for (kind, weights) in
                [("equal", vec![100; count]), ("weighted", (1..=1000).take(count).collect())]
            {
                let bench = Bench::new(algorithm, &members(&weights));
                let pick = |key| bench.pool.try_pick(Wish { key: mix(key), ..Wish::default() }, bench.start);
                measure(&format!("{name} of {count}, {kind}"), |key| drop(black_box(pick(key))));
            }
        }
    }
    for threads in [1, 2] {
        let bench = Bench::new(Algorithm::RoundRobin, &members(&[100; 20]));
        let start = clock::moment();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for key in 0..5 * ROUNDS {
                        let now = clock::moment();
                        drop(black_box(
                            bench.pool.try_pick(Wish { key: key.into(), ..Wish::default() }, now),
                        ));
                    }
                });
            }
        });
        print(&format!("round_robin of 20 by {threads} threads, with a clock"), 5 * ROUNDS * threads, start);
    }
    let size = size_of::<super::backend::Backend>();
    println!("a backend takes {size} octets");
}

#[test]
#[ignore = "figures"]
fn edits() {
    for count in [20, 1000] {
        for algorithm in [Algorithm::RoundRobin, Algorithm::ConsistentHash] {
            let bench = Bench::new(algorithm, &members(&vec![100; count]));
            let start = clock::moment();
            (0..1000).for_each(|millis| bench.pool.refresh(bench.at(millis)));
            print(&format!("a new view of {count}, {algorithm:?}"), 1000, start);
        }
    }
}

fn rules(matches: impl Fn(usize) -> Value) -> Rules<()> {
    let rules: serde_json::Map<_, _> = (0..1000)
        .map(|number| {
            let rule = json!({ "priority": number, "match": matches(number), "action": { "pool": "app" } });
            (format!("r{number}"), rule)
        })
        .collect();
    Rules::new(&balancer(&json!({ "pools": { "app": {} }, "rules": rules })), |_| Some(()))
}

#[test]
#[ignore = "figures"]
fn requests() {
    let headers = HeaderMap::from_iter([
        (http::header::USER_AGENT, HeaderValue::from_static("wrk")),
        (http::header::COOKIE, HeaderValue::from_static("a=1; b=2; session=0123456789abcdef")),
    ]);
    type Matches = fn(usize) -> Value;
    let cases: [(&str, Matches); 6] = [
        ("1,000 hosts", |number| json!({ "host": [format!("s{number}.demo.local")] })),
        ("1,000 wildcards", |number| json!({ "host": [format!("*.s{number}.demo.local")] })),
        ("1,000 prefixes", |number| json!({ "path_prefix": [format!("/app/{number}/")] })),
        (
            "1,000 prefixes of one host",
            |number| json!({ "host": ["www.s999.demo.local"], "path_prefix": [format!("/app/{number}/")] }),
        ),
        ("1,000 paths", |number| json!({ "path": [format!("/app/{number}")] })),
        ("1,000 cookies", |number| json!({ "cookies": { "tenant": format!("{number}") } })),
    ];
    for (name, matches) in cases {
        let rules = rules(matches);
        let path = Path::read("/app/x/index.html").unwrap();
        let request = Request {
            method: &Method::GET,
            host: "www.s999.demo.local",
            path: &path,
            query: Some("a=1"),
            headers: &headers,
            client: CLIENT,
        };
        measure(&format!("{name}, none fits"), |_| drop(black_box(rules.decide(black_box(&request)))));
    }
    measure("a plain path is read", |_| drop(black_box(Path::read(black_box("/app/x/index.html")))));
    measure("an escaped path is read", |_| drop(black_box(Path::read(black_box("/app/%2e%67it/../x")))));
    measure("a host is read", |_| drop(black_box(Host::read(black_box("www.demo.local:8080")))));
    let told = Told::new(CLIENT, 443, true);
    let host = HeaderValue::from_static("www.demo.local");
    measure("a request's fields are copied", |_| drop(black_box(headers.clone())));
    measure("the same, and the backend is told of the client", |_| {
        let mut headers = headers.clone();
        told.tell(&mut headers, Some(&host));
        drop(black_box(headers));
    });
}

#[test]
#[ignore = "figures"]
fn stays() {
    let bench = Bench::new(Algorithm::RoundRobin, &members(&[100; 20]));
    for kind in ["source", "cookie", "app_cookie"] {
        let mut stickiness = json!({ "type": kind, "seconds": 3600 });
        if kind != "source" {
            stickiness["cookie_name"] = json!("sid");
        }
        let balancer = balancer(&json!({ "pools": { "app": {} }, "stickiness": stickiness }));
        let sticky = Sticky::new(&balancer, None, &Secret::new(b"secret"), bench.start).unwrap();
        let (mut headers, at) = (HeaderMap::new(), Timestamp::from_seconds(1_000_000));
        headers.insert(http::header::COOKIE, HeaderValue::from_static("sid=x"));
        let place = bench.pool.try_pick(Wish::default(), bench.start).unwrap().unwrap();
        let brought = sticky.brought(&bench.pool, CLIENT, Some(&headers), bench.start, at);
        sticky.chosen(&brought, place.backend(), bench.start);
        let mut answer = HeaderMap::new();
        sticky.answered(&brought, place.backend(), &mut answer, bench.start, at);
        if let Some(set) = answer.get(http::header::SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            headers.insert(http::header::COOKIE, pair.parse().unwrap());
        }
        assert!(sticky.brought(&bench.pool, CLIENT, Some(&headers), bench.start, at).backend.is_some());
        measure(&format!("{kind}: a client comes again"), |_| {
            drop(black_box(sticky.brought(&bench.pool, CLIENT, Some(&headers), bench.start, at)));
        });
    }
}
