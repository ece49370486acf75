//! What is watched: the status and the balancers, asked again and again, also after a failure.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use crate::router::{Router, answer};
use crate::{PATIENCE, ask, status, vrctl};

/// Ends the program when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program on a router that says one thing after the other, and hands over its lines as they come.
fn watch(arguments: &[&str], router: &Router) -> (Running, Receiver<String>) {
    let mut command = vrctl(arguments);
    command.arg("--socket").arg(router.socket()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // The test may have seen enough.
            let _ = send.send(line);
        }
    });
    (running, lines)
}

#[test]
fn a_status_that_is_watched_comes_again_also_after_a_failure() {
    let router = Router::saying(vec![status("ok"), String::new(), status("degraded")]);
    let (mut running, lines) = watch(&["status", "--watch"], &router);
    let mut states = Vec::new();
    while states.len() < 3 {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        states.extend(line.strip_prefix("state ").map(|state| state.trim().to_owned()));
    }
    assert_eq!(states, ["ok", "degraded", "degraded"]);
    let mut complaint = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut complaint).unwrap();
    assert!(complaint.contains("no answer"), "{complaint}");
}

/// What a router says of a balancer in this state.
fn balancer(state: &str) -> Value {
    json!({"endpoint": "198.51.100.8:80", "protocol": "http", "state": state, "pools": {
        "app": {"state": state, "backends": {"a": {"state": "up", "endpoint": "10.1.1.20:80", "weight": 100}}}}})
}

#[test]
fn balancers_that_are_watched_come_again_also_after_a_failure() {
    let said = |state: &str| {
        answer(200, "application/json", &json!({"balancers": {"web": balancer(state)}}).to_string())
    };
    let router = Router::saying(vec![said("up"), String::new(), said("down")]);
    let (mut running, lines) = watch(&["balancers", "--watch", "1"], &router);
    let mut states = Vec::new();
    while states.len() < 2 {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        // Where the output is no terminal, nothing is cleared.
        assert!(!line.contains('\u{1b}'), "{line:?}");
        states
            .extend(line.strip_prefix("web ").map(|rest| rest.split_whitespace().next().unwrap().to_owned()));
    }
    assert_eq!(states, ["up", "down"]);
    let mut complaint = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut complaint).unwrap();
    assert!(complaint.contains("no answer"), "{complaint}");
}

#[test]
fn balancers_are_told_or_refused() {
    let one = answer(200, "application/json", &balancer("up").to_string());
    let (said, _) = ask(&["balancers", "web"], &one);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let names: Vec<_> = said.stdout.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["NAME", "web", "app", "a"]);
    let (said, _) = ask(&["--json", "balancers", "web"], &one);
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), balancer("up"));
    let none = r#"{"title":"There is no such thing","status":404,"detail":"there is no balancer `x`"}"#;
    let (said, _) = ask(&["balancers", "x"], &answer(404, "application/problem+json", none));
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert_eq!(said.stderr, "There is no such thing: there is no balancer `x`\n");
    // What is no answer to the question is none.
    for (arguments, body) in
        [(&["balancers"][..], r#"{"pools":{}}"#), (&["balancers", "web"], r#"{"balancers":{}}"#)]
    {
        let (said, _) = ask(arguments, &answer(200, "application/json", body));
        assert_eq!((said.code, said.stdout.as_str()), (Some(4), ""), "{body}");
    }
}
