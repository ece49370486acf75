//! Names of others: forwarders, what is kept of them, and what happens when they fail.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::site::{OTHER, Server, document, query, site, socket};
use super::upstream::Upstream;
use crate::lab::{Lab, until};

const FIRST: [u8; 4] = [203, 0, 113, 53];
const SECOND: [u8; 4] = [203, 0, 113, 54];

fn two_upstreams(lab: &Lab) -> (Upstream, Upstream) {
    (
        Upstream::start(lab, "upstream", "192.0.2.53", FIRST),
        Upstream::start(lab, "upstream", "192.0.2.54", SECOND),
    )
}

#[test]
fn answers_are_kept_as_long_as_they_say() {
    let lab = site();
    let upstream = Upstream::start(&lab, "upstream", "192.0.2.53", FIRST);
    Server::run(&lab, document(json!({})), |server| {
        let first = server.dig("wWw.example.com A");
        first.is("NOERROR", &["wWw.example.com. A 203.0.113.53"]);
        assert!(!first.has("aa") && first.has("ra"), "{}", first.text);
        assert_eq!(first.ttl(), 300);
        // Kept, counted down, and in the letters of whoever asks.
        until("the TTL counts down", || (server.dig("www.EXAMPLE.com A").ttl() < 300).then_some(()));
        server.dig("www.EXAMPLE.com A").is("NOERROR", &["www.EXAMPLE.com. A 203.0.113.53"]);
        server.dig("+tcp www.example.com A").is("NOERROR", &["www.example.com. A 203.0.113.53"]);
        assert_eq!(upstream.count("www.example.com"), 1);
        // What is not there is kept too, by its SOA record.
        server.dig("nx.example.com A").is_not_there("NXDOMAIN", "example.com.");
        server.dig("nx.example.com A").is_not_there("NXDOMAIN", "example.com.");
        server.dig("nodata.example.com A").is_not_there("NOERROR", "example.com.");
        server.dig("nodata.example.com A").is_not_there("NOERROR", "example.com.");
        server.dig("short.example.com A").is("NOERROR", &["short.example.com. A 203.0.113.53"]);
        assert!(server.dig("nx.example.com A").ttl() <= 2);
        for name in ["nx", "nodata", "short"] {
            let name = format!("{name}.example.com");
            until("it is asked for again", || {
                assert!(server.dig(&format!("{name} A")).ttl() <= 2);
                (upstream.count(&name) > 1).then_some(())
            });
        }
        // What may not be kept is not.
        server.dig("zero.example.com A");
        server.dig("zero.example.com A");
        assert_eq!(upstream.count("zero.example.com"), 2);
        // Who wants DNSSEC records is not answered with what was kept for others.
        server.dig("+dnssec www.example.com A");
        assert_eq!(upstream.count("www.example.com"), 2);
        // Without recursion nobody learns what others asked.
        server.dig("+norecurse www.example.com A").is("REFUSED", &[]);
        server.dig("+norecurse web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        let status = server.status();
        assert!(status.counts.cache_hits > 5 && status.cache_entries > 3, "{status:?}");
        // Another configuration loses nothing, unless it asks others or keeps nothing.
        server.apply(document(json!({"dhcp": {"one": {"hosts": {"web1": null}}}}))).unwrap();
        server.dig("www.example.com A");
        assert_eq!(upstream.count("www.example.com"), 2);
        let counted = server.status().counts;
        assert!(counted.forwarded > status.counts.forwarded, "{counted:?}");
        server.apply(document(json!({"dns": {"forwarders": ["192.0.2.53"]}}))).unwrap();
        server.dig("www.example.com A");
        assert_eq!(upstream.count("www.example.com"), 3);
        server.apply(document(json!({"dns": {"forwarders": ["192.0.2.53"], "cache_entries": 0}}))).unwrap();
        server.dig("www.example.com A");
        assert_eq!((upstream.count("www.example.com"), server.status().cache_entries), (4, 0));
    });
}

#[test]
fn the_cache_is_bounded() {
    let lab = site();
    let _upstream = Upstream::start(&lab, "upstream", "192.0.2.53", FIRST);
    Server::run(&lab, document(json!({"dns": {"cache_entries": 5}})), |server| {
        let names: Vec<String> = (0..30).map(|number| format!("n{number}.example.com A")).collect();
        server.dig(&names.join(" "));
        let status = server.status();
        assert_eq!(status.counts.cache_misses, 30);
        assert!((1..=5).contains(&status.cache_entries), "{status:?}");
    });
}

#[test]
fn a_dead_forwarder_slows_nobody_and_comes_back() {
    let lab = site();
    let (first, second) = two_upstreams(&lab);
    Server::run(&lab, document(json!({})), |server| {
        server.dig("before.example.com A").is("NOERROR", &["before.example.com. A 203.0.113.53"]);
        first.mute(true);
        let begun = Instant::now();
        for number in 0..40 {
            let dig = server.dig(&format!("n{number}.example.com A"));
            dig.is("NOERROR", &[&format!("n{number}.example.com. A 203.0.113.54")]);
        }
        // Only those can have waited that the dead one was asked for.
        let waited = first.seen().iter().filter(|seen| seen.name.starts_with('n')).count();
        assert!((1..=5).contains(&waited), "{waited} of 40 queries waited, {:?} in all", begun.elapsed());
        until("it is known to be down", || {
            server.dig(&format!("d{}.example.com A", begun.elapsed().as_micros()));
            (server.status().upstreams[0].reachable == Some(false)).then_some(())
        });
        let status = &server.status().upstreams[0];
        assert_eq!(status.last_error.as_deref(), Some("no answer within 2 seconds"));
        assert_eq!(second.seen().iter().filter(|seen| seen.name.starts_with('n')).count(), 40);
        first.mute(false);
        until("the first one is asked again", || {
            let name = format!("r{}.example.com", begun.elapsed().as_micros());
            let dig = server.dig(&format!("{name} A"));
            assert_eq!(dig.status(), "NOERROR");
            dig.answers()[0].ends_with(".53").then_some(())
        });
        assert_eq!(server.status().upstreams[0].reachable, Some(true));
    });
}

#[test]
fn without_forwarders_local_names_go_on_and_others_fail_at_once() {
    let lab = site();
    let (first, second) = two_upstreams(&lab);
    Server::run(&lab, document(json!({})), |server| {
        first.mute(true);
        second.mute(true);
        let dead = server.dig("a.example.com A");
        dead.is("SERVFAIL", &[]);
        assert!(dead.took < Duration::from_millis(3500), "{:?}", dead.took);
        // Once that is known, nobody waits, and the site's own names never did.
        let begun = Instant::now();
        for number in 0..30 {
            server.dig(&format!("n{number}.example.com A")).is("SERVFAIL", &[]);
            let local = server.dig("web1.demo.local A");
            local.is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
            assert!(local.took < Duration::from_millis(1500), "{:?}", local.took);
        }
        let waited = first.seen().iter().filter(|seen| seen.name.starts_with('n')).count();
        assert!(waited <= 5, "{waited} of 30 queries waited, {:?} in all", begun.elapsed());
        second.mute(false);
        until("it comes back by itself", || {
            let name = format!("r{}.example.com", begun.elapsed().as_micros());
            (server.dig(&format!("{name} A")).status() == "NOERROR").then_some(())
        });
        // A host that is there and has no server says so at once.
        server.apply(document(json!({"dns": {"forwarders": ["192.0.2.53:5353"]}}))).unwrap();
        let refused = server.dig("b.example.com A");
        refused.is("SERVFAIL", &[]);
        assert!(refused.took < Duration::from_millis(1500), "{:?}", refused.took);
        // Without any forwarder, other names are nobody's business here.
        server.apply(document(json!({"dns": {"forwarders": []}}))).unwrap();
        server.dig("c.example.com A").is("REFUSED", &[]);
        server.dig("web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
    });
}

#[test]
fn a_name_that_takes_long_is_waited_for() {
    let lab = site();
    let (first, second) = two_upstreams(&lab);
    Server::run(&lab, document(json!({})), |server| {
        // Nobody asks anything else meanwhile: that the forwarders are there is found out.
        let crawl = server.dig("crawl.example.com A");
        crawl.is("NOERROR", &["crawl.example.com. A 203.0.113.53"]);
        assert!(crawl.took > Duration::from_secs(2), "{:?}", crawl.took);
        assert!(first.count("") + second.count("") >= 1);
        assert!(server.status().upstreams.iter().all(|upstream| upstream.reachable == Some(true)));
    });
}

#[test]
fn the_longest_domain_says_who_is_asked() {
    let lab = site();
    let (first, second) = two_upstreams(&lab);
    let third = Upstream::start(&lab, "guest2", "10.1.2.20", [203, 0, 113, 20]);
    let forwarders = json!({
        "corp": {"domain": "corp.example", "forwarders": ["192.0.2.54"]},
        "deep": {"domain": "deep.corp.example", "forwarders": ["10.1.2.20"]},
    });
    let records = json!({"own": {"name": "own.corp.example", "type": "A", "values": ["10.1.1.60"]}});
    let document = document(
        json!({"dns": {"forwarders": ["192.0.2.53"], "conditional_forwarders": forwarders, "records": records}}),
    );
    Server::run(&lab, document, |server| {
        for (name, last) in [
            ("www.example", 53),
            ("xcorp.example", 53),
            ("corp.example", 54),
            ("a.b.corp.example", 54),
            ("deep.corp.example", 20),
            ("x.deep.corp.example", 20),
        ] {
            server.dig(&format!("{name} A")).is("NOERROR", &[&format!("{name}. A 203.0.113.{last}")]);
        }
        server.dig("own.corp.example A").is("NOERROR", &["own.corp.example. A 10.1.1.60"]);
        assert_eq!((first.seen().len(), second.seen().len(), third.seen().len()), (2, 2, 2));
    });
}

#[test]
fn answers_are_handed_on_as_they_are_and_only_the_right_ones() {
    let lab = site();
    let (first, second) = two_upstreams(&lab);
    let records = json!({"far": {"name": "far.demo.local", "type": "CNAME", "values": ["alias.example.com"], "ttl_seconds": 20},
                         "none": {"name": "none.demo.local", "type": "CNAME", "values": ["nx.example.com"]}});
    Server::run(&lab, document(json!({"dns": {"records": records}})), |server| {
        // What does not fit into a datagram is fetched over TCP.
        assert!(server.dig("+tcp big.example.com TXT").section("ANSWER")[0].len() > 3000);
        assert_eq!(first.seen().iter().map(|seen| seen.tcp).collect::<Vec<_>>(), [false, true]);
        let strange = server.dig("strange.example.com TYPE65280");
        strange.is("NOERROR", &["strange.example.com. TYPE65280 \\# 3 C0FF07"]);
        server.dig("guessed.example.com A").is("NOERROR", &["guessed.example.com. A 203.0.113.53"]);
        server.dig("noedns.example.com A").is("NOERROR", &["noedns.example.com. A 203.0.113.53"]);
        // A failure may be that server's own: the next one is asked before the client is told.
        server.dig("servfail.example.com A").is("SERVFAIL", &[]);
        assert_eq!((first.count("servfail.example.com"), second.count("servfail.example.com")), (1, 1));
        // A name of ours that leads to one of theirs.
        let far = [
            "alias.example.com. CNAME target.example.com.",
            "far.demo.local. CNAME alias.example.com.",
            "target.example.com. A 203.0.113.53",
        ];
        server.dig("far.demo.local A").is("NOERROR", &far);
        server.dig("far.demo.local A").is("NOERROR", &far);
        assert_eq!(first.count("alias.example.com"), 1);
        let none = server.dig("none.demo.local A");
        none.is("NXDOMAIN", &["none.demo.local. CNAME nx.example.com."]);
        assert!(none.section("AUTHORITY")[0].starts_with("example.com. "), "{}", none.text);
    });
}

#[test]
fn questions_are_asked_once_at_a_time_and_cannot_be_guessed() {
    let lab = site();
    let (first, _second) = two_upstreams(&lab);
    Server::run(&lab, document(json!({"dns": {"forwarders": ["192.0.2.53"]}})), |server| {
        server.dig("warm.example.com A");
        // Sockets of our own: of twenty digs at once on a busy machine, one in a while overlooks its answer.
        let clients: Vec<_> = (0..20).map(|id| (id, socket(&lab, "guest"))).collect();
        for (id, client) in &clients {
            client.send(&query(*id, "slow.example.com")).unwrap();
        }
        for (id, client) in &clients {
            let mut answer = [0; 512];
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(answer[..2], id.to_be_bytes());
            // A response without an error, and the address at its end.
            assert_eq!((answer[2] & 0x80, answer[3] & 0x0f), (0x80, 0));
            assert!(answer[..length].windows(4).any(|octets| octets == [203, 0, 113, 53]));
        }
        // A slow answer may have been asked for again after a while, but not once for each client.
        assert!(first.count("slow.example.com") <= 4, "{}", first.count("slow.example.com"));
        let names: Vec<String> = (0..40).map(|number| format!("g{number}.example.com A")).collect();
        server.dig(&names.join(" "));
        let seen: Vec<_> = first.seen().into_iter().filter(|seen| seen.name.starts_with('g')).collect();
        // On a busy machine an answer may be late, and its question asked again.
        let asked: BTreeSet<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
        assert!(asked.len() == 40 && seen.len() <= 44, "{} names in {} questions", asked.len(), seen.len());
        let ids: BTreeSet<u16> = seen.iter().map(|seen| seen.id).collect();
        let ports: BTreeSet<u16> = seen.iter().map(|seen| seen.port).collect();
        assert!(ids.len() > 35 && ports.len() > 35, "{} ids, {} ports", ids.len(), ports.len());
        let ascending = |numbers: Vec<u16>| numbers.windows(2).filter(|pair| pair[0] < pair[1]).count();
        for numbers in
            [seen.iter().map(|seen| seen.id).collect(), seen.iter().map(|seen| seen.port).collect()]
        {
            assert!((5..35).contains(&ascending(numbers)), "they are drawn, not counted: {seen:?}");
        }
    });
}

#[test]
fn one_client_cannot_take_all_places() {
    let lab = site();
    let (first, _second) = two_upstreams(&lab);
    Server::run(&lab, document(json!({"dns": {"forwarders": ["192.0.2.53"]}})), |server| {
        server.dig("warm.example.com A");
        let socket = socket(&lab, "guest");
        for number in 0..400u16 {
            socket.send(&query(number, &format!("slow.f{number}.example.com"))).unwrap();
        }
        server
            .dig_from("guest2", OTHER, "other.example.com A")
            .is("NOERROR", &["other.example.com. A 203.0.113.53"]);
        until("those beyond the bound are told so", || {
            (server.status().counts.answers_by_rcode["SERVFAIL"] >= 144).then_some(())
        });
        let asked = first.seen().into_iter().map(|seen| seen.name).filter(|name| name.starts_with("slow.f"));
        assert!(asked.collect::<BTreeSet<_>>().len() <= 256);
    });
}

#[test]
fn real_servers_are_understood() {
    let mut lab = site();
    lab.start("upstream", "dnsmasq -k -C /dev/null --pid-file= -R -h -u root --bind-interfaces --listen-address=192.0.2.53 --address=/masq.example/203.0.113.1 --txt-record=long.masq.example,yes --mx-host=masq.example,mail.masq.example,5");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("unbound.conf");
    std::fs::write(&config, "server:\n interface: 192.0.2.54\n access-control: 0.0.0.0/0 allow\n chroot: \"\"\n username: \"\"\n use-syslog: no\n pidfile: \"\"\n do-daemonize: no\n module-config: \"iterator\"\n local-zone: \"bound.example.\" static\n local-data: \"www.bound.example. 120 IN A 203.0.113.2\"\n local-data: \"bound.example. 60 IN SOA ns.bound.example. nobody.invalid. 1 3600 1200 9600 60\"\nremote-control:\n control-enable: no\n").unwrap();
    lab.start("upstream", &format!("unbound -d -c {}", config.display()));
    until("both servers listen", || {
        let listening = lab.ok("upstream", "ss -Hlnu sport = 53");
        (listening.contains("192.0.2.53") && listening.contains("192.0.2.54")).then_some(())
    });
    let forwarders = json!({"bound": {"domain": "bound.example", "forwarders": ["192.0.2.54"]}});
    let document =
        document(json!({"dns": {"forwarders": ["192.0.2.53"], "conditional_forwarders": forwarders}}));
    Server::run(&lab, document, |server| {
        server.dig("x.masq.example A").is("NOERROR", &["x.masq.example. A 203.0.113.1"]);
        server.dig("long.masq.example TXT").is("NOERROR", &["long.masq.example. TXT \"yes\""]);
        server.dig("masq.example MX").is("NOERROR", &["masq.example. MX 5 mail.masq.example."]);
        server.dig("www.bound.example A").is("NOERROR", &["www.bound.example. A 203.0.113.2"]);
        server.dig("+dnssec www.bound.example A").is("NOERROR", &["www.bound.example. A 203.0.113.2"]);
        server.dig("none.bound.example A").is_not_there("NXDOMAIN", "bound.example.");
        server.dig("+tcp www.bound.example AAAA").is_not_there("NOERROR", "bound.example.");
    });
}
