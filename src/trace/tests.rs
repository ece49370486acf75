//! Packets traced through a router that has some of everything: who decides, and what the kernel lacks.

mod site;

use std::sync::Arc;

use serde_json::{Value, json};

use self::site::{Site, Told, line, tcp, udp};
use super::*;
use crate::plan::facts::{Route as KernelRoute, RouteKey, Sysctl};
use crate::plan::{Availability, BackendName, Surroundings, lower};

/// What comes in by which interface, from where, to where, and what it is; then what a trace says of it, as [`line`] writes.
const CASES: &str = include_str!("tests/cases.txt");

/// What a packet carries, as the cases write it.
fn carried(what: &str) -> Value {
    match what.split_once([':', '-']) {
        Some(("icmp", kind)) => json!({"icmp": {"type": kind.parse::<u8>().unwrap(), "code": 1}}),
        Some((protocol, port)) => {
            json!({"protocol": protocol, "ports": {"destination": port.parse::<u16>().unwrap()}})
        }
        None if what == "ping" => json!({}),
        None => json!({"protocol": what.parse::<u8>().unwrap()}),
    }
}

#[test]
fn who_decides_is_told_by_its_place() {
    let site = Site::new(json!({}));
    let mut wrong = String::new();
    for case in CASES.lines().filter(|case| !case.starts_with('#')) {
        let (asked, expected) = case.split_once(": ").unwrap();
        let [interface, source, destination, what] = *asked.split(' ').collect::<Vec<_>>() else {
            panic!("{case}")
        };
        let trace = site.trace(interface, source, destination, carried(what));
        assert!(trace.agrees, "{case}: {:#?}", trace.differences);
        let told = line(&trace);
        if told != expected {
            wrong.push_str(&format!(
                "{asked}\n  told     {told}\n  expected {expected}\n  {}\n",
                trace.reason
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// It answers on the management's addresses alone, whoever lets a packet in.
#[test]
fn ssh_is_told_where_it_is_on() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICUa3bWSqWJEU2VMkJe7zADi4kgouCpXjbt0Esh4J/ta";
    let ssh = json!({"ssh": {"keys": {"alice": {"public_key": key, "role": "read"}}}});
    let ask = |site: &Site, interface: &str, source: &str, destination: &str| {
        let trace = site.trace(interface, source, destination, tcp(22));
        assert!(trace.agrees, "{:#?}", trace.differences);
        line(&trace)
    };
    let (off, on) = (Site::new(json!({})), Site::new(ssh));
    for (site, interface, source, destination, expected) in [
        (&off, "mgmt", "192.168.0.10", "192.168.0.188", "dropped /interfaces/mgmt"),
        (&on, "mgmt", "192.168.0.10", "192.168.0.188", "local(ssh) /ssh"),
        (&on, "mgmt", "192.168.0.10", "10.1.1.1", "local(router) /interfaces/mgmt"),
        (&on, "guest", "10.1.1.50", "192.168.0.188", "dropped /interfaces/guest"),
        (&on, "public", "192.0.2.9", "198.51.100.5", "dropped /interfaces/public"),
    ] {
        let expected = format!("{expected} {source} -> {destination}:22");
        assert_eq!(ask(site, interface, source, destination), expected);
    }
}

#[test]
fn decisions_stand_in_the_order_in_which_they_are_made() {
    let site = Site::new(json!({}));
    let trace = site.trace("guest", "10.1.1.21", "192.0.2.9", tcp(80));
    let told: Vec<_> = trace
        .decisions
        .iter()
        .map(|one| {
            (one.stage, one.pointer.as_ref().map_or("-", |pointer| pointer.as_str()), one.detail.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (Stage::Steering, "/eips/web2", "what it begins leaves by `public2`"),
            (
                Stage::Route,
                "/interfaces/public2/gateway",
                "0.0.0.0/0 is by 203.0.113.1 of `public2`, table 118013"
            ),
            (
                Stage::Firewall,
                "/firewall/defaults/egress",
                "no firewall rule decides, and the default for egress accepts it"
            ),
            (Stage::SourceNat, "/eips/web2", "10.1.1.21 becomes 203.0.113.7"),
        ]
    );
    let trace = site.trace("guest2", "10.2.2.20", "10.9.1.1", tcp(80));
    assert_eq!(trace.decisions[1].pointer.as_ref().unwrap().as_str(), "/routes/branch", "{trace:#?}");
}

#[test]
fn a_balancer_tells_its_candidates() {
    let site = Site::new(json!({}));
    let trace = site.trace("public", "192.0.2.9", "198.51.100.8", tcp(80));
    let decision = &trace.decisions[0];
    let told = |decision: &Decision| -> Vec<_> {
        let name = |candidate: &Candidate| candidate.backend.as_ref().unwrap().to_string();
        decision.candidates.iter().map(|one| (name(one), one.share, one.verdict)).collect()
    };
    let accepted = Some(Verdict::Accepted);
    assert_eq!(told(decision), [("a".to_owned(), 0.6667, accepted), ("b".to_owned(), 0.3333, accepted)]);
    assert!(
        trace.assumptions.iter().any(|one| one.contains("load balancer kernel")),
        "{:?}",
        trace.assumptions
    );
    // One of them is where no device is.
    let mut without = Site::new(json!({}));
    let mut surroundings = Surroundings::clone(&without.target.surroundings);
    surroundings.links.remove("guest2");
    without.target.surroundings = surroundings.into();
    without.facts = lower(&without.target, None);
    let trace = without.trace("public", "192.0.2.9", "198.51.100.8", tcp(80));
    assert_eq!(trace.decisions[0].candidates[1].verdict, Some(Verdict::Dropped));
    // One of them is down, then both.
    let name = |backend: &str| BackendName {
        balancer: "kernel".parse().unwrap(),
        pool: "app".parse().unwrap(),
        backend: backend.parse().unwrap(),
    };
    let down = |names: &[&str]| Availability {
        down: names.iter().map(|one| name(one)).collect(),
        ..Availability::default()
    };
    let trace = Site::with(json!({}), down(&["a"])).trace("public", "192.0.2.9", "198.51.100.8", tcp(80));
    assert_eq!(line(&trace), "accepted /load_balancers/kernel 192.0.2.9 -> 10.2.2.20:80 on eth4");
    let trace =
        Site::with(json!({}), down(&["a", "b"])).trace("public", "192.0.2.9", "198.51.100.8", tcp(80));
    assert_eq!(line(&trace), "dropped /load_balancers/kernel/pools 192.0.2.9 -> 198.51.100.8:80");
    // By the source there is but one, and the same each time.
    let source = json!({"load_balancers": {"kernel": {"algorithm": "source", "stickiness": {"type": "source"}, "max_connections": 9}}});
    let site = Site::new(source);
    let trace = site.trace("public", "192.0.2.9", "198.51.100.8", tcp(80));
    assert_eq!(trace.decisions[0].candidates.len(), 1);
    let told = trace.assumptions.join("\n");
    assert!(told.contains("fewer than 9 connections"), "{told}");
    // The router's own serves by its pool.
    let trace = site.trace("public", "192.0.2.9", "198.51.100.8", tcp(81));
    assert_eq!(told_input(&trace), [("a".to_owned(), 1.0)]);
}

#[test]
fn a_rule_for_source_ports_is_about_those_alone() {
    let of = |ports: &[&str]| {
        let rule = json!({"priority": 1, "direction": "egress", "protocol": "tcp", "source_ports": ports, "action": "drop"});
        Site::new(json!({"firewall": {"rules": {"of": rule}}}))
    };
    let from = |port: u16| json!({"protocol": "tcp", "ports": {"source": port, "destination": 80}});
    for (site, inside, outside) in [(of(&["4000-4009", "4020"]), 4020, 4010), (of(&["4020"]), 4020, 4021)] {
        let trace = |what| site.trace("guest", "10.1.1.50", "192.0.2.9", what);
        assert_eq!(trace(from(inside)).verdict, Verdict::Dropped);
        assert_eq!(trace(from(outside)).verdict, Verdict::Accepted);
        let unsaid = trace(tcp(80));
        assert_eq!(unsaid.verdict, Verdict::Accepted);
        assert!(unsaid.assumptions.iter().any(|one| one.contains("rule of") && one.contains("source port")));
    }
}

#[test]
fn a_balancer_that_remembers_leads_where_the_source_went_before() {
    let sticky = || json!({"load_balancers": {"kernel": {"stickiness": {"type": "source"}}}});
    let asked = |remembered: Option<(&str, u16)>| {
        let remembered = remembered.map(|(address, port)| (address.parse().unwrap(), port));
        let site = Site { remembered, ..Site::new(sticky()) };
        site.trace("public", "192.0.2.9", "198.51.100.8", tcp(80))
    };
    let first = "accepted /load_balancers/kernel 192.0.2.9 -> 10.1.1.20:8080 on eth2";
    assert_eq!(line(&asked(None)), first);
    let trace = asked(Some(("10.2.2.20", 80)));
    assert_eq!(line(&trace), "accepted /load_balancers/kernel 192.0.2.9 -> 10.2.2.20:80 on eth4");
    assert_eq!(trace.decisions[0].candidates.len(), 1);
    assert!(trace.decisions[0].detail.ends_with("where 192.0.2.9 went before"), "{:?}", trace.decisions[0]);
    assert!(trace.agrees, "{:?}", trace.differences);
    // Who is gone is not gone to.
    assert_eq!(line(&asked(Some(("10.2.2.21", 80)))), first);
}

#[test]
fn a_bandwidth_is_taken_to_have_room() {
    let qos = json!({"qos": {
        "in": {"address": "198.51.100.7", "port": 80, "ingress_bits_per_second": 1_000_000},
        "out": {"address": "198.51.100.5", "egress_bits_per_second": 1_000_000}}});
    let site = Site::new(qos);
    let assumed = |trace: &Trace| trace.assumptions.join("\n");
    let trace = site.trace("public", "192.0.2.9", "198.51.100.7", tcp(80));
    assert_eq!(line(&trace), "accepted /firewall/rules/web-in 192.0.2.9 -> 10.1.1.20:80 on eth2");
    assert!(assumed(&trace).contains("qos in has room") && trace.agrees, "{trace:#?}");
    let trace = site.trace("guest", "10.1.1.50", "192.0.2.9", tcp(80));
    assert!(assumed(&trace).contains("qos out has room"), "{trace:#?}");
    assert!(!assumed(&site.trace("public", "192.0.2.9", "198.51.100.7", tcp(443))).contains("qos"));
}

fn told_input(trace: &Trace) -> Vec<(String, f64)> {
    let input = trace.decisions.iter().find(|decision| decision.stage == Stage::Input).unwrap();
    input.candidates.iter().map(|one| (one.backend.as_ref().unwrap().to_string(), one.share)).collect()
}

#[test]
fn what_the_kernel_lacks_is_told() {
    let whole = Site::new(json!({}));
    let asked = |site: &Site| site.trace("public", "192.0.2.9", "198.51.100.7", tcp(80));
    let told = |trace: &Trace| -> Vec<String> {
        assert_eq!(trace.verdict, Verdict::Accepted, "the configuration decides");
        trace.differences.iter().map(|one| one.what.clone()).collect()
    };
    let with = |change: &dyn Fn(&mut Observed)| {
        let mut site = Site::new(json!({}));
        change(&mut site.observed);
        asked(&site)
    };
    assert!(asked(&whole).agrees);
    // An element, a rule, a foreign rule, the table, a route, forwarding, a link.
    let element = with(&|observed| {
        let table = observed.table.as_mut().unwrap();
        let set = Arc::make_mut(table.sets.get_mut("eips").unwrap());
        set.elements = Default::default();
    });
    assert_eq!(told(&element), ["destination_nat", "route", "firewall", "input", "verdict"]);
    let rule = with(&|observed| {
        let chain = observed.table.as_mut().unwrap().chains.get_mut("ingress_public").unwrap();
        chain.rules.remove(0);
    });
    assert_eq!(told(&rule), ["firewall", "verdict"]);
    assert_eq!(rule.differences[1].observed, "dropped");
    let foreign = with(&|observed| {
        let chain = observed.table.as_mut().unwrap().chains.get_mut("ingress_public").unwrap();
        chain.rules.insert(0, None);
    });
    assert_eq!(told(&foreign), ["chain ingress_public"]);
    // What is asked later does not matter to this packet.
    let behind = with(&|observed| {
        let chain = observed.table.as_mut().unwrap().chains.get_mut("ingress_public").unwrap();
        chain.rules.truncate(1);
    });
    assert!(behind.agrees, "{:?}", behind.differences);
    let table = with(&|observed| observed.table = None);
    assert_eq!(table.differences[0].what, "table inet vrouter");
    let forwarding = with(&|observed| {
        observed.sysctls.insert(Sysctl::Namespace("ipv4/ip_forward"), "0".to_owned());
    });
    assert!(told(&forwarding).contains(&"verdict".to_owned()), "{:?}", forwarding.differences);
    let link = with(&|observed| observed.links.get_mut(&12).unwrap().carrier = false);
    assert_eq!(told(&link), ["device eth2"]);
    let out = Site::new(json!({}));
    let trace = out.trace("guest", "10.1.1.50", "192.0.2.9", tcp(80));
    assert!(trace.agrees);
    let mut without = Site::new(json!({}));
    let default = RouteKey { table: 254, destination: "0.0.0.0/0".parse().unwrap(), metric: 0 };
    assert!(matches!(without.observed.routes.remove(&default), Some(KernelRoute::Via(..))));
    let trace = without.trace("guest", "10.1.1.50", "192.0.2.9", tcp(80));
    assert_eq!(trace.verdict, Verdict::Accepted);
    assert!(trace.differences.iter().any(|one| one.what == "route"), "{:?}", trace.differences);
}

#[test]
fn the_kernel_has_its_own_word_on_the_way() {
    let site = Site::new(json!({}));
    let mut heard = None;
    let trace = site.trace_asking("guest", "10.1.1.21", "192.0.2.9", tcp(80), |question| {
        heard = Some(*question);
        Some(WayAnswer::Out { device: 13, via: Some("203.0.113.1".parse().unwrap()) })
    });
    assert!(trace.agrees, "{:?}", trace.differences);
    let heard = heard.unwrap();
    assert_eq!((heard.input, heard.mark, heard.source.to_string().as_str()), (12, 0x800d, "10.1.1.21"));
    let other = Some(WayAnswer::Out { device: 11, via: Some("198.51.100.9".parse().unwrap()) });
    let trace = site.trace_asking("guest", "10.1.1.21", "192.0.2.9", tcp(80), |_| other.clone());
    let difference = Difference {
        what: "the kernel's way".to_owned(),
        wanted: "by 203.0.113.1 on `public2`".to_owned(),
        observed: "by 198.51.100.9 on `public`".to_owned(),
    };
    assert_eq!(trace.differences, [difference]);
    let nowhere = Some(WayAnswer::Nowhere("Network is unreachable".to_owned()));
    let trace = site.trace_asking("guest", "10.1.1.21", "192.0.2.9", tcp(80), |_| nowhere.clone());
    assert!(!trace.agrees);
    // A source that cannot be is no question of routes.
    let trace =
        site.trace_asking("guest", "0.0.0.0", "255.255.255.255", udp(67), |_| panic!("it is not asked"));
    assert!(trace.agrees);
}

#[test]
fn an_interface_that_is_not_there_is_told_from_one_that_nobody_knows() {
    let site = Site::new(
        json!({"interfaces": {"gone": {"device": "eth9", "roles": ["guest"], "addresses": ["10.7.7.1/24"]}}}),
    );
    let trace = site.trace("gone", "10.7.7.20", "192.0.2.9", tcp(80));
    assert_eq!((trace.verdict, trace.agrees), (Verdict::Dropped, false));
    let question =
        json!({"interface": "none", "source": "10.7.7.20", "destination": "192.0.2.9", "protocol": "icmp"});
    let question = Question::read(question).unwrap();
    let Site { target, facts, observed, .. } = &site;
    let faults = Scene { generation: 7, target, wanted: facts, observed }
        .trace(&question, &mut Told { way: |_: &WayQuestion| None, remembered: None })
        .unwrap_err();
    assert_eq!(faults.as_slice()[0].pointer.as_str(), "/interface");
}
