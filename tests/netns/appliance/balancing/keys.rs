//! Private keys stay where they are: not in what is read, logged or counted, and not in a core dump.

use std::os::unix::process::ExitStatusExt;

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::super::house::House;
use super::{balancer, certificate};
use crate::lab::skip;

#[test]
fn a_key_is_nowhere_to_be_read() {
    let House { mut router, lab: _lab } = House::with(json!({}));
    let pair = certificate(&["demo.local"]);
    let secret = pair["key_pem"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let mut web = balancer(443, "https", &json!({"a": {"address": "10.1.1.20", "port": 80}}));
    web["tls"] = json!({"certificates": ["demo"]});
    router.change(json!({"certificates": {"demo": pair}, "load_balancers": {"web": web}}));
    let generation = router.get("/v1/generations").body["current"].as_u64().unwrap();
    // A wrong key beside it is refused without a word of it.
    let other = certificate(&["demo.local"]);
    let wrong = router.patch(&json!({"certificates": {"demo": {"key_pem": other["key_pem"]}}}));
    assert_eq!(wrong.faults(), ["/certificates/demo/key_pem"]);
    let shown = [
        "/v1/config".to_owned(),
        format!("/v1/config?generation={generation}"),
        "/v1/status".to_owned(),
        "/v1/generations".to_owned(),
        "/metrics".to_owned(),
    ];
    for path in shown {
        let answer = router.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.to_string().contains(&secret), "{path} tells the key");
    }
    let other = other["key_pem"].as_str().unwrap().lines().nth(1).unwrap();
    assert!(!wrong.body.to_string().contains(other));
    assert!(!router.log().contains(&secret) && !router.log().contains(other), "the log tells the key");
    // What was read can be posted again, and changes nothing.
    let document = router.document();
    assert!(document["certificates"]["demo"]["key_pem"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(router.configure(&document), generation);
    // It is remembered, for the service alone.
    router.kill();
    router.relaunch();
    assert_eq!(router.document(), document);
}

#[test]
fn a_crash_leaves_no_memory_behind() {
    // The limit is inherited by what this test starts; it is this process's own.
    if setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        return skip("a core dump: the limit of this machine cannot be raised");
    }
    let folder = tempfile::tempdir().unwrap();
    let crash = |mut command: std::process::Command, is_up: &dyn Fn() -> bool| {
        let mut child = command.current_dir(folder.path()).spawn().unwrap();
        crate::lab::until("it runs", || is_up().then_some(()));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGABRT).unwrap();
        child.wait().unwrap().core_dumped()
    };
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("60");
    let started = std::time::Instant::now();
    if !crash(sleep, &|| started.elapsed().as_millis() > 300) {
        return skip("a core dump: this machine writes none of anybody");
    }
    let House { mut router, lab: _lab } = House::new();
    router.kill();
    let socket = router.state().parent().unwrap().join("api.sock");
    let _ = std::fs::remove_file(&socket);
    assert!(!crash(router.command(), &|| socket.exists()), "the kernel wrote the service's memory to disk");
}
