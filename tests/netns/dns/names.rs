//! Names of the site: hosts, records, reverse names, and what never leaves.

use serde_json::json;

use super::site::{OTHER, ROUTER, Server, document, site};
use super::upstream::Upstream;

#[test]
fn hosts_are_names_forward_and_reverse() {
    let lab = site();
    Server::run(&lab, document(json!({})), |server| {
        let web = server.dig("web1.demo.local A");
        web.is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        assert!(web.has("aa") && web.has("qr") && web.has("rd") && web.has("ra"), "{}", web.text);
        assert_eq!(web.ttl(), 60);
        server.dig("web2.demo.local A").is("NOERROR", &["web2.demo.local. A 10.1.1.22"]);
        server.dig("db.lab.demo.local A").is("NOERROR", &["db.lab.demo.local. A 10.1.2.20"]);
        server.dig("-x 10.1.1.20").is("NOERROR", &["20.1.1.10.in-addr.arpa. PTR web1.demo.local."]);
        server.dig("-x 10.1.2.20").is("NOERROR", &["20.2.1.10.in-addr.arpa. PTR db.lab.demo.local."]);
        // The router itself, on each of its networks.
        server.dig("vr-1.demo.local A").is("NOERROR", &["vr-1.demo.local. A 10.1.1.1"]);
        server.dig("vr-1.lab.demo.local A").is("NOERROR", &["vr-1.lab.demo.local. A 10.1.2.1"]);
        server.dig("-x 10.1.1.1").is("NOERROR", &["1.1.1.10.in-addr.arpa. PTR vr-1.demo.local."]);
        // The other type is not there, the name is.
        server.dig("web1.demo.local AAAA").is_not_there("NOERROR", "demo.local.");
        server.dig("demo.local A").is_not_there("NOERROR", "demo.local.");
        server.dig("web9.demo.local A").is_not_there("NXDOMAIN", "demo.local.");
        server
            .dig("demo.local SOA")
            .is("NOERROR", &["demo.local. SOA demo.local. nobody.invalid. 1 3600 1200 604800 10"]);
        // Every guest network is served at its own address.
        server
            .dig_from("guest2", OTHER, "web1.demo.local A")
            .is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
        // The letters come back as they were sent.
        let mixed = server.dig("wEb1.DEMO.lOcal A");
        mixed.is("NOERROR", &["wEb1.DEMO.lOcal. A 10.1.1.20"]);
        assert!(mixed.text.contains(";wEb1.DEMO.lOcal."), "{}", mixed.text);
        server.dig("+tcp web1.demo.local A").is("NOERROR", &["web1.demo.local. A 10.1.1.20"]);
    });
}

