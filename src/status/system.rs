//! The firmware in the status: which version runs, whether it is good, and what became of the last update. And the other way
//! round: whether the router does so well that a new version counts as good.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Health, InterfaceState, Status};
use crate::store::updates::Outcome;
use crate::system::{Slot, System, TrialState};

/// The firmware; `GET /v1/system` tells more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SystemStatus {
    /// The version that runs: of the firmware's entry, or of the service where there is none.
    pub version: String,
    /// The slot that runs; absent where there are none.
    pub slot: Option<Slot>,
    /// Whether that version is good.
    pub trial: TrialState,
    /// Why it is not.
    pub why: Option<String>,
    /// What became of the last update; absent where none is remembered.
    pub last_update: Option<UpdateStatus>,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpdateStatus {
    /// What it brought.
    pub version: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not good.
    pub why: Option<String>,
}

impl Default for SystemStatus {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, slot: None, trial: TrialState::Off, why: None, last_update: None }
    }
}

impl SystemStatus {
    pub(super) fn new(system: &System) -> Self {
        let brief = system.brief();
        let last_update = brief.last.map(|update| UpdateStatus {
            version: update.version,
            outcome: update.outcome,
            why: update.why,
        });
        Self { version: brief.version, slot: brief.slot, trial: brief.trial, why: brief.why, last_update }
    }
}

impl Status {
    /// Whether the version that runs serves as it should: its configuration is carried out and read back, every service
    /// that is wanted runs, and there is a device for each of `interfaces` that are still configured. What others do, such
    /// as a backend that is down, is not its fault.
    ///
    /// # Errors
    /// What is wrong.
    pub fn serves(&self, interfaces: &[String]) -> Result<(), String> {
        if matches!(self.state, Health::Starting | Health::Failed) {
            let why = self.reasons.first().map_or("the configuration is not carried out yet", String::as_str);
            return Err(why.to_owned());
        }
        for (name, head) in self.services.heads() {
            if matches!(head.state, Health::Starting | Health::Failed) {
                return Err(format!(
                    "{name} is {}: {}",
                    head.state.name(),
                    head.why.as_deref().unwrap_or("no reason is known")
                ));
            }
        }
        let absent = |(id, interface): (&crate::config::Id, &super::InterfaceStatus)| {
            let had_one = interfaces.iter().any(|known| known == id.as_str());
            (had_one && interface.state == InterfaceState::Absent).then(|| id.to_string())
        };
        match self.interfaces.iter().find_map(absent) {
            Some(id) => Err(format!("interface `{id}` has no device, and had one before the update")),
            None => Ok(()),
        }
    }
}
