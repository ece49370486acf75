//! The kernel room on a real kernel: what it sends is what nft(8) would send, and what it reads is what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use vrouter::config::{Config, json};
use vrouter::kernel::{Kernel, Linux};
use vrouter::plan::facts::{Capabilities, Facts, Observed};
use vrouter::plan::{Plan, Surroundings, Target, diff, find_links, lower};

use crate::lab::Lab;

/// The devices that the cases of the planner ask for.
const DEVICES: [(&str, &str); 5] = [
    ("eth0", "52:54:00:00:00:01"),
    ("eth1", "52:54:00:00:00:02"),
    ("eth2", "52:54:00:00:00:03"),
    ("eth3", "52:54:00:00:00:12"),
    ("eth4", "52:54:00:00:00:13"),
];

/// A router with those devices, each on a network of its own.
fn router(lab: &mut Lab) {
    lab.namespace("router");
    for (device, mac) in DEVICES {
        let network = format!("net-{device}");
        lab.network(&network);
        lab.plug("router", device, mac, &network);
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A kernel with what it can do.
pub(crate) struct Hands {
    pub(crate) kernel: Linux,
    pub(crate) capabilities: Capabilities,
}

impl Hands {
    pub(crate) fn new() -> Self {
        let mut kernel = Linux::open().unwrap();
        let capabilities = kernel.capabilities().unwrap();
        Self { kernel, capabilities }
    }

    async fn facts(&mut self, config: &Config) -> Facts {
        let links = self.kernel.observe().await.unwrap().links;
        let surroundings = Surroundings {
            links: find_links(config.interfaces(), links.values()),
            capabilities: self.capabilities,
            management_ports: BTreeSet::from([7270]),
            conntrack_max: 65_536,
            just_started: false,
        };
        let target = Target {
            config: config.clone(),
            surroundings: Arc::new(surroundings),
            availability: Arc::default(),
        };
        lower(&target, None)
    }

    async fn observe(&mut self, facts: &Facts) -> Observed {
        let sysctls: Vec<_> = facts.sysctls.keys().cloned().collect();
        let mut observed = self.kernel.observe().await.unwrap();
        observed.sysctls = self.kernel.read_sysctls(&sysctls).unwrap();
        observed
    }

    /// Carries facts out, and checks that both ways of reading back show them.
    pub(crate) async fn carry_out(&mut self, facts: &Facts) -> Plan {
        let before = self.observe(facts).await;
        let plan = diff(facts, &before);
        for result in self.kernel.execute(&plan).await {
            assert!(result.error.is_none(), "{}: {}", result.step, result.error.unwrap());
        }
        let read_back = self.kernel.read_back(&before, &plan).await.unwrap();
        let whole = self.observe(facts).await;
        assert_eq!(diff(facts, &whole).to_string(), "", "what is there is what was wanted");
        assert_eq!(read_back.table, whole.table, "what was touched was read back as it is");
        assert_eq!((read_back.addresses, read_back.routes), (whole.addresses, whole.routes));
        plan
    }
}

fn document(path: &Path) -> Value {
    json::parse(&fs::read(path).unwrap()).unwrap()
}

fn example() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/router.json");
    Config::default().replace(document(&path)).unwrap()
}

/// The table of a namespace as nft shows it: its sets and chains in the order of their names.
pub(crate) fn table(lab: &Lab, namespace: &str) -> String {
    let text = lab.ok(namespace, "nft -s list table inet vrouter");
    let mut blocks: Vec<&str> = text.split("\n\t}").map(str::trim).collect();
    if let Some(first) = blocks.first_mut() {
        *first = first.trim_start_matches("table inet vrouter {").trim();
    }
    blocks.sort_unstable();
    blocks.join("\n}\n")
}

/// What is sent for every case of the planner is what nft sends for the same words.
#[test]
fn the_table_is_what_nft_makes_of_the_same_words() {
    let mut lab = Lab::new();
    router(&mut lab);
    lab.namespace("nft");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/plan");
    let mut compared = 0;
    let mut folders: Vec<_> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for case in folders {
        let mut config = Config::default();
        for number in 1.. {
            let (whole, patch) =
                (case.join(format!("{number}.json")), case.join(format!("{number}.patch.json")));
            config = if whole.exists() {
                config.replace(document(&whole)).unwrap()
            } else if patch.exists() {
                config.patch(document(&patch)).unwrap()
            } else {
                break;
            };
        }
        let ruleset = lab.inside("router", || {
            runtime().block_on(async {
                let mut hands = Hands::new();
                let facts = hands.facts(&config).await;
                hands.carry_out(&facts).await;
                facts.ruleset.map(|ruleset| ruleset.to_string())
            })
        });
        // nft has no words for a balancer that remembers its sources.
        let Some(ruleset) = ruleset.filter(|ruleset| !ruleset.contains("update @")) else { continue };
        let file = tempfile::NamedTempFile::new().unwrap();
        let anew = format!("add table inet vrouter\ndelete table inet vrouter\n{ruleset}");
        fs::write(file.path(), anew).unwrap();
        lab.ok("nft", &format!("nft -f {}", file.path().display()));
        assert_eq!(table(&lab, "router"), table(&lab, "nft"), "{}", case.display());
        compared += 1;
    }
    assert!(compared >= 6, "{compared} tables were compared");
}

/// A change of one object sends its elements, and what is there is read back.
#[test]
fn one_object_is_a_few_elements() {
    let mut lab = Lab::new();
    router(&mut lab);
    lab.inside("router", || {
        runtime().block_on(async {
            let mut hands = Hands::new();
            let config = example();
            let facts = hands.facts(&config).await;
            hands.carry_out(&facts).await;
            assert!(hands.carry_out(&facts).await.is_empty(), "nothing is left to do");
            let patch = serde_json::json!({
                "eips": {"new": {"address": "198.51.100.8", "interface": "public", "target": "10.1.1.30",
                                 "on_remove": "keep"}},
                "port_forwards": {"game": {"ports": "9000-9005", "target_ports": "9000-9005"}},
                "firewall": {"rules": {"no-smtp": {"destination_ports": ["25", "587"]}}}
            });
            let changed = config.patch(patch).unwrap();
            let facts = hands.facts(&changed).await;
            let plan = hands.carry_out(&facts).await;
            assert!(plan.to_string().lines().count() < 20, "{plan}");
            hands.carry_out(&Facts::default()).await;
        });
    });
    assert_eq!(lab.ok("router", "nft list ruleset").trim(), "");
    assert_eq!(lab.ok("router", "ip route show table all proto 118").trim(), "");
    assert!(!lab.ok("router", "ip address").contains("198.51.100"), "our addresses are gone");
}
