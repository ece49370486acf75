//! Backends die and come back under load: only what was on its way to the dead may fail.

use serde_json::{Value, json};

use super::super::house::House;
use super::load::grows;
use super::web::Web;
use super::{balancer, certificate};
use crate::lab::until;

/// Connections of each client.
const CONNECTIONS: u32 = 16;

fn pool() -> Value {
    json!({"a": {"address": "10.1.1.20", "port": 8080}, "b": {"address": "10.1.1.21", "port": 8080},
           "c": {"address": "10.1.1.50", "port": 8080}})
}

#[test]
fn killing_backends_one_by_one_costs_what_was_in_flight() {
    let House { router, lab } = House::with(json!({}));
    let webs = ["web1", "web2", "client"].map(|station| Web::start(&lab, station, 8080));
    let check = json!({"type": "http", "path": "/healthz", "interval_seconds": 1, "timeout_seconds": 1,
                       "healthy_threshold": 1, "unhealthy_threshold": 1, "jitter_percent": 0});
    let mut http = balancer(80, "http", &pool());
    http["pools"]["app"]["health_check"] = check.clone();
    let mut https = balancer(443, "https", &pool());
    https["tls"] = json!({"certificates": ["demo"]});
    https["pools"]["app"]["health_check"] = check;
    router.change(json!({"certificates": {"demo": certificate(&["demo.local"])},
                         "load_balancers": {"http": http, "https": https}}));
    let clients = [
        lab.wrk("internet", "http://198.51.100.8/", CONNECTIONS),
        lab.h2load("internet", "https://198.51.100.8/", CONNECTIONS),
    ];
    let mut cut = 0;
    for (web, id) in webs.iter().zip(["a", "b", "c"]) {
        grows("every backend is asked", 100, || web.served());
        cut += web.kill() as u64;
        let others: Vec<&Web> = webs.iter().filter(|other| !std::ptr::eq(*other, web)).collect();
        grows("the others serve on", 300, || others.iter().map(|web| web.served()).sum());
        until("the checks see it", || {
            let shown = router.get("/v1/balancers").body;
            (shown["balancers"]["http"]["pools"]["app"]["backends"][id]["state"] == "down").then_some(())
        });
        web.revive(&lab);
        let died = std::time::Instant::now();
        grows("it is asked again", 1, || web.served());
        // One interval, and what this machine takes to come round to it.
        let took = died.elapsed();
        eprintln!("{id} serves again after {took:?}");
        assert!(took.as_millis() < 3000, "{took:?}");
    }
    let seen = clients.map(super::load::Load::end);
    eprintln!("{seen:?}; {cut} connections were cut");
    let failed: u64 = seen.iter().map(|seen| seen.failed).sum();
    assert!(seen.iter().all(|seen| seen.answered > 1000), "{seen:?}");
    assert!(failed <= cut, "{failed} requests failed, and {cut} connections to dead backends were cut");
}

#[test]
fn an_ill_backend_is_left_and_taken_again_without_a_failure() {
    let House { router, lab } = House::with(json!({}));
    let webs = ["web1", "web2"].map(|station| Web::start(&lab, station, 8080));
    let mut http = balancer(
        80,
        "http",
        &json!({"a": {"address": "10.1.1.20", "port": 8080},
                                                "b": {"address": "10.1.1.21", "port": 8080}}),
    );
    http["pools"]["app"]["health_check"] = json!({"type": "http", "path": "/healthz", "interval_seconds": 1,
        "timeout_seconds": 1, "healthy_threshold": 2, "unhealthy_threshold": 2});
    router.change(json!({"load_balancers": {"http": http}}));
    let client = lab.wrk("internet", "http://198.51.100.8/", CONNECTIONS);
    let state =
        || router.get("/v1/balancers").body["balancers"]["http"]["pools"]["app"]["backends"]["a"].clone();
    for web in &webs {
        grows("both serve", 100, || web.served());
    }
    webs[0].set_well(false);
    let shown = until("it is down", || Some(state()).filter(|shown| shown["state"] == "down"));
    assert!(shown["reason"].as_str().unwrap().contains("503"), "{shown}");
    let before = webs[0].served();
    grows("the other serves alone", 500, || webs[1].served());
    // What was on its way when it went down is answered by it.
    assert!(webs[0].served() - before <= u64::from(CONNECTIONS), "it is asked on");
    webs[0].set_well(true);
    grows("it serves again", 100, || webs[0].served());
    assert_eq!(client.end().failed, 0);
}
