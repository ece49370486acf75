//! The loop itself: requests, events and ticks, one at a time.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::audit;
use super::carry_out::Belief;
use super::change::{Answer, ChangeError, ChangeSummary, Comparison, StepReport, milliseconds, timed};
use super::confirm::Confirm;
use super::drift::{Drift, DriftCause};
use super::reach::{Reach, Tcp};
use super::repair::Rest;
use super::{Change, Edit, Engines, Handle, Published, QUEUE, Request, Supervisor};
use crate::clock::{self, Timestamp};
use crate::config::{Config, Faults};
use crate::kernel::{Events, Happened, Kernel, StepResult};
use crate::plan::Availability;
use crate::plan::facts::Capabilities;
use crate::store::generations::Number;
use crate::store::{Author, Generation, Generations};

/// How often the loop says that it is alive and asks whether somebody changed a value of `/proc/sys`, of which nobody tells:
/// it is put back within a second.
const TICK: Duration = Duration::from_millis(500);
/// A change of so many objects leaves memory behind that is worth returning.
const GREAT: usize = 1000;

/// What the loop is told of where it runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What the kernel can do.
    pub capabilities: Capabilities,
    /// The TCP ports of the API.
    pub management_ports: BTreeSet<u16>,
    /// How many connections fit the memory.
    pub conntrack_max: u32,
}

/// The loop. It owns the kernel, the engines and the store.
#[derive(Debug)]
pub struct Loop<K, E, S> {
    pub(super) kernel: K,
    pub(super) engines: E,
    pub(super) supervisor: S,
    pub(super) store: Generations,
    pub(super) surroundings: Surroundings,
    pub(super) published: Arc<ArcSwap<Published>>,
    requests: mpsc::Receiver<Request>,
    /// Which backends of balancers take connections, as the engines tell, and as is planned with.
    availabilities: watch::Receiver<Arc<Availability>>,
    pub(super) availability: Arc<Availability>,
    pub(super) belief: Belief,
    pub(super) config: Config,
    pub(super) rest: Rest,
    pub(super) drift: Drift,
    pub(super) confirm: Confirm,
    pub(super) reach: Arc<dyn Reach>,
    /// When the loop was made: what its limits count from.
    pub(super) begin: Instant,
    /// Whether a great change was made since the last tick: memory of it can go back.
    pub(super) owes_memory: bool,
}

impl<K: Kernel, E: Engines, S: Supervisor> Loop<K, E, S> {
    /// A loop over a store, with the handle by which it is asked. `document` is what the store remembers; `first` is what
    /// a router starts from that remembers nothing.
    ///
    /// # Errors
    /// What is remembered is not a configuration of this version.
    pub fn new(
        kernel: K,
        engines: E,
        supervisor: S,
        (store, document): (Generations, Option<Value>),
        surroundings: Surroundings,
    ) -> Result<(Self, Handle), Faults> {
        let config =
            document.map_or_else(|| Ok(Config::default()), |document| Config::default().replace(document))?;
        let (sender, requests) = mpsc::channel(QUEUE);
        let published = Arc::new(ArcSwap::from_pointee(Published {
            started: clock::now(),
            generation: store.last(),
            verified: None,
            config: config.clone(),
            links: Default::default(),
            capabilities: surroundings.capabilities,
            generations: Arc::new(store.known().iter().cloned().collect()),
            trouble: None,
            last_change: None,
            repairs: 0,
            drift: Arc::default(),
            unconfirmed: None,
            went_back: None,
        }));
        let handle = Handle { requests: sender, published: published.clone() };
        let mut availabilities = engines.availability();
        let availability = availabilities.borrow_and_update().clone();
        let engine = Self {
            kernel,
            engines,
            supervisor,
            store,
            surroundings,
            published,
            requests,
            availabilities,
            availability,
            belief: Belief::default(),
            config,
            rest: Rest::default(),
            drift: Drift::default(),
            confirm: Confirm::default(),
            reach: Arc::new(Tcp),
            begin: clock::moment(),
            owes_memory: true,
        };
        Ok((engine, handle))
    }

    /// The same loop, looking for whoever asks in another way.
    #[must_use]
    pub fn with_reach(self, reach: Arc<dyn Reach>) -> Self {
        Self { reach, ..self }
    }

