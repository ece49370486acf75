//! Laws of changes that wait to be confirmed: what comes back, when, and after which accidents.

mod router;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrouter::config::Config;
use vrouter::kernel::fake::FakeKernel;
use vrouter::reconcile::{ChangeError, Edit};
use vrouter::store::{ConfirmFile, Generations};

use self::router::Router;
use crate::reconcile::{block_on, example};
use crate::surroundings::{ALL, links};

/// Longer than any test.
const LONG: u32 = 600;

fn named(generation: u64, name: &str) -> (u64, Option<String>) {
    (generation, Some(name.to_owned()))
}

/// What waits, as the disk knows it.
fn waits(folder: &Path) -> Option<u64> {
    ConfirmFile::open(folder).unwrap().take().map(|(pending, _)| pending.back_to)
}

/// Makes the disk's belief that the time of what waits is over: its beginning is of a time that nobody knows.
async fn expire(folder: &Path) {
    let mut file = ConfirmFile::open(folder).unwrap();
    if let Some((mut pending, _)) = file.take() {
        pending.begin.boot.clear();
        file.go_on(&pending).await.unwrap();
    }
}

#[test]
fn what_nobody_confirms_goes_back_whole() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.change(Edit::Replace(example()), None, None).await.unwrap();
        let before = router.handle.published().config.clone();
        let patch = json!({"hostname": "other", "eips": null, "interfaces": {"mgmt": {"addresses": ["192.0.2.77/24"]}}});
        let answer = router.change(Edit::Patch(patch), Some(1), None).await.unwrap();
        let told = answer.unconfirmed.unwrap();
        assert_eq!((answer.generation, told.back_to, told.seconds, told.watched), (2, 1, 1, false));
        assert_eq!(told.author.name, "token cloud");
        assert_eq!(waits(folder.path()), Some(1));
        router.until("it goes back", |published| published.generation == 3).await;
        let published = router.handle.published();
        assert_eq!(published.config, before);
        assert_eq!(published.unconfirmed, None);
        let went = published.went_back.clone().unwrap();
        assert_eq!((went.from, went.back_to, went.why, went.not_stored), (2, 1, "not confirmed", None));
        assert_eq!(router.last_origin(), "not confirmed: back to 1");
        assert_eq!(waits(folder.path()), None);
        assert!(matches!(router.confirm(None).await, Err(ChangeError::NothingWaits(3))));
        assert!(matches!(
            router.confirm(Some(2)).await,
            Err(ChangeError::Outdated { expected: 2, current: 3 })
        ));
    });
}

/// Whoever reads meets one generation after the other: never the old number for what comes back, which will have another.
#[test]
fn whoever_reads_while_it_goes_back_sees_what_goes_or_what_came() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.name("first", None).await;
        router.name("second", Some(1)).await;
        let mut seen = Vec::new();
        router
            .until("it goes back", |published| {
                let name = published.config.hostname().map(ToString::to_string);
                let waits = published.unconfirmed.is_some();
                let now = (published.generation, name, waits, published.went_back.is_some());
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
                published.generation == 3
            })
            .await;
        let second = (2, Some("second".to_owned()), true, false);
        assert_eq!(seen, [second, (3, Some("first".to_owned()), false, true)]);
    });
}

#[test]
fn what_is_confirmed_stays() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.name("first", None).await;
        router.name("second", Some(1)).await;
        let confirmed = router.confirm(Some(2)).await.unwrap();
        assert_eq!((confirmed.generation, confirmed.confirmed), (2, true));
        assert_eq!(waits(folder.path()), None);
        let twice = router.confirm(Some(2)).await.unwrap();
        assert_eq!((twice.generation, twice.confirmed), (2, false));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(router.runs(), named(2, "second"));
        router.end().await;
        assert_eq!(Router::start(&folder).runs(), named(2, "second"));
    });
}

#[test]
fn changes_that_come_meanwhile_go_back_with_it() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.name("first", None).await;
        router.name("second", Some(LONG)).await;
        let third = router.name("third", None).await;
        assert_eq!(third.unconfirmed.map(|told| (told.back_to, told.seconds)), Some((1, LONG)), "it says so");
        let again = router.name("third", Some(1)).await;
        assert!(!again.changed, "nothing changes, so nothing waits anew");
        assert_eq!(again.unconfirmed.map(|told| told.seconds), Some(LONG));
        let fourth = router.name("fourth", Some(1)).await;
        assert_eq!(
            fourth.unconfirmed.map(|told| (told.back_to, told.seconds)),
            Some((1, 1)),
            "it waits anew"
        );
        router.until("all of it goes back", |published| published.generation == 5).await;
        assert_eq!(router.runs(), named(5, "first"));
        assert_eq!(router.last_origin(), "not confirmed: back to 1");
    });
}

