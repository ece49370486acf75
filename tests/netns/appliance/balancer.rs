//! Balancers that the kernel serves, with real packets: who gets which connection, who may ask, and what becomes of
//! connections when backends go.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::house::House;
use super::traffic::{Outcome, SILENCE};
use super::translation::tracked;
use crate::lab::{Lab, PATIENCE, until};
use vrouter::plan::facts::{Balanced, BalancedTotals};

/// The address of the balancers.
const VIP: &str = "198.51.100.8";

/// Who answered, and where it saw the question come from.
type Answer = (String, Ipv4Addr);

impl Lab {
    /// Serves TCP and UDP on a port of a station: whoever asks is told which station it is and where it is seen to come
    /// from.
    fn introduce(&self, station: &str, port: u16) {
        let (listener, socket) = self.inside(station, || {
            let any = (Ipv4Addr::UNSPECIFIED, port);
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        self.ends_with(&listener);
        self.ends_with(&socket);
        let says = {
            let station = station.to_owned();
            move |from: SocketAddr| format!("{station} {}", from.ip())
        };
        let says_by_udp = says.clone();
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let said = says(from);
                thread::spawn(move || {
                    // It stays until the client goes.
                    let _ = stream.write_all(format!("{said}\n").as_bytes());
                    let _ = stream.read(&mut [0; 1]);
                });
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if length == 0 || socket.send_to(says_by_udp(from).as_bytes(), from).is_err() {
                    break;
                }
            }
        });
    }

    /// Asks over TCP, perhaps from one of several addresses; the connection is left open.
    fn open(
        &self,
        station: &str,
        from: Option<&str>,
        to: &str,
        patience: Duration,
    ) -> Option<(TcpStream, Answer)> {
        let to: SocketAddr = to.parse().unwrap();
        let stream = self.inside(station, || {
            use socket2::{Domain, Socket, Type};
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if let Some(from) = from {
                let from: SocketAddr = format!("{from}:0").parse().unwrap();
                socket.bind(&from.into()).unwrap();
            }
            socket.connect_timeout(&to.into(), patience).ok()?;
            Some(TcpStream::from(socket))
        })?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok()?;
        Some((stream, answer(&line)))
    }

    fn ask(&self, station: &str, to: &str) -> Answer {
        self.open(station, None, to, PATIENCE).unwrap_or_else(|| panic!("{station} to {to}")).1
    }

    fn ask_from(&self, station: &str, from: &str, to: &str) -> String {
        self.open(station, Some(from), to, PATIENCE).unwrap_or_else(|| panic!("{from} to {to}")).1.0
    }

    fn ask_by_udp(&self, station: &str, to: &str) -> Answer {
        let socket = self.inside(station, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(to).unwrap();
        socket.send(b"who is there?").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{station} to {to}: {error}"));
        answer(std::str::from_utf8(&buffer[..length]).unwrap())
    }
}

fn answer(line: &str) -> Answer {
    let (station, seen) = line.trim().split_once(' ').unwrap_or_else(|| panic!("`{line}`"));
    (station.to_owned(), seen.parse().unwrap())
}

/// A balancer of one pool.
fn balancer(address: &str, port: u16, protocol: &str, backends: Value) -> Value {
    json!({"address": address, "port": port, "protocol": protocol, "pools": {"main": {"backends": backends}}})
}

fn web(port: u16) -> Value {
    json!({"web1": {"address": "10.1.1.20", "port": port, "weight": 100},
           "web2": {"address": "10.1.1.21", "port": port, "weight": 50}})
}

/// A house with these balancers, and stations that introduce themselves on port 7000.
fn house(balancers: Value) -> House {
    let house = House::with(json!({ "load_balancers": balancers }));
    for station in ["web1", "web2", "other"] {
        house.lab.introduce(station, 7000);
    }
    house
}

fn backends(answers: impl Iterator<Item = Answer>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (station, _) in answers {
        *counts.entry(station).or_default() += 1;
    }
    counts
}

