//! Generated documents: valid ones of every shape the wire allows, and edits that may or may not be valid.
//!
//! Guests are numbered; a guest's number says its MAC, address and name, so that what is generated agrees with itself
//! and collisions are only those that the generator asks for.

mod balancers;
mod ssh;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub(crate) use self::balancers::down;
use self::balancers::{balancer_edit, balancers};
pub(crate) use self::ssh::nearly_a_key;
use self::ssh::{ssh, ssh_edit};

/// A small number that means one guest, public address or port.
fn number() -> impl Strategy<Value = u8> {
    2u8..60
}

/// A valid document.
pub(crate) fn document() -> impl Strategy<Value = Value> {
    (shape(), guests(), translations(), rules(), records(), balancers(), ssh()).prop_map(
        |(shape, guests, translations, rules, records, balancers, ssh)| {
            let mut document = shape.document();
            guests.fill(&mut document, &shape);
            translations.fill(&mut document, &shape);
            document["firewall"] = rules;
            document["load_balancers"] = balancers;
            if records.1 {
                document["dns"] = records.0;
            }
            if !ssh.is_null() {
                document["ssh"] = ssh;
            }
            document
        },
    )
}

/// A merge patch: objects that come, go and change, some of them wrong.
pub(crate) fn edit() -> impl Strategy<Value = Value> {
    let eip = (number(), number(), any::<bool>()).prop_map(|(address, target, keep)| {
        json!({"address": format!("203.0.113.{address}"), "interface": "public", "target": format!("10.1.1.{target}"),
               "on_remove": if keep { "keep" } else { "drop" }})
    });
    let forward = (number(), number(), 0u8..3).prop_map(|(port, target, length)| {
        json!({"protocol": "tcp", "address": "198.51.100.5", "ports": format!("{port}-{}", port + length),
               "target": format!("10.1.1.{target}")})
    });
    let host = (number(), number()).prop_map(|(mac, ip)| {
        json!({"mac": format!("fa:aa:00:00:00:{mac:02x}"), "ip": format!("10.1.1.{ip}"), "hostname": format!("h{mac}")})
    });
    let member = |object: BoxedStrategy<Value>| {
        let change =
            prop_oneof![3 => object, 1 => Just(Value::Null), 1 => Just(json!({"target": "10.1.1.77"}))];
        prop::collection::btree_map("[a-e]", change, 0..4).prop_map(|map| json!(map))
    };
    let balancer = balancer_edit();
    (member(eip.boxed()), member(forward.boxed()), member(host.boxed()), balancer, ssh_edit(), 0u8..12)
        .prop_map(|(eips, forwards, hosts, balancers, ssh, which)| {
            let mut patch = Map::new();
            patch.insert("eips".into(), eips);
            patch.insert("port_forwards".into(), forwards);
            patch.insert("load_balancers".into(), balancers);
            patch.insert("dhcp".into(), json!({"guest": {"hosts": hosts}}));
            match which {
                0 => patch.insert("interfaces".into(), json!({"guest": {"mtu": 1400}})),
                1 => patch.insert("interfaces".into(), json!({"guest": {"addresses": ["10.1.1.1/25"]}})),
                2 => patch.insert("dns".into(), Value::Null),
                3 => patch.insert("snat".into(), Value::Null),
                4 => patch.insert(
                    "routes".into(),
                    json!({"r": {"destination": "10.9.0.0/16", "via": "10.1.1.250"}}),
                ),
                5 => patch.insert("dhcp".into(), json!({"guest": {"lease_seconds": 60}})),
                6 => patch.insert(
                    "qos".into(),
                    json!({"a": {"address": "203.0.113.110", "ingress_bits_per_second": 8000},
                           "b": {"address": "203.0.113.110", "port": 80, "egress_bits_per_second": 9000}}),
                ),
                7 => patch.insert("qos".into(), Value::Null),
                8 | 9 => patch.insert("ssh".into(), ssh),
                _ => None,
            };
            Value::Object(patch)
        })
}

/// How the interfaces are laid out.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Which roles share a device: none, public and management, guest and management, all three.
    merged: u8,
    second_public: bool,
    second_guest: bool,
    isolated: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (0u8..4, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(merged, second_public, second_guest, isolated)| Shape {
            merged,
            second_public,
            second_guest,
            isolated,
        },
    )
}

