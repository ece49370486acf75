//! What becomes of a packet: the trace, led through what the loop wants of the kernel and what it sees of it.

use std::net::Ipv4Addr;

use super::change::ChangeError;
use super::run::Loop;
use super::{Engines, Supervisor};
use crate::config::Faults;
use crate::kernel::{Kernel, KernelError};
use crate::plan::facts::{Name, WayAnswer, WayQuestion};
use crate::plan::lower;
use crate::trace::{Question, Scene, Trace, Witness};

/// Why a packet is not traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The question has faults.
    #[error("the question has faults")]
    Question(Faults),
    /// The kernel does not answer.
    #[error("the kernel cannot be asked: {0}")]
    Kernel(KernelError),
    /// The loop cannot be asked.
    #[error(transparent)]
    Loop(ChangeError),
}

impl<K: Kernel, E: Engines, S: Supervisor> Loop<K, E, S> {
    /// Traces a packet through the configuration that runs and through the kernel as it is now. Nothing is changed, and what
    /// is believed of the kernel stays as it is: who changed something is found out by the loop in its own time.
    pub(super) async fn trace(&mut self, question: &Question) -> Result<Trace, TraceError> {
        let stale = self.kernel.is_stale().map_err(TraceError::Kernel)?;
        let known = self.belief.observed.as_ref().filter(|_| !stale).map(|observed| observed.table.clone());
        let observed = match known {
            Some(table) => self.kernel.observe_around(table).await,
            None => self.kernel.look().await,
        };
        let mut observed = observed.map_err(TraceError::Kernel)?;
        let target = self.target(&self.config, &observed);
        let before = self.belief.planned.as_ref().map(|(target, facts)| (target, facts));
        let wanted = lower(&target, before);
        let asked: Vec<_> = wanted.sysctls.keys().cloned().collect();
        observed.sysctls = self.kernel.read_sysctls(&asked).map_err(TraceError::Kernel)?;
        let generation = self.store.last();
        let scene = Scene { generation, target: &target, wanted: &wanted, observed: &observed };
        let mut witness = Asked { kernel: &mut self.kernel, failed: None };
        let traced = scene.trace(question, &mut witness).map_err(TraceError::Question);
        witness.failed.map_or(traced, |error| Err(TraceError::Kernel(error)))
    }
}

/// The kernel as a witness; its first failure is kept.
struct Asked<'a, K> {
    kernel: &'a mut K,
    failed: Option<KernelError>,
}

impl<K> Asked<'_, K> {
    fn heard<T>(&mut self, said: Result<Option<T>, KernelError>) -> Option<T> {
        said.unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            None
        })
    }
}

impl<K: Kernel> Witness for Asked<'_, K> {
    fn way(&mut self, question: &WayQuestion) -> Option<WayAnswer> {
        let said = self.kernel.way(question);
        self.heard(said)
    }

    fn remembered(&mut self, map: &Name, source: Ipv4Addr) -> Option<(Ipv4Addr, u16)> {
        let said = self.kernel.remembered(map, source);
        self.heard(said)
    }
}
