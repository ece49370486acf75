//! The devices that the router makes for tagged networks, on a kernel made of facts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrouter::config::Config;
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::{Capabilities, Device, Link, Vlan};
use vrouter::plan::{Surroundings, Target, diff, lower, wanted_links};

use crate::surroundings::{ALL, capabilities, links};

/// Guest networks by number of the device and of the VLAN; 0 is what comes untagged.
type Wanted = BTreeSet<(u8, u16)>;

fn wanted() -> impl Strategy<Value = Wanted> {
    prop::collection::btree_set((1u8..4, 0u16..5), 0..8)
}

fn document(wanted: &Wanted) -> Value {
    let interfaces: BTreeMap<String, Value> = wanted
        .iter()
        .map(|(device, vlan)| {
            let mut interface = json!({
                "mac": format!("52:54:00:00:00:{device:02x}"), "roles": ["guest"],
                "addresses": [format!("10.{device}.{vlan}.1/24")],
            });
            if *vlan > 0 {
                interface["vlan"] = json!(vlan);
            }
            (format!("n{device}-{vlan}"), interface)
        })
        .collect();
    json!({"version": 1, "interfaces": interfaces})
}

fn target(config: Config, links: &BTreeMap<u32, Link>, vlan: bool) -> Target {
    let surroundings = Surroundings {
        links: wanted_links(config.interfaces(), links, vlan),
        capabilities: Capabilities { flowtable: true, vlan, ..capabilities() },
        management_ports: BTreeSet::new(),
        conntrack_max: 65_536,
        just_started: false,
    };
    Target { config, surroundings: Arc::new(surroundings), availability: Arc::default() }
}

/// The tagged networks of the router's own, by number of device and VLAN.
fn made(kernel: &FakeKernel) -> Wanted {
    let vlans = kernel.state.links.values().filter_map(|link| link.vlan.as_ref());
    vlans.filter(|vlan| vlan.ours).map(|vlan| (number(&vlan.parent), vlan.id)).collect()
}

/// The number that the device's MAC ends in.
fn number(device: &Device) -> u8 {
    u8::try_from(device.index - 1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One plan makes what is wanted and removes the rest, leaves what others made as it is, and then nothing is left to do.
    #[test]
    fn tagged_networks_come_and_go_and_those_of_others_stay(
        configurations in prop::collection::vec(wanted(), 1..5), foreign in (1u8..4, 1u16..5), vlan in any::<bool>(),
    ) {
        let mut kernel = FakeKernel::with_links(links(ALL));
        let carrier = kernel.state.links[&(u32::from(foreign.0) + 1)].clone();
        let others = Link {
            device: Device { index: 77, name: "others".into() },
            parent: Some(carrier.device.index),
            vlan: Some(Vlan { id: foreign.1, parent: carrier.device.clone(), parent_mtu: 1500, ours: false }),
            ..carrier
        };
        kernel.state.links.insert(77, others.clone());
        for wanted in configurations {
            let config = Config::default().replace(document(&wanted)).unwrap();
            let facts = lower(&target(config.clone(), &kernel.state.links, vlan), None);
            for sysctl in facts.sysctls.keys() {
                kernel.state.sysctls.entry(sysctl.clone()).or_insert_with(|| "0".to_owned());
            }
            let plan = diff(&facts, &kernel.state);
            for step in &plan.steps {
                kernel.take(step).unwrap_or_else(|error| panic!("{error}\n{plan}"));
            }
            let tagged = wanted.iter().filter(|network| network.1 > 0 && **network != foreign).copied();
            let expected: Wanted = if vlan { tagged.collect() } else { Wanted::new() };
            prop_assert_eq!(made(&kernel), expected);
            // What was planned of a device that was not there is what holds of it once it is.
            let again = lower(&target(config.clone(), &kernel.state.links, vlan), None);
            let left = diff(&again, &kernel.state);
            prop_assert!(left.is_empty(), "{}", left);
            let seen = &kernel.state.links[&77];
            prop_assert_eq!((&seen.device, &seen.vlan), (&others.device, &others.vlan));
            let found = target(config, &kernel.state.links, vlan).surroundings.links.clone();
            for ((device, tag), id) in wanted.iter().map(|network| (*network, format!("n{}-{}", network.0, network.1))) {
                let link = found.get(id.as_str());
                let vlan_of = link.and_then(|link| link.vlan.as_ref()).map(|vlan| (number(&vlan.parent), vlan.id));
                match tag {
                    0 => prop_assert!(link.is_some() && vlan_of.is_none()),
                    _ if vlan || (device, tag) == foreign => prop_assert_eq!(vlan_of, Some((device, tag))),
                    _ => prop_assert!(link.is_none()),
                }
            }
        }
    }
}
