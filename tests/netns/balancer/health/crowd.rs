//! A thousand backends that are checked at once: what they cost, and that slow ones delay nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vrouter::balancer::health::Health;

use super::super::site::site;
use super::{Checks, Web, accept, backend, listen_for_many};
use crate::lab::until;

#[test]
fn silent_backends_hold_up_nobody() {
    let lab = site();
    lab.inside("router", || {
        let fast = Web::serve("10.1.0.20:80");
        // Its connections are made by the kernel and never looked at.
        let _silent = listen_for_many("0.0.0.0:81");
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let silent: serde_json::Map<String, Value> = (0..1000_u16)
            .map(|number| {
                (format!("s{number:04}"), backend(&format!("10.1.{}.{}", 4 + number / 250, 1 + number % 250), 81))
            })
            .collect();
        let check = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 20});
        let quick = json!({"type": "http", "interval_seconds": 1, "timeout_seconds": 1, "unhealthy_threshold": 1, "healthy_threshold": 1});
        checks.apply(json!({
            "fast": {"backends": {"a": backend("10.1.0.20", 80)}, "health_check": quick},
            "slow": {"backends": silent, "health_check": check},
        }));
        checks.becomes("fast", "a", Health::Up, "http: status 200");
        // All of the silent ones are being asked by now, and go on to be for twenty seconds.
        thread::sleep(Duration::from_secs(1));
        for status in [500, 200, 500] {
            fast.says(status);
            let begin = Instant::now();
            let health = if status == 200 { Health::Up } else { Health::Down };
            checks.becomes("fast", "a", health, &format!("http: status {status}"));
            // An interval with its jitter, and what a busy machine takes.
            assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
        }
        assert_eq!(checks.health("slow", "s0999").last, None, "it is still being asked");
        checks.close();
    });
}

#[test]
fn a_thousand_backends_cost_little() {
    let lab = site();
    lab.inside("router", || {
        let listener = listen_for_many("0.0.0.0:80");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        thread::spawn(move || {
            while accept(&listener).is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let state = tempfile::tempdir().unwrap();
        let checks = Checks::open(state.path());
        let backends: serde_json::Map<String, Value> = (0..1000_u16)
            .map(|number| {
                (
                    format!("b{number:04}"),
                    backend(&format!("10.1.{}.{}", 4 + number / 250, 1 + number % 250), 80),
                )
            })
            .collect();
        let check = json!({"type": "tcp", "interval_seconds": 1, "timeout_seconds": 1});
        checks.apply(json!({"all": {"backends": backends, "health_check": check}}));
        until("all are up", || (checks.turns.lock().unwrap().len() == 1000).then_some(()));
        let busy = || checks.runtime.block_on(checks.runtime.spawn(async { thread_time() })).unwrap();
        let (before, checked, begin) = (busy(), accepted.load(Ordering::SeqCst), Instant::now());
        until("four thousand checks", || (accepted.load(Ordering::SeqCst) >= checked + 4000).then_some(()));
        let (cost, took) = (busy() - before, begin.elapsed());
        let each = cost / 4000;
        eprintln!("4,000 checks in {took:?}: {cost:?} of one core, {each:?} each (debug build)");
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert!(each < Duration::from_millis(1), "{each:?}");
        assert!(checks.down().is_empty());
        checks.close();
    });
}

/// How long the calling thread has been running on a processor (proc(5), `schedstat`).
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
