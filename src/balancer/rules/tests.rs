//! What rules decide, over requests as clients write them.

use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::balancer;
use super::*;
use crate::config::http::HostPattern;

/// A balancer with these rules by their ids; the default pool is `app`, others are `api` and `static`.
fn rules(rules: &Value) -> Rules<String> {
    let members =
        json!({ "pools": { "app": {}, "api": {}, "static": {} }, "default_pool": "app", "rules": rules });
    Rules::new(&balancer(&members), |id| Some(id.to_string()))
}

/// A request by GET, written as `host path?query`, and what it needs beside that.
#[derive(Default)]
struct Client<'a> {
    headers: &'a [(&'static str, &'static str)],
    method: Option<Method>,
    address: Option<Ipv4Addr>,
}

impl Client<'_> {
    fn asks(&self, rules: &Rules<String>, request: &str) -> String {
        let (host, target) = request.split_once(' ').unwrap();
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let Ok(path) = Path::read(path) else { return "refused".to_owned() };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let request = Request {
            method: self.method.as_ref().unwrap_or(&Method::GET),
            host,
            path: &path,
            query,
            headers: &headers,
            client: self.address.unwrap_or(Ipv4Addr::new(192, 0, 2, 7)),
        };
        let decision = rules.decide(&request);
        let edits = "+".repeat(decision.edits.len());
        match decision.outcome {
            Some(Outcome::Pool(pool)) => format!("{edits}{pool}"),
            Some(Outcome::Redirect { status, .. } | Outcome::Reject { status, .. }) => {
                format!("{edits}{}", status.as_u16())
            }
            None => "nowhere".to_owned(),
        }
    }
}

fn asks(rules: &Rules<String>, request: &str) -> String {
    Client::default().asks(rules, request)
}

#[test]
fn the_first_rule_that_fits_ends_it_and_edits_add_up() {
    let rules = rules(&json!({
        "b": { "priority": 10, "action": { "set_headers": { "x-a": "1" } } },
        "a": { "priority": 10, "match": { "path_prefix": ["/x"] }, "action": { "remove_headers": ["x-b"] } },
        "c": { "priority": 20, "match": { "path": ["/x/1"] }, "action": { "pool": "api", "set_headers": { "x-a": "2" } } },
        "d": { "priority": 30, "match": { "path_prefix": ["/x", "/y"] }, "action": { "redirect": { "location": "/z", "status": 301 } } },
        "e": { "priority": 40, "action": { "set_headers": { "x-a": "3" } } },
    }));
    for (request, expected) in
        [("a /x/1", "+++api"), ("a /x/2", "++301"), ("a /y", "+301"), ("a /", "++app"), ("a /X", "++app")]
    {
        assert_eq!(asks(&rules, request), expected, "{request}");
    }
}

#[test]
fn hosts_are_exact_or_below() {
    let rules = rules(&json!({
        "1": { "priority": 1, "match": { "host": ["a.demo.local", "*.a.demo.local"] }, "action": { "pool": "api" } },
        "2": { "priority": 2, "match": { "host": ["*.demo.local", "b.demo.local"] }, "action": { "pool": "static" } },
        "3": { "priority": 3, "match": { "path": ["/any"] }, "action": { "reject": {} } },
        "4": { "priority": 4, "match": { "host": ["late.demo.local"] }, "action": { "reject": { "status": 404 } } },
    }));
    for (request, expected) in [
        ("a.demo.local /", "api"),
        ("x.y.a.demo.local /", "api"),
        ("b.demo.local /any", "static"),
        ("late.demo.local /", "static"),
        ("demo.local /", "app"),
        ("demo.local /any", "403"),
        ("ademo.local /", "app"),
        (".demo.local /", "app"),
        (" /any", "403"),
    ] {
        assert_eq!(asks(&rules, request), expected, "{request}");
    }
}

#[test]
fn every_member_has_to_fit_by_any_of_its_values() {
    let rules = rules(&json!({ "r": { "priority": 1, "action": { "pool": "api" }, "match": {
        "methods": ["GET", "HEAD"], "headers": { "X-Tier": "gold", "X-Any": "*" }, "query": { "v": "1 2", "w": "*" },
        "cookies": { "beta": "yes" }, "sources": ["192.0.2.0/24", "10.0.0.1-10.0.0.9"], "path_regex": "^/v[0-9]+/" } } }));
    let headers = &[("x-tier", "silver"), ("x-tier", "gold"), ("x-any", ""), ("cookie", "beta=no; beta=yes")];
    let client = Client { headers, ..Client::default() };
    let target = "a /v10/x?v=3&%76=1+2&w";
    assert_eq!(client.asks(&rules, target), "api");
    for request in ["a /v/x?v=1+2&w", "a /v1/x?v=1&w", "a /v1/x?v=1+2", "a /v1/x"] {
        assert_eq!(client.asks(&rules, request), "app", "{request}");
    }
    for missing in 0..headers.len() {
        let headers: Vec<_> = headers
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != missing)
            .map(|(_, field)| *field)
            .collect();
        let expected = if missing == 0 { "api" } else { "app" };
        assert_eq!(Client { headers: &headers, ..Client::default() }.asks(&rules, target), expected);
    }
    let post = Client { headers, method: Some(Method::POST), ..Client::default() };
    assert_eq!(post.asks(&rules, target), "app");
    let far = |last| Client { headers, address: Some(Ipv4Addr::new(10, 0, 0, last)), ..Client::default() };
    assert_eq!(far(9).asks(&rules, target), "api");
    assert_eq!(far(10).asks(&rules, target), "app");
}

