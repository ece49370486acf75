//! Connections of balancers: what becomes of them when backends go, how they are found, and how they are counted.

use std::net::{Ipv4Addr, UdpSocket};

use serde_json::{Value, json};
use vrouter::plan::facts::{Balanced, BalancedTotals};

use super::super::house::House;
use super::super::traffic::Outcome;
use super::super::translation::tracked;
use super::{VIP, balancer, even};
use crate::lab::{Lab, PATIENCE};

/// The streams that go to a backend, by the router's table of connections.
fn at(lab: &Lab, backend: &str) -> usize {
    tracked(lab, &format!("src={backend}"), "dport=80")
}

#[test]
fn established_connections_outlive_what_takes_new_ones_away() {
    let House { router, lab } = House::with(json!({"load_balancers": {
        "web": balancer(VIP, 80, "tcp", json!({"web1": {"address": "10.1.1.20", "port": 80}})),
        "else": balancer(VIP, 81, "tcp", json!({"web2": {"address": "10.1.1.21", "port": 80}}))
    }}));
    for station in ["web1", "web2"] {
        lab.serve(station, 80);
    }
    let to = format!("{VIP}:80");
    let (old, corner) = (lab.stream("internet", &to), lab.stream("client", &to));
    let beside = lab.stream("internet", &format!("{VIP}:81"));
    assert_eq!(at(&lab, "10.1.1.20"), 2);
    let backends =
        |patch: Value| json!({"load_balancers": {"web": {"pools": {"main": {"backends": patch}}}}});
    router
        .change(backends(json!({"web1": {"enabled": false}, "web2": {"address": "10.1.1.21", "port": 80}})));
    let new = lab.stream("internet", &to);
    assert_eq!((at(&lab, "10.1.1.20"), at(&lab, "10.1.1.21")), (2, 1));
    for stream in [&old, &corner, &new, &beside] {
        stream.goes_on();
    }
    // Removed, and then the balancer itself: whoever is there stays for as long as it may.
    router.change(backends(json!({"web1": null})));
    router.change(json!({"load_balancers": {"web": null}}));
    lab.connects_in_vain("internet", &to);
    for stream in [&old, &corner, &new, &beside] {
        stream.goes_on();
    }
    // Back, it takes them up; without time to drain they end with it.
    let mut web = balancer(VIP, 80, "tcp", even(80));
    web["drain_seconds"] = json!(0);
    router.change(json!({"load_balancers": {"web": web}}));
    for stream in [&old, &corner, &new] {
        stream.goes_on();
    }
    router.change(backends(json!({"web1": null})));
    old.stops();
    corner.stops();
    assert_eq!(at(&lab, "10.1.1.20"), 0, "{}", lab.ok("router", "conntrack -L"));
    new.goes_on();
    beside.goes_on();
    router.change(json!({"load_balancers": {"web": null}}));
    new.stops();
    beside.goes_on();
    assert!(beside.end() > 0);
    assert_eq!(lab.tcp("internet", &format!("{VIP}:81")), Outcome::Answered("192.0.2.53".parse().unwrap()));
}

/// Among very many connections the kernel looks for those that end, and finds the same.
#[test]
fn connections_of_a_backend_are_found_among_many() {
    let mut web = balancer(VIP, 80, "tcp", even(80));
    web["drain_seconds"] = json!(0);
    let mut beside = web.clone();
    beside["port"] = json!(81);
    let House { router, lab } = House::with(json!({"load_balancers": {"web": web, "beside": beside}}));
    for station in ["web1", "web2"] {
        lab.serve(station, 80);
    }
    let streams: Vec<_> = (0..2).map(|_| lab.stream("internet", &format!("{VIP}:80"))).collect();
    let others: Vec<_> = (0..2).map(|_| lab.stream("internet", &format!("{VIP}:81"))).collect();
    lab.inside("router", || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for port in 10_000..15_000 {
            // That nobody listens is told by the next one.
            let _ = socket.send_to(b"", (Ipv4Addr::LOCALHOST, port));
        }
    });
    let count: usize = lab.ok("router", "conntrack -C").trim().parse().unwrap();
    assert!(count > 4096, "{count}");
    router.change(json!({"load_balancers": {"web": {"pools": {"main": {"backends": {"web1": null}}}}}}));
    streams[0].stops();
    streams[1].goes_on();
    for stream in &others {
        stream.goes_on();
    }
    assert_eq!((at(&lab, "10.1.1.20"), at(&lab, "10.1.1.21")), (0, 1));
}

/// What status is told of backends: what they have, and what they had.
#[test]
fn what_backends_have_is_counted() {
    let House { router: _router, lab } = House::with(json!({"load_balancers": {
        "web": balancer(VIP, 80, "tcp", even(80))},
        "port_forwards": {"beside": {"protocol": "tcp", "address": "198.51.100.5", "ports": "80",
                                     "target": "10.1.1.20", "target_ports": "80"}}}));
    for station in ["web1", "web2"] {
        lab.serve(station, 80);
    }
    let own = |address: Ipv4Addr, protocol: u8, port: u16| {
        (address.to_string().as_str(), protocol, port) == (VIP, 6, 80)
    };
    let current = || lab.inside("router", || vrouter::kernel::balanced(own).unwrap());
    assert!(current().is_empty());
    let backend = |last: u8| Balanced {
        address: VIP.parse().unwrap(),
        protocol: 6,
        port: 80,
        backend: Ipv4Addr::new(10, 1, 1, last),
        backend_port: 80,
    };
    let streams: Vec<_> = (0..3).map(|_| lab.stream("internet", &format!("{VIP}:80"))).collect();
    let beside = lab.stream("internet", "198.51.100.5:80");
    for stream in streams.iter().chain([&beside]) {
        stream.goes_on();
    }
    let now = current();
    assert_eq!(now.keys().copied().collect::<Vec<_>>(), [backend(20), backend(21)]);
    assert_eq!(now.values().map(|one| one.connections).collect::<Vec<_>>(), [2, 1]);
    assert!(now.values().all(|one| one.received_bytes > 8192 && one.sent_bytes > 8192), "{now:?}");

    let totals = lab.inside("router", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut listener = vrouter::kernel::EndedConnections::open().unwrap();
            // Connections that began before anybody listened are told of by whoever flushes them.
            let new: Vec<_> = (0..3).map(|_| lab.stream("internet", &format!("{VIP}:80"))).collect();
            for stream in new {
                stream.goes_on();
                assert!(stream.end() > 0);
            }
            let said = lab.ok("router", "conntrack -D -p tcp --orig-dst 198.51.100.8");
            assert!(said.contains("10.1.1.20"), "{said}");
            let mut totals = BalancedTotals::new();
            while totals.values().map(|one| one.connections).sum::<u64>() < 3 {
                let ended = tokio::time::timeout(PATIENCE, listener.next(own)).await.unwrap().unwrap();
                assert!(!ended.lost);
                for (balanced, traffic) in ended.totals {
                    *totals.entry(balanced).or_default() += traffic;
                }
            }
            totals
        })
    });
    assert_eq!(totals.keys().copied().collect::<Vec<_>>(), [backend(20), backend(21)]);
    assert!(totals.values().all(|one| one.received_bytes > 8192 && one.sent_bytes > 8192), "{totals:?}");
    beside.goes_on();
}