impl Shape {
    /// The interface that has the guests.
    const fn guest(self) -> &'static str {
        match self.merged {
            3 => "public",
            _ => "guest",
        }
    }

    fn document(self) -> Value {
        let (management, public, guest) = ("192.168.0.188/24", "198.51.100.5/24", "10.1.1.1/24");
        let mut interfaces = match self.merged {
            0 => json!({
                "mgmt": {"mac": "52:54:00:00:00:01", "roles": ["management"], "addresses": [management]},
                "public": {"mac": "52:54:00:00:00:02", "roles": ["public"], "addresses": [public],
                           "gateway": "198.51.100.1"},
                "guest": {"mac": "52:54:00:00:00:03", "roles": ["guest"], "addresses": [guest], "mtu": 1450}
            }),
            1 => json!({
                "public": {"device": "eth0", "roles": ["management", "public"], "addresses": [public],
                           "gateway": "198.51.100.1"},
                "guest": {"device": "eth1", "roles": ["guest"], "addresses": [guest]}
            }),
            2 => json!({
                "public": {"device": "eth0", "roles": ["public"], "addresses": [public], "gateway": "198.51.100.1"},
                "guest": {"device": "eth1", "roles": ["guest", "management"], "addresses": [management, guest]}
            }),
            _ => json!({
                "public": {"device": "eth0", "roles": ["guest", "management", "public"],
                           "addresses": [public, guest], "gateway": "198.51.100.1"}
            }),
        };
        if self.second_public {
            interfaces["wan2"] = json!({"mac": "52:54:00:00:00:12", "roles": ["public"],
                                        "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"});
        }
        if self.second_guest {
            interfaces["guest2"] = json!({"mac": "52:54:00:00:00:13", "roles": ["guest"],
                                          "addresses": ["10.2.2.1/24"], "isolated": self.isolated});
        }
        json!({"version": 1, "hostname": "vr-1", "interfaces": interfaces})
    }
}

#[derive(Debug, Clone)]
struct Guests {
    hosts: Vec<(u8, bool)>,
    range: bool,
    domain: bool,
    options: bool,
}

fn guests() -> impl Strategy<Value = Guests> {
    let hosts = prop::collection::btree_map(number(), any::<bool>(), 0..8);
    (hosts, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(hosts, range, domain, options)| Guests {
        hosts: hosts.into_iter().collect(),
        range,
        domain,
        options,
    })
}

impl Guests {
    fn fill(&self, document: &mut Value, shape: &Shape) {
        let hosts: Map<String, Value> = self
            .hosts
            .iter()
            .map(|(guest, main)| {
                let mut host = json!({"mac": format!("fa:aa:00:00:00:{guest:02x}"), "ip": format!("10.1.1.{guest}"),
                                      "hostname": format!("h{guest}")});
                if !main {
                    host["gateway"] = json!(false);
                }
                (format!("host-{guest}"), host)
            })
            .collect();
        let mut network = json!({"interface": shape.guest(), "hosts": hosts});
        if self.range {
            network["ranges"] = json!(["10.1.1.100-10.1.1.199"]);
        } else {
            network["subnet"] = json!("10.1.1.0/24");
        }
        if self.domain {
            network["domain"] = json!("demo.local");
        }
        if self.options {
            network["options"] = json!({"42": {"addresses": ["10.1.1.1"]}, "66": {"text": "boot"},
                                        "43": {"hex": "01:02:ff"}, "23": {"u8": 64}, "25": {"u16": 1},
                                        "2": {"u32": 7}});
            network["static_routes"] = json!([{"destination": "10.9.0.0/16", "via": "10.1.1.254"}]);
        }
        document["dhcp"] = json!({"guest": network});
    }
}

#[derive(Debug, Clone)]
struct Translations {
    snat: bool,
    eips: Vec<(u8, bool)>,
    forwards: Vec<(u8, u8, u8)>,
}

fn translations() -> impl Strategy<Value = Translations> {
    let eips = prop::collection::btree_map(number(), any::<bool>(), 0..8);
    let forwards = prop::collection::btree_map(number(), (number(), 0u8..4), 0..8);
    (any::<bool>(), eips, forwards).prop_map(|(snat, eips, forwards)| Translations {
        snat,
        eips: eips.into_iter().collect(),
        forwards: forwards.into_iter().map(|(port, (target, kind))| (port, target, kind)).collect(),
    })
}

