//! Sockets: who is answered where, what is no query, TCP, and changes that touch nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::site::{OTHER, ROUTER, Server, document, query, site, socket};
use super::upstream::Upstream;
use crate::lab::{Lab, until};

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn connect(lab: &Lab, station: &str, address: &str) -> TcpStream {
    let stream = lab.inside(station, || TcpStream::connect((address, 53)).unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The next answer of a connection; nothing where it is closed.
fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn id(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

#[test]
fn guests_are_answered_and_nobody_else() {
    let lab = site();
    let upstream = Upstream::start(&lab, "upstream", "192.0.2.53", [203, 0, 113, 53]);
    Server::run(&lab, document(json!({})), |server| {
        server.dig("-b 10.9.0.5 web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        // A stranger who reaches the address is refused with less than it sent.
        let refused = server.dig_from("stranger", ROUTER, "web1.demo.local A");
        refused.is("REFUSED", &[]);
        server.dig_from("stranger", ROUTER, "www.example.com A").is("REFUSED", &[]);
        let closed = server.dig_from("stranger", ROUTER, "+tcp web1.demo.local A");
        assert_eq!(closed.status(), "", "{}", closed.text);
        // Nothing listens on the public address.
        let silent = server.dig_from("stranger", "192.0.2.1", "web1.demo.local A");
        assert!(silent.text.contains("refused"), "{}", silent.text);
        assert_eq!(upstream.seen().len(), 0);
        let counts = server.status().counts;
        assert_eq!((counts.refused, counts.connections_refused > 0), (2, true), "{counts:?}");
        // Where only some networks are served, the guests of the others are strangers.
        server.apply(document(json!({"dns": {"interfaces": ["one"]}}))).unwrap();
        server.dig("web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        server.is_closed("guest2", OTHER);
    });
}

/// Input: more queries than are read by one call, from several clients, with what is no query between them.
/// Output: each client has the answers to its own, each once.
#[test]
fn queries_that_wait_together_are_each_answered() {
    const NAMES: [&str; 3] = ["web1.demo.local", "nobody.demo.local", "web1.demo.local"];
    let lab = site();
    Server::run(&lab, document(json!({})), |_| {
        let clients = [(); 3].map(|()| socket(&lab, "guest"));
        for id in 0..100 {
            for (client, name) in clients.iter().zip(NAMES) {
                client.send(&query(id, name)).unwrap();
                client.send(b"noise").unwrap();
            }
        }
        for (client, rcode) in clients.iter().zip([0, 3, 0]) {
            let mut ids = std::collections::BTreeSet::new();
            let mut room = [0; 512];
            while ids.len() < 100 {
                let length = client.recv(&mut room).unwrap();
                assert_eq!(room[3] & 0x0f, rcode, "{:02x?}", &room[..length]);
                assert!(ids.insert(id(&room)), "{} was answered twice", id(&room));
            }
            assert_eq!(ids.last(), Some(&99));
        }
    });
}

#[test]
fn what_is_no_query_is_told_so_or_ignored() {
    let lab = site();
    Server::run(&lab, document(json!({})), |server| {
        server.dig("+opcode=notify web1.demo.local A").is("NOTIMP", &[]);
        server.dig("+opcode=update web1.demo.local A").is("NOTIMP", &[]);
        assert!(server.dig("+tcp demo.local AXFR").text.contains("Transfer failed"));
        server.dig("-c CH version.bind TXT").is("REFUSED", &[]);
        server.dig("demo.local TYPE250").is("NOTIMP", &[]);
        server.dig("demo.local TYPE0").is("NOTIMP", &[]);
        let socket = socket(&lab, "guest");
        let mut buffer = [0; 1500];
        let mut ask = |message: &[u8]| {
            socket.send(message).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        // Two questions, a torn name, something behind the end: a header with FORMERR.
        let good = query(7, "web1.demo.local");
        let mut two = good.clone();
        two[5] = 2;
        let torn = good[..good.len() - 3].to_vec();
        let behind = [good.clone(), vec![0]].concat();
        for bad in [two, torn, behind] {
            assert_eq!(ask(&bad), [0, 7, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        // An answer gets none, and neither does what is shorter than a header: the next query's is the first to come.
        let mut response = query(8, "web1.demo.local");
        response[2] |= 0x80;
        socket.send(&response).unwrap();
        socket.send(&good[..11]).unwrap();
        socket.send(&[]).unwrap();
        assert_eq!(id(&ask(&query(9, "web1.demo.local"))), 9);
        // Octets without sense break nothing.
        let mut seed = 1u32;
        for _ in 0..2000 {
            let octets: Vec<u8> = (0..seed % 90)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            socket.send(&octets).unwrap();
            seed = seed.wrapping_add(1);
        }
        server.dig("web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
    });
}

#[test]
fn edns_is_spoken_both_ways() {
    let lab = site();
    let upstream = Upstream::start(&lab, "upstream", "192.0.2.53", [203, 0, 113, 53]);
    Server::run(&lab, document(json!({})), |server| {
        let plain = server.dig("+noedns web1.demo.local A");
        assert!(!plain.text.contains("EDNS"), "{}", plain.text);
        let with = server.dig("web1.demo.local A");
        assert!(with.text.contains("; EDNS: version: 0, flags:; udp: 1232"), "{}", with.text);
        assert!(server.dig("+dnssec web1.demo.local A").text.contains("flags: do; udp: 1232"));
        let newer = server.dig("+edns=1 +noednsnegotiation web1.demo.local A");
        newer.is("BADVERS", &[]);
        assert!(newer.text.contains("; EDNS: version: 0"), "{}", newer.text);
        server.dig("+ednsopt=65001:abcd web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        // Forwarders are told what the client wants, and our own size.
        server.dig("+noedns one.example.com A").is("NOERROR", &["one.example.com. A 203.0.113.53"]);
        server.dig("+dnssec +cd two.example.com A").is("NOERROR", &["two.example.com. A 203.0.113.53"]);
        let asked: Vec<_> = upstream.seen().into_iter().map(|seen| seen.edns.unwrap()).collect();
        assert_eq!(asked.iter().map(|edns| edns.max_payload()).collect::<Vec<_>>(), [1232, 1232]);
        assert_eq!(asked.iter().map(|edns| edns.flags().dnssec_ok).collect::<Vec<_>>(), [false, true]);
        // Who has said how much it takes gets no more.
        for (question, truncated) in [
            ("+ignore +noedns medium.example.com TXT", true),
            ("+ignore +bufsize=600 medium.example.com TXT", true),
            ("+ignore +bufsize=1232 medium.example.com TXT", false),
            ("+ignore +bufsize=4096 big.example.com TXT", true),
        ] {
            let answer = server.dig(question);
            assert_eq!(answer.has("tc"), truncated, "{question}: {}", answer.text);
            assert_eq!(answer.answers().is_empty(), truncated, "{question}: {}", answer.text);
        }
        assert_eq!(
            server.dig("big.example.com TXT").section("ANSWER").len(),
            1,
            "over TCP, as dig goes on by itself"
        );
    });
}

#[test]
fn a_connection_carries_many_queries_and_ends_when_it_is_idle() {
    let lab = site();
    let _upstream = Upstream::start(&lab, "upstream", "192.0.2.53", [203, 0, 113, 53]);
    Server::run(&lab, document(json!({})), |server| {
        let mut stream = connect(&lab, "guest", ROUTER);
        let idle = connect(&lab, "guest", ROUTER);
        let begun = Instant::now();
        // The slow one is asked first and answered last, in one write and in pieces.
        let all = [
            framed(&query(1, "slow.example.com")),
            framed(&query(2, "web1.demo.local")),
            framed(&query(3, "a.example.com")),
        ]
        .concat();
        let (first, second) = all.split_at(all.len() - 5);
        stream.write_all(first).unwrap();
        stream.write_all(second).unwrap();
        let ids: Vec<u16> = (0..3).map(|_| id(&answer(&mut stream).unwrap())).collect();
        assert_eq!((ids[0], ids[2]), (2, 1), "{ids:?}");
        // Half-closed after the last query, it is still answered.
        stream.write_all(&framed(&query(4, "slow.example.com"))).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(id(&answer(&mut stream).unwrap()), 4);
        assert_eq!(answer(&mut stream), None);
        // One client has so many connections and no more.
        let mut held: Vec<TcpStream> = (0..40).map(|_| connect(&lab, "guest", ROUTER)).collect();
        let served = held.iter_mut().filter_map(|stream| {
            stream.write_all(&framed(&query(5, "web1.demo.local"))).ok()?;
            answer(stream)
        });
        assert_eq!(served.count(), 31, "32 with the idle one");
        assert_eq!(server.status().connections, 32);
        server
            .dig_from("guest2", OTHER, "+tcp web1.demo.local A")
            .is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        drop(held);
        // The idle one is closed by the router.
        let mut idle = idle;
        assert_eq!(answer(&mut idle), None);
        assert!(begun.elapsed() > Duration::from_secs(9), "closed after {:?}", begun.elapsed());
        until("the router forgets the connections", || (server.status().connections == 0).then_some(()));
    });
}

#[test]
fn a_change_touches_no_socket_that_stays() {
    let mut lab = site();
    let dnsmasq = lab.start("router", "dnsmasq -k -C /dev/null --pid-file= -p 53 --bind-interfaces --listen-address=10.1.2.1 --except-interface=lo -R -h -u root");
    until("dnsmasq listens", || lab.ok("router", "ss -Hlnu sport = 53").contains("10.1.2.1").then_some(()));
    let one = document(json!({"dns": {"interfaces": ["one"]}}));
    Server::run(&lab, one.clone(), |server| {
        let mut stream = connect(&lab, "guest", ROUTER);
        let mut lives = |id_of: u16| {
            stream.write_all(&framed(&query(id_of, "web1.demo.local"))).unwrap();
            assert_eq!(answer(&mut stream).map(|message| id(&message)), Some(id_of));
        };
        lives(1);
        // Somebody else has the port on the second network: nothing changes, and the reason is told.
        let renamed = json!({"dhcp": {"one": {"hosts": {"web1": {"hostname": "renamed"}}}}});
        let error = server.apply(document(renamed.clone())).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on 10.1.2.1 port 53 (UDP) for DNS: "), "{error}");
        server.dig("web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        assert_eq!(server.status().listeners.len(), 1);
        lives(2);
        std::process::Command::new("kill").arg(dnsmasq.to_string()).status().unwrap();
        until("the port is free", || server.apply(document(renamed.clone())).ok());
        server
            .dig_from("guest2", OTHER, "renamed.demo.local A")
            .is("NOERROR", &["renamed.demo.local. A 10.1.1.20"]);
        lives(3);
        // The second network goes: its port is closed, the first notices nothing.
        server.apply(one).unwrap();
        server.is_closed("guest2", OTHER);
        lives(4);
        // Its address may be away for a while.
        lab.ok("router", "ip address del 10.1.2.1/24 dev eth1");
        server.apply(document(json!({}))).unwrap();
        lab.ok("router", "ip address add 10.1.2.1/24 dev eth1");
        server
            .dig_from("guest2", OTHER, "web1.demo.local A")
            .is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        lives(5);
        // Without DNS in the configuration, nothing listens.
        server.apply(document(json!({"dns": null}))).unwrap();
        until("nothing listens", || lab.ok("router", "ss -Hlntu sport = 53").is_empty().then_some(()));
        assert_eq!(server.status().names, 0);
        server.apply(document(json!({}))).unwrap();
        server.dig("web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
    });
}