    /// Runs until the last handle is gone. `events` is what the kernel tells; without it, ticks alone find changes out.
    pub async fn run(mut self, mut events: Option<Events>) {
        self.take_up().await;
        self.restore().await;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let looked = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => {
                        let looked = match &request {
                            Request::Change(Change { dry_run: false, .. }, _) => {
                                self.look_before_change(&mut events).await
                            }
                            _ => Ok(()),
                        };
                        self.answer(request).await;
                        looked
                    }
                    None => return,
                },
                happened = next(&mut events) => match happened {
                    Ok(happened) => self.look(happened, &mut events).await,
                    Err(error) => Err(error),
                },
                () = change(&mut self.availabilities) => {
                    self.rebalance().await;
                    Ok(())
                }
                why = self.confirm.ends() => {
                    self.go_back(why).await;
                    Ok(())
                }
                _ = ticks.tick() => self.tick(&mut events).await,
            };
            if let Err(error) = looked {
                tracing::error!(%error, "the kernel's events are lost; changes are found by looking now and then");
                events = None;
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        // Whoever asked may have gone; what was done is done and published.
        match request {
            Request::Change(change, reply) => {
                let author = change.author.clone();
                let answer = self.change(change).await;
                if let Err(error) = &answer {
                    audit::refused(&author, error);
                    // What was refused may have been great; it is gone by now.
                    self.owes_memory |= matches!(error, ChangeError::Faults(_));
                }
                let _ = reply.send(answer);
                self.shrink().await;
            }
            Request::Confirm(meant, author, reply) => {
                let _ = reply.send(self.confirm(meant, &author).await);
            }
            Request::Document(generation, reply) => {
                let running = self.published.load().generation;
                let document = self.store.document(generation);
                let _ = reply.send(document.map_err(|error| ChangeError::Store(error, running)));
            }
            Request::Trace(question, reply) => {
                let _ = reply.send(self.trace(&question).await);
            }
            Request::Reload(reply) => {
                self.belief.observed = None;
                self.put_back(DriftCause::Foreign, None).await;
                let _ = reply.send(());
            }
        }
    }

    /// Makes a change, or nothing of it.
    pub(super) async fn change(&mut self, change: Change) -> Result<Answer, ChangeError> {
        let begin = clock::moment();
        if !change.dry_run {
            self.go_back_if_over().await;
            self.settle().await?;
        }
        let running = self.store.last();
        if let Some(expected) = change.if_match.filter(|expected| *expected != running) {
            return Err(ChangeError::Outdated { expected, current: running });
        }
        let (next, origin) = timed("read", async { self.read(change.edit) }).await?;
        // What is told and stored of a change is worked out beside the change itself.
        let comparison = Comparison::start(&self.config, &next, running);
        if change.dry_run {
            let plan = self.preview(&next).await?;
            let Comparison { changes, .. } = comparison.await?;
            let mut answer = Answer::unchanged(running, changes, begin.elapsed());
            answer.step_count = plan.steps.iter().map(crate::plan::Step::count).sum();
            answer.steps = StepReport::planned(&plan);
            return Ok(answer);
        }
        if next == self.config {
            let unchanged = Answer::unchanged(running, ChangeSummary::default(), begin.elapsed());
            return Ok(Answer { unconfirmed: self.confirm.told(), ..unchanged });
        }
        let waiting = match change.confirm_seconds {
            Some(seconds) => Some(self.arm(seconds, change.author.clone()).await?),
            None => None,
        };
        match self.commit(&next, origin, change.author, comparison).await {
            Ok((generation, changes, done)) => {
                if let Some(waiting) = waiting {
                    self.confirm.wait_for(waiting);
                }
                self.availability = self.availability.following(&self.config, &next);
                self.config = next;
                self.rest = Rest::default();
                if self.drift.agrees() {
                    self.publish_drift();
                }
                let took = begin.elapsed();
                let step_count = done.iter().map(|result| result.count).sum();
                let number = generation.generation;
                audit::changed(&generation, &changes);
                self.committed(generation, took, step_count);
                Ok(Answer {
                    generation: number,
                    changed: true,
                    changes,
                    steps: StepReport::done(&done),
                    step_count,
                    took_ms: milliseconds(took),
                    unconfirmed: self.confirm.told(),
                })
            }
            Err(error) => {
                if let Some(waiting) = waiting {
                    self.call_off(waiting).await;
                }
                // The last good generation is planned again, from what the kernel is now.
                self.belief.observed = None;
                self.repair("taken back").await;
                Err(match error {
                    ChangeError::Engine(error, _) if !error.faults.is_empty() => {
                        ChangeError::Faults(error.faults)
                    }
                    other => other,
                })
            }
        }
    }

    /// The configuration that a change leads to, and how it came.
    fn read(&self, edit: Edit) -> Result<(Config, String), ChangeError> {
        let posted = |config: Result<Config, Faults>, origin: &str| {
            let config = config.map_err(ChangeError::Faults)?;
            let now = i64::try_from(clock::now().seconds()).unwrap_or(i64::MAX);
            config
                .expired_certificates(&self.config, now)
                .into_result((config, origin.to_owned()))
                .map_err(ChangeError::Faults)
        };
        match edit {
            Edit::Replace(document) => posted(self.config.replace(document), "replace"),
            Edit::FirstBoot(document) => posted(self.config.replace(document), "first boot"),
            Edit::Patch(patch) => posted(self.config.patch(patch), "patch"),
            Edit::Rollback(number) => {
                let running = self.store.last();
                let document =
                    self.store.document(number).map_err(|error| ChangeError::Store(error, running))?;
                let document = document.ok_or(ChangeError::Unknown(number))?;
                let config = self.config.replace(document).map_err(ChangeError::Faults)?;
                Ok((config, format!("rollback to {number}")))
            }
        }
    }

    /// Carries out and stores: when this returns well, the generation is verified and durable.
    async fn commit(
        &mut self,
        next: &Config,
        origin: String,
        author: Author,
        comparison: impl Future<Output = Result<Comparison, ChangeError>>,
    ) -> Result<(Generation, ChangeSummary, Vec<StepResult>), ChangeError> {
        let done = self.carry_out(next).await?;
        let Comparison { changes, content } = timed("compare", comparison).await?;
        let running: Number = self.store.last();
        let generation = Generation {
            generation: running + 1,
            time: clock::now(),
            origin,
            author,
            added: changes.added,
            changed: changes.changed,
            removed: changes.removed,
        };
        let stored = timed("store", self.store.append(generation.clone(), content)).await;
        stored.map_err(|error| ChangeError::Store(error, running))?;
        Ok((generation, changes, done))
    }

    fn committed(&mut self, generation: Generation, took: Duration, steps: usize) {
        tracing::info!(
            generation = generation.generation,
            origin = generation.origin,
            author = generation.author.name,
            from = generation.author.from,
            added = generation.added,
            changed = generation.changed,
            removed = generation.removed,
            took_ms = milliseconds(took),
            "a new generation runs"
        );
        self.owes_memory |= generation.added + generation.changed + generation.removed >= GREAT;
        let first = self.published.load().verified.is_none();
        let known = Arc::new(self.store.known().iter().cloned().collect());
        let config = self.config.clone();
        let number = generation.generation;
        let time: Timestamp = generation.time;
        self.publish(|published| {
            published.generation = number;
            published.verified = Some(time);
            published.config = config;
            published.generations = known;
            published.trouble = None;
            published.last_change = Some((took, steps));
        });
        if first {
            self.supervisor.ready();
        }
        self.supervisor.status(&format!("generation {number} runs"));
    }

    /// Takes what the engines tell of backends: those that are down have no connections from now on.
    async fn rebalance(&mut self) {
        let told = self.availabilities.borrow_and_update().clone();
        if told == self.availability {
            return;
        }
        self.availability = told;
        self.repair_kernel("backends of balancers went down or came back").await;
    }

    async fn shrink(&mut self) {
        if self.store.has_grown() {
            if let Err(error) = self.store.shrink().await {
                tracing::warn!(%error, "old generations could not be forgotten");
            }
            let known = Arc::new(self.store.known().iter().cloned().collect());
            self.publish(|published| published.generations = known);
        }
    }
}

/// Waits until backends go down or come back; for ever where nobody tells any more.
async fn change(availabilities: &mut watch::Receiver<Arc<Availability>>) {
    if availabilities.changed().await.is_err() {
        pending().await
    }
}

/// The next event; none ever where nobody tells.
async fn next(events: &mut Option<Events>) -> Result<Happened, crate::kernel::KernelError> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}
