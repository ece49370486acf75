//! Laws of drift: what somebody does to the kernel is found and told, whatever is asked of the loop before it looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use vrouter::config::{Config, Id};
use vrouter::kernel::fake::FakeKernel;
use vrouter::kernel::{Kernel, KernelError, StepResult};
use vrouter::plan::Plan;
use vrouter::plan::facts::{Link, Observed, Sysctl, TableSeen};
use vrouter::reconcile::{Change, Edit, EngineError, Engines, Handle, Loop, Surroundings};
use vrouter::store::{Author, Generations};

use crate::reconcile::{Manager, block_on, example};
use crate::surroundings::{ALL, capabilities, links};

const PATIENCE: Duration = Duration::from_secs(30);

/// A kernel that others change too. It counts the changes of its ruleset, as the real one does.
#[derive(Debug, Clone)]
struct Shared {
    kernel: Arc<Mutex<(FakeKernel, u64)>>,
    /// The ruleset that was read last.
    read: u64,
}

impl Shared {
    fn new() -> Self {
        let kernel = FakeKernel::with_links(links(ALL));
        Self { kernel: Arc::new(Mutex::new((kernel, 0))), read: 0 }
    }

    /// What is there now.
    fn state(&self) -> Observed {
        self.kernel.lock().unwrap().0.state.clone()
    }

    /// Somebody changes something, and the ruleset with it: ours or another one.
    fn deed(&self, deed: impl FnOnce(&mut Observed)) {
        let mut kernel = self.kernel.lock().unwrap();
        deed(&mut kernel.0.state);
        kernel.1 += 1;
    }
}

impl Kernel for Shared {
    async fn observe(&mut self) -> Result<Observed, KernelError> {
        self.read = self.kernel.lock().unwrap().1;
        self.look().await
    }

    async fn observe_around(&mut self, table: Option<TableSeen>) -> Result<Observed, KernelError> {
        Ok(Observed { table, ..self.look().await? })
    }

    async fn look(&mut self) -> Result<Observed, KernelError> {
        Ok(Observed { sysctls: BTreeMap::new(), ..self.state() })
    }

    fn read_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError> {
        let mut state = self.state().sysctls;
        Ok(sysctls.iter().map(|one| (one.clone(), state.remove(one).unwrap_or("0".into()))).collect())
    }

    fn is_stale(&mut self) -> Result<bool, KernelError> {
        Ok(self.read != self.kernel.lock().unwrap().1)
    }

    async fn execute(&mut self, plan: &Plan) -> Vec<StepResult> {
        let mut kernel = self.kernel.lock().unwrap().0.clone();
        let results = kernel.execute(plan).await;
        let mut shared = self.kernel.lock().unwrap();
        *shared = (kernel, shared.1 + 1);
        results
    }

    async fn read_back(&mut self, before: &Observed, _: &Plan) -> Result<Observed, KernelError> {
        let known: Vec<Sysctl> = before.sysctls.keys().cloned().collect();
        let sysctls = self.read_sysctls(&known)?;
        Ok(Observed { sysctls, ..self.observe().await? })
    }
}

#[derive(Debug)]
struct Nothing;

