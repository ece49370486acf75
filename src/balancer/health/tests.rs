//! Laws and cases of the table: who is asked when, what survives an edit, what drains.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::entry::Remembered;
use super::passive::Seen;
use super::state::Outcome;
use super::store;
use super::table::Table;
use crate::balancer::condition::Health;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::plan::BackendName;

const SECOND: Duration = Duration::from_secs(1);

fn document() -> Value {
    json!({
        "version": 1,
        "interfaces": {
            "guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
            "public": {"device": "eth0", "roles": ["public"], "addresses": ["198.51.100.5/24"]},
        },
        "load_balancers": {"web": {
            "address": "198.51.100.5", "port": 80, "protocol": "tcp", "drain_seconds": 60,
            "pools": {"all": {
                "backends": {
                    "a": {"address": "10.1.1.20", "port": 80},
                    "b": {"address": "10.1.1.21", "port": 80},
                },
                "health_check": {"type": "tcp", "jitter_percent": 0},
            }},
        }},
    })
}

fn pool(patch: Value) -> Value {
    json!({"load_balancers": {"web": {"pools": {"all": patch}}}})
}

fn config(patch: Value) -> Config {
    let whole = Config::default().replace(document());
    whole.and_then(|config| config.patch(patch)).unwrap_or_else(|faults| panic!("{faults}"))
}

fn name(backend: &str) -> BackendName {
    let id = |text: &str| text.parse().unwrap();
    BackendName { balancer: id("web"), pool: id("all"), backend: id(backend) }
}

/// A table with its clock.
struct Watched {
    table: Table,
    begin: Instant,
    now: Duration,
}

impl Watched {
    fn new(remembered: Remembered) -> Self {
        let table = Table::new(remembered, mpsc::channel(1).0, Timestamp::from_seconds(1000));
        Self { table, begin: clock::moment(), now: Duration::ZERO }
    }

    fn with(patch: Value) -> Self {
        let mut watched = Self::new(Remembered::default());
        watched.apply(patch);
        watched
    }

    fn at(&self) -> (Instant, Timestamp) {
        (self.begin + self.now, Timestamp::from_seconds(1000 + self.now.as_secs()))
    }

    fn apply(&mut self, patch: Value) {
        let (now, wall) = self.at();
        self.table.apply(&config(patch), now, wall);
    }

    /// Lets time pass and answers every check that falls due, at once, by its backend.
    fn pass(&mut self, time: Duration, outcome: impl Fn(&str) -> Outcome) {
        let end = self.now + time;
        while let Some(due) = self.table.next_due().filter(|due| *due <= self.begin + end) {
            self.now = due.duration_since(self.begin);
            for job in self.table.due(due, usize::MAX) {
                let outcome = outcome(&job.endpoint.to_string());
                self.table.done(job.number, outcome, due, self.at().1, 0);
            }
        }
        self.now = end;
        self.table.expire(self.at().1);
    }

    fn health(&self, backend: &str) -> Option<Health> {
        self.table.health(&name(backend)).map(|health| health.state.health)
    }

    fn down(&self) -> Vec<String> {
        self.table.availability().down.iter().map(|name| name.backend.to_string()).collect()
    }

    fn draining(&self) -> Vec<String> {
        self.table.availability().draining.iter().map(|balanced| balanced.backend.to_string()).collect()
    }

    /// What a restart at this time knows.
    fn restart(&mut self) -> Self {
        let all = store::all(&self.table);
        let (_, wall) = self.at();
        let table = Table::new(store::read(all), mpsc::channel(1).0, wall);
        Self { table, begin: self.begin, now: self.now }
    }
}

fn well(_: &str) -> Outcome {
    Outcome::Well("connected".into())
}

fn only_b(endpoint: &str) -> Outcome {
    if endpoint == "10.1.1.21:80" { well(endpoint) } else { Outcome::Ill("connection refused".into()) }
}

#[test]
fn a_backend_that_fails_is_down_and_comes_back() {
    let mut watched = Watched::with(json!({}));
    assert_eq!(watched.health("a"), Some(Health::Unknown));
    watched.pass(SECOND, only_b);
    assert_eq!((watched.health("a"), watched.health("b")), (Some(Health::Unknown), Some(Health::Up)));
    watched.pass(SECOND * 10, only_b);
    assert_eq!(watched.down(), ["a"]);
    let health = watched.table.health(&name("a")).unwrap();
    assert_eq!((&*health.state.reason, health.state.since.seconds()), ("connection refused", 1010));
    watched.pass(SECOND * 5, well);
    assert_eq!(watched.down(), ["a"], "one good answer is not enough");
    watched.pass(SECOND * 5, well);
    assert!(watched.down().is_empty());
}