#[test]
fn records_of_every_type_are_answered() {
    let lab = site();
    let records = json!({
        "a": {"name": "many.demo.local", "type": "A", "values": ["10.1.1.30", "10.1.1.31"], "ttl_seconds": 30},
        "a2": {"name": "web1.demo.local", "type": "A", "values": ["10.1.1.20", "10.1.1.32"], "ttl_seconds": 300},
        "aaaa": {"name": "six.demo.local", "type": "AAAA", "values": ["2001:db8::5"]},
        "txt": {"name": "demo.local", "type": "TXT", "values": ["v=vrouter", "two words"]},
        "srv": {"name": "_sip._udp.demo.local", "type": "SRV", "values": ["10 60 5060 web1.demo.local.", "0 0 0 ."]},
        "mx": {"name": "demo.local", "type": "MX", "values": ["10 mail.demo.local."]},
        "ptr": {"name": "99.1.1.10.in-addr.arpa", "type": "PTR", "values": ["extra.demo.local."]},
        "cname": {"name": "www.demo.local", "type": "CNAME", "values": ["alias.demo.local."]},
        "cname2": {"name": "alias.demo.local", "type": "CNAME", "values": ["web1.demo.local."]},
        "dead": {"name": "dead.demo.local", "type": "CNAME", "values": ["gone.demo.local."]},
        "round": {"name": "round.demo.local", "type": "CNAME", "values": ["round2.demo.local."]},
        "round2": {"name": "round2.demo.local", "type": "CNAME", "values": ["round.demo.local."]},
        "star": {"name": "*.apps.demo.local", "type": "A", "values": ["10.1.1.40"]},
        "below": {"name": "real.apps.demo.local", "type": "TXT", "values": ["here"]},
        "public": {"name": "override.example.com", "type": "A", "values": ["10.1.1.50"]},
    });
    let upstream = Upstream::start(&lab, "upstream", "192.0.2.53", [203, 0, 113, 53]);
    Server::run(&lab, document(json!({"dns": {"records": records}})), |server| {
        server
            .dig("many.demo.local A")
            .is("NOERROR", &["many.demo.local. A 10.1.1.30", "many.demo.local. A 10.1.1.31"]);
        assert_eq!(server.dig("many.demo.local A").ttl(), 30);
        // Clients do not all take the same one.
        let firsts: std::collections::BTreeSet<String> =
            (0..40).map(|_| server.dig("many.demo.local A").section("ANSWER")[0].clone()).collect();
        assert_eq!(firsts.len(), 2, "{firsts:?}");
        // A host and a record of one name are one set, each address once.
        let both = server.dig("web1.demo.local A");
        both.is("NOERROR", &["web1.demo.local. A 10.1.1.20", "web1.demo.local. A 10.1.1.32"]);
        assert_eq!(both.ttl(), 60);
        server.dig("six.demo.local AAAA").is("NOERROR", &["six.demo.local. AAAA 2001:db8::5"]);
        server.dig("six.demo.local A").is_not_there("NOERROR", "demo.local.");
        let texts = ["demo.local. TXT \"two words\"", "demo.local. TXT \"v=vrouter\""];
        server.dig("demo.local TXT").is("NOERROR", &texts);
        let services =
            ["_sip._udp.demo.local. SRV 0 0 0 .", "_sip._udp.demo.local. SRV 10 60 5060 web1.demo.local."];
        server.dig("_sip._udp.demo.local SRV").is("NOERROR", &services);
        server.dig("_udp.demo.local A").is_not_there("NOERROR", "demo.local.");
        server.dig("demo.local MX").is("NOERROR", &["demo.local. MX 10 mail.demo.local."]);
        server.dig("-x 10.1.1.99").is("NOERROR", &["99.1.1.10.in-addr.arpa. PTR extra.demo.local."]);
        let chain = [
            "alias.demo.local. CNAME web1.demo.local.",
            "web1.demo.local. A 10.1.1.20",
            "web1.demo.local. A 10.1.1.32",
            "www.demo.local. CNAME alias.demo.local.",
        ];
        server.dig("www.demo.local A").is("NOERROR", &chain);
        server.dig("www.demo.local CNAME").is("NOERROR", &chain[3..]);
        server.dig("dead.demo.local A").is("NXDOMAIN", &["dead.demo.local. CNAME gone.demo.local."]);
        server.dig("round.demo.local A").is("SERVFAIL", &[]);
        server.dig("any.apps.demo.local A").is("NOERROR", &["any.apps.demo.local. A 10.1.1.40"]);
        server.dig("a.b.apps.demo.local A").is("NOERROR", &["a.b.apps.demo.local. A 10.1.1.40"]);
        server.dig("any.apps.demo.local AAAA").is_not_there("NOERROR", "demo.local.");
        server.dig("real.apps.demo.local A").is_not_there("NOERROR", "demo.local.");
        server.dig("x.real.apps.demo.local A").is_not_there("NXDOMAIN", "demo.local.");
        // A record overrides one name of the world, in all its types, and no other.
        server.dig("override.example.com A").is("NOERROR", &["override.example.com. A 10.1.1.50"]);
        server.dig("override.example.com AAAA").is_not_there("NOERROR", "override.example.com.");
        server.dig("other.example.com A").is("NOERROR", &["other.example.com. A 203.0.113.53"]);
        assert_eq!(upstream.seen().len(), 1);
    });
}