#[test]
fn no_way_of_writing_passes_by_a_refusal() {
    let by_prefix = json!({ "path_prefix": ["/.git", "/a:b"] });
    let by_regex = json!({ "path_regex": "^/(\\.git|a:b)" });
    for matches in [by_prefix, by_regex] {
        let rules = rules(&json!({
            "1": { "priority": 1, "match": matches, "action": { "reject": {} } },
            "2": { "priority": 2, "match": { "path_prefix": ["/public"] }, "action": { "pool": "static" } },
        }));
        for path in [
            "/.git",
            "/.git/config",
            "/%2egit",
            "/%2e%67it",
            "/%2E%47it/../.git",
            "/a/../.git",
            "/a/b/../../.git",
            "/./.git",
            "//.git",
            "///.git/x",
            "/..//.git",
            "/.git%2fconfig",
            "/%2f.git",
            "/%5c.git",
            "/\\.git",
            "/.%67it;x=1/config",
            "/;x/.git",
            "/public/../.git",
            "/a%3Ab",
            "/a%3ab",
        ] {
            let found = asks(&rules, &format!("a {path}"));
            assert!(found == "403" || found == "refused", "{path}: {found}");
        }
        for path in [
            "/public/..%2f.git",
            "/public%2f..%2f.git",
            "/public/..;/.git",
            "/public\\..\\.git",
            "/public//../.git",
        ] {
            assert_eq!(asks(&rules, &format!("a {path}")), "refused", "{path}");
        }
        for (path, expected) in
            [("/git", "app"), ("/public/.git", "static"), ("/public/%252e%252e/.git", "static")]
        {
            assert_eq!(asks(&rules, &format!("a {path}")), expected, "{path}");
        }
    }
}

#[test]
fn everything_goes_to_https_where_it_is_said() {
    let web = balancer(&json!({ "redirect_to_https": true }));
    let rules = Rules::new(&web, |id| Some(id.to_string()));
    assert_eq!(asks(&rules, "demo.local /a?b"), "308");
    assert!(rules.reads_paths());
    let plain = balancer(&json!({ "pools": { "app": {} } }));
    assert!(!Rules::new(&plain, |id| Some(id.to_string())).reads_paths());
    let nowhere = balancer(&json!({ "pools": { "a": {}, "b": {} }, "rules": {
        "r": { "priority": 1, "match": { "path": ["/x"] }, "action": { "pool": "a" } } } }));
    assert_eq!(asks(&Rules::new(&nowhere, |id| Some(id.to_string())), "a /"), "nowhere");
}

proptest! {
    /// What is found by host and path is what a look at every rule would find.
    #[test]
    fn the_index_decides_as_a_look_at_every_rule(
        wanted in prop::collection::vec((
            prop::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,2}", 0..3),
            prop::collection::vec("/[ab]?(/[ab]){0,2}", 0..2),
            prop::collection::vec("/[ab]?(/[ab]){0,2}", 0..3),
        ), 1..40),
        host in "[ab](\\.[ab]){0,3}",
        path in "/([ab]/?){0,4}",
    ) {
        let named: serde_json::Map<_, _> = wanted.iter().enumerate().map(|(place, (hosts, paths, prefixes))| {
            let action = json!({ "reject": { "status": 400 + place } });
            let matches = json!({ "host": hosts, "path": paths, "path_prefix": prefixes });
            (format!("r{place:02}"), json!({ "priority": place / 3, "match": matches, "action": action }))
        }).collect();
        let fits = |(hosts, paths, prefixes): &(Vec<String>, Vec<String>, Vec<String>)| {
            let by_host = |pattern: &String| pattern.parse::<HostPattern>().unwrap().matches(&host);
            (hosts.is_empty() || hosts.iter().any(by_host))
                && (paths.is_empty() || paths.contains(&path))
                && (prefixes.is_empty() || prefixes.iter().any(|prefix| path.starts_with(prefix.as_str())))
        };
        let expected = wanted.iter().position(fits).map_or("app".to_owned(), |place| (400 + place).to_string());
        prop_assert_eq!(asks(&rules(&Value::Object(named)), &format!("{host} {path}")), expected);
    }
}
