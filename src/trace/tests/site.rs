//! The router that packets are traced through in these tests, and a witness that says what a test wants.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Config;
use crate::plan::facts::{Capabilities, Device, Facts, Link, Name, Observed, WayAnswer, WayQuestion};
use crate::plan::{Availability, Surroundings, Target, find_links, lower};
use crate::trace::{Endpoints, Question, Scene, Trace, Witness};

/// A router with a management network, two ways out and two guest networks.
pub(super) struct Site {
    pub(super) target: Target,
    pub(super) facts: Facts,
    pub(super) observed: Observed,
    /// Where every balancer remembers that every source went.
    pub(super) remembered: Option<(Ipv4Addr, u16)>,
}

/// A witness that says what a test wants.
pub(super) struct Told<F> {
    pub(super) way: F,
    pub(super) remembered: Option<(Ipv4Addr, u16)>,
}

impl<F: FnMut(&WayQuestion) -> Option<WayAnswer>> Witness for Told<F> {
    fn way(&mut self, question: &WayQuestion) -> Option<WayAnswer> {
        (self.way)(question)
    }

    fn remembered(&mut self, _: &Name, _: Ipv4Addr) -> Option<(Ipv4Addr, u16)> {
        self.remembered
    }
}

pub(super) fn links() -> BTreeMap<u32, Link> {
    let link =
        |number: u32| Link::ethernet(Device { index: number + 10, name: format!("eth{number}").into() });
    (0..5).map(|number| (number + 10, link(number))).collect()
}

impl Site {
    pub(super) fn new(patch: Value) -> Self {
        Self::with(patch, Availability::default())
    }

    pub(super) fn with(patch: Value, availability: Availability) -> Self {
        let interface = |device: u8, role: &str, address: &str| json!({"device": format!("eth{device}"), "roles": [role], "addresses": [address]});
        let mut document = json!({"version": 1,
            "interfaces": {
                "mgmt": interface(0, "management", "192.168.0.188/24"),
                "public": interface(1, "public", "198.51.100.5/24"),
                "guest": interface(2, "guest", "10.1.1.1/24"),
                "public2": interface(3, "public", "203.0.113.5/24"),
                "guest2": interface(4, "guest", "10.2.2.1/24")},
            "routes": {"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.254"}},
            "dhcp": {"lan": {"interface": "guest", "ranges": ["10.1.1.100-10.1.1.199"]}},
            "dns": {"forwarders": ["192.0.2.53"]},
            "snat": {"guest": {"source": "10.1.1.0/24", "interface": "public"},
                     "guest2": {"source": "10.2.2.0/24", "interface": "public2", "address": "203.0.113.77"}},
            "eips": {"web1": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"},
                     "web2": {"address": "203.0.113.7", "interface": "public2", "target": "10.1.1.21"}},
            "port_forwards": {
                "ssh": {"protocol": "tcp", "address": "198.51.100.5", "ports": "2222", "target": "10.1.1.21",
                        "target_ports": "22", "allowed_sources": ["192.0.2.0/24"]},
                "span": {"protocol": "udp", "address": "198.51.100.5", "ports": "9000-9010", "target": "10.1.1.21"}},
            "load_balancers": {
                "kernel": {"address": "198.51.100.8", "port": 80, "protocol": "tcp", "denied_sources": ["192.0.2.66"],
                    "pools": {"app": {"backends": {"a": {"address": "10.1.1.20", "port": 8080, "weight": 200},
                                                    "b": {"address": "10.2.2.20", "port": 80}}}}},
                "proxy": {"address": "198.51.100.8", "port": 81, "protocol": "http", "allowed_sources": ["192.0.2.0/24"],
                    "pools": {"app": {"backends": {"a": {"address": "10.1.1.20", "port": 80}}}}}},
            "firewall": {"rules": {
                "web-in": {"priority": 1, "direction": "ingress", "protocol": "tcp", "destination_ports": ["80", "443-445"],
                           "address": "198.51.100.7", "action": "accept"},
                "ping-in": {"priority": 2, "direction": "ingress", "protocol": "icmp", "icmp_type": 8, "action": "accept"},
                "no-smtp": {"priority": 1, "direction": "egress", "protocol": "tcp", "destination_ports": ["25"],
                            "action": "reject"}}}});
        document["interfaces"]["public"]["gateway"] = json!("198.51.100.1");
        document["interfaces"]["public2"]["gateway"] = json!("203.0.113.1");
        let config = Config::default().replace(document).unwrap();
        let config = config.patch(patch).unwrap_or_else(|faults| panic!("{faults}"));
        let links = links();
        let capabilities = Capabilities {
            balancing: true,
            stickiness: true,
            connection_limit: true,
            ..Capabilities::default()
        };
        let surroundings = Surroundings {
            links: find_links(config.interfaces(), links.values()),
            capabilities,
            management_ports: [7270].into(),
            conntrack_max: 1000,
            just_started: false,
        };
        let target =
            Target { config, surroundings: surroundings.into(), availability: Arc::new(availability) };
        let facts = lower(&target, None);
        let observed = Observed { links, ..Observed::from(&facts) };
        Self { target, facts, observed, remembered: None }
    }

    pub(super) fn trace(&self, interface: &str, source: &str, destination: &str, more: Value) -> Trace {
        self.trace_asking(interface, source, destination, more, |_| None)
    }

    pub(super) fn trace_asking(
        &self,
        interface: &str,
        source: &str,
        destination: &str,
        more: Value,
        way: impl FnMut(&WayQuestion) -> Option<WayAnswer>,
    ) -> Trace {
        let mut question =
            json!({"interface": interface, "source": source, "destination": destination, "protocol": "icmp"});
        for (member, value) in more.as_object().unwrap() {
            question[member] = value.clone();
        }
        let question = Question::read(question).unwrap();
        let Self { target, facts, observed, .. } = self;
        let mut witness = Told { way, remembered: self.remembered };
        Scene { generation: 7, target, wanted: facts, observed }.trace(&question, &mut witness).unwrap()
    }
}

pub(super) fn tcp(port: u16) -> Value {
    json!({"protocol": "tcp", "ports": {"destination": port}})
}

pub(super) fn udp(port: u16) -> Value {
    json!({"protocol": "udp", "ports": {"destination": port}})
}

/// What a trace says, in a line: verdict, what decides, both ends behind translation, and the way out.
pub(super) fn line(trace: &Trace) -> String {
    let Endpoints { source, destination, ports, .. } = trace.translated;
    let port = ports.map(|ports| format!(":{}", ports.destination)).unwrap_or_default();
    let verdict = serde_json::to_value(trace.verdict).unwrap();
    let service = trace.service.map(|service| serde_json::to_value(service).unwrap());
    let service = service.map(|service| format!("({})", service.as_str().unwrap())).unwrap_or_default();
    let pointer = trace.pointer.as_ref().map_or("-", |pointer| pointer.as_str());
    let route = trace.route.as_ref().map(|route| {
        let via = route.via.map(|via| format!(" by {via}")).unwrap_or_default();
        format!(" on {}{via}", route.device)
    });
    format!(
        "{}{service} {pointer} {source} -> {destination}{port}{}",
        verdict.as_str().unwrap(),
        route.unwrap_or_default()
    )
}
