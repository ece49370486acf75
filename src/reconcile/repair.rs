//! What the loop does unasked: carries the configuration out at start, after an event, and where somebody changed what
//! is ours. Called by the loop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::run::Loop;
use super::{ChangeError, Engines, Published, Supervisor, Trouble};
use crate::clock;
use crate::kernel::{Happened, Kernel};
use crate::plan::facts::Sysctl;

/// How long after an event the loop looks: what belongs together comes together.
const SETTLE: Duration = Duration::from_millis(50);
/// How long a configuration that could not be carried out rests, in ticks: doubled each time up to the longest.
const FIRST_REST: u32 = 1;
const LONGEST_REST: u32 = 30;

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
        change(&mut next);
        self.published.store(Arc::new(next));
    }

    pub(super) async fn tick(&mut self) {
        self.supervisor.alive();
        if std::mem::take(&mut self.owes_memory) {
            self.supervisor.relieved();
        }
        if self.published.load().trouble.is_some() {
            self.rest.ticks_left = self.rest.ticks_left.saturating_sub(1);
            if self.rest.ticks_left == 0 {
                self.belief.observed = None;
                self.repair("carried out at last").await;
            }
        } else if self.has_drifted() {
            let done = self.repair("put right").await;
            self.count_repair(done);
        } else if self.has_come_of_age() {
            self.repair("connections of before the start are taken up no more").await;
        }
    }

    /// Counts what was put right.
    fn count_repair(&mut self, done: Option<usize>) {
        if done.is_some_and(|steps| steps > 0) {
            self.publish(|published| published.repairs += 1);
        }
    }

    /// Whether somebody changed our table or a value of `/proc/sys`: of those nobody tells.
    fn has_drifted(&mut self) -> bool {
        if self.kernel.is_stale().unwrap_or(true) {
            return true;
        }
        let Some(observed) = &mut self.belief.observed else { return false };
        let known: Vec<Sysctl> = observed.sysctls.keys().cloned().collect();
        match self.kernel.read_sysctls(&known) {
            Ok(values) if values == observed.sysctls => false,
            Ok(values) => {
                observed.sysctls = values;
                true
            }
            // The repair reads them again, and says what is wrong.
            Err(_) => {
                observed.sysctls.clear();
                true
            }
        }
    }

    /// Looks again after something happened that the loop did not do.
    pub(super) async fn look(&mut self, happened: Happened) {
        tokio::time::sleep(SETTLE).await;
        let before = self.belief.wanted.as_ref().map(|(target, _)| target.surroundings.links.clone());
        // Our table says itself whether it changed.
        let table = self.belief.observed.take().map(|observed| observed.table);
        if let Some(table) = table {
            self.belief.observed = self.kernel.observe_around(table).await.ok();
        }
        let repaired = self.repair("put right after a change of devices, addresses or routes").await;
        self.count_repair(repaired);
        if repaired.is_none() {
            return;
        }
        let carriers = before.unwrap_or_default();
        let after = self.links();
        let came_back: BTreeSet<u32> = after
            .iter()
            .filter(|(id, link)| link.carrier && carriers.get(*id).is_none_or(|before| !before.carrier))
            .map(|(_, link)| link.device.index)
            .collect();
        self.announce(|index| came_back.contains(&index) || happened.announce.contains(&index)).await;
    }
}
