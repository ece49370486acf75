//! Gathers what the status is made of, and tells the journal when a part fails or recovers. Called by the API for each
//! request, and by itself once a second.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Board, Inputs, Start, Status, SystemStatus, Transition, Wanted};
use crate::balancer::Statistics;
use crate::balancer::statistics::KernelTraffic;
use crate::clock;
use crate::engines::Services;
use crate::plan::facts::{AddressTraffic, ConnectionQuestion, ConnectionsFound, Counters};
use crate::reconcile::{Handle, Published};
use crate::system::System;

/// How often the status is taken though nobody asks.
const ROUND: Duration = Duration::from_secs(1);

/// Gathers what the status is made of. Shared by whoever asks.
#[derive(Debug)]
pub struct Reporter {
    handle: Handle,
    services: Arc<Services>,
    kernel: KernelReadings,
    start: Start,
    system: Option<Arc<System>>,
    memory: Mutex<Memory>,
}

/// How what the kernel counts is read.
pub struct KernelReadings {
    /// Of connections and devices.
    pub counters: fn() -> Counters,
    /// Of single addresses; nothing where it does not answer.
    pub addresses: fn() -> Option<AddressTraffic>,
    /// Connections one by one; or why the kernel does not answer.
    pub connections: fn(&ConnectionQuestion) -> Result<ConnectionsFound, String>,
    /// Of the balancers that it serves.
    pub balanced: Box<dyn Fn() -> KernelTraffic + Send + Sync>,
}

impl fmt::Debug for KernelReadings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelReadings")
    }
}

#[derive(Debug, Default)]
struct Memory {
    board: Board,
    /// What was counted last, and of what.
    counted: Option<(Arc<Published>, Arc<Wanted>)>,
}

impl Reporter {
    /// A reporter on the loop behind `handle`, on the engines and on the kernel's counters; `start` is what was
    /// settled before.
    #[must_use]
    pub fn new(handle: Handle, services: Arc<Services>, kernel: KernelReadings, start: Start) -> Self {
        Self { handle, services, kernel, start, system: None, memory: Mutex::default() }
    }

    /// The same, which tells of the firmware as well.
    #[must_use]
    pub fn with_system(self, system: Arc<System>) -> Self {
        Self { system: Some(system), ..self }
    }

    /// What balancers count and know at this moment.
    #[must_use]
    pub fn balancers(&self) -> Statistics {
        let mut statistics = self.services.balancer().statistics();
        statistics.count_kernel(&(self.kernel.balanced)());
        statistics
    }

    /// The connections that are asked for. Reads all that there are, on the caller's thread.
    ///
    /// # Errors
    /// Why the kernel does not answer.
    pub fn connections(&self, question: &ConnectionQuestion) -> Result<ConnectionsFound, String> {
        (self.kernel.connections)(question)
    }

    /// What went to and came from the addresses that are counted; nothing where the kernel does not answer.
    #[must_use]
    pub fn addresses(&self) -> Option<AddressTraffic> {
        (self.kernel.addresses)()
    }

    /// The status of this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let published = self.handle.published();
        let (dhcp, dns) = (self.services.dhcp().status(), self.services.dns().status());
        let balancers = &self.services.balancer().overview();
        let ssh = self.services.ssh().status();
        let counters = (self.kernel.counters)();
        let system = self.system.as_ref().map(|system| SystemStatus::new(system)).unwrap_or_default();
        // Whoever panicked while holding it left whole values behind.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = memory.wanted(&published);
        let start = &self.start;
        let inputs = Inputs {
            published: &published,
            wanted: &wanted,
            dhcp,
            dns,
            balancers,
            ssh,
            counters,
            system,
            start,
        };
        if published.verified.is_none() && published.trouble.is_none() {
            // Nothing was looked for yet, so nothing is missing.
            return Status::new(inputs, &mut Board::default(), clock::now());
        }
        let status = Status::new(inputs, &mut memory.board, clock::now());
        memory.board.transitions().iter().for_each(tell);
        status
    }

    /// Takes the status again and again, for the journal's sake. Never ends by itself.
    pub async fn watch(self: Arc<Self>) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let _ = self.status();
        }
    }
}

impl Memory {
    fn wanted(&mut self, published: &Arc<Published>) -> Arc<Wanted> {
        if let Some((of, wanted)) = &self.counted
            && (Arc::ptr_eq(of, published)
                || (of.generation == published.generation && of.links == published.links))
        {
            return wanted.clone();
        }
        let wanted = Arc::new(Wanted::new(&published.config, &published.links));
        self.counted = Some((published.clone(), wanted.clone()));
        wanted
    }
}

/// Tells the journal of a part that fails, or recovers. What is new and well is not worth a line.
fn tell(transition: &Transition) {
    let Transition { part, before, state, why } = transition;
    let is_well = |state: &str| matches!(state, "ok" | "off" | "up" | "starting");
    match (is_well(state), before) {
        (false, _) => tracing::warn!("{part} is {state}: {}", why.as_deref().unwrap_or("no reason is known")),
        (true, Some(before)) if !is_well(before) => tracing::info!("{part} is {state} again, after {before}"),
        (true, _) => {}
    }
}
