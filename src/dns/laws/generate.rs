//! Generated configurations full of names that meet, and queries that hit and miss them. Only for tests.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::super::query::Edns;
use super::super::query::tests::query;
use super::super::wire::{flag, kind};
use crate::config::{Config, Id};
use crate::plan::facts::{Device, Link};

/// The domains that networks have; the last has none. One is within another.
const DOMAINS: [Option<&str>; 4] = [Some("demo.local"), Some("lab.demo.local"), Some("corp.example"), None];
/// The owners of records that are no other names.
const OWNERS: [&str; 12] = [
    "h1.demo.local",
    "db.demo.local",
    "demo.local",
    "*.apps.demo.local",
    "deep.x.apps.demo.local",
    "*.wild.example",
    "a.y.wild.example",
    "*.corp.example",
    "www.example.com",
    "single",
    "9.1.1.10.in-addr.arpa",
    "x.localhost",
];
/// The owners of records that are other names.
const ALIASES: [&str; 6] = [
    "alias.demo.local",
    "loop.demo.local",
    "pool.demo.local",
    "*.alias.example",
    "far.example.com",
    "7.2.1.10.in-addr.arpa",
];
/// What other names lead to.
const TARGETS: [&str; 9] = [
    "h1.demo.local",
    "h2.lab.demo.local",
    "alias.demo.local",
    "loop.demo.local",
    "pool.demo.local",
    "nothing.demo.local",
    "www.upstream.example",
    "x.alias.example",
    "h3.corp.example",
];
/// The domains that may be forwarded.
const FORWARDED: [&str; 5] =
    ["demo.local", "corp.example", "y.wild.example", "1.1.10.in-addr.arpa", "in-addr.arpa"];
/// Labels that queries are made of.
const LABELS: [&str; 18] = [
    "h1", "h2", "h3", "vr", "db", "demo", "local", "lab", "apps", "x", "deep", "wild", "example", "corp",
    "alias", "com", "y", "*",
];

/// A valid configuration that serves DNS.
pub(super) fn document() -> impl Strategy<Value = Value> {
    let networks = (0usize..4, 0usize..4, prop::collection::btree_map(2u8..12, 1u8..5, 0..6), any::<bool>()).prop_map(
        |(first, second, hosts, behind)| {
            let hosts = |subnet: u8| -> Map<String, Value> {
                let host = |(ip, name): (&u8, &u8)| {
                    let mac = format!("fa:aa:00:00:{subnet:02x}:{ip:02x}");
                    (format!("i{ip}"), json!({"mac": mac, "ip": format!("10.1.{subnet}.{ip}"), "hostname": format!("h{name}")}))
                };
                hosts.iter().filter(|(ip, _)| subnet != 2 || *ip % 2 == 0).map(host).collect()
            };
            let network = |interface: &str, domain: usize, subnet: u8| {
                let mut network = json!({"interface": interface, "hosts": hosts(subnet), "subnet": format!("10.1.{subnet}.0/24")});
                if let Some(domain) = DOMAINS[domain] {
                    network["domain"] = json!(domain);
                }
                network
            };
            let mut networks = json!({"one": network("one", first, 1), "two": network("two", second, 2)});
            if behind {
                networks["behind"] = network("one", second, 9);
            }
            networks
        },
    );
    let forwarded = subsequence(FORWARDED.to_vec(), 0..=FORWARDED.len()).prop_map(|domains| {
        let forwarder = |(index, domain): (usize, &str)| {
            (format!("c{index}"), json!({"domain": domain, "forwarders": [format!("192.0.2.{}", index + 1)]}))
        };
        domains.into_iter().enumerate().map(forwarder).collect::<Map<String, Value>>()
    });
    (networks, records(), forwarded, any::<bool>(), any::<bool>()).prop_map(
        |(networks, records, forwarded, named, forwards)| {
            let mut document = json!({
                "version": 1,
                "interfaces": {
                    "one": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
                    "two": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.2.1/24", "172.16.0.1/16"]},
                },
                "routes": {"behind": {"destination": "10.1.9.0/24", "via": "10.1.1.254"}},
                "dhcp": networks,
                "dns": {"records": records, "conditional_forwarders": forwarded,
                        "forwarders": if forwards { json!(["198.51.100.53"]) } else { json!([]) }},
            });
            if named {
                document["hostname"] = json!("vr");
            }
            document
        },
    )
}

