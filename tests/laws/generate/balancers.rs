//! Load balancers by chance, edits of them, and backends that go down.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::number;

/// A backend; its id says its guest.
fn backend() -> impl Strategy<Value = Value> {
    let weight = prop_oneof![Just(100u32), Just(50), Just(0), Just(7), Just(1000)];
    (number(), weight, prop::bool::weighted(0.8), prop::bool::weighted(0.2)).prop_map(
        |(guest, weight, enabled, backup)| {
            json!({"address": format!("10.1.1.{guest}"), "port": 8000 + u16::from(guest), "weight": weight,
                   "enabled": enabled, "backup": backup})
        },
    )
}

/// A balancer with this number, which says where it is.
fn balancer(number: u8) -> impl Strategy<Value = Value> {
    let address = ["198.51.100.5", "198.51.100.8", "10.1.1.61"][usize::from(number) % 3];
    let port = 7000 + u16::from(number / 3);
    let backends =
        prop::collection::btree_map("[a-d]", backend(), 0..4).prop_filter("an endpoint once", |map| {
            let addresses: std::collections::BTreeSet<_> =
                map.values().map(|backend| backend["address"].to_string()).collect();
            addresses.len() == map.len()
        });
    let algorithm =
        prop_oneof![Just("round_robin"), Just("random"), Just("source"), Just("least_connections")];
    let sources = prop_oneof![
        Just(json!(null)),
        Just(json!(["192.0.2.0/24", "198.51.100.5"])),
        Just(json!(["10.1.1.0-10.1.1.9"])),
    ];
    let protocol = prop_oneof![Just("tcp"), Just("udp"), Just("http")];
    (backends, algorithm, protocol, sources, any::<[bool; 4]>()).prop_map(
        move |(backends, algorithm, protocol, sources, [sticky, denied, limited, drains])| {
            let algorithm =
                if protocol == "udp" && algorithm == "least_connections" { "random" } else { algorithm };
            let mut balancer = json!({"address": address, "port": port, "protocol": protocol,
                "algorithm": algorithm, "pools": {"main": {"backends": backends}}});
            if sticky {
                balancer["stickiness"] = json!({"type": "source", "seconds": 60});
            }
            if denied {
                balancer["denied_sources"] = json!(["192.0.2.66", "192.0.2.128/25"]);
            }
            if limited {
                balancer["max_connections"] = json!(100);
            }
            if !drains {
                balancer["drain_seconds"] = json!(0);
            }
            if !sources.is_null() {
                balancer["allowed_sources"] = sources;
            }
            balancer
        },
    )
}

pub(super) fn balancers() -> impl Strategy<Value = Value> {
    let some = prop::collection::btree_set(0u8..6, 0..4);
    some.prop_flat_map(|numbers| {
        let each: Vec<_> = numbers
            .into_iter()
            .map(|number| balancer(number).prop_map(move |balancer| (format!("b{number}"), balancer)))
            .collect();
        each.prop_map(|balancers| Value::Object(balancers.into_iter().collect()))
    })
}

/// Changes of balancers: another in its place, one that goes, a backend that comes, goes or changes.
pub(super) fn balancer_edit() -> impl Strategy<Value = Value> {
    let change = (0u8..6).prop_flat_map(|number| {
        let change = prop_oneof![
            2 => balancer(number),
            1 => Just(Value::Null),
            1 => Just(json!({"stickiness": null, "allowed_sources": null, "drain_seconds": 60})),
            2 => ("[a-d]", prop_oneof![3 => backend(), 1 => Just(Value::Null)])
                .prop_map(|(id, backend)| json!({"pools": {"main": {"backends": {id: backend}}}})),
        ];
        (Just(format!("b{number}")), change)
    });
    prop::collection::vec(change, 0..3).prop_map(|changes| Value::Object(changes.into_iter().collect()))
}

/// Which backends of the generated balancers are down.
pub(crate) fn down() -> impl Strategy<Value = Vec<[String; 3]>> {
    let name = ("b[0-5]", "[a-d]").prop_map(|(balancer, backend)| [balancer, "main".to_owned(), backend]);
    prop::collection::vec(name, 0..8)
}
