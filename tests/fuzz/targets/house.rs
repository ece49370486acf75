//! The house of a router for targets that stand at a door: the real loop, the real store and the real reporter, over a
//! kernel made of facts and engines that take everything over. Part of the doors' targets, and of the law `door` in
//! `tests/laws`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vrouter::clock;
use vrouter::config::{Config, Id};
use vrouter::engines::Services;
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::{Counters, Link};
use vrouter::reconcile::{
    Change, Edit, EngineError, Engines, Handle, Loop, Published, Supervisor, Surroundings,
};
use vrouter::status::{KernelReadings, Reporter};
use vrouter::store::{Author, Generations};
use vrouter::system::{Machine, System};

use crate::surroundings::capabilities;

/// Engines that take everything over.
struct Willing;

impl Engines for Willing {
    async fn apply(&mut self, _: &Config, _: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A service manager that nobody asked for.
struct Nobody;

impl Supervisor for Nobody {
    fn ready(&mut self) {}
    fn alive(&mut self) {}
    fn status(&mut self, _: &str) {}
}

/// A running router.
pub(crate) struct House {
    pub(crate) runtime: Runtime,
    pub(crate) handle: Handle,
    pub(crate) services: Arc<Services>,
    pub(crate) reporter: Arc<Reporter>,
    /// The firmware of a machine that has none.
    pub(crate) system: Arc<System>,
    /// Where its store is; gone with it.
    #[cfg_attr(not(fuzzing), expect(dead_code, reason = "a fuzz target alone looks into it"))]
    pub(crate) folder: TempDir,
}

impl House {
    /// A router that remembers nothing, on a machine with these devices.
    pub(crate) fn blank(links: Vec<Link>) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = start(&folder, links);
        let (services, reporter) = runtime.block_on(async {
            let services = Arc::new(Services::open(folder.path()).expect("engines"));
            let kernel = KernelReadings {
                counters: Counters::default,
                addresses: || None,
                connections: |_| Ok(Default::default()),
                balanced: Box::new(Default::default),
            };
            (
                services.clone(),
                Arc::new(Reporter::new(handle.clone(), services, kernel, vrouter::status::Start::default())),
            )
        });
        let machine = Machine::new(folder.path().join("machine"), None);
        let (now, trial) = (clock::moment(), Duration::from_secs(180));
        let system =
            System::open(machine, folder.path(), "0.1.0", trial, (now, &clock::mark())).expect("a state");
        Self { runtime, handle, services, reporter, system: Arc::new(system), folder }
    }

    /// A router that runs this document.
    pub(crate) fn new(links: Vec<Link>, document: Value) -> Self {
        let house = Self::blank(links);
        house.replace(document);
        house
    }

    /// Makes it run this document, whatever it runs now.
    pub(crate) fn replace(&self, document: Value) {
        let change = Change::new(Edit::Replace(document), Author::default());
        self.runtime.block_on(self.handle.change(change)).expect("a document without faults");
    }

    /// What it runs.
    pub(crate) fn published(&self) -> Arc<Published> {
        self.handle.published()
    }
}

/// Whether nothing has changed between two looks at a router.
pub(crate) fn same(before: &Published, after: &Published) -> bool {
    before.generation == after.generation && before.config == after.config
}

/// Starts the loop on a thread of its own, as the service does.
fn start(folder: &TempDir, links: Vec<Link>) -> Handle {
    let surroundings = Surroundings {
        capabilities: capabilities(),
        management_ports: BTreeSet::new(),
        conntrack_max: 65_536,
    };
    let store = Generations::open(folder.path()).expect("a store");
    let (sender, handle) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let made = Loop::new(FakeKernel::with_links(links), Willing, Nobody, store, surroundings);
        let (run, handle) = made.unwrap_or_else(|faults| panic!("{faults}"));
        sender.send(handle).expect("somebody waits");
        runtime.block_on(run.run(None));
    });
    handle.recv().expect("the loop")
}
