//! What becomes of a change: the answer, or why nothing changed.

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::EngineError;
use super::confirm::Unconfirmed;
use crate::clock;
use crate::config::{self, ChangeKind, Config, Faults};
use crate::kernel::{KernelError, StepResult};
use crate::plan::Plan;
use crate::store::StoreError;
use crate::store::content::Content;
use crate::store::generations::Number;

/// How many objects and steps an answer names; it always counts all of them.
const NAMED: usize = 100;
/// How many steps a dry run names.
const NAMED_IN_PLAN: usize = 10_000;

/// What became of a change.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Answer {
    /// The generation that runs now.
    pub generation: Number,
    /// Whether anything changed; a document that is posted again changes nothing.
    pub changed: bool,
    /// What differs from the generation before.
    pub changes: ChangeSummary,
    /// What was done, or would be.
    pub steps: Vec<StepReport>,
    /// How many steps there are in all.
    pub step_count: usize,
    /// How long it took, in milliseconds, durable and verified.
    pub took_ms: f64,
    /// What comes back, and when, unless it is confirmed; absent where nothing waits to be confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
}

/// Which objects differ.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct ChangeSummary {
    /// How many objects are new.
    pub added: usize,
    /// How many objects are others now.
    pub changed: usize,
    /// How many objects are gone.
    pub removed: usize,
    /// The objects, up to a hundred.
    pub objects: Vec<config::Change>,
}

/// One step, in the words of a person.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StepReport {
    /// What was done.
    pub step: String,
    /// How long it took, in milliseconds; absent where it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The document has faults.
    #[error("the configuration has faults")]
    Faults(Faults),
    /// The caller believes in another generation than the one that runs.
    #[error("generation {current} runs, not {expected}: read it, and apply the change to that")]
    Outdated {
        /// The generation of the caller.
        expected: Number,
        /// The generation that runs.
        current: Number,
    },
    /// The generation is not remembered.
    #[error("generation {0} is not remembered; GET /v1/generations lists those that are")]
    Unknown(Number),
    /// The kernel refused a step.
    #[error("{0}; generation {1} runs on")]
    Kernel(KernelError, Number),
    /// The kernel took every step and is not as it should be.
    #[error("after every step the kernel still differs: {difference}; generation {generation} runs on")]
    NotVerified {
        /// The first steps that would still be needed.
        difference: String,
        /// The generation that runs.
        generation: Number,
    },
    /// An engine refused.
    #[error("{0}; generation {1} runs on")]
    Engine(EngineError, Number),
    /// The disk refused.
    #[error("{0}; generation {1} runs on")]
    Store(StoreError, Number),
    /// Nothing waits to be confirmed.
    #[error("nothing waits to be confirmed; generation {0} runs")]
    NothingWaits(Number),
    /// Too many requests wait.
    #[error("{waiting} changes are waiting already; try again")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The service is ending.
    #[error("the service is stopping")]
    Stopping,
}

/// What is told of a change, and what is stored of it.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Which objects differ.
    pub(super) changes: ChangeSummary,
    /// What is stored: what leads from the last generation to this one, or the first one whole.
    pub(super) content: Content,
}

impl Comparison {
    /// Compares on another thread: with ten thousand objects it takes as long as a good part of the change. The first
    /// record is whole, numbers that were left out included, so it says later what it says now.
    pub(super) fn start(
        before: &Config,
        after: &Config,
        running: Number,
    ) -> impl Future<Output = Result<Self, ChangeError>> + use<> {
        let (before, after) = (before.clone(), after.clone());
        let whole = running == 0;
        let comparison = spawn_blocking(move || {
            let differences = config::changes(&before, &after);
            let content = match whole {
                true => Content::whole(&after.document()),
                false => Content::leading(&differences.patch, || after.document()),
            };
            content.map(|content| Self { changes: ChangeSummary::of(&differences.objects), content })
        });
        async move {
            // It panics only after a bug, and is not cancelled before the process ends.
            let comparison = comparison.await.map_err(|_| ChangeError::Stopping)?;
            comparison.map_err(|error| ChangeError::Store(error, running))
        }
    }
}

impl Answer {
    /// The answer where nothing was done.
    pub(super) fn unchanged(generation: Number, changes: ChangeSummary, took: Duration) -> Self {
        let changed = changes.added + changes.changed + changes.removed > 0;
        let took_ms = milliseconds(took);
        Self { generation, changed, changes, steps: Vec::new(), step_count: 0, took_ms, unconfirmed: None }
    }
}

impl ChangeSummary {
    pub(super) fn of(changes: &[config::Change]) -> Self {
        let count = |kind| changes.iter().filter(|change| change.change == kind).count();
        Self {
            added: count(ChangeKind::Added),
            changed: count(ChangeKind::Changed),
            removed: count(ChangeKind::Removed),
            objects: changes.iter().take(NAMED).cloned().collect(),
        }
    }
}

impl StepReport {
    pub(super) fn done(results: &[StepResult]) -> Vec<Self> {
        let report = |result: &StepResult| Self {
            step: result.step.clone(),
            took_ms: Some(milliseconds(result.took)),
        };
        results.iter().take(NAMED).map(report).collect()
    }

    pub(super) fn planned(plan: &Plan) -> Vec<Self> {
        let lines = plan.steps.iter().flat_map(|step| step.lines(NAMED_IN_PLAN));
        lines.take(NAMED_IN_PLAN).map(|step| Self { step, took_ms: None }).collect()
    }
}

/// Runs a part of a change; with `RUST_LOG=debug` the log says how long each takes.
pub(super) async fn timed<T>(part: &str, work: impl Future<Output = T>) -> T {
    let begin = clock::moment();
    let done = work.await;
    tracing::debug!(took_ms = milliseconds(begin.elapsed()), "{part}");
    done
}

/// A time as the API tells it.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
