//! The loop over a folder, with a management plane that can be cut off.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use vrouter::config::Config;
use vrouter::kernel::fake::FakeKernel;
use vrouter::reconcile::{
    Answer, Change, ChangeError, Confirmed, Edit, Engines, Handle, Loop, Reach, Surroundings,
};
use vrouter::store::{Author, Generations};

use crate::reconcile::Manager;
use crate::surroundings::{ALL, capabilities, links};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Nothing;

impl Engines for Nothing {
    async fn apply(
        &mut self,
        _: &Config,
        _: &std::collections::BTreeMap<vrouter::config::Id, vrouter::plan::facts::Link>,
    ) -> Result<(), vrouter::reconcile::EngineError> {
        Ok(())
    }
}

/// A management plane that answers while it is told to.
#[derive(Debug, Clone, Default)]
pub(super) struct Plane(pub(super) Arc<AtomicBool>);

impl Reach for Plane {
    fn answers(&self, _: SocketAddr) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { self.0.load(Ordering::Relaxed) })
    }
}

pub(super) struct Router {
    pub(super) handle: Handle,
    pub(super) plane: Plane,
    life: JoinHandle<()>,
}

impl Router {
    pub(super) fn start(folder: &TempDir) -> Self {
        Self::on(folder, FakeKernel::with_links(links(ALL)))
    }

    pub(super) fn on(folder: &TempDir, kernel: FakeKernel) -> Self {
        let surroundings = Surroundings {
            capabilities: capabilities(),
            management_ports: Default::default(),
            conntrack_max: 65_536,
        };
        let store = Generations::open(folder.path()).unwrap();
        let (run, handle) = Loop::new(kernel, Nothing, Manager::default(), store, surroundings).unwrap();
        let plane = Plane::default();
        plane.0.store(true, Ordering::Relaxed);
        let life = tokio::task::spawn_local(run.with_reach(Arc::new(plane.clone())).run(None));
        Self { handle, plane, life }
    }

    /// Ends it; what was asked is done.
    pub(super) async fn end(self) {
        drop(self.handle);
        self.life.await.unwrap();
    }

    pub(super) async fn change(
        &self,
        edit: Edit,
        confirm: Option<u32>,
        from: Option<&str>,
    ) -> Result<Answer, ChangeError> {
        let author = Author { name: "token cloud".into(), from: from.map(str::to_owned) };
        self.handle.change(Change { confirm_seconds: confirm, ..Change::new(edit, author) }).await
    }

    pub(super) async fn confirm(&self, meant: Option<u64>) -> Result<Confirmed, ChangeError> {
        self.handle.confirm(meant, Author::default()).await
    }

    pub(super) async fn name(&self, name: &str, confirm: Option<u32>) -> Answer {
        self.change(Edit::Patch(json!({"hostname": name})), confirm, None).await.unwrap()
    }

    /// Waits until what is published is as it should be; looks each time that anybody else had a turn.
    pub(super) async fn until(
        &self,
        what: &str,
        mut holds: impl FnMut(&vrouter::reconcile::Published) -> bool,
    ) {
        let waiting = async {
            while !holds(&self.handle.published()) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    pub(super) fn runs(&self) -> (u64, Option<String>) {
        let published = self.handle.published();
        (published.generation, published.config.hostname().map(ToString::to_string))
    }

    pub(super) fn last_origin(&self) -> String {
        self.handle.published().generations.last().unwrap().origin.clone()
    }
}