#[test]
fn what_is_of_this_site_never_leaves_it() {
    let lab = site();
    let upstream = Upstream::start(&lab, "upstream", "192.0.2.53", [203, 0, 113, 53]);
    let second = Upstream::start(&lab, "upstream", "192.0.2.54", [203, 0, 113, 54]);
    let only_first =
        |patch| document(json!({"dns": {"forwarders": ["192.0.2.53"], "conditional_forwarders": patch}}));
    Server::run(&lab, only_first(json!({})), |server| {
        let local = [
            ("-x 10.1.1.23", "NXDOMAIN", "10.in-addr.arpa."),
            ("-x 10.200.0.1", "NXDOMAIN", "10.in-addr.arpa."),
            ("1.1.10.in-addr.arpa PTR", "NOERROR", "10.in-addr.arpa."),
            ("-x 172.20.3.4", "NXDOMAIN", "20.172.in-addr.arpa."),
            ("-x 192.168.7.7", "NXDOMAIN", "168.192.in-addr.arpa."),
            ("-x 100.64.0.1", "NXDOMAIN", "64.100.in-addr.arpa."),
            ("-x 169.254.1.1", "NXDOMAIN", "254.169.in-addr.arpa."),
            ("-x 127.0.0.1", "NXDOMAIN", "127.in-addr.arpa."),
            ("-x fd00::1", "NXDOMAIN", "d.f.ip6.arpa."),
            ("-x fe80::1", "NXDOMAIN", "8.e.f.ip6.arpa."),
            ("unknown.demo.local A", "NXDOMAIN", "demo.local."),
            ("a.b.unknown.lab.demo.local MX", "NXDOMAIN", "lab.demo.local."),
            ("printer A", "NXDOMAIN", "."),
            ("printer AAAA", "NXDOMAIN", "."),
            ("local A", "NOERROR", "."),
            ("secret.onion A", "NXDOMAIN", "onion."),
            ("a.invalid A", "NXDOMAIN", "invalid."),
            ("_dns.resolver.arpa SVCB", "NXDOMAIN", "resolver.arpa."),
            ("tv.home.arpa A", "NXDOMAIN", "home.arpa."),
            ("localhost MX", "NOERROR", "localhost."),
        ];
        for (question, status, zone) in local {
            server.dig(question).is_not_there(status, zone);
        }
        server.dig("localhost A").is("NOERROR", &["localhost. A 127.0.0.1"]);
        server.dig("any.localhost AAAA").is("NOERROR", &["any.localhost. AAAA ::1"]);
        server.dig("example.com ANY +notcp").is("NOERROR", &["example.com. HINFO \"RFC8482\" \"\""]);
        server.dig("web1.demo.local ANY +notcp").is("NOERROR", &["web1.demo.local. HINFO \"RFC8482\" \"\""]);
        assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
        // What validators ask about top-level domains does leave, and so does the rest of the world.
        server.dig("com DS").is_not_there("NOERROR", "example.com.");
        server.dig("-x 8.8.8.8").is("NOERROR", &["8.8.8.8.in-addr.arpa. PTR from-53.example.com."]);
        server.dig("-x 172.32.0.1").is("NOERROR", &["1.0.32.172.in-addr.arpa. PTR from-53.example.com."]);
        assert_eq!(upstream.seen().len(), 3);
        // Whoever forwards such a zone means it; known names stay ours.
        let reverse = json!({"r": {"domain": "10.in-addr.arpa", "forwarders": ["192.0.2.54"]},
                             "d": {"domain": "demo.local", "forwarders": ["192.0.2.54"]}});
        server.apply(only_first(reverse)).unwrap();
        server.dig("-x 10.200.0.1").is("NOERROR", &["1.0.200.10.in-addr.arpa. PTR from-54.example.com."]);
        server.dig("-x 10.1.1.20").is("NOERROR", &["20.1.1.10.in-addr.arpa. PTR web1.demo.local."]);
        server.dig("unknown.demo.local A").is("NOERROR", &["unknown.demo.local. A 203.0.113.54"]);
        server.dig("web1.demo.local AAAA").is_not_there("NOERROR", "web1.demo.local.");
        server.dig("unknown.lab.demo.local A").is_not_there("NXDOMAIN", "lab.demo.local.");
        assert_eq!((upstream.seen().len(), second.seen().len()), (3, 2));
    });
}

#[test]
fn a_change_is_a_name_at_once() {
    let lab = site();
    Server::run(&lab, document(json!({})), |server| {
        server.dig("new.demo.local A").is_not_there("NXDOMAIN", "demo.local.");
        let host = |name: &str, ip: &str| {
            document(
                json!({"dhcp": {"one": {"hosts": {"web1": null, "new": {"mac": "fa:aa:00:00:00:30", "ip": ip, "hostname": name}}}}}),
            )
        };
        server.apply(host("new", "10.1.1.20")).unwrap();
        server.dig("new.demo.local A").is("NOERROR", &["new.demo.local. A 10.1.1.20"]);
        server.dig("-x 10.1.1.20").is("NOERROR", &["20.1.1.10.in-addr.arpa. PTR new.demo.local."]);
        server.dig("web1.demo.local A").is_not_there("NXDOMAIN", "demo.local.");
        server.apply(host("newer", "10.1.1.33")).unwrap();
        server.dig("newer.demo.local A").is("NOERROR", &["newer.demo.local. A 10.1.1.33"]);
        server.dig("-x 10.1.1.20").is_not_there("NXDOMAIN", "10.in-addr.arpa.");
        assert_eq!(server.status().listeners[0].address.to_string(), ROUTER);
    });
}