#[test]
fn a_first_configuration_goes_back_to_nothing() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        let answer = router.change(Edit::Replace(example()), Some(1), None).await.unwrap();
        assert_eq!(answer.unconfirmed.map(|told| told.back_to), Some(0));
        router.until("it goes back", |published| published.generation == 2).await;
        assert_eq!(router.handle.published().config, Config::default());
        router.end().await;
        let router = Router::start(&folder);
        assert_eq!(router.runs(), (2, None));
        assert_eq!(router.handle.difference(1, 2).await.unwrap().removed, 14);
    });
}

#[test]
fn a_plane_that_cannot_be_reached_any_more_brings_it_back_before_the_deadline() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.name("first", None).await;
        let from = Some("192.0.2.9:4711");
        let answer = router.change(Edit::Patch(json!({"hostname": "lost"})), Some(LONG), from).await.unwrap();
        assert!(answer.unconfirmed.unwrap().watched);
        router.plane.0.store(false, Ordering::Relaxed);
        router.until("it goes back", |published| published.generation == 3).await;
        assert_eq!(router.runs(), named(3, "first"));
        assert_eq!(router.last_origin(), "management plane out of reach: back to 1");
        // Who could not be reached before is not missed, and neither is this machine itself.
        let others = [from, Some("127.0.0.1:4711"), Some("socket"), None];
        for (number, from) in others.into_iter().enumerate() {
            let edit = Edit::Patch(json!({"hostname": format!("h{number}")}));
            let answer = router.change(edit, Some(LONG), from).await.unwrap();
            assert!(!answer.unconfirmed.unwrap().watched, "{from:?}");
            router.confirm(None).await.unwrap();
        }
    });
}

/// Whatever step fails, nothing of the change is left, nothing waits for it, and what waited before still does.
#[test]
fn a_change_that_fails_leaves_nothing_waiting() {
    for fails_at in 0..200 {
        let done = block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut kernel = FakeKernel::with_links(links(ALL));
            kernel.fails_at = Some(fails_at);
            let router = Router::on(&folder, kernel);
            let first = json!({"version": 1, "hostname": "first", "interfaces": {
                "guest": {"mac": "52:54:00:00:00:03", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}}});
            if router.change(Edit::Replace(first), None, None).await.is_err() {
                return false;
            }
            let waiting = fails_at % 2 == 0;
            if waiting {
                router.name("waiting", Some(LONG)).await;
            }
            let before = router.handle.published();
            let change = router.change(Edit::Replace(example()), Some(LONG), None).await;
            if change.is_ok() {
                return true;
            }
            let now = router.handle.published();
            assert_eq!(
                (&now.config, &now.unconfirmed),
                (&before.config, &before.unconfirmed),
                "at {fails_at}"
            );
            assert_eq!(waits(folder.path()), waiting.then_some(1), "at {fails_at}");
            false
        });
        if done {
            assert!(fails_at > 10, "{fails_at} steps failed");
            return;
        }
    }
    panic!("every step failed");
}

/// Every instant at which power may be lost, as the files that it leaves behind.
#[test]
fn a_power_cut_at_any_instant_leaves_one_or_the_other() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let snap = || (read("generations.journal"), read("confirm.journal"));
        let router = Router::start(&folder);
        router.change(Edit::Replace(example()), None, None).await.unwrap();
        router.name("first", None).await;
        let before = snap();
        router.name("second", Some(1)).await;
        let made = snap();
        router.until("it goes back", |published| published.generation == 4).await;
        let back = snap();
        router.end().await;
        // (generations, confirm, whether the time is over, the generation that runs then)
        let cuts = [
            (&before.0, &made.1, false, named(2, "first")),
            (&before.0, &made.1, true, named(2, "first")),
            (&made.0, &made.1, true, named(4, "first")),
            (&back.0, &made.1, true, named(4, "first")),
            (&back.0, &back.1, false, named(4, "first")),
            // It was confirmed, and the answer may have been lost.
            (&made.0, &back.1, false, named(3, "second")),
        ];
        for (number, (generations, confirm, over, runs)) in cuts.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("generations.journal"), generations).unwrap();
            fs::write(folder.path().join("confirm.journal"), confirm).unwrap();
            if over {
                expire(folder.path()).await;
            }
            for life in 0..2 {
                let router = Router::start(&folder);
                router.handle.reload().await.unwrap();
                assert_eq!(router.runs(), runs, "cut {number}, life {life}");
                assert_eq!(waits(folder.path()), None, "cut {number}, life {life}");
                router.end().await;
            }
        }
        // Torn within the last record of either file.
        let folder = tempfile::tempdir().unwrap();
        for length in before.0.len()..=made.0.len() {
            fs::write(folder.path().join("generations.journal"), &made.0[..length]).unwrap();
            fs::write(folder.path().join("confirm.journal"), &made.1).unwrap();
            expire(folder.path()).await;
            let router = Router::start(&folder);
            router.handle.reload().await.unwrap();
            let runs = if length == made.0.len() { 4 } else { 2 };
            assert_eq!(router.runs(), named(runs, "first"), "cut at {length}");
            router.end().await;
        }
    });
}