#[test]
fn connections_are_spread_by_weight_and_keep_their_source() {
    let House { router, lab } = house(json!({
        "tcp": balancer(VIP, 80, "tcp", web(7000)),
        "udp": balancer(VIP, 80, "udp", web(7000)),
        "own": balancer("198.51.100.5", 8080, "tcp", web(7000)),
        "inside": balancer("10.1.1.60", 80, "tcp", web(7000)),
        "second": balancer("203.0.113.8", 80, "tcp", web(7000))
    }));
    let expected = BTreeMap::from([("web1".to_owned(), 20), ("web2".to_owned(), 10)]);
    let to = format!("{VIP}:80");
    assert_eq!(backends((0..30).map(|_| lab.ask("internet", &to))), expected, "tcp");
    assert_eq!(backends((0..30).map(|_| lab.ask_by_udp("internet", &to))), expected, "udp");
    // From everywhere; around the corner of one network alone the router stands in for the client.
    for (station, seen) in [
        ("internet", "192.0.2.53"),
        ("neighbour", "198.51.100.9"),
        ("other", "10.2.2.20"),
        ("client", "10.1.1.1"),
        ("web1", "10.1.1.1"),
    ] {
        let seen: Ipv4Addr = seen.parse().unwrap();
        for to in [&*to, "198.51.100.5:8080"] {
            let sources: BTreeSet<_> = (0..3).map(|_| lab.ask(station, to).1).collect();
            assert_eq!(sources, [seen].into(), "{station} to {to}");
        }
        assert_eq!(lab.ask_by_udp(station, &to).1, seen, "{station}");
    }
    // On a free address of the guests' own network, to which the router answers.
    for (station, seen) in [("client", "10.1.1.1"), ("other", "10.2.2.20")] {
        assert_eq!(lab.ask(station, "10.1.1.60:80").1, seen.parse::<Ipv4Addr>().unwrap(), "{station}");
    }
    // By another way in, by which answers leave too.
    for (station, seen) in [("internet", "192.0.2.53"), ("client", "10.1.1.1")] {
        assert_eq!(lab.ask(station, "203.0.113.8:80").1, seen.parse::<Ipv4Addr>().unwrap(), "{station}");
    }
    // Nobody is there: nobody answers, and nothing else does.
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": null}}}}}));
    lab.connects_in_vain("internet", &to);
    lab.ask_by_udp("internet", &to);
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": {
        "spare": {"address": "10.2.2.20", "port": 7000, "backup": true}}}}}}}));
    assert_eq!(lab.ask("internet", &to).0, "other", "who stands by is there where nobody else is");
    router.change(json!({"load_balancers": {"tcp": {"pools": {"main": {"backends": web(7000)}}}}}));
    assert_eq!(backends((0..6).map(|_| lab.ask("internet", &to))).get("other"), None);
}

#[test]
fn clients_keep_their_backend_by_their_address() {
    let House { router, lab } = house(json!({
        "hashed": balancer(VIP, 81, "tcp", web(7000)),
        "sticky": balancer(VIP, 82, "tcp", web(7000))
    }));
    router.change(json!({"load_balancers": {
        "hashed": {"algorithm": "source"},
        "sticky": {"stickiness": {"type": "source", "seconds": 600}}
    }}));
    let sources: Vec<String> = (100..116).map(|last| format!("192.0.2.{last}")).collect();
    for source in &sources {
        lab.ok("internet", &format!("ip address add {source}/24 dev eth0"));
    }
    let (hashed, sticky) = (format!("{VIP}:81"), format!("{VIP}:82"));
    let ask_all = |to: &str| -> Vec<String> {
        sources.iter().map(|source| lab.ask_from("internet", source, to)).collect()
    };
    let by_hash = ask_all(&hashed);
    assert_eq!(by_hash.iter().collect::<BTreeSet<_>>().len(), 2, "{by_hash:?}");
    for _ in 0..3 {
        assert_eq!(ask_all(&hashed), by_hash);
    }
    let by_turns = ask_all(&sticky);
    assert_eq!(by_turns.iter().filter(|backend| *backend == "web2").count(), 5, "{by_turns:?}");
    for _ in 0..3 {
        assert_eq!(ask_all(&sticky), by_turns);
    }
    // An edit leaves those that have a place where they are.
    router.change(json!({"load_balancers": {"sticky": {"algorithm": "random", "max_connections": 1000,
        "stickiness": {"seconds": 300}, "pools": {"main": {"backends": {"web1": {"weight": 1},
        "other": {"address": "10.2.2.20", "port": 7000}}}}}}}));
    assert_eq!(ask_all(&sticky), by_turns);
    // A backend that takes no new ones loses them to others, for good.
    router.change(json!({"load_balancers": {"sticky": {"pools": {"main": {"backends": {"web1": {"enabled": false}}}}}}}));
    let moved = ask_all(&sticky);
    for (before, after) in by_turns.iter().zip(&moved) {
        assert!(after != "web1" && (before == "web1" || before == after), "{before} {after}");
    }
    router.change(
        json!({"load_balancers": {"sticky": {"pools": {"main": {"backends": {"web1": {"enabled": true}}}}}}}),
    );
    assert_eq!(ask_all(&sticky), moved);
    // By the hash, those alone move whose backend goes.
    router.change(json!({"load_balancers": {"hashed": {"pools": {"main": {"backends": {"web2": {"enabled": false}}}}}}}));
    assert_eq!(ask_all(&hashed).into_iter().collect::<BTreeSet<_>>(), ["web1".to_owned()].into());
    router.change(
        json!({"load_balancers": {"hashed": {"pools": {"main": {"backends": {"web2": {"enabled": true}}}}}}}),
    );
    assert_eq!(ask_all(&hashed), by_hash);
}

