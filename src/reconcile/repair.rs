//! What the loop does unasked: carries the configuration out at start, after an event, and where somebody changed what
//! is ours. Called by the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::drift::{self, DriftCause, DriftEvent};
use super::run::Loop;
use super::{ChangeError, Engines, Published, Supervisor, Trouble};
use crate::clock;
use crate::config::{Drift, Id};
use crate::kernel::{Events, Happened, Kernel, KernelError};
use crate::plan::facts::{Device, Link, Sysctl};
use crate::plan::{Plan, Step};

/// How long after an event the loop looks: what belongs together comes together.
const SETTLE: Duration = Duration::from_millis(50);
/// How long a configuration that could not be carried out rests, in ticks: doubled each time up to the longest.
const FIRST_REST: u32 = 2;
const LONGEST_REST: u32 = 60;

/// When a configuration that could not be carried out is tried again.
#[derive(Debug, Default)]
pub(super) struct Rest {
    ticks_left: u32,
    length: u32,
}

impl<K: Kernel, E: Engines, S: Supervisor> Loop<K, E, S> {
    /// The first carrying out: what a predecessor left is made what this router remembers.
    pub(super) async fn restore(&mut self) {
        let generation = self.store.last();
        tracing::info!("restoring generation {generation}");
        self.supervisor.status(&format!("restoring generation {generation}"));
        self.repair("restored").await;
    }

    /// Carries the running configuration out again. Says so where there was something to do; nothing where it cannot be.
    pub(super) async fn repair(&mut self, what: &str) -> Option<usize> {
        let config = self.config.clone();
        match self.carry_out(&config).await {
            Ok(done) => {
                let first = self.published.load().verified.is_none();
                let done_count = done.len();
                if !done.is_empty() {
                    let steps: Vec<&str> = done.iter().take(5).map(|result| result.step.as_str()).collect();
                    tracing::info!(steps = done.len(), first = ?steps, "{what}");
                }
                self.rest = Rest::default();
                self.publish(|published| {
                    published.trouble = None;
                    published.verified.get_or_insert_with(clock::now);
                });
                if first {
                    self.supervisor.ready();
                }
                let generation = self.published.load().generation;
                self.supervisor.status(&format!("generation {generation} runs"));
                Some(done_count)
            }
            Err(error) => {
                self.in_trouble(&error);
                None
            }
        }
    }

    /// Makes the kernel what the running configuration says it should be. What has to be tried again anyway, is not tried
    /// now.
    pub(super) async fn repair_kernel(&mut self, what: &str) {
        if self.published.load().trouble.is_some() {
            return;
        }
        let config = self.config.clone();
        match self.carry_out_in_kernel(&config).await {
            Ok(done) if done.is_empty() => {}
            Ok(done) => {
                let steps: Vec<&str> = done.iter().take(5).map(|result| result.step.as_str()).collect();
                tracing::info!(steps = done.len(), first = ?steps, "{what}");
            }
            Err(error) => self.in_trouble(&error),
        }
    }

    fn in_trouble(&mut self, error: &ChangeError) {
        let why = error.to_string();
        tracing::error!(why, "the configuration is not carried out and will be tried again: {why}");
        self.supervisor.status(&format!("in trouble: {why}"));
        self.rest.length = (self.rest.length * 2).clamp(FIRST_REST, LONGEST_REST);
        self.rest.ticks_left = self.rest.length;
        let since = self.published.load().trouble.as_ref().map_or_else(clock::now, |trouble| trouble.since);
        let service = match error {
            ChangeError::Engine(error, _) => Some(error.service),
            _ => None,
        };
        self.publish(|published| published.trouble = Some(Trouble { why, since, service }));
    }

    /// Says what is new, to whoever reads.
    pub(super) fn publish(&mut self, change: impl FnOnce(&mut Published)) {
        let mut next = Published::clone(&self.published.load());
        next.links = self.links();
        next.unconfirmed = self.confirm.told();
        next.went_back = self.confirm.told_back();
        change(&mut next);
        self.published.store(Arc::new(next));
    }

