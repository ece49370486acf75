//! Laws of the trace: over every configuration and any packet it says who decides, and what it names is there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrouter::config::Config;
use vrouter::plan::facts::{Facts, Name, Observed, WayAnswer, WayQuestion};
use vrouter::plan::{Surroundings, Target, find_links, lower};
use vrouter::trace::{Question, Scene, Trace, Witness};

use crate::generate::document;
use crate::surroundings::{ALL, capabilities, links};

/// A kernel that says nothing that is not among its facts.
struct Silent;

impl Witness for Silent {
    fn way(&mut self, _: &WayQuestion) -> Option<WayAnswer> {
        None
    }

    fn remembered(&mut self, _: &Name, _: Ipv4Addr) -> Option<(Ipv4Addr, u16)> {
        None
    }
}

/// A router that has carried a document out.
struct Site {
    target: Target,
    facts: Facts,
    observed: Observed,
}

impl Site {
    fn new(document: Value) -> Self {
        let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
        let mut links = links(ALL);
        links.iter_mut().for_each(|link| link.up = true);
        let surroundings = Surroundings {
            links: find_links(config.interfaces(), links.iter()),
            capabilities: capabilities(),
            management_ports: BTreeSet::from([7270]),
            conntrack_max: 65_536,
            just_started: false,
        };
        let target = Target { config, surroundings: Arc::new(surroundings), availability: Arc::default() };
        let facts = lower(&target, None);
        let links = links.into_iter().map(|link| (link.device.index, link)).collect();
        let observed = Observed { links, ..Observed::from(&facts) };
        Self { target, facts, observed }
    }

    fn trace(&self, question: &Question) -> Trace {
        let Self { target, facts, observed } = self;
        let scene = Scene { generation: 1, target, wanted: facts, observed };
        scene.trace(question, &mut Silent).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// A question about the interface of this number.
    fn question(&self, interface: prop::sample::Index, packet: &Value) -> Question {
        let interfaces: Vec<_> = self.target.config.interfaces().keys().collect();
        let mut question = packet.clone();
        question["interface"] = json!(interfaces[interface.index(interfaces.len())]);
        Question::read(question).unwrap_or_else(|faults| panic!("{faults}"))
    }
}

/// Addresses that the generated documents know, and any others.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    let known = [
        "198.51.100.5",
        "198.51.100.8",
        "198.51.100.9",
        "10.1.1.1",
        "10.1.1.61",
        "10.2.2.1",
        "192.0.2.5",
        "192.0.2.9",
        "192.168.0.188",
        "255.255.255.255",
        "10.1.1.255",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
    ];
    prop_oneof![
        2 => prop::sample::select(known.to_vec()).prop_map(|text| text.parse().unwrap()),
        2 => (2u8..60).prop_map(|guest| Ipv4Addr::new(10, 1, 1, guest)),
        2 => (2u8..60).prop_map(|guest| Ipv4Addr::new(203, 0, 113, guest + 100)),
        1 => (2u8..60).prop_map(|guest| Ipv4Addr::new(192, 0, 2, guest)),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

fn packet() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        2 => (2u16..60, 0u16..10).prop_map(|(base, more)| base * 10 + more),
        1 => 7000u16..7003,
        1 => prop::sample::select(&[22u16, 53, 67, 80, 443, 7270][..]),
        1 => 1u16..,
    ];
    let carried = prop_oneof![
        3 => port.clone().prop_map(|port| json!({"protocol": "tcp", "ports": {"destination": port}})),
        3 => port.prop_map(|port| json!({"protocol": "udp", "ports": {"destination": port}})),
        1 => any::<(u8, u8)>().prop_map(|(kind, code)| json!({"protocol": "icmp", "icmp": {"type": kind, "code": code}})),
        1 => Just(json!({"protocol": "icmp"})),
        1 => Just(json!({"protocol": 47})),
    ];
    (address(), address(), carried).prop_map(|(source, destination, mut packet)| {
        packet["source"] = json!(source);
        packet["destination"] = json!(destination);
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A kernel that is as it should be does as it should, whatever the packet, and all that decides is in the document.
    #[test]
    fn what_decides_is_in_the_document(
        document in document(),
        packets in prop::collection::vec((any::<prop::sample::Index>(), packet()), 1..40),
    ) {
        let site = Site::new(document);
        let document = site.target.config.to_json();
        for (interface, packet) in packets {
            let trace = site.trace(&site.question(interface, &packet));
            prop_assert!(trace.agrees, "{packet}: {:#?}", trace.differences);
            let deciding = trace.decisions.iter().filter_map(|decision| decision.pointer.as_ref());
            for pointer in deciding.chain(&trace.pointer) {
                // Defaults are not written out.
                let is_default = pointer.as_str().starts_with("/firewall/defaults/");
                prop_assert!(is_default || document.pointer(pointer.as_str()).is_some(), "{packet}: {pointer}");
            }
            prop_assert!(!trace.reason.is_empty() && !trace.assumptions.is_empty());
        }
    }

    /// Whatever a kernel lacks, the configuration alone gives the verdict; and where nothing that decided is gone, the
    /// kernel agrees.
    #[test]
    fn what_the_kernel_lacks_changes_no_verdict(
        document in document(),
        packets in prop::collection::vec((any::<prop::sample::Index>(), packet()), 1..20),
        lost in any::<[prop::sample::Index; 4]>(),
        kind in 0u8..5,
    ) {
        let whole = Site::new(document);
        let mut observed = whole.observed.clone();
        let table = observed.table.as_mut().unwrap();
        match kind {
            0 => {
                let name = table.chains.keys().nth(lost[0].index(table.chains.len())).unwrap().clone();
                let chain = table.chains.get_mut(&name).unwrap();
                if !chain.rules.is_empty() {
                    chain.rules.remove(lost[1].index(chain.rules.len()));
                }
            }
            1 => {
                let name = table.chains.keys().nth(lost[0].index(table.chains.len())).unwrap().clone();
                table.chains.get_mut(&name).unwrap().rules.push(None);
            }
            2 => {
                let name = table.sets.keys().nth(lost[0].index(table.sets.len())).unwrap().clone();
                let set = Arc::make_mut(table.sets.get_mut(&name).unwrap());
                if !set.elements.is_empty() {
                    let key = *set.elements.keys().nth(lost[1].index(set.elements.len())).unwrap();
                    set.elements.remove(&key);
                }
            }
            3 => observed.table = None,
            _ => {
                let key = observed.routes.keys().nth(lost[0].index(observed.routes.len())).copied();
                observed.routes = key.map(|key| observed.routes.without(&key)).unwrap_or_default();
            }
        }
        let Site { target, facts, .. } = &whole;
        let less = Site { target: target.clone(), facts: facts.clone(), observed };
        for (interface, packet) in packets {
            let question = whole.question(interface, &packet);
            let (before, after) = (whole.trace(&question), less.trace(&question));
            prop_assert_eq!(before.verdict, after.verdict);
            prop_assert_eq!(before.decisions, after.decisions);
            prop_assert_eq!(after.agrees, after.differences.is_empty());
            prop_assert!(kind != 3 || !after.agrees);
        }
    }
}
