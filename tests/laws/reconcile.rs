//! Laws of the loop, with a kernel made of facts, engines that remember, and a real store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use vrouter::config::{Config, Faults, Id};
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::Link;
use vrouter::reconcile::{
    Answer, Change, ChangeError, Edit, EngineError, Engines, Handle, Loop, Supervisor, Surroundings,
};
use vrouter::store::{Author, Generations};

use crate::generate::document;
use crate::surroundings::{ALL, capabilities, links};

/// Engines that remember what they were given, and refuse on demand.
#[derive(Debug, Clone, Default)]
struct Engine(Arc<Mutex<(Config, bool)>>);

impl Engines for Engine {
    async fn apply(&mut self, config: &Config, _: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        let mut state = self.0.lock().unwrap();
        if state.1 && !config.eips().is_empty() {
            return Err(EngineError {
                service: "dns",
                reason: "port 53 is taken".into(),
                faults: Faults::default(),
            });
        }
        state.0 = config.clone();
        Ok(())
    }
}

/// A service manager that remembers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manager(Arc<Mutex<Vec<String>>>);

impl Supervisor for Manager {
    fn ready(&mut self) {
        self.0.lock().unwrap().push("ready".into());
    }
    fn alive(&mut self) {}
    fn status(&mut self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

struct Router {
    handle: Handle,
    engine: Engine,
    manager: Manager,
}

/// A router over a state directory. Its loop runs in the background of the runtime.
fn router(folder: &TempDir, kernel: FakeKernel) -> Router {
    let (engine, manager) = (Engine::default(), Manager::default());
    let surroundings = Surroundings {
        capabilities: capabilities(),
        management_ports: BTreeSet::from([7270]),
        conntrack_max: 65_536,
    };
    let store = Generations::open(folder.path()).unwrap();
    let (run, handle) = Loop::new(kernel, engine.clone(), manager.clone(), store, surroundings).unwrap();
    tokio::task::spawn_local(run.run(None));
    Router { handle, engine, manager }
}

async fn post(router: &Router, document: Value) -> Result<Answer, ChangeError> {
    router.handle.change(Change::new(Edit::Replace(document), Author::default())).await
}

/// Runs a test on a thread of its own, with what it needs of a runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub(crate) fn example() -> Value {
    serde_json::from_str(include_str!("../examples/router.json")).unwrap()
}

#[test]
fn a_document_posted_again_changes_nothing_and_says_so() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = router(&folder, FakeKernel::with_links(links(ALL)));
        let first = post(&router, example()).await.unwrap();
        assert_eq!((first.generation, first.changed, first.changes.added), (1, true, 14));
        let again = post(&router, example()).await.unwrap();
        assert_eq!((again.generation, again.changed, again.step_count), (1, false, 0));
        assert!(router.manager.0.lock().unwrap().contains(&"ready".to_owned()));
    });
}

#[test]
fn a_dry_run_tells_the_steps_and_does_nothing() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = router(&folder, FakeKernel::with_links(links(ALL)));
        let change = Change {
            if_match: None,
            dry_run: true,
            ..Change::new(Edit::Replace(example()), Author::default())
        };
        let answer = router.handle.change(change).await.unwrap();
        assert!(
            answer.steps.iter().any(|step| step.step == "address add 10.1.1.1/24 dev eth2"),
            "{:?}",
            answer.steps
        );
        assert_eq!((answer.generation, router.handle.published().generation), (0, 0));
        assert_eq!(post(&router, example()).await.unwrap().step_count, answer.step_count);
    });
}

#[test]
fn a_caller_who_believes_in_another_generation_is_refused() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = router(&folder, FakeKernel::with_links(links(ALL)));
        post(&router, example()).await.unwrap();
        let change = Change {
            if_match: Some(7),
            dry_run: false,
            ..Change::new(Edit::Patch(json!({"hostname": "other"})), Author::default())
        };
        let error = router.handle.change(change).await.unwrap_err();
        assert!(matches!(error, ChangeError::Outdated { expected: 7, current: 1 }));
    });
}