    /// What there is to do now and then.
    ///
    /// # Errors
    /// The kernel's events are lost.
    pub(super) async fn tick(&mut self, events: &mut Option<Events>) -> Result<(), KernelError> {
        self.supervisor.alive();
        if std::mem::take(&mut self.owes_memory) {
            self.supervisor.relieved();
        }
        self.go_back_if_over().await;
        self.settle_or_say().await;
        if self.drift.has_calmed(self.begin.elapsed()) {
            tracing::info!("nobody fights over what is ours any more");
            self.publish_drift();
        }
        if self.published.load().trouble.is_some() {
            self.rest.ticks_left = self.rest.ticks_left.saturating_sub(1);
            if self.rest.ticks_left == 0 {
                self.belief.observed = None;
                self.repair("carried out at last").await;
            }
        } else if let Some(happened) = self.drift.due(self.begin.elapsed()) {
            self.look_at(happened).await;
        } else if self.has_drifted() {
            // Where an event tells of it, that one says who it was.
            return self.look(Happened::default(), events).await;
        } else if self.has_come_of_age() {
            self.repair("connections of before the start are taken up no more").await;
        }
        Ok(())
    }

    /// Whether somebody changed our table or a value of `/proc/sys`: of the latter nobody tells.
    fn has_drifted(&mut self) -> bool {
        if self.kernel.is_stale().unwrap_or(true) {
            return true;
        }
        let Some(observed) = &self.belief.observed else { return false };
        let known: Vec<Sysctl> = observed.sysctls.keys().cloned().collect();
        // Where they cannot be read, whoever looks finds that out, and says what is wrong.
        self.kernel.read_sysctls(&known).map_or(true, |values| values != observed.sysctls)
    }

    /// Looks again after something happened that the loop did not do.
    pub(super) async fn look(
        &mut self,
        happened: Happened,
        events: &mut Option<Events>,
    ) -> Result<(), KernelError> {
        let Some(happened) = self.drift.may_look(happened, self.begin.elapsed()) else { return Ok(()) };
        tokio::time::sleep(SETTLE).await;
        self.look_now(happened, events).await
    }

    /// Looks before a change is made where somebody changed the ruleset: what he did is told as what it is, and is no part of
    /// the change.
    pub(super) async fn look_before_change(
        &mut self,
        events: &mut Option<Events>,
    ) -> Result<(), KernelError> {
        // Where nothing is carried out, or the kernel does not answer, the change finds that out itself.
        if self.published.load().trouble.is_some() || !self.kernel.is_stale().unwrap_or(false) {
            return Ok(());
        }
        match self.drift.may_look(Happened::default(), self.begin.elapsed()) {
            Some(happened) => self.look_now(happened, events).await,
            None => Ok(()),
        }
    }