fn records() -> impl Strategy<Value = Map<String, Value>> {
    let data = prop_oneof![
        Just(json!({"type": "A", "values": ["10.1.1.30", "203.0.113.9"], "ttl_seconds": 30})),
        Just(json!({"type": "A", "values": ["10.1.1.31"], "ttl_seconds": 300})),
        Just(json!({"type": "AAAA", "values": ["2001:db8::1"]})),
        Just(json!({"type": "TXT", "values": ["v=vrouter", "x".repeat(300), ""], "ttl_seconds": 7})),
        Just(json!({"type": "SRV", "values": ["10 60 5060 h1.demo.local.", "0 0 1 ."]})),
        Just(json!({"type": "MX", "values": ["10 mail.demo.local."]})),
        Just(json!({"type": "PTR", "values": ["h2.demo.local.", "h3.demo.local."]})),
    ];
    let plain = prop::collection::vec((select(OWNERS.to_vec()), data), 0..8);
    let aliases = prop::collection::btree_map(select(ALIASES.to_vec()), select(TARGETS.to_vec()), 0..5);
    (plain, aliases).prop_map(|(plain, aliases)| {
        let plain = plain.into_iter().enumerate().map(|(index, (owner, mut record))| {
            record["name"] = json!(owner);
            (format!("r{index}"), record)
        });
        let aliases = aliases.into_iter().filter(|(owner, target)| owner != target).map(|(owner, target)| {
            (
                format!("a-{}", owner.replace('*', "any")),
                json!({"name": owner, "type": "CNAME", "values": [target], "ttl_seconds": 20}),
            )
        });
        plain.chain(aliases).collect()
    })
}

/// A name to ask for, in any case.
pub(super) fn name() -> impl Strategy<Value = String> {
    let any_of = |names: &[&str]| select(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let labels = prop::collection::vec(select(LABELS.to_vec()), 1..5).prop_map(|labels| labels.join("."));
    let address = (0u8..3, 0u8..3, 0u8..13, 1usize..=4, any::<bool>()).prop_map(
        |(second, third, fourth, labels, shared)| {
            let octets = [if shared { 100 } else { 10 }, second, third, fourth];
            let mut parts: Vec<String> = octets[..labels].iter().rev().map(ToString::to_string).collect();
            parts.push("in-addr.arpa".to_owned());
            parts.join(".")
        },
    );
    let below = (any_of(&LABELS), any_of(&OWNERS))
        .prop_map(|(label, owner)| format!("{label}.{}", owner.trim_start_matches("*.")));
    let name = prop_oneof![
        any_of(&OWNERS),
        any_of(&ALIASES),
        any_of(&TARGETS),
        labels,
        address,
        below,
        Just(String::new())
    ];
    (name, any::<u64>()).prop_map(|(name, case)| {
        let letter = |(index, letter): (usize, char)| {
            if case >> (index % 64) & 1 == 0 { letter } else { letter.to_ascii_uppercase() }
        };
        name.chars().enumerate().map(letter).collect()
    })
}

/// A query: its name, its type and its octets.
pub(super) fn question() -> impl Strategy<Value = (String, u16, Vec<u8>)> {
    let kinds = [
        kind::A,
        kind::AAAA,
        kind::CNAME,
        kind::PTR,
        kind::TXT,
        kind::SRV,
        kind::MX,
        kind::SOA,
        kind::NS,
        kind::DS,
        kind::ANY,
        kind::HTTPS,
    ];
    let edns = prop::option::of((prop_oneof![Just(0u16), Just(512), Just(1232), Just(4096)], any::<bool>()));
    (name(), select(kinds.to_vec()), edns).prop_map(|(name, kind, edns)| {
        let edns = edns.map(|(payload, dnssec_ok)| Edns { payload, version: 0, dnssec_ok });
        let octets = query(&name, kind, flag::RECURSION_DESIRED, edns);
        (name, kind, octets)
    })
}

/// The configuration of a document.
pub(super) fn config(document: Value) -> Config {
    Config::default().replace(document.clone()).unwrap_or_else(|faults| panic!("{faults}\n{document:#}"))
}

/// Devices for all interfaces.
pub(super) fn present() -> BTreeMap<Id, Link> {
    let link = |index: u32, name: &str| Link::ethernet(Device { index, name: name.into() });
    [("one", link(1, "eth0")), ("two", link(2, "eth1"))]
        .into_iter()
        .map(|(id, link)| (id.parse().unwrap(), link))
        .collect()
}