#[test]
fn what_is_known_survives_an_edit_that_does_not_touch_it() {
    let mut watched = Watched::with(json!({}));
    watched.pass(SECOND * 11, only_b);
    assert_eq!(watched.down(), ["a"]);
    // Weights, other backends, other balancers.
    watched.apply(pool(json!({"backends": {"a": {"weight": 7}, "c": {"address": "10.1.1.22", "port": 80}}})));
    assert_eq!(watched.down(), ["a"]);
    assert_eq!(watched.health("b"), Some(Health::Up));
    assert_eq!(watched.health("c"), Some(Health::Unknown));
    // Another check proves it anew, and does not trust what was down before.
    watched.apply(pool(json!({"health_check": {"interval_seconds": 7}})));
    assert_eq!(watched.down(), ["a"]);
    watched.pass(SECOND / 10, well);
    assert!(watched.down().is_empty(), "the first good answer of another check is enough");
    watched.pass(SECOND * 30, only_b);
    assert_eq!(watched.down(), ["a"]);
    // Another endpoint is another server.
    watched.apply(pool(json!({"backends": {"a": {"port": 81}}})));
    assert_eq!(watched.health("a"), Some(Health::Unknown));
    assert!(watched.down().is_empty());
    watched.apply(pool(json!({"health_check": null})));
    assert_eq!((watched.health("a"), watched.table.next_due()), (None, None));
    watched.apply(json!({"load_balancers": null}));
    assert_eq!(watched.table.entries().count(), 0);
}

#[test]
fn a_restart_remembers_who_was_down_until_it_was_asked() {
    let mut watched = Watched::with(json!({}));
    watched.pass(SECOND * 11, only_b);
    let mut again = watched.restart();
    assert_eq!(again.down(), ["a"], "before anything is configured");
    again.apply(json!({}));
    assert_eq!(again.down(), ["a"]);
    assert_eq!(again.health("b"), Some(Health::Up));
    assert_eq!(again.table.health(&name("a")).unwrap().state.since.seconds(), 1010);
    again.pass(SECOND, well);
    assert!(again.down().is_empty());
    // Who went to another place meanwhile is somebody else.
    let mut again = watched.restart();
    again.apply(pool(json!({"backends": {"a": {"address": "10.1.1.29"}}})));
    assert_eq!((again.health("a"), again.down()), (Some(Health::Unknown), vec![]));
    let mut again = watched.restart();
    again.apply(json!({"load_balancers": null}));
    assert!(again.down().is_empty());
    let (unstored, whom) = (again.table.take_unstored(), |backend| name(backend));
    assert!(
        unstored.names.contains(&whom("a")) && unstored.names.contains(&whom("b")),
        "they are forgotten on disk"
    );
    // Of whom nothing is known, nothing is written.
    let mut fresh = Watched::with(json!({}));
    assert!(fresh.table.take_unstored().is_empty());
    fresh.apply(json!({"load_balancers": null}));
    assert!(fresh.table.take_unstored().names.is_empty());
}

#[test]
fn what_was_taken_away_drains_until_its_time_is_over_across_a_restart() {
    let mut watched = Watched::with(json!({}));
    assert!(watched.draining().is_empty());
    let disabled = || pool(json!({"backends": {"a": {"enabled": false}}}));
    watched.apply(disabled());
    assert_eq!(watched.draining(), ["10.1.1.20"]);
    watched.pass(SECOND * 30, well);
    // An edit of something else gives it no more time.
    watched.apply(pool(json!({"backends": {"a": {"enabled": false}, "b": {"weight": 3}}})));
    let mut again = watched.restart();
    assert_eq!(again.draining(), ["10.1.1.20"]);
    again.apply(disabled());
    again.pass(SECOND * 29, well);
    assert_eq!(again.draining(), ["10.1.1.20"]);
    again.pass(SECOND, well);
    assert!(again.draining().is_empty());
    // Back in use, it does not drain; and the whole balancer does when it goes.
    watched.apply(json!({}));
    assert!(watched.draining().is_empty());
    watched.apply(json!({"load_balancers": {"web": null}}));
    assert_eq!(watched.draining(), ["10.1.1.20", "10.1.1.21"]);
    watched.pass(SECOND * 60, well);
    assert!(watched.draining().is_empty() && watched.table.drains().is_empty());
}