#[test]
fn not_everybody_may_use_a_balancer_and_not_all_at_once() {
    let mut limited = balancer(VIP, 80, "tcp", web(7000));
    limited["allowed_sources"] = json!(["192.0.2.0/24", "198.51.100.5"]);
    limited["denied_sources"] = json!(["192.0.2.100-192.0.2.110"]);
    let mut few = balancer(VIP, 81, "tcp", web(7000));
    few["max_connections"] = json!(2);
    let House { router, lab } = house(json!({"limited": limited, "few": few}));
    let to = format!("{VIP}:80");
    for last in [100, 111] {
        lab.ok("internet", &format!("ip address add 192.0.2.{last}/24 dev eth0"));
    }
    lab.ask("internet", &to);
    lab.ask_from("internet", "192.0.2.111", &to);
    assert!(lab.open("internet", Some("192.0.2.100"), &to, SILENCE).is_none(), "it is denied");
    lab.connects_in_vain("neighbour", &to);
    // Guests are meant by their public address.
    lab.ask("client", &to);
    router.change(json!({"load_balancers": {"limited": {"denied_sources": ["198.51.100.5"]}}}));
    lab.connects_in_vain("client", &to);

    let few = format!("{VIP}:81");
    let held: Vec<_> = (0..2).map(|_| lab.open("internet", None, &few, PATIENCE).unwrap().0).collect();
    lab.connects_in_vain("internet", &few);
    lab.connects_in_vain("neighbour", &few);
    drop(held);
    // What was told nothing asks again, and finds room.
    until("there is room", || lab.open("internet", None, &few, Duration::from_secs(1)).map(drop));
    router.change(json!({"load_balancers": {"few": {"max_connections": null}}}));
    let _many: Vec<_> = (0..5).map(|_| lab.open("internet", None, &few, PATIENCE).unwrap().0).collect();
}

#[test]
fn names_are_balanced_beside_the_routers_own() {
    let House { router: _router, lab } = {
        let house = House::with(json!({
            "dns": {"records": {"a": {"name": "here.local", "type": "A", "values": ["10.1.1.30"]}}},
            "load_balancers": {
                "udp": balancer(VIP, 53, "udp", web(53)),
                "tcp": balancer(VIP, 53, "tcp", web(53)),
                "inside-udp": balancer("10.1.1.53", 53, "udp", web(53)),
                "inside-tcp": balancer("10.1.1.53", 53, "tcp", web(53))
            }
        }));
        for station in ["web1", "web2"] {
            house.lab.introduce(station, 53);
        }
        house
    };
    let own = |client: &str, transport: &str| {
        let said = lab.ok(client, &format!("dig +short +time=5 {transport} @10.1.1.1 here.local"));
        assert_eq!(said.trim(), "10.1.1.30", "{client} {transport}");
    };
    for client in ["client", "web1"] {
        for transport in ["+notcp", "+tcp"] {
            own(client, transport);
        }
    }
    for to in ["198.51.100.8:53", "10.1.1.53:53"] {
        for client in ["client", "other"] {
            assert!(lab.ask(client, to).0.starts_with("web"));
            assert!(lab.ask_by_udp(client, to).0.starts_with("web"));
        }
    }
    assert!(lab.ask_by_udp("internet", "198.51.100.8:53").0.starts_with("web"));
    lab.silent("internet", &["198.51.100.5:53"]);
    own("client", "+notcp");
}

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
    let mut web = balancer(
        VIP,
        80,
        "tcp",
        json!({"web1": {"address": "10.1.1.20", "port": 80},
                                              "web2": {"address": "10.1.1.21", "port": 80}}),
    );
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

