//! Laws of pools over generated configurations and events, and what they do in time.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::backend::Health;
use super::place::Place;
use super::pool::{Unavailable, Wish};
use super::testing::{Bench, members};
use crate::clock::{self, Timestamp};
use crate::config::load_balancer::Algorithm;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::Source,
    Algorithm::Random,
    Algorithm::ConsistentHash,
];

fn id(place: &Place) -> String {
    place.backend().name().backend.to_string()
}

fn wish(key: u64) -> Wish<'static> {
    Wish { key, ..Wish::default() }
}

/// What happens to a pool.
#[derive(Debug, Clone)]
enum Event {
    Edit(Vec<(bool, u32, bool)>),
    Health(usize, Health),
    Fail(usize),
    Pass(u64),
    Take(u64),
    Leave(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let backend = (
        prop::bool::weighted(0.7),
        prop_oneof![Just(0), Just(1), Just(100), Just(1000)],
        prop::bool::weighted(0.3),
    );
    prop_oneof![
        prop::collection::vec(backend, 1..6).prop_map(Event::Edit),
        (0..6usize, prop_oneof![Just(Health::Up), Just(Health::Down), Just(Health::Unknown)])
            .prop_map(|(place, health)| Event::Health(place, health)),
        (0..6usize).prop_map(Event::Fail),
        (0..40_000u64).prop_map(Event::Pass),
        any::<u64>().prop_map(Event::Take),
        (0..8usize).prop_map(Event::Leave),
    ]
}

fn pool(backends: &[(bool, u32, bool)]) -> Value {
    let mut pool = members(&backends.iter().map(|(_, weight, _)| *weight).collect::<Vec<_>>());
    for (place, (enabled, _, backup)) in backends.iter().enumerate() {
        pool["backends"][format!("b{place}")]["enabled"] = json!(enabled);
        pool["backends"][format!("b{place}")]["backup"] = json!(backup);
    }
    pool["health_check"] = json!({ "type": "tcp" });
    pool["outlier"] = json!({ "consecutive_failures": 2, "eject_seconds": 5 });
    pool["slow_start_seconds"] = json!(10);
    pool
}

proptest! {
    /// Whatever happens: the one who is picked is enabled, has weight and is not down; a backup is picked only while no
    /// other is well, and one that rests only while nobody else is left. Where somebody may serve, somebody does.
    #[test]
    fn nobody_is_picked_who_may_not_serve(
        algorithm in prop::sample::select(ALGORITHMS.to_vec()),
        first in prop::collection::vec((any::<bool>(), 0u32..3, any::<bool>()), 1..6),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let bench = Bench::new(algorithm, &pool(&first));
        let (mut now, mut held) = (0, Vec::new());
        for event in events {
            match event {
                Event::Edit(backends) => bench.edit(&pool(&backends), now),
                Event::Health(place, health) => {
                    if let Some(listed) = bench.pool.backends().get(place) {
                        listed.backend.set_health(health, "law", bench.at(now), Timestamp::default());
                    }
                }
                Event::Fail(place) => {
                    if let Some(listed) = bench.pool.backends().get(place) {
                        listed.backend.failed(bench.at(now));
                    }
                }
                Event::Pass(millis) => now += millis,
                Event::Leave(place) => {
                    if place < held.len() {
                        held.swap_remove(place);
                    }
                }
                Event::Take(key) => {
                    let picked = bench.pool.try_pick(wish(key), bench.at(now));
                    let listed = bench.pool.backends();
                    let serves = |listed: &&super::pool::Listed| {
                        listed.enabled && listed.weight > 0 && listed.backend.health() != Health::Down
                    };
                    let able: Vec<_> = listed.iter().filter(serves).collect();
                    let Ok(Some(place)) = picked else {
                        prop_assert!(able.is_empty(), "nobody was picked of {able:?}");
                        prop_assert!(matches!(picked, Err(Unavailable::NoBackend)));
                        continue;
                    };
                    let chosen = able.iter().find(|listed| Arc::ptr_eq(&listed.backend, place.backend()));
                    prop_assert!(chosen.is_some(), "{place:?} may not serve");
                    let rests = |listed: &&&super::pool::Listed| listed.backend.rest(bench.at(now)).is_some();
                    let awake = able.iter().filter(|listed| !rests(listed));
                    if chosen.is_some_and(|chosen| chosen.backup) {
                        prop_assert!(awake.clone().all(|listed| listed.backup), "a backup serves beside others");
                    }
                    if chosen.is_some_and(|chosen| rests(&chosen)) {
                        prop_assert_eq!(awake.count(), 0);
                    }
                    held.push(place);
                }
            }
            let active: u32 = bench.pool.backends().iter().map(|listed| listed.backend.active()).sum();
            prop_assert_eq!(active as usize, held.len(), "every place is counted where it is, through all edits");
        }
        drop(held);
        prop_assert!(bench.pool.backends().iter().all(|listed| listed.backend.active() == 0));
    }
}

#[test]
fn state_outlives_edits_and_those_that_leave_end_what_they_have() {
    let bench = Bench::new(Algorithm::RoundRobin, &members(&[100, 100]));
    let (one, two) = (bench.pool.try_pick(wish(0), bench.start).unwrap().unwrap(), bench.backend("b1"));
    let first = one.backend().clone();
    assert_eq!(first.name().backend.as_str(), "b0");
    two.set_health(Health::Down, "refused", bench.start, Timestamp::from_seconds(7));
    let mut edited = members(&[50, 70, 100]);
    edited["health_check"] = json!({ "type": "tcp" });
    bench.edit(&edited, 1000);
    assert!(Arc::ptr_eq(&bench.backend("b0"), &first) && first.active() == 1);
    assert_eq!(bench.backend("b1").condition(), two.condition());
    assert_eq!(two.condition().since, Timestamp::from_seconds(7));
    // The new one waits for its first check while another is at work.
    assert!(first.is_open() && !bench.backend("b2").is_open());
    bench.backend("b2").set_health(Health::Up, "200", bench.at(1100), Timestamp::default());
    assert!(bench.backend("b2").is_open());
    // Removed with a connection: it is listed until that ends, and comes back as it was.
    bench.edit(&members(&[]), 2000);
    let listed = bench.pool.backends();
    assert_eq!(
        listed.iter().filter(|listed| listed.leaving).count(),
        1,
        "those without connections are gone"
    );
    assert_eq!(first.draining_until(), Some(bench.at(302_000)));
    assert_eq!(bench.pool.try_pick(wish(0), bench.at(2000)).unwrap_err(), Unavailable::NoBackend);
    bench.edit(&members(&[100]), 3000);
    assert!(Arc::ptr_eq(&bench.backend("b0"), &first) && first.draining_until().is_none());
    drop(one);
    assert_eq!(first.active(), 0);
    // Another endpoint is another backend.
    let mut moved = members(&[100]);
    moved["backends"]["b0"]["port"] = json!(81);
    bench.edit(&moved, 4000);
    assert!(!Arc::ptr_eq(&bench.backend("b0"), &first));
}

#[tokio::test(start_paused = true)]
async fn clients_stay_with_backends_that_take_nobody_else() {
    let mut pool = members(&[100, 100, 100]);
    pool["backends"]["b1"]["weight"] = json!(0);
    pool["backends"]["b2"]["backup"] = json!(true);
    pool["backends"]["b1"]["max_connections"] = json!(1);
    let bench = Bench::new(Algorithm::RoundRobin, &pool);
    let picked = |stay: Option<&str>| {
        let stay = stay.map(|stay| bench.backend(stay));
        bench.pool.try_pick(Wish { stay: stay.as_ref(), ..Wish::default() }, bench.start).unwrap()
    };
    assert!((0..9).all(|_| id(&picked(None).unwrap()) == "b0"));
    assert_eq!(id(&picked(Some("b2")).unwrap()), "b2");
    let held = picked(Some("b1")).unwrap();
    assert_eq!(id(&held), "b1");
    // Where it is full, the client waits for it.
    let waits = {
        let (pool, backend) = (bench.pool.clone(), held.backend().clone());
        tokio::spawn(async move {
            let wish = Wish { stay: Some(&backend), ..Wish::default() };
            pool.pick(wish, clock::moment()).await.map(|place| id(&place))
        })
    };
    while bench.pool.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(id(&picked(None).unwrap()), "b0", "others do not wait for it");
    drop(held);
    assert_eq!(waits.await.unwrap().unwrap(), "b1");
    // It is not well, or not wanted at all: the client moves on.
    bench.backend("b2").set_health(Health::Down, "down", bench.start, Timestamp::default());
    assert_eq!(id(&picked(Some("b2")).unwrap()), "b0");
    pool["backends"]["b1"]["enabled"] = json!(false);
    bench.edit(&pool, 0);
    assert_eq!(id(&picked(Some("b1")).unwrap()), "b0");
    // Nobody takes anything new: who stays is served still.
    let mut last = members(&[0]);
    bench.edit(&last, 0);
    let stay = bench.backend("b0");
    let wish = Wish { stay: Some(&stay), ..Wish::default() };
    assert_eq!(id(&bench.pool.try_pick(wish, bench.start).unwrap().unwrap()), "b0");
    assert_eq!(bench.pool.try_pick(Wish::default(), bench.start).unwrap_err(), Unavailable::NoBackend);
    last["backends"]["b0"]["enabled"] = json!(false);
    bench.edit(&last, 0);
    assert_eq!(bench.pool.try_pick(wish, bench.start).unwrap_err(), Unavailable::NoBackend);
}

#[test]
fn a_backend_that_fails_rests_longer_each_time_up_to_a_bound() {
    let mut pool = members(&[100, 100]);
    pool["outlier"] = json!({ "consecutive_failures": 3, "eject_seconds": 2 });
    let bench = Bench::new(Algorithm::RoundRobin, &pool);
    let bad = bench.backend("b0");
    let mut now = 0;
    let mut rests = Vec::new();
    for _ in 0..12 {
        assert!(!bad.failed(bench.at(now)) && !bad.failed(bench.at(now)));
        bad.succeeded();
        assert!(!bad.failed(bench.at(now)) && !bad.failed(bench.at(now)));
        assert!(bad.failed(bench.at(now)), "the third in a row");
        let rest = bad.rest(bench.at(now)).unwrap().as_secs();
        assert!((0..20).all(|_| id(&bench.pool.try_pick(wish(0), bench.at(now)).unwrap().unwrap()) == "b1"));
        rests.push(rest);
        now += rest * 1000 + 1;
        let picked: Vec<_> =
            (0..4).map(|_| id(&bench.pool.try_pick(wish(0), bench.at(now)).unwrap().unwrap())).collect();
        assert!(picked.contains(&"b0".to_owned()), "it is back after {rest} s: {picked:?}");
    }
    assert_eq!(rests, [2, 4, 6, 8, 10, 12, 14, 16, 16, 16, 16, 16]);
    now += 40_000;
    assert!((0..3).any(|_| bad.failed(bench.at(now))));
    assert_eq!(bad.rest(bench.at(now)).unwrap().as_secs(), 2, "a good time makes good");
}

#[test]
fn a_share_grows_in_line_with_time() {
    let mut pool = members(&[100, 100]);
    pool["slow_start_seconds"] = json!(100);
    let bench = Bench::new(Algorithm::RoundRobin, &pool);
    let new = bench.backend("b0");
    new.set_health(Health::Down, "down", bench.start, Timestamp::default());
    new.set_health(Health::Up, "up", bench.start, Timestamp::default());
    for (seconds, share) in [(1, 0.01), (25, 0.2), (50, 0.333), (75, 0.4286), (100, 0.5), (200, 0.5)] {
        let now = bench.at(seconds * 1000);
        let picks = (0..20_000).filter(|_| id(&bench.pool.try_pick(wish(0), now).unwrap().unwrap()) == "b0");
        let found = f64::from(u32::try_from(picks.count()).unwrap()) / 20_000.0;
        assert!((found - share).abs() < 0.01, "{found} of all after {seconds} s, not {share}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_their_order_and_are_no_more_than_may_wait() {
    let mut pool = members(&[100]);
    pool["backends"]["b0"]["max_connections"] = json!(1);
    pool["queue"] = json!({ "size": 3, "timeout_ms": 1000 });
    let bench = Bench::new(Algorithm::RoundRobin, &pool);
    let mut held = bench.pool.try_pick(wish(0), bench.start).unwrap();
    assert!(held.is_some());
    let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..3 {
        let (pool, sender, now) = (bench.pool.clone(), sender.clone(), clock::moment());
        tasks.push(tokio::spawn(async move {
            let place = pool.pick(wish(0), now).await;
            sender.send((number, place)).unwrap();
        }));
        while bench.pool.waiting() <= number {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.pool.pick(wish(0), clock::moment()).await.unwrap_err(), Unavailable::QueueFull);
    // One who goes away leaves the line.
    tasks.remove(1).abort();
    while bench.pool.waiting() > 2 {
        tokio::task::yield_now().await;
    }
    for expected in [0, 2] {
        drop(held.take());
        let (number, place) = served.recv().await.unwrap();
        assert_eq!(number, expected);
        held = Some(place.unwrap());
        assert_eq!(held.as_ref().unwrap().backend().active(), 1);
    }
    assert_eq!(bench.pool.waiting(), 0);
    assert_eq!(bench.pool.pick(wish(0), clock::moment()).await.unwrap_err(), Unavailable::QueueTimeout);
    assert_eq!(bench.pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_learn_of_edits() {
    let mut full = members(&[100]);
    full["backends"]["b0"]["max_connections"] = json!(1);
    let bench = Bench::new(Algorithm::RoundRobin, &full);
    let held = bench.pool.try_pick(wish(0), bench.start).unwrap().unwrap();
    let wait = |stay: bool| {
        let (pool, backend) = (bench.pool.clone(), held.backend().clone());
        tokio::spawn(async move {
            let stay = stay.then_some(&backend);
            pool.pick(Wish { stay, ..Wish::default() }, clock::moment()).await.map(|place| id(&place))
        })
    };
    let queued = |count| {
        let pool = bench.pool.clone();
        async move {
            while pool.waiting() != count {
                tokio::task::yield_now().await;
            }
        }
    };
    // A second backend takes the one who takes any; the one who stays waits on.
    let (any, stays) = (wait(false), wait(true));
    queued(2).await;
    let mut two = full.clone();
    two["backends"]["b1"] = json!({ "address": "10.1.1.99", "port": 80 });
    bench.edit(&two, 0);
    assert_eq!(any.await.unwrap().unwrap(), "b1");
    assert_eq!(bench.pool.waiting(), 1);
    // Its backend goes: it moves on.
    two["backends"]["b0"]["enabled"] = json!(false);
    bench.edit(&two, 0);
    assert_eq!(stays.await.unwrap().unwrap(), "b1");
    // Without anybody there is nothing to wait for.
    bench.edit(&full, 0);
    let any = wait(false);
    queued(1).await;
    bench.edit(&members(&[]), 0);
    assert_eq!(any.await.unwrap().unwrap_err(), Unavailable::NoBackend);
    // A bound that is raised lets in who waits.
    bench.edit(&full, 0);
    let any = wait(false);
    queued(1).await;
    full["backends"]["b0"]["max_connections"] = json!(2);
    bench.edit(&full, 0);
    assert_eq!(any.await.unwrap().unwrap(), "b0");
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_backend_has_is_cut_at_the_deadline() {
    let bench = Bench::new(Algorithm::RoundRobin, &members(&[100]));
    let held = bench.pool.try_pick(wish(0), bench.start).unwrap().unwrap();
    let backend = held.backend().clone();
    let cut = tokio::spawn(async move { backend.cut().await });
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(!cut.is_finished());
    bench.pool.retire(Duration::from_secs(30), clock::moment() + Duration::from_secs(1000));
    tokio::time::timeout(Duration::from_secs(60), cut).await.unwrap().unwrap();
}

/// Many tasks on several threads through few places: never more than may be, and everybody is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bounds_hold_under_contention() {
    let mut pool = members(&[100, 100]);
    pool["backends"]["b0"]["max_connections"] = json!(3);
    pool["backends"]["b1"]["max_connections"] = json!(2);
    pool["queue"] = json!({ "size": 65536, "timeout_ms": 600_000 });
    for algorithm in ALGORITHMS {
        let bench = Bench::new(algorithm, &pool);
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let pool = bench.pool.clone();
                tokio::spawn(async move {
                    for key in 0..100 {
                        let place = pool.pick(wish(task * 1000 + key), clock::moment()).await.unwrap();
                        assert!(place.backend().active() <= place.backend().limit().unwrap());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(bench.pool.waiting(), 0);
        assert!(bench.pool.backends().iter().all(|listed| listed.backend.active() == 0));
    }
}
