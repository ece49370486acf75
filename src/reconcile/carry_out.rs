//! Makes the kernel and the engines what a configuration says, and proves it. Called by the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::change::{ChangeError, timed};
use super::run::Loop;
use super::{Engines, Supervisor};
use crate::clock;
use crate::config::Config;
use crate::kernel::{Kernel, KernelError, StepResult};
use crate::plan::facts::{Facts, KnownChains, Link, Observed, Route, Sysctl};
use crate::plan::{self, Plan, Step, Target, diff, lower, wanted_links};

/// How often the difference is taken before the kernel is believed not to follow. An address that goes may take a
/// route along, and a link that comes up may bring one: those are put right in the next round.
const ROUNDS: usize = 4;
/// How long after the machine's start connections of before it are taken up: TCP repeats what was lost within two minutes
/// (RFC 6298 section 2.5), and most connections that have nothing to say are kept alive more often than this.
const TAKE_UP: Duration = Duration::from_secs(15 * 60);
/// How many lines of a difference an error names.
const NAMED: usize = 5;

/// What is believed of the kernel, and what was wanted of it last.
#[derive(Debug, Default)]
pub(super) struct Belief {
    /// What was observed; nothing where it may have changed since.
    pub(super) observed: Option<Observed>,
    /// The target that was carried out last, and its facts.
    pub(super) wanted: Option<(Target, Facts)>,
    /// The target that was planned last, and its facts: what the next ones are stated from, carried out or not.
    pub(super) planned: Option<(Target, Facts)>,
}

impl<K: Kernel, E: Engines, S: Supervisor> Loop<K, E, S> {
    /// Makes the kernel and the engines what `config` says. What was done is in the order of doing.
    pub(super) async fn carry_out(&mut self, config: &Config) -> Result<Vec<StepResult>, ChangeError> {
        let done = self.carry_out_in_kernel(config).await?;
        self.hand_to_engines(config).await?;
        Ok(done)
    }

    /// Makes the engines what `config` says.
    pub(super) async fn hand_to_engines(&mut self, config: &Config) -> Result<(), ChangeError> {
        let links = self.links();
        let running = self.published.load().generation;
        let applied = timed("engines", self.engines.apply(config, &links)).await;
        applied.map_err(|error| ChangeError::Engine(error, running))
    }

    /// Makes the kernel what `config` says, and leaves the engines alone.
    pub(super) async fn carry_out_in_kernel(
        &mut self,
        config: &Config,
    ) -> Result<Vec<StepResult>, ChangeError> {
        let running = self.published.load().generation;
        let refused = |error| ChangeError::Kernel(error, running);
        let mut done = Vec::new();
        let mut remaining = Plan::default();
        for _ in 0..ROUNDS {
            let (observed, plan) = timed("plan", self.difference(config)).await?;
            if plan.is_empty() {
                self.believe(observed);
                return Ok(done);
            }
            // Until the kernel has shown what came of the plan, nothing is believed of it.
            self.belief.observed = None;
            let results = timed("execute", self.kernel.execute(&plan)).await;
            let failure = results.iter().find_map(|result| result.error.clone());
            done.extend(results.into_iter().filter(|result| result.error.is_none()));
            match failure {
                // What somebody else did in between is seen in the next round.
                Some(KernelError::Disturbed) => {
                    remaining = plan;
                    continue;
                }
                Some(error) => return Err(refused(error)),
                None => {}
            }
            let seen = timed("read back", self.kernel.read_back(&observed, &plan)).await;
            self.belief.observed = Some(seen.map_err(refused)?);
            remaining = plan;
        }
        self.belief.observed = None;
        let lines: Vec<String> =
            remaining.steps.iter().flat_map(|step| step.lines(NAMED)).take(NAMED).collect();
        Err(ChangeError::NotVerified { difference: lines.join("; "), generation: running })
    }

    /// What a configuration means to the kernel, what the kernel is, and the steps from this to that.
    pub(super) async fn difference(&mut self, config: &Config) -> Result<(Observed, Plan), ChangeError> {
        let running = self.published.load().generation;
        let refused = |error| ChangeError::Kernel(error, running);
        if self.kernel.is_stale().map_err(refused)? {
            self.belief.observed = None;
        }
        let mut observed = match self.belief.observed.take() {
            Some(observed) => observed,
            None => self.kernel.observe().await.map_err(refused)?,
        };
        let (target, facts) = self.state(config, &mut observed)?;
        self.belief.planned = Some((target, facts.clone()));
        self.belief.observed = Some(observed.clone());
        let plan = diff(&facts, &observed);
        Ok((observed, plan))
    }

