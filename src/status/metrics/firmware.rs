//! The firmware in the metrics: what runs, whether it is good, and what became of the last update. Called by `mod.rs`.

use std::fmt;

use super::out::{Out, one_of};
use crate::status::SystemStatus;
use crate::store::updates::Outcome;
use crate::system::{Slot, TrialState};

/// Every outcome of an update, by its name.
const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Waits, "waits"),
    (Outcome::Trial, "trial"),
    (Outcome::Good, "good"),
    (Outcome::Failed, "failed"),
    (Outcome::WentBack, "went_back"),
];

pub(super) fn encode(system: &SystemStatus, out: &mut Out<'_, '_>) -> fmt::Result {
    let slot = system.slot.map_or("", Slot::name);
    out.gauge("firmware", "The version of the firmware and its slot; always 1", None, |sample| {
        sample(&[("version", &system.version), ("slot", slot)], 1.0)
    })?;
    let help = "Whether the version of the firmware is good: 1 at its state";
    out.gauge("firmware_trial", help, None, |sample| {
        one_of(TrialState::ALL.map(TrialState::name), system.trial.name(), |state, value| {
            sample(&[("state", state)], value)
        })
    })?;
    let Some(last) = &system.last_update else { return Ok(()) };
    let help = "What became of the last update of the firmware: 1 at its outcome";
    out.gauge("firmware_update", help, None, |sample| {
        OUTCOMES.iter().try_for_each(|(outcome, name)| {
            let value = if *outcome == last.outcome { 1.0 } else { 0.0 };
            sample(&[("version", &last.version), ("outcome", name)], value)
        })
    })
}
