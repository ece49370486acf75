//! The loop and the availability of backends: what the engine tells is planned with at once, without a new generation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use vrouter::config::{Config, Id};
use vrouter::kernel::fake::FakeKernel;
use vrouter::kernel::{Kernel, KernelError, StepResult};
use vrouter::plan::facts::{Capabilities, Link, Observed, Sysctl, TableSeen};
use vrouter::plan::{Availability, BackendName, Plan};
use vrouter::reconcile::{Change, Edit, EngineError, Engines, Handle, Loop, Surroundings};
use vrouter::store::{Author, Generations};

use crate::reconcile::{Manager, block_on};
use crate::surroundings::{ALL, links};

/// A kernel made of facts that tells what it was asked to do.
#[derive(Debug)]
struct Recording {
    kernel: FakeKernel,
    plans: Arc<Mutex<Vec<String>>>,
}

impl Kernel for Recording {
    async fn observe(&mut self) -> Result<Observed, KernelError> {
        self.kernel.observe().await
    }
    async fn observe_around(&mut self, table: Option<TableSeen>) -> Result<Observed, KernelError> {
        self.kernel.observe_around(table).await
    }
    fn read_sysctls(&mut self, sysctls: &[Sysctl]) -> Result<BTreeMap<Sysctl, String>, KernelError> {
        self.kernel.read_sysctls(sysctls)
    }
    fn is_stale(&mut self) -> Result<bool, KernelError> {
        self.kernel.is_stale()
    }
    async fn execute(&mut self, plan: &Plan) -> Vec<StepResult> {
        self.plans.lock().unwrap().push(plan.to_string());
        self.kernel.execute(plan).await
    }
    async fn read_back(&mut self, before: &Observed, plan: &Plan) -> Result<Observed, KernelError> {
        self.kernel.read_back(before, plan).await
    }
}

/// Engines whose health checks are the test's own.
#[derive(Debug)]
struct Engine(watch::Sender<Arc<Availability>>);

impl Engines for Engine {
    async fn apply(&mut self, _: &Config, _: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        Ok(())
    }
    fn availability(&self) -> watch::Receiver<Arc<Availability>> {
        self.0.subscribe()
    }
}

struct Router {
    handle: Handle,
    plans: Arc<Mutex<Vec<String>>>,
    health: watch::Sender<Arc<Availability>>,
}

impl Router {
    async fn start(folder: &tempfile::TempDir) -> Self {
        let plans: Arc<Mutex<Vec<String>>> = Arc::default();
        let health = watch::Sender::new(Arc::default());
        let kernel = Recording { kernel: FakeKernel::with_links(links(ALL)), plans: plans.clone() };
        let capabilities = Capabilities {
            balancing: true,
            connection_limit: true,
            stickiness: true,
            ..Capabilities::default()
        };
        let surroundings =
            Surroundings { capabilities, management_ports: Default::default(), conntrack_max: 65_536 };
        let store = Generations::open(folder.path()).unwrap();
        let (run, handle) =
            Loop::new(kernel, Engine(health.clone()), Manager::default(), store, surroundings).unwrap();
        tokio::task::spawn_local(run.run(None));
        let mut document: Value = serde_json::from_str(include_str!("../examples/router.json")).unwrap();
        let backend = |last: u8| json!({"address": format!("10.1.1.{last}"), "port": 80});
        document["load_balancers"] = json!({"web": {"address": "198.51.100.8", "port": 80, "protocol": "tcp",
            "pools": {"main": {"backends": {"a": backend(30), "b": backend(31)}}}}});
        let router = Self { handle, plans, health };
        router.change(Edit::Replace(document)).await;
        router
    }

    /// Makes a change; what the kernel was asked for it.
    async fn change(&self, edit: Edit) -> String {
        self.plans.lock().unwrap().clear();
        self.handle.change(Change::new(edit, Author::default())).await.unwrap();
        self.plans.lock().unwrap().join("")
    }

    /// Tells what backends are up to; what the kernel was asked for it.
    async fn tell(&self, availability: Availability) -> String {
        self.plans.lock().unwrap().clear();
        self.health.send_replace(Arc::new(availability));
        let asked = async {
            while self.plans.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .unwrap_or_else(|_| panic!("nothing is done"));
        self.plans.lock().unwrap().join("")
    }
}

fn down(backend: &str) -> Availability {
    let name = BackendName {
        balancer: "web".parse().unwrap(),
        pool: "main".parse().unwrap(),
        backend: backend.parse().unwrap(),
    };
    Availability { down: [name].into_iter().collect(), ..Availability::default() }
}

const FLUSH_A: &str = "conntrack flush to 198.51.100.8 protocol 6 port 80 at 10.1.1.30 port 80\n";

#[test]
fn a_backend_that_goes_down_leaves_the_map_without_a_generation() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder).await;
        let steps = router.tell(down("a")).await;
        assert_eq!(
            steps,
            "nft delete element balancer_backends { 198.51.100.8 . tcp . 80 . 10.1.1.30 . 80 : 0x00000001 }\n\
             nft delete element balancer_slots_web { 0 : 10.1.1.30 . 80 }\n\
             nft delete element balancer_slots_web { 1 : 10.1.1.31 . 80 }\n\
             nft add element balancer_slots_web { 0 : 10.1.1.31 . 80 }\n\
             nft delete rule balancer_web index 0 count 1\n\
             nft insert rule balancer_web index 0 meta l4proto tcp dnat ip to numgen inc mod 1 map \
             @balancer_slots_web comment \"load balancer web\"\n"
                .to_owned() + FLUSH_A
        );
        let back = router.tell(Availability::default()).await;
        assert!(back.contains("add element balancer_backends") && !back.contains("conntrack"), "{back}");
        let published = router.handle.published();
        assert_eq!((published.generation, published.repairs), (1, 0));
        assert!(published.trouble.is_none());
    });
}

#[test]
fn a_backend_that_is_disabled_drains_until_the_engine_says_that_it_has() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::start(&folder).await;
        let disable =
            json!({"load_balancers": {"web": {"pools": {"main": {"backends": {"a": {"enabled": false}}}}}}});
        let steps = router.change(Edit::Patch(disable)).await;
        assert!(steps.contains("10.1.1.30 . 80 : 0x00000002") && !steps.contains("conntrack"), "{steps}");
        // Whatever else changes, it goes on draining.
        router.handle.reload().await.unwrap();
        let other = router.change(Edit::Patch(json!({"eips": {"7f0c": null}}))).await;
        assert!(!other.contains("balancer"), "{other}");
        // The engine says nothing of it any more: it has drained.
        let over = router.tell(down("b")).await;
        assert!(over.contains(FLUSH_A), "{over}");
        let removed =
            router.change(Edit::Patch(json!({"load_balancers": {"web": {"drain_seconds": 0}}}))).await;
        assert!(!removed.contains("conntrack"), "{removed}");
        router.tell(Availability::default()).await;
        let removed = router.change(Edit::Patch(json!({"load_balancers": {"web": null}}))).await;
        assert!(removed.contains("conntrack flush"), "there is no time to drain: {removed}");
    });
}