impl Translations {
    fn fill(&self, document: &mut Value, shape: &Shape) {
        if self.snat {
            document["snat"] = json!({"guest": {"source": "10.1.1.0/24", "interface": "public"}});
            if shape.second_public {
                document["snat"]["second"] =
                    json!({"source": "10.2.2.0/24", "interface": "wan2", "address": "192.0.2.9"});
            }
        }
        let eips: Map<String, Value> = self
            .eips
            .iter()
            .map(|(guest, second)| {
                let second = *second && shape.second_public;
                let (interface, net) = if second { ("wan2", "192.0.2") } else { ("public", "203.0.113") };
                let eip = json!({"address": format!("{net}.{}", guest + 100), "interface": interface,
                                 "target": format!("10.1.1.{guest}")});
                (format!("eip-{guest}"), eip)
            })
            .collect();
        let forwards: Map<String, Value> = self
            .forwards
            .iter()
            .map(|(port, target, kind)| {
                let base = u16::from(*port) * 10;
                let ports = match kind {
                    0 => json!({"ports": base.to_string()}),
                    1 => json!({"ports": format!("{base}-{}", base + 5)}),
                    2 => json!({"ports": format!("{base}-{}", base + 3),
                                "target_ports": format!("{}-{}", base + 7, base + 10)}),
                    _ => json!({"ports": base.to_string(), "target_ports": "22",
                                "allowed_sources": ["198.51.100.0/24", "192.0.2.7-192.0.2.9"]}),
                };
                let mut forward = json!({"protocol": if port % 2 == 0 { "tcp" } else { "udp" },
                                         "address": if port % 3 == 0 { "198.51.100.9" } else { "198.51.100.5" },
                                         "target": format!("10.1.1.{target}")});
                for (member, value) in ports.as_object().unwrap() {
                    forward[member] = value.clone();
                }
                (format!("forward-{port}"), forward)
            })
            .collect();
        document["eips"] = json!(eips);
        document["port_forwards"] = json!(forwards);
    }
}

fn rules() -> impl Strategy<Value = Value> {
    let action = || prop_oneof![Just("accept"), Just("drop"), Just("reject")];
    let service = prop_oneof![
        Just(json!({})),
        Just(json!({"protocol": "tcp", "destination_ports": ["80", "443", "8000-8010"]})),
        Just(json!({"protocol": "udp", "destination_ports": ["53"]})),
        Just(json!({"protocol": "icmp", "icmp_type": 8})),
        Just(json!({"protocol": "icmp"})),
        Just(json!({"protocol": 47})),
    ];
    let sources = prop_oneof![
        Just(json!(null)),
        Just(json!(["0.0.0.0/0"])),
        Just(json!(["192.0.2.1"])),
        Just(json!(["192.0.2.0/24", "198.51.100.7-198.51.100.20", "192.0.2.128/25"])),
    ];
    let direction = prop_oneof![Just("egress"), Just("ingress"), Just("between_guests")];
    let set_rule = (0u32..5, service.clone(), sources.clone(), action(), any::<bool>(), any::<bool>())
        .prop_map(|(priority, service, sources, action, log, enabled)| {
            let mut rule = service;
            rule["priority"] = json!(priority);
            rule["action"] = json!(action);
            rule["log"] = json!(log);
            rule["enabled"] = json!(enabled);
            if !sources.is_null() {
                rule["sources"] = sources;
            }
            rule
        });
    let set_rules = prop::collection::btree_map("[a-d]", set_rule, 0..4);
    let set = (any::<bool>(), action(), set_rules).prop_map(|(is_in, default, rules)| {
        let passage = if is_in { "in" } else { "out" };
        json!({"interface": "public", "passage": passage, "default": default, "rules": rules})
    });
    let sets = prop::collection::btree_map("[a-c]", set, 0..3);
    let rule = (0u32..5, direction, service, sources, action(), any::<bool>()).prop_map(
        |(priority, direction, service, sources, action, log)| {
            let mut rule = service;
            rule["priority"] = json!(priority);
            rule["direction"] = json!(direction);
            rule["action"] = json!(action);
            rule["log"] = json!(log);
            if !sources.is_null() {
                rule["sources"] = sources;
            }
            if direction == "ingress" {
                rule["interface"] = json!("public");
            }
            rule
        },
    );
    (prop::collection::btree_map("[a-h]", rule, 0..8), sets, action(), action()).prop_map(
        |(rules, sets, egress, ingress)| {
            json!({"rules": rules, "rule_sets": sets, "defaults": {"egress": egress, "ingress": ingress}})
        },
    )
}

fn records() -> impl Strategy<Value = (Value, bool)> {
    let record = prop_oneof![
        Just(json!({"type": "A", "values": ["10.1.1.30", "10.1.1.31"], "ttl_seconds": 30})),
        Just(json!({"type": "AAAA", "values": ["2001:db8::1"]})),
        Just(json!({"type": "TXT", "values": ["v=vrouter", "two"]})),
        Just(json!({"type": "SRV", "values": ["10 60 5060 h2.demo.local.", "0 0 1 ."]})),
        Just(json!({"type": "MX", "values": ["10 mail.demo.local."]})),
        Just(json!({"type": "PTR", "values": ["h2.demo.local."]})),
    ];
    (prop::collection::btree_map("[a-f]", record, 0..6), any::<bool>()).prop_map(|(records, served)| {
        let records: Map<String, Value> = records
            .into_iter()
            .map(|(id, mut record)| {
                record["name"] = json!(format!("{id}.records.local"));
                (id, record)
            })
            .collect();
        let dns = json!({"forwarders": ["192.0.2.53", "192.0.2.54:5353"], "records": records,
                         "conditional_forwarders": {"corp": {"domain": "corp.example", "forwarders": ["10.9.0.53"]}}});
        (dns, served)
    })
}
