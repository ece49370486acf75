//! An edit costs what it names: a port that somebody else has is a fault of its own, and what is counted goes on.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::super::house::House;
use super::balancer;
use super::web::Web;
use crate::lab::until;

fn web() -> Value {
    json!({"a": {"address": "10.1.1.20", "port": 8080}})
}

#[test]
fn a_port_that_another_process_holds_is_a_fault_and_nothing_else_fails() {
    let House { router, lab } = House::with(json!({}));
    let server = Web::start(&lab, "web1", 8080);
    let generation = router.change(json!({"load_balancers": {"web": balancer(80, "http", &web())}}));
    let held = lab.inside("router", || TcpListener::bind("0.0.0.0:8099").unwrap());
    let taken = json!({"load_balancers": {"taken": balancer(8099, "http", &web()), "more": balancer(81, "http", &web())}});
    let answer = router.patch(&taken);
    assert_eq!(answer.status, 422, "{answer:#?}");
    assert_eq!(answer.faults(), ["/load_balancers/taken/port"]);
    assert!(
        answer.body["faults"][0]["detail"].as_str().unwrap().contains("198.51.100.8:8099"),
        "{answer:#?}"
    );
    // Nothing of it is there, and what was there serves on.
    assert_eq!(router.get("/v1/generations").body["current"], generation);
    lab.ok("internet", "curl --silent --fail --max-time 10 http://198.51.100.8/");
    assert_eq!(server.served(), 1);
    assert!(!lab.run("internet", "curl --silent --max-time 3 http://198.51.100.8:81/").success);
    drop(held);
    router.change(taken);
    lab.ok("internet", "curl --silent --fail --max-time 10 http://198.51.100.8:8099/");
}

#[test]
fn what_is_counted_survives_edits_whoever_carries_it() {
    let House { router, lab } = House::with(json!({}));
    let _server = Web::start(&lab, "web1", 8080);
    router.change(
        json!({"load_balancers": {"http": balancer(80, "http", &web()), "tcp": balancer(81, "tcp", &web())}}),
    );
    let shown = |id: &str| router.get("/v1/balancers").body["balancers"][id].clone();
    for port in [80, 81, 80, 81] {
        lab.ok("internet", &format!("curl --silent --fail --max-time 10 http://198.51.100.8:{port}/"));
    }
    let counted = |id: &str| {
        let shown = shown(id);
        let backend = &shown["pools"]["app"]["backends"]["a"]["traffic"];
        (shown["traffic"]["connections"].as_u64().unwrap(), backend["bytes_out"].as_u64().unwrap())
    };
    let before = ["http", "tcp"]
        .map(|id| until("both are counted", || Some(counted(id)).filter(|it| it.0 == 2 && it.1 > 0)));
    assert_eq!(
        (shown("http")["path"].as_str(), shown("tcp")["path"].as_str()),
        (Some("proxy"), Some("kernel"))
    );
    assert_eq!(shown("http")["requests"]["by_class"], json!([0, 2, 0, 0, 0]));
    router.change(json!({"load_balancers": {
        "http": {"pools": {"app": {"backends": {"b": {"address": "10.1.1.21", "port": 8080, "backup": true}}}}},
        "tcp": {"pools": {"app": {"backends": {"b": {"address": "10.1.1.21", "port": 8080, "backup": true}}}}}}}));
    for (id, before) in ["http", "tcp"].into_iter().zip(before) {
        let after = counted(id);
        assert!(after.0 >= before.0 && after.1 >= before.1, "{id}: {before:?} became {after:?}");
    }
    for port in [80, 81] {
        lab.ok("internet", &format!("curl --silent --fail --max-time 10 http://198.51.100.8:{port}/"));
    }
    for id in ["http", "tcp"] {
        until("it goes on counting", || (counted(id).0 == 3).then_some(()));
    }
}