impl Engines for Nothing {
    async fn apply(&mut self, _: &Config, _: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A loop that nobody tells of events: it looks now and then.
fn router(folder: &TempDir, kernel: Shared) -> Handle {
    let surroundings = Surroundings {
        capabilities: capabilities(),
        management_ports: Default::default(),
        conntrack_max: 65_536,
    };
    let store = Generations::open(folder.path()).unwrap();
    let (run, handle) = Loop::new(kernel, Nothing, Manager::default(), store, surroundings).unwrap();
    tokio::task::spawn_local(run.run(None));
    handle
}

async fn ask(router: &Handle, document: Value, dry_run: bool) -> Vec<String> {
    let change = Change { dry_run, ..Change::new(Edit::Patch(document), Author::default()) };
    let answer = router.change(change).await.unwrap();
    answer.steps.into_iter().map(|step| step.step).collect()
}

/// Something that somebody does.
type Deed = fn(&mut Observed);

fn flush_forward(state: &mut Observed) {
    let table = state.table.as_mut().unwrap();
    table.chains.get_mut("forward").unwrap().rules.clear();
}

fn stop_forwarding(state: &mut Observed) {
    state.sysctls.insert(Sysctl::Namespace("ipv4/ip_forward"), "0".into());
}

#[test]
fn a_dry_run_hides_nothing_that_somebody_did() {
    let deeds: [(Deed, &str); 2] =
        [(flush_forward, "nft insert rule forward"), (stop_forwarding, "sysctl net/ipv4/ip_forward = 1")];
    for (deed, line) in deeds {
        block_on(async {
            let (folder, kernel) = (tempfile::tempdir().unwrap(), Shared::new());
            let router = router(&folder, kernel.clone());
            ask(&router, example(), false).await;
            let before = kernel.state();
            kernel.deed(deed);
            // A dry run tells what it would put right, and nothing of it is done or known; unless the loop happened to
            // look before it was asked.
            let steps = ask(&router, json!({"hostname": "other"}), true).await;
            let told = steps.iter().any(|step| step.starts_with(line.split(' ').next().unwrap()));
            assert!(told || router.published().drift.total > 0, "{steps:?}");
            let found = async {
                while router.published().drift.total == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never told: {line}"));
            let drift = router.published().drift.clone();
            let event = drift.events.front().unwrap();
            assert!(
                event.put_back && event.differences.iter().any(|told| told.starts_with(line)),
                "{event:?}"
            );
            assert_eq!(kernel.state(), before);
            assert_eq!((drift.total, router.published().repairs), (1, 1));
        });
    }
}

/// A change that comes first does not take what somebody did for a part of itself.
#[test]
fn a_change_tells_apart_what_it_does_and_what_somebody_did() {
    block_on(async {
        for mode in ["repair", "report"] {
            let (folder, kernel) = (tempfile::tempdir().unwrap(), Shared::new());
            let router = router(&folder, kernel.clone());
            ask(&router, example(), false).await;
            ask(&router, json!({"drift": mode}), false).await;
            let (before, generation) = (kernel.state(), router.published().generation);
            kernel.deed(flush_forward);
            let steps = ask(&router, json!({"hostname": "other"}), false).await;
            let drift = router.published().drift.clone();
            assert_eq!((drift.total, drift.present), (1, 0), "{mode}");
            let event = drift.events.front().unwrap();
            assert_eq!((event.generation, event.put_back), (generation, mode == "repair"), "{event:?}");
            assert!(
                event.differences.iter().any(|told| told.starts_with("nft insert rule forward")),
                "{event:?}"
            );
            // What is only reported stays until the next change, which this is.
            assert_eq!(steps.is_empty(), mode == "repair", "{mode}: {steps:?}");
            assert_eq!(kernel.state(), before, "{mode}");
        }
    });
}

/// What is asked of a configuration that is not there changes nothing of what is looked at afterwards.
#[test]
fn a_dry_run_of_something_else_is_no_drift() {
    block_on(async {
        let (folder, kernel) = (tempfile::tempdir().unwrap(), Shared::new());
        let router = router(&folder, kernel.clone());
        ask(&router, example(), false).await;
        let before = kernel.state();
        let other = json!({"eips": null, "interfaces": {"guest": {"addresses": ["10.9.9.1/24"]}}, "dhcp": null,
                           "routes": null, "snat": null, "port_forwards": null, "dns": null, "firewall": null});
        assert!(!ask(&router, other.clone(), true).await.is_empty());
        router.reload().await.unwrap();
        assert_eq!((router.published().drift.total, kernel.state()), (0, before));
        assert!(ask(&router, json!({"hostname": "other"}), true).await.is_empty());
    });
}
