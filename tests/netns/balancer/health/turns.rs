//! Backends whose health turns: by checks, by connections of clients, and across a restart.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use vrouter::balancer::health::Health;
use vrouter::plan::BackendName;

use super::super::site::site;
use super::{Checks, Web, backend};
use crate::lab::until;

#[test]
fn a_flapping_backend_is_followed_with_its_reasons() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let check = json!({
            "type": "http", "path": "/health?deep=1", "host": "www.demo.local", "source": "10.1.0.1",
            "interval_seconds": 1, "timeout_seconds": 1, "unhealthy_threshold": 2,
        });
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": check}}));
        checks.becomes("all", "a", Health::Up, "http: status 200");
        web.says(503);
        checks.becomes("all", "a", Health::Down, "http: status 503");
        assert_eq!(checks.down(), ["a"]);
        web.says(0);
        checks.becomes("all", "a", Health::Down, "no answer within 1 s");
        web.says(204);
        checks.becomes("all", "a", Health::Up, "http: status 204");
        assert!(checks.down().is_empty());
        let (from, request) = web.requests.lock().unwrap()[0].clone();
        assert_eq!(from.ip(), Ipv4Addr::new(10, 1, 0, 1));
        assert!(request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: www.demo.local\r\n"), "{request}");
        let turns = checks.turns.lock().unwrap().clone();
        let changes: Vec<&str> = turns.iter().map(String::as_str).collect();
        assert_eq!(
            changes,
            [
                "a up: http: status 200",
                "a down: http: status 503",
                "a down: no answer within 1 s",
                "a up: http: status 204"
            ]
        );
        let last = checks.health("all", "a").last.unwrap();
        assert!(last.took < Duration::from_secs(1), "{last:?}");
        checks.close();
    });
}

#[test]
fn a_restart_keeps_what_was_known_until_the_first_check() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let check = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 20, "unhealthy_threshold": 1});
        let pools = json!({"all": {
            "backends": {"a": backend("10.1.0.20", 80), "b": backend("10.1.0.20", 9)}, "health_check": check,
        }});
        let checks = Checks::open(state.path());
        checks.apply(pools.clone());
        checks.becomes("all", "a", Health::Up, "http: status 200");
        checks.becomes("all", "b", Health::Down, "connection refused");
        web.says(500);
        checks.becomes("all", "a", Health::Down, "http: status 500");
        let since = checks.health("all", "a").state.since;
        web.says(0);
        checks.close();
        let checks = Checks::open(state.path());
        assert_eq!(checks.down(), ["a", "b"], "before anything is configured");
        checks.apply(pools);
        let before = checks.health("all", "a").state;
        assert_eq!((before.health, &*before.reason, before.since), (Health::Down, "http: status 500", since));
        checks.close();
        // The first good answer is enough.
        web.says(200);
        let checks = Checks::open(state.path());
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": {
            "type": "http", "interval_seconds": 1, "timeout_seconds": 20, "unhealthy_threshold": 1, "healthy_threshold": 50,
        }}}));
        checks.becomes("all", "a", Health::Up, "http: status 200");
        assert_eq!(checks.turns.lock().unwrap().len(), 1);
        checks.close();
    });
}

#[test]
fn connections_of_clients_take_a_backend_down_between_two_checks() {
    let lab = site();
    lab.inside("router", || {
        let web = Web::serve("10.1.0.20:80");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let check = json!({"type": "http", "interval_seconds": 600, "unhealthy_threshold": 3});
        checks.apply(json!({"all": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": check}}));
        checks.becomes("all", "a", Health::Up, "http: status 200");
        let id = |text: &str| text.parse().unwrap();
        let name = BackendName { balancer: id("web"), pool: id("all"), backend: id("a") };
        let passive = checks.checker().passive(&name).unwrap();
        web.says(503);
        for _ in 0..2 {
            passive.failed("connection refused");
        }
        passive.succeeded();
        for _ in 0..2 {
            passive.failed("connection refused");
        }
        // The check that they brought forward is no third failure of theirs.
        until("a check brought forward", || {
            (checks.health("all", "a").last?.outcome.reason() == "http: status 503").then_some(())
        });
        assert_eq!(checks.health("all", "a").state.health, Health::Up);
        passive.failed("connection refused");
        checks.becomes("all", "a", Health::Down, "connections of clients: connection refused");
        checks.close();
    });
}