/// What an edit of one backend is on the wire, as everybody sees it who listens.
#[test]
fn an_edit_of_a_backend_is_one_element() {
    let even =
        json!({"a": {"address": "10.1.1.20", "port": 7000}, "b": {"address": "10.1.1.21", "port": 7000}});
    let House { router, lab } = house(json!({
        "web": balancer(VIP, 80, "tcp", even.clone()),
        "else": balancer(VIP, 81, "udp", even)
    }));
    let mut child = lab
        .command("router", &["nft", "-n", "monitor"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    // It listens once it tells of something.
    until("it listens", || {
        lab.ok("router", "nft add table inet probe");
        lab.ok("router", "nft delete table inet probe");
        lines.recv_timeout(Duration::from_millis(100)).ok()
    });
    while lines.recv_timeout(SILENCE).is_ok() {}
    router.change(json!({"load_balancers": {"web": {"pools": {"main": {"backends": {"a": {"address": "10.2.2.20"}}}}}}}));
    let mut told: Vec<String> = Vec::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(2)) {
        if !line.starts_with('#') {
            told.push(line.trim().to_owned());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told.sort();
    assert_eq!(
        told,
        [
            "create element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.1.1.20 . 7000 : 0x00000002 }",
            "create element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.2.2.20 . 7000 : 0x00000001 }",
            "create element inet vrouter balancer_slots_web { 0 : 10.2.2.20 . 7000 }",
            "delete element inet vrouter balancer_backends { 198.51.100.8 . 6 . 80 . 10.1.1.20 . 7000 : 0x00000001 }",
            "delete element inet vrouter balancer_slots_web { 0 : 10.1.1.20 . 7000 }",
        ],
        "nothing beside it"
    );
    assert_eq!(
        backends((0..4).map(|_| lab.ask("internet", &format!("{VIP}:80")))),
        BTreeMap::from([("other".to_owned(), 2), ("web2".to_owned(), 2)])
    );
}

/// What status is told of backends: what they have, and what they had.
#[test]
fn what_backends_have_is_counted() {
    let House { router: _router, lab } = House::with(json!({"load_balancers": {
        "web": balancer(VIP, 80, "tcp", json!({"web1": {"address": "10.1.1.20", "port": 80},
                                               "web2": {"address": "10.1.1.21", "port": 80}}))},
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

/// What a port does that somebody may use: it takes connections, or says that nobody listens.
fn is_open(lab: &Lab, station: &str, to: &str) -> bool {
    match lab.connect(station, to, SILENCE) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    }
}

#[test]
fn listeners_of_the_proxy_are_open_to_clients_alone() {
    let mut limited = balancer(VIP, 81, "http", web(7000));
    limited["allowed_sources"] = json!(["192.0.2.0/24", "10.1.1.0/24"]);
    limited["denied_sources"] = json!(["10.1.1.20"]);
    let House { router, lab } = house(json!({
        "web": balancer(VIP, 80, "http", web(7000)),
        "limited": limited,
        "own": balancer("198.51.100.5", 8080, "http", web(7000)),
        "inside": balancer("10.1.1.60", 80, "http", web(7000))
    }));
    lab.ok("admin", "ip route replace 198.51.100.0/24 via 192.168.0.188");
    for station in ["internet", "neighbour", "client", "other"] {
        for to in ["198.51.100.8:80", "198.51.100.5:8080"] {
            assert!(is_open(&lab, station, to), "{station} to {to}");
        }
    }
    for (station, may) in [("internet", true), ("client", true), ("web1", false), ("neighbour", false)] {
        assert_eq!(is_open(&lab, station, "198.51.100.8:81"), may, "{station}");
    }
    assert!(is_open(&lab, "client", "10.1.1.60:80") && is_open(&lab, "other", "10.1.1.60:80"));
    for to in ["198.51.100.8:80", "198.51.100.5:8080"] {
        assert!(!is_open(&lab, "admin", to), "the management has no part in it: {to}");
    }
    for to in ["198.51.100.8:82", "198.51.100.5:80", "10.1.1.60:81"] {
        assert!(!is_open(&lab, "client", to), "{to}");
    }
    // Guests who reach the router alone do not reach others through it.
    router.change(json!({"interfaces": {"guest2": {"isolated": true}}}));
    assert!(!is_open(&lab, "other", "198.51.100.8:80") && is_open(&lab, "client", "198.51.100.8:80"));
    router.change(json!({"load_balancers": null}));
    assert!(!is_open(&lab, "internet", "198.51.100.8:80"));
}

/// Among very many connections the kernel looks for those that end, and finds the same.
#[test]
fn connections_of_a_backend_are_found_among_many() {
    let mut web = balancer(
        VIP,
        80,
        "tcp",
        json!({"web1": {"address": "10.1.1.20", "port": 80},
                                              "web2": {"address": "10.1.1.21", "port": 80}}),
    );
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
