//! Edits under connections that go on, listeners that come and go, and what is left of them: nothing.

use serde_json::{Value, json};

use super::backend::Backend;
use super::house::{Client, GUEST, House, VIP, http};
use crate::lab::until;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: demo\r\n\r\n";

#[test]
fn an_edit_leaves_connections_where_they_are_and_holds_for_the_next_request() {
    House::run(|house| {
        let (one, two) = (Backend::start(GUEST), Backend::start(GUEST));
        house.serve(http(&[&one], json!({}))).unwrap();
        let mut client = house.client();
        assert_eq!(client.send(REQUEST).answer().field("x-backend"), one.address().to_string());
        house.serve(http(&[&two], json!({"limits": {"uri_bytes": 64}}))).unwrap();
        let answer = client.send(REQUEST).answer();
        assert_eq!(answer.field("x-backend"), two.address().to_string());
        until("both requests are counted", || {
            let counts = house.balancer();
            (counts.traffic.connections == 1 && counts.requests.unwrap().by_class[1] == 2).then_some(())
        });
        let long = format!("GET /{} HTTP/1.1\r\nHost: demo\r\n\r\n", "x".repeat(64));
        assert_eq!(client.send(long).answer().status, 414);
    });
}

#[test]
fn a_listener_that_goes_lets_its_connections_finish() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let balancer = http(&[&backend], json!({"drain_seconds": 60}));
        house.serve(balancer).unwrap();
        let (mut idle, mut busy) = (house.client(), house.client());
        assert_eq!(idle.send(REQUEST).answer().status, 200);
        busy.send("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 4\r\n\r\nha");
        until("the request is under way", || {
            let pools = house.balancer().pools;
            pools["main"].backends["b0"].traffic.current.eq(&1).then_some(())
        });
        house.apply(json!({})).unwrap();
        // Whoever waits for nothing is let go at once, and nobody new comes in.
        idle.is_closed();
        assert!(std::net::TcpStream::connect((VIP, 80)).is_err());
        assert_eq!(house.ending(), 1);
        let answer = busy.send("lf").answer();
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("4 octets", "close"));
        busy.is_closed();
        until("nothing is left", || (house.ending() == 0).then_some(()));
    });
}

#[test]
fn what_goes_on_after_the_deadline_is_cut() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let socket = "GET /socket HTTP/1.1\r\nHost: demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        let open = || {
            let mut client = house.client();
            assert_eq!(client.send(socket).answer().status, 101);
            assert_eq!(client.exactly(7).unwrap(), b"welcome");
            client
        };
        house.serve(http(&[&backend], json!({"drain_seconds": 1}))).unwrap();
        // A backend that is disabled, then a listener that is removed.
        let mut client = open();
        house
            .serve(http(
                &[&backend],
                json!({"drain_seconds": 1, "pools": {"main": {"backends": {"b0": {"enabled": false}}}}}),
            ))
            .unwrap();
        assert_eq!(client.send("still here").exactly(10).unwrap(), b"still here");
        client.is_closed();
        house.serve(http(&[&backend], json!({"drain_seconds": 1}))).unwrap();
        let mut client = open();
        house.apply(json!({})).unwrap();
        assert_eq!(client.send("still here").exactly(10).unwrap(), b"still here");
        client.is_closed();
    });
}

#[test]
fn a_port_that_somebody_has_costs_its_balancer_alone() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let taken = std::net::TcpListener::bind((VIP, 81)).unwrap();
        let document = json!({"load_balancers": {
            "free": http(&[&backend], json!({})), "taken": http(&[&backend], json!({"port": 81})),
        }});
        let error = house.apply(document.clone()).unwrap_err().to_string();
        assert!(error.contains("`taken`") && error.contains("192.0.2.7:81"), "{error}");
        assert!(!error.contains("`free`"), "{error}");
        assert_eq!(house.client().send(REQUEST).answer().status, 200);
        drop(taken);
        until("the port is free", || house.apply(document.clone()).is_ok().then_some(()));
        assert_eq!(Client::connect(81).send(REQUEST).answer().status, 200);
    });
}

#[test]
fn a_listener_that_moves_is_there_before_the_old_one_goes() {
    House::run(|house| {
        let backend = Backend::start(GUEST);
        house.serve(http(&[&backend], json!({}))).unwrap();
        let mut client = house.client();
        assert_eq!(client.send(REQUEST).answer().status, 200);
        house.serve(http(&[&backend], json!({"port": 8080}))).unwrap();
        assert_eq!(Client::connect(8080).send(REQUEST).answer().status, 200);
        client.is_closed();
        // Another balancer takes the place over without the port being closed between.
        let renamed = json!({"load_balancers": {"other": http(&[&backend], json!({"port": 8080}))}});
        let mut client = Client::connect(8080);
        assert_eq!(client.send(REQUEST).answer().status, 200);
        house.apply(renamed).unwrap();
        assert_eq!(client.send(REQUEST).answer().status, 200);
    });
}

/// What this process has: descriptors, threads, resident octets.
fn possessions() -> (usize, usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"), pages * 4096)
}

/// Whether this is the process that has nothing to do but one test; if not, such a one is run.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("VROUTER_TEST_ALONE").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("VROUTER_TEST_ALONE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn listeners_that_come_and_go_leave_nothing_behind() {
    if !is_alone("balancer::life::listeners_that_come_and_go_leave_nothing_behind") {
        return;
    }
    House::run(|house| {
        let backend = Backend::start(GUEST);
        let with = |port: u16| json!({"load_balancers": {"web": http(&[&backend], json!({"port": port, "drain_seconds": 0}))}});
        let round = |n: u16| {
            house.apply(with(8000 + n % 50)).unwrap();
            if n.is_multiple_of(100) {
                assert_eq!(Client::connect(8000 + n % 50).send(REQUEST).answer().status, 200);
            }
            house.apply(Value::Object(Default::default())).unwrap();
        };
        let rested = || {
            until("nothing is left", || (house.ending() == 0).then_some(()));
            backend.seen();
            possessions()
        };
        (0..1000).for_each(round);
        let (descriptors, threads, memory) = rested();
        (0..10_000).for_each(round);
        let (descriptors_after, threads_after, memory_after) = rested();
        // A request now and then leaves its connection with the test's own backend.
        assert!(descriptors_after <= descriptors + 8, "{descriptors} descriptors became {descriptors_after}");
        assert!(threads_after <= threads + 8, "{threads} threads became {threads_after}");
        let grown = memory_after.saturating_sub(memory);
        eprintln!("10,000 listeners: {grown} octets more are resident");
        assert!(grown < 4 << 20, "{grown} octets more are resident");
    });
}