#[test]
fn failed_connections_bring_the_next_check_forward_and_enough_of_them_need_none() {
    let mut watched = Watched::with(json!({}));
    watched.pass(SECOND * 2, well);
    let entry = watched.table.passive(&name("a")).unwrap();
    let number = watched.table.due(watched.at().0 + SECOND * 10, 1).remove(0).number;
    watched.table.done(number, well(""), watched.at().0 + SECOND * 3, watched.at().1, 0);
    drop(entry);
    let (now, wall) = (watched.at().0 + SECOND * 20, watched.at().1);
    let seen = |failures| Seen { number, failures, reason: "connection refused".to_owned() };
    let before = watched.table.next_due().unwrap();
    assert_eq!(watched.table.seen(seen(1), now, wall), None);
    assert!(watched.table.next_due().unwrap() <= before.max(now));
    let turn = watched.table.seen(seen(3), now, wall).unwrap();
    assert_eq!(
        (turn.state.health, &*turn.state.reason),
        (Health::Down, "connections of clients: connection refused")
    );
    assert_eq!(watched.down().len(), 1);
}

#[test]
fn a_backend_is_asked_once_at_a_time_and_an_interval_after_it_was_asked_last() {
    let mut watched =
        Watched::with(pool(json!({"health_check": {"interval_seconds": 5, "timeout_seconds": 60}})));
    let start = watched.at().0;
    let jobs = watched.table.due(start + SECOND, 1);
    assert_eq!(jobs.len(), 1, "no more than there is room for");
    let other = watched.table.due(start + SECOND, 9);
    assert_eq!(other.len(), 1);
    assert!(watched.table.due(start + SECOND * 100, 9).is_empty(), "both are under way");
    let wall = watched.at().1;
    watched.table.done(jobs[0].number, well(""), start + SECOND * 2, wall, 0);
    assert_eq!(watched.table.next_due(), Some(start + SECOND * 6));
    assert_eq!(watched.table.due(start + SECOND * 6, 9).len(), 1);
    watched.table.done(jobs[0].number, well(""), start + SECOND * 30, wall, 0);
    watched.table.done(other[0].number, well(""), start + SECOND * 30, wall, 0);
    assert_eq!(
        watched.table.due(start + SECOND * 30, 9).len(),
        2,
        "an interval that is over is not waited for"
    );
}

proptest! {
    /// However configurations follow each other, exactly the backends of checked pools are watched, each with one place
    /// in the schedule or one check under way, and what is down is what is published.
    #[test]
    fn the_table_follows_the_configuration(
        edits in prop::collection::vec((0..4_usize, 0..5_u8, any::<bool>(), any::<bool>()), 1..30)
    ) {
        let mut watched = Watched::new(Remembered::default());
        let mut wanted: BTreeMap<&str, (u8, bool)> = BTreeMap::new();
        for (which, port, enabled, ill) in edits {
            let id = ["a", "b", "c", "d"][which];
            if port == 0 { wanted.remove(id); } else { wanted.insert(id, (port, enabled)); }
            let backends: BTreeMap<&str, Value> = wanted.iter().enumerate().map(|(index, (id, (port, enabled)))| {
                let address = format!("10.1.1.{}", 20 + index);
                (*id, json!({"address": address, "port": port, "enabled": enabled}))
            }).collect();
            let mut whole = document();
            whole["load_balancers"]["web"]["pools"]["all"]["backends"] = json!(backends);
            let config = Config::default().replace(whole).unwrap_or_else(|faults| panic!("{faults}"));
            let (now, wall) = watched.at();
            watched.table.apply(&config, now, wall);
            let outcome = |endpoint: &str| if ill && endpoint.ends_with(":1") { Outcome::Ill("no".into()) } else { well("") };
            watched.pass(SECOND * 7, outcome);
            let entries: Vec<_> = watched.table.entries().map(|entry| entry.name.backend.to_string()).collect();
            prop_assert_eq!(&entries, &wanted.keys().map(ToString::to_string).collect::<Vec<_>>());
            let down: Vec<_> = watched.table.entries()
                .filter(|entry| entry.state.health == Health::Down)
                .map(|entry| entry.name.backend.to_string()).collect();
            prop_assert_eq!(&watched.down(), &down);
            let far = watched.at().0 + SECOND * 1000;
            let jobs = watched.table.due(far, usize::MAX);
            prop_assert_eq!(jobs.len(), wanted.len());
            for job in jobs {
                watched.table.done(job.number, well(""), watched.at().0, watched.at().1, 0);
            }
        }
    }
}