#[derive(Debug, Clone)]
enum Event {
    Change(bool),
    Confirm,
    Restart,
    TimeIsOver,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<bool>().prop_map(Event::Change),
        1 => Just(Event::Confirm),
        1 => Just(Event::Restart),
        1 => Just(Event::TimeIsOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: what runs is what was made last, or what was there before the first change
    /// that waits.
    #[test]
    fn what_runs_is_what_a_person_would_say(events in prop::collection::vec(event(), 1..16)) {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut router = Router::start(&folder);
            router.name("h0", None).await;
            // What runs, and what comes back.
            let (mut runs, mut back): (String, Option<String>) = ("h0".into(), None);
            for (number, event) in events.into_iter().enumerate() {
                match event {
                    Event::Change(waits) => {
                        let name = format!("h{}", number + 1);
                        let answer = router.name(&name, waits.then_some(LONG)).await;
                        if waits {
                            back.get_or_insert(runs);
                        }
                        runs = name;
                        prop_assert_eq!(answer.unconfirmed.is_some(), back.is_some());
                    }
                    Event::Confirm => {
                        prop_assert_eq!(router.confirm(None).await.is_ok(), back.is_some());
                        back = None;
                    }
                    Event::Restart | Event::TimeIsOver => {
                        router.end().await;
                        if matches!(event, Event::TimeIsOver) {
                            expire(folder.path()).await;
                            runs = back.take().unwrap_or(runs);
                        }
                        router = Router::start(&folder);
                        router.handle.reload().await.unwrap();
                    }
                }
                let published = router.handle.published();
                prop_assert_eq!(published.config.hostname().map(ToString::to_string), Some(runs.clone()));
                prop_assert_eq!(published.unconfirmed.is_some(), back.is_some());
                prop_assert_eq!(waits(folder.path()).is_some(), back.is_some());
                let stored = Generations::open(folder.path()).unwrap();
                prop_assert_eq!(stored.0.last(), published.generation);
                prop_assert_eq!(stored.1.as_ref().and_then(|document| document["hostname"].as_str()), Some(runs.as_str()));
            }
            Ok(())
        })?;
    }
}

/// Secrets are never told, and an object is told without the collections in it that are told by their members.
#[test]
fn a_difference_tells_each_object_before_and_after() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder);
        router.change(Edit::Replace(example()), None, None).await.unwrap();
        let patch = json!({"hostname": "vr-9", "eips": {"7f0c": null},
            "dhcp": {"guest": {"lease_seconds": 7200, "hosts": {"new": {"mac": "fa:00:00:00:00:77", "ip": "10.1.1.77"}}}}});
        router.change(Edit::Patch(patch), None, None).await.unwrap();
        let difference = router.handle.difference(1, 2).await.unwrap();
        let told: Vec<(String, Value, Value)> = difference
            .objects
            .iter()
            .map(|object| {
                let [before, after] =
                    [&object.before, &object.after].map(|value| value.clone().unwrap_or_default());
                (object.pointer.as_str().to_owned(), before, after)
            })
            .collect();
        let pointers: Vec<&str> = told.iter().map(|(pointer, ..)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/hostname", "/dhcp/guest", "/dhcp/guest/hosts/new", "/eips/7f0c"]);
        assert_eq!(told[0].2, "vr-9");
        assert_eq!((&told[1].2["lease_seconds"], &told[1].2["hosts"]), (&json!(7200), &Value::Null));
        assert_eq!((&told[2].1, &told[2].2["ip"]), (&Value::Null, &json!("10.1.1.77")));
        assert_eq!((&told[3].1["target"], &told[3].2), (&json!("10.1.1.20"), &Value::Null));
        let back = router.handle.difference(2, 1).await.unwrap();
        assert_eq!((back.added, back.changed, back.removed), (1, 2, 1));
        assert_eq!(router.handle.difference(0, 2).await.unwrap().removed, 0);
        assert!(router.handle.difference(2, 2).await.unwrap().objects.is_empty());
        assert!(matches!(router.handle.difference(1, 9).await, Err(ChangeError::Unknown(9))));
        assert_eq!(difference.generation.unwrap().author.name, "token cloud");
    });
}