    async fn look_now(&mut self, happened: Happened, events: &mut Option<Events>) -> Result<(), KernelError> {
        let more = events.as_mut().map_or_else(|| Ok(Happened::default()), Events::more);
        match more {
            Ok(more) => self.look_at(happened.and(more)).await,
            Err(error) => {
                self.look_at(happened).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn look_at(&mut self, happened: Happened) {
        let before = self.links();
        // Our table says itself whether it changed.
        let table = self.belief.observed.take().map(|observed| observed.table);
        if let Some(table) = table {
            self.belief.observed = self.kernel.observe_around(table).await.ok();
        }
        if !self.inspect(happened.by).await {
            return;
        }
        let came_back: BTreeSet<u32> = self
            .links()
            .iter()
            .filter(|(id, link)| link.carrier && before.get(*id).is_none_or(|before| !before.carrier))
            .map(|(_, link)| link.device.index)
            .collect();
        self.announce(|index| came_back.contains(&index) || happened.announce.contains(&index)).await;
    }

    /// Compares the kernel with what is wanted of it, and puts back what differs, or reports it. Says whether the kernel is
    /// as far as it should be.
    async fn inspect(&mut self, by: Option<String>) -> bool {
        let config = self.config.clone();
        let before = devices(&self.links());
        let plan = match self.difference(&config).await {
            Ok((_, plan)) => plan,
            Err(error) => {
                self.in_trouble(&error);
                return false;
            }
        };
        let cause = match self.belief.planned.as_ref() {
            Some((target, _)) if devices(&target.surroundings.links) != before => DriftCause::Devices,
            _ => DriftCause::Foreign,
        };
        if plan.is_empty() {
            if self.drift.agrees() {
                tracing::info!("the kernel is as it should be again");
                self.publish_drift();
            }
            return self.repair("put right").await.is_some();
        }
        // Everything on a device that came has to be made, and that is no drift.
        let only_report = config.drift() == Drift::Report && cause == DriftCause::Foreign;
        if only_report && self.published.load().verified.is_some() && self.published.load().trouble.is_none()
        {
            self.report(&plan, by);
            // What is wanted is what was planned, of the same devices.
            self.belief.wanted = self.belief.planned.clone();
            return match self.hand_to_engines(&config).await {
                Ok(()) => true,
                Err(error) => {
                    self.in_trouble(&error);
                    false
                }
            };
        }
        if !self.drift.may_repair(self.begin.elapsed(), clock::now()) {
            self.publish_drift();
            return false;
        }
        self.put_back(cause, by).await
    }

    /// Makes the kernel what is wanted of it, and remembers what was not. Says whether that went well.
    pub(super) async fn put_back(&mut self, cause: DriftCause, by: Option<String>) -> bool {
        let config = self.config.clone();
        let plan = match self.difference(&config).await {
            Ok((_, plan)) => plan,
            Err(error) => {
                self.in_trouble(&error);
                return false;
            }
        };
        let done = self.repair("put right").await;
        self.drift.agrees();
        if !plan.is_empty() {
            let why = self.published.load().trouble.as_ref().map(|trouble| trouble.why.clone());
            let differences = lines(&plan, drift::NAMED);
            let event =
                DriftEvent { put_back: done.is_some(), why, ..self.event(cause, by, differences, &plan) };
            tracing::warn!(
                generation = event.generation,
                by = event.by,
                differences = event.count,
                first = ?event.differences,
                put_back = event.put_back,
                "the kernel was not as it should be"
            );
            self.drift.record(event);
            if done.is_some() {
                self.publish(|published| published.repairs += 1);
            }
        }
        self.publish_drift();
        done.is_some()
    }

    /// Tells of what differs and stays so, once.
    fn report(&mut self, plan: &Plan, by: Option<String>) {
        let news = self.drift.report(lines(plan, usize::MAX));
        if !news.is_empty() {
            let count = news.len();
            let differences = news.into_iter().take(drift::NAMED).collect();
            let event = DriftEvent { count, ..self.event(DriftCause::Foreign, by, differences, plan) };
            tracing::warn!(
                generation = event.generation,
                by = event.by,
                differences = event.count,
                first = ?event.differences,
                "the kernel is not as it should be, and is left so"
            );
            self.drift.record(event);
        }
        self.publish_drift();
    }

    fn event(
        &self,
        cause: DriftCause,
        by: Option<String>,
        differences: Vec<String>,
        plan: &Plan,
    ) -> DriftEvent {
        DriftEvent {
            time: clock::now(),
            generation: self.published.load().generation,
            cause,
            by: by.filter(|_| plan.steps.iter().any(|step| matches!(step, Step::ChangeTable(_)))),
            differences,
            count: differing(plan).map(Step::count).sum(),
            put_back: false,
            why: None,
        }
    }

    pub(super) fn publish_drift(&mut self) {
        let seen = Arc::new(self.drift.seen.clone());
        self.publish(|published| published.drift = seen);
    }
}

/// The steps of a plan that are differences, and not what follows from them.
fn differing(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().filter(|step| !matches!(step, Step::Announce(_) | Step::FlushConntrack(_)))
}

/// What differs, a line for each thing.
fn lines(plan: &Plan, limit: usize) -> Vec<String> {
    differing(plan).flat_map(|step| step.lines(limit)).take(limit).collect()
}

/// The device of each interface, whatever its state.
fn devices(links: &BTreeMap<Id, Link>) -> BTreeMap<Id, Device> {
    links.iter().map(|(id, link)| (id.clone(), link.device.clone())).collect()
}