/// Whatever step fails, the generation before runs on: in the kernel, in the engines, and in the store.
#[test]
fn a_failure_at_any_step_leaves_the_last_generation() {
    for fails_at in 0..200 {
        let done = block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut kernel = FakeKernel::with_links(links(ALL));
            kernel.fails_at = Some(fails_at);
            let router = router(&folder, kernel);
            let first = post(
                &router,
                json!({"version": 1, "interfaces": {
                "guest": {"mac": "52:54:00:00:00:03", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}}}),
            )
            .await;
            if first.is_err() {
                assert_eq!(router.handle.published().generation, 0);
                return false;
            }
            let second = post(&router, example()).await;
            let (running, document) =
                (router.handle.published(), Generations::open(folder.path()).unwrap().1);
            let stored = Config::default().replace(document.unwrap()).unwrap();
            assert_eq!(stored, running.config, "what is stored runs");
            assert_eq!(router.engine.0.lock().unwrap().0, running.config, "the engines run it too");
            match second {
                Ok(answer) => assert_eq!(running.generation, answer.generation),
                Err(error) => {
                    assert!(matches!(error, ChangeError::Kernel(..)), "{error}");
                    assert_eq!(running.generation, 1);
                    assert!(running.trouble.is_none(), "{:?}", running.trouble);
                    // What failed once does not fail for ever.
                    assert_eq!(post(&router, example()).await.unwrap().generation, 2);
                    return false;
                }
            }
            true
        });
        if done {
            assert!(fails_at > 10, "{fails_at} steps failed");
            return;
        }
    }
    panic!("every step failed");
}

#[test]
fn an_engine_that_refuses_takes_the_whole_change_back() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let router = router(&folder, FakeKernel::with_links(links(ALL)));
        let mut without = example();
        without.as_object_mut().unwrap().remove("eips");
        post(&router, without).await.unwrap();
        router.engine.0.lock().unwrap().1 = true;
        let error = post(&router, example()).await.unwrap_err();
        assert_eq!(error.to_string(), "dns: port 53 is taken; generation 1 runs on");
        assert_eq!(router.handle.published().config.eips().len(), 0);
    });
}

#[test]
fn generations_come_back_after_a_restart_and_by_rollback() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        {
            let router = router(&folder, FakeKernel::with_links(links(ALL)));
            post(&router, example()).await.unwrap();
            let patch = Edit::Patch(json!({"eips": {"7f0c": null}}));
            router
                .handle
                .change(Change { if_match: Some(1), dry_run: false, ..Change::new(patch, Author::default()) })
                .await
                .unwrap();
        }
        let router = router(&folder, FakeKernel::with_links(links(ALL)));
        assert_eq!(router.handle.published().generation, 2);
        assert!(router.handle.published().config.eips().is_empty());
        let back = Change::new(Edit::Rollback(1), Author::default());
        assert_eq!(router.handle.change(back).await.unwrap().generation, 3);
        assert_eq!(router.handle.published().config.eips().len(), 1);
        assert_eq!(router.handle.document(2).await.unwrap().unwrap().get("eips"), None);
        let lost = Change::new(Edit::Rollback(9), Author::default());
        assert!(matches!(router.handle.change(lost).await.unwrap_err(), ChangeError::Unknown(9)));
        let origins: Vec<_> = router
            .handle
            .published()
            .generations
            .iter()
            .map(|generation| generation.origin.clone())
            .collect();
        assert_eq!(origins, ["replace", "patch", "rollback to 1"]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    /// One configuration after another is the last one, and each says later what it said while it ran.
    #[test]
    fn the_last_configuration_counts(documents in prop::collection::vec(document(), 1..4)) {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let router = router(&folder, FakeKernel::with_links(links(ALL)));
            let last = Config::default().replace(documents.last().unwrap().clone()).unwrap();
            let mut said = Vec::new();
            for document in documents {
                post(&router, document).await.unwrap();
                let published = router.handle.published();
                said.push((published.generation, published.config.to_json()));
            }
            for (generation, document) in said.into_iter().filter(|(generation, _)| *generation > 0) {
                prop_assert_eq!(router.handle.document(generation).await.unwrap(), Some(document));
            }
            prop_assert_eq!(&router.handle.published().config, &last);
            prop_assert_eq!(&router.engine.0.lock().unwrap().0, &last);
            Ok(())
        })?;
    }
}