    /// The steps that would make the kernel what a configuration says. What is believed of the kernel stays as it is: what
    /// somebody changed is found out by the loop in its own time, and told as what it is.
    pub(super) async fn preview(&mut self, config: &Config) -> Result<Plan, ChangeError> {
        let running = self.published.load().generation;
        let refused = |error| ChangeError::Kernel(error, running);
        let stale = self.kernel.is_stale().map_err(refused)?;
        let mut observed = match self.belief.observed.as_ref().filter(|_| !stale) {
            Some(observed) => observed.clone(),
            None => self.kernel.look().await.map_err(refused)?,
        };
        let (_, facts) = self.state(config, &mut observed)?;
        Ok(diff(&facts, &observed))
    }

    /// What a configuration means to the kernel. What is not known yet of `/proc/sys` is read.
    fn state(&mut self, config: &Config, observed: &mut Observed) -> Result<(Target, Facts), ChangeError> {
        let running = self.published.load().generation;
        let target = self.target(config, observed);
        let before = self.belief.planned.as_ref().map(|(target, facts)| (target, facts));
        let facts = lower(&target, before);
        let unknown: Vec<Sysctl> =
            facts.sysctls.keys().filter(|sysctl| !observed.sysctls.contains_key(sysctl)).cloned().collect();
        let read = self.kernel.read_sysctls(&unknown);
        observed.sysctls.extend(read.map_err(|error| ChangeError::Kernel(error, running))?);
        Ok((target, facts))
    }

    pub(super) fn target(&self, config: &Config, observed: &Observed) -> Target {
        let surroundings = plan::Surroundings {
            links: wanted_links(config.interfaces(), &observed.links, self.surroundings.capabilities.vlan),
            capabilities: self.surroundings.capabilities,
            management_ports: self.surroundings.management_ports.clone(),
            conntrack_max: self.surroundings.conntrack_max,
            just_started: clock::uptime() < TAKE_UP,
        };
        let same = self.belief.planned.as_ref().filter(|(target, _)| *target.surroundings == surroundings);
        let surroundings =
            same.map_or_else(|| Arc::new(surroundings), |(target, _)| target.surroundings.clone());
        // A backend that this change takes away drains from this change on.
        let availability = self.availability.following(&self.config, config);
        Target { config: config.clone(), surroundings, availability }
    }

    /// The kernel is what was wanted: from here on the two share their memory, so that the next difference costs what
    /// differs.
    fn believe(&mut self, mut observed: Observed) {
        self.belief.wanted = self.belief.planned.clone();
        if let Some((_, facts)) = &self.belief.wanted {
            observed.routes = facts.routes.clone();
            if let (Some(table), Some(ruleset)) = (&mut observed.table, &facts.ruleset) {
                table.sets = ruleset.sets.clone();
                let wanted = ruleset.chains.clone();
                table.known = Some(KnownChains { wanted, touched: BTreeSet::new() });
            }
        }
        self.belief.observed = Some(observed);
    }

    /// Whether what is carried out is for a machine that has only just started, and this one has not any more.
    pub(super) fn has_come_of_age(&self) -> bool {
        let wanted = self.belief.wanted.as_ref();
        wanted.is_some_and(|(target, _)| target.surroundings.just_started) && clock::uptime() >= TAKE_UP
    }

    /// The devices of the interfaces that are there, of the configuration that was carried out last.
    pub(super) fn links(&self) -> BTreeMap<crate::config::Id, Link> {
        self.belief.wanted.as_ref().map(|(target, _)| target.surroundings.links.clone()).unwrap_or_default()
    }

    /// Tells the neighbours of these devices again where our addresses are.
    pub(super) async fn announce(&mut self, is_meant: impl Fn(u32) -> bool) {
        let Some((_, facts)) = &self.belief.wanted else { return };
        let addresses = facts.addresses.iter().map(|(device, address)| (device.clone(), address.addr()));
        let own = facts.routes.iter().filter_map(|(key, route)| match route {
            Route::Local(device) => Some((device.clone(), key.destination.addr())),
            _ => None,
        });
        let all: Vec<_> = addresses.chain(own).filter(|(device, _)| is_meant(device.index)).collect();
        if all.is_empty() {
            return;
        }
        for result in self.kernel.execute(&Plan { steps: vec![Step::Announce(all)] }).await {
            if let Some(error) = result.error {
                tracing::warn!(%error, "addresses were not announced again");
            }
        }
    }
}
