//! Configurations, the steps that they lead to, and the table that they end in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vrouter::config::{Config, json};
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::{Capabilities, Device, Link};
use vrouter::plan::{Availability, BackendName, Surroundings, Target, diff, lower, wanted_links};

/// Input: `1.json`, then `2.json` or `2.patch.json` and so on, posted one after the other; `2.down` names backends that
/// are down from then on, a balancer, a pool and a backend on each line, and `2.drained` that nothing drains any more; a
/// file `without` names devices that are not there and kernel features that are missing.
/// Output: `1.steps` and so on, what the kernel is asked to do; `ruleset.nft`, the table in the end.
#[test]
fn a_configuration_leads_to_these_steps() {
    super::run("plan", |case| {
        let without = fs::read_to_string(case.join("without")).unwrap_or_default();
        let without: BTreeSet<&str> = without.split_whitespace().collect();
        let links: Vec<Link> =
            links().into_iter().filter(|link| !without.contains(&*link.device.name)).collect();
        let mut kernel = FakeKernel::with_links(links);
        let mut config = Config::default();
        let mut ruleset = String::new();
        let mut before = None;
        let mut availability: Arc<Availability> = Arc::default();
        for number in 1.. {
            let posted = input(case, number);
            let published = published(case, number, &availability);
            if posted.is_none() && published.is_none() {
                break;
            }
            availability = published.unwrap_or(availability);
            if let Some((path, is_patch)) = posted {
                let value = json::parse(&fs::read(&path).unwrap()).unwrap();
                let next = if is_patch { config.patch(value) } else { config.replace(value) };
                let next = next.map_err(|faults| format!("{}: {faults}", path.display()))?;
                availability = availability.following(&config, &next);
                config = next;
            }
            let mut target = target(config.clone(), &kernel.state.links, &without);
            target.availability = availability.clone();
            let facts = lower(&target, before.as_ref().map(|(target, facts)| (target, facts)));
            for sysctl in facts.sysctls.keys() {
                kernel.state.sysctls.entry(sysctl.clone()).or_insert_with(|| "0".to_owned());
            }
            let plan = diff(&facts, &kernel.state);
            super::expect(case, &format!("{number}.steps"), &plan.to_string())?;
            for step in &plan.steps {
                kernel.take(step).map_err(|error| format!("{}: {error}", case.display()))?;
            }
            ruleset = facts.ruleset.as_ref().map(ToString::to_string).unwrap_or_default();
            before = Some((target, facts));
        }
        super::expect(case, "ruleset.nft", &ruleset)
    });
}

fn input(case: &Path, number: u32) -> Option<(PathBuf, bool)> {
    let [whole, patch] =
        [format!("{number}.json"), format!("{number}.patch.json")].map(|name| case.join(name));
    if whole.exists() { Some((whole, false)) } else { patch.exists().then_some((patch, true)) }
}

/// What the engine says of backends at this step, if it says something.
fn published(case: &Path, number: u32, before: &Availability) -> Option<Arc<Availability>> {
    let [down, drained] = ["down", "drained"].map(|name| case.join(format!("{number}.{name}")));
    if !down.exists() && !drained.exists() {
        return None;
    }
    let mut next = before.clone();
    if let Ok(text) = fs::read_to_string(down) {
        let name = |line: &str| {
            let [balancer, pool, backend] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let [balancer, pool, backend] = [balancer, pool, backend].map(|id: &str| id.parse().unwrap());
            BackendName { balancer, pool, backend }
        };
        next.down = text.lines().map(name).collect();
    }
    if drained.exists() {
        (next.draining, next.held) = Default::default();
    }
    Some(Arc::new(next))
}

fn links() -> Vec<Link> {
    [("eth0", 1, 1500), ("eth1", 2, 1500), ("eth2", 3, 1500), ("eth3", 0x12, 1500), ("eth4", 0x13, 1500)]
        .into_iter()
        .zip(2..)
        .map(|((name, last, mtu), index)| Link {
            mac: Some([0x52, 0x54, 0, 0, 0, last]),
            mtu,
            up: false,
            ..Link::ethernet(Device { index, name: name.into() })
        })
        .collect()
}

fn target(config: Config, links: &BTreeMap<u32, Link>, without: &BTreeSet<&str>) -> Target {
    let has = |feature| !without.contains(feature);
    let capabilities = Capabilities {
        flowtable: has("flowtable"),
        log_group: true,
        conntrack_size: true,
        balancing: has("balancing"),
        connection_limit: has("connection_limit"),
        stickiness: has("stickiness"),
        vlan: has("vlan"),
        vrf: false,
        wireguard: false,
    };
    let surroundings = Surroundings {
        links: wanted_links(config.interfaces(), links, capabilities.vlan),
        capabilities,
        management_ports: BTreeSet::from([7270]),
        conntrack_max: 65_536,
        just_started: false,
    };
    Target { config, surroundings: Arc::new(surroundings), availability: Arc::default() }
}
