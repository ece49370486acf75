//! The engines side by side: what the loop hands a configuration to, and what the API asks how they do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::config::{Config, Id};
use crate::plan::facts::Link;
use crate::reconcile::{EngineError, Engines};

/// DHCP and DNS.
#[derive(Debug)]
pub struct Services {}

impl Services {
    /// Starts the engines with what they remember, serving nothing yet. Has to be called on a runtime.
    ///
    /// # Errors
    /// An engine's memory cannot be read.
    pub fn open(_state_dir: &Path) -> Result<Self, EngineError> {
        Ok(Self {})
    }

    /// The engines for a caller on another thread; what they start runs on `runtime`.
    #[must_use]
    pub fn on(self: &Arc<Self>, runtime: Handle) -> RunningOn {
        RunningOn { services: self.clone(), runtime }
    }
}

/// The engines, with the runtime that their tasks run on.
#[derive(Debug)]
pub struct RunningOn {
    services: Arc<Services>,
    runtime: Handle,
}

impl Engines for RunningOn {
    async fn apply(&mut self, _config: &Config, _links: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        let _ = (&self.services, &self.runtime);
        Ok(())
    }
}
