//! The firmware as the rest of the house asks of it: what runs, an update that is received, the trial of a new version. The
//! API, status and the daemon share one [`System`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::entry::{self, Entry};
use super::layout::{Layout, Slot, Unfit};
use super::machine::Machine;
use super::trial::{Trial, Verdict};
use super::updating::Progress;
use super::view::{self, LastUpdate, Receiving, SystemView, TrialState, TrialView};
use crate::clock::{Mark, Timestamp};
use crate::store::updates::{Outcome, Update};
use crate::store::{Author, StoreError, UpdateFile};

/// Why nothing is known of what became of a version that never said anything.
const SILENT: &str = "it did not start, or the router in it did not live to say what was wrong";

/// The firmware of this machine.
#[derive(Debug)]
pub struct System {
    pub(super) machine: Machine,
    /// The version of the service, for machines that do not say theirs.
    software: &'static str,
    file: UpdateFile,
    pub(super) receiving: Mutex<Option<Arc<Progress>>>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    layout: Result<Layout, Unfit>,
    last: Option<Update>,
    trial: Option<Trial>,
    pub(super) verdict: TrialState,
    /// Since when the verdict stands, and why.
    since: Timestamp,
    why: Option<String>,
    pub(super) reboots: bool,
}

/// The firmware in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The version that runs.
    pub version: String,
    /// The slot that runs.
    pub slot: Option<Slot>,
    /// Whether that version is good.
    pub trial: TrialState,
    /// Why it is not.
    pub why: Option<String>,
    /// The last update.
    pub last: Option<Update>,
}

/// Why the machine is not started again.
#[derive(Debug, thiserror::Error)]
pub enum RebootError {
    /// Nobody does that.
    #[error(
        "nobody starts this machine again when the router asks for it: the service was not given --reboot-file"
    )]
    Nobody,
    /// An update would be cut off.
    #[error("an update is being received, and would be cut off; GET /v1/system says how far it is")]
    Busy,
    /// The system refused.
    #[error("cannot ask for the machine to be started again: {0}")]
    System(#[from] std::io::Error),
}

impl System {
    /// The firmware of a machine, with what is remembered of its last update; `now` is this moment in all its clocks. A
    /// version that is on trial has `trial` from now on to show that it is good.
    ///
    /// # Errors
    /// The state directory cannot be used.
    pub fn open(
        machine: Machine,
        state_dir: &Path,
        software: &'static str,
        trial: Duration,
        (now, mark): (Instant, &Mark),
    ) -> Result<Self, StoreError> {
        let (file, mut last) = UpdateFile::open(state_dir)?;
        let layout = Layout::new(&machine.facts());
        let (verdict, why) = match &layout {
            Ok(layout) if layout.on_trial() => {
                (TrialState::Trial, Some("it has not been looked at".to_owned()))
            }
            Ok(_) => (TrialState::Good, None),
            Err(_) => (TrialState::Off, None),
        };
        if let (Some(update), Ok(layout)) = (&mut last, &layout)
            && became(update, layout, mark)
            && let Err(error) = file.put(update)
        {
            tracing::warn!(%error, "what became of the last update is not remembered");
        }
        let on_trial = verdict == TrialState::Trial;
        if let (Ok(layout), true) = (&layout, on_trial) {
            tracing::info!(target: "audit", version = %layout.entry.version, seconds = trial.as_secs(), "the version is on trial");
        }
        let state = State {
            layout,
            last,
            trial: on_trial.then(|| Trial::new(now, trial)),
            verdict,
            since: mark.time,
            why,
            reboots: false,
        };
        let system = Self { machine, software, file, receiving: Mutex::default(), state: Mutex::new(state) };
        if verdict == TrialState::Good {
            system.say_decided();
        }
        Ok(system)
    }

    /// Everything there is to say; `now` is for what is left of a trial.
    #[must_use]
    pub fn view(&self, now: Instant) -> SystemView {
        let receiving = self.receiving.lock().as_ref().map(|progress| Receiving {
            version: *progress.version.lock(),
            octets: progress.octets.load(Ordering::Relaxed),
            since: progress.since,
            author: progress.author.clone(),
        });
        let keys = self.machine.keys();
        let state = self.state.lock();
        let layout = state.layout.as_ref();
        let no_updates = layout.err().map(ToString::to_string).or_else(|| keys.err());
        SystemView {
            version: self.version_of(&state),
            architecture: std::env::consts::ARCH,
            no_updates,
            slot: layout.ok().map(|layout| layout.slot),
            slots: layout.map(view::slots).unwrap_or_default(),
            entries: layout.map(view::entries).unwrap_or_default(),
            trial: state.trial_view(now),
            receiving,
            last_update: state.last.as_ref().map(LastUpdate::from),
            reboots: state.reboots,
        }
    }

    /// The least there is to say, of what is in memory.
    #[must_use]
    pub fn brief(&self) -> Brief {
        let state = self.state.lock();
        Brief {
            version: self.version_of(&state),
            slot: state.layout.as_ref().ok().map(|layout| layout.slot),
            trial: state.verdict,
            why: state.why.clone(),
            last: state.last.clone(),
        }
    }

    fn version_of(&self, state: &State) -> String {
        let said = state.layout.as_ref().map(|layout| layout.entry.version.to_string());
        said.unwrap_or_else(|_| self.software.to_owned())
    }

    /// Whether a version is on trial, and if so the interfaces that it has to find a device for.
    #[must_use]
    pub fn on_trial(&self) -> Option<Vec<String>> {
        let state = self.state.lock();
        state.trial.as_ref()?;
        let (last, layout) = (state.last.as_ref(), state.layout.as_ref().ok()?);
        let this = last.filter(|update| update.version == layout.entry.version.to_string());
        Some(this.map(|update| update.interfaces.clone()).unwrap_or_default())
    }

    /// How the router does at a moment, while a version is on trial: well, or why not. Once that is decided the version is
    /// good, or the machine is asked to start again; waits for the disk.
    pub fn look(&self, (now, time): (Instant, Timestamp), health: Result<(), String>) {
        let mut state = self.state.lock();
        let State { trial: Some(trial), layout: Ok(layout), .. } = &mut *state else { return };
        let entry = layout.entry;
        let verdict = trial.look(now, health);
        state.why = state.trial.as_ref().map(|trial| trial.why().to_owned());
        drop(state);
        match verdict {
            Verdict::Wait => {}
            Verdict::Good => self.is_good(&entry, time),
            Verdict::Bad(why) => self.is_bad(&entry, &why, time),
        }
    }

    fn is_good(&self, entry: &Entry, time: Timestamp) {
        // Nothing is decided until the boot loader knows: otherwise the next start might bring the old version.
        if let Err(error) = self.machine.rename(entry, &entry.good()) {
            tracing::error!(%error, "the version is good, and the boot loader cannot be told");
            self.state.lock().why = Some(format!("it is good, and the boot loader cannot be told: {error}"));
            return;
        }
        tracing::info!(target: "audit", version = %entry.version, "the version is good");
        self.decide(TrialState::Good, None, time);
        self.look_again();
        self.outcome(entry, Outcome::Good, None, time);
        self.say_decided();
    }

    fn is_bad(&self, entry: &Entry, why: &str, time: Timestamp) {
        tracing::error!(target: "audit", version = %entry.version, why, "the version did not show in time that it is good");
        self.outcome(entry, Outcome::Failed, Some(why.to_owned()), time);
        let entries =
            self.state.lock().layout.as_ref().map(|layout| layout.entries.clone()).unwrap_or_default();
        let asked = if entry::is_worth_a_start(entry, &entries) {
            self.ask_for_start()
        } else {
            Err(std::io::Error::other("there is no other version to go back to"))
        };
        let why = match asked {
            Ok(()) => why.to_owned(),
            Err(error) => {
                tracing::error!(%error, "the machine goes on with this version");
                format!("{why}; the machine goes on with it: {error}")
            }
        };
        self.decide(TrialState::Failed, Some(why), time);
        self.say_decided();
    }

    fn decide(&self, verdict: TrialState, why: Option<String>, time: Timestamp) {
        let mut state = self.state.lock();
        state.trial = None;
        (state.verdict, state.why, state.since) = (verdict, why, time);
    }

    /// Writes down what became of the last update, where this version came by it.
    fn outcome(&self, entry: &Entry, outcome: Outcome, why: Option<String>, time: Timestamp) {
        let last = self.state.lock().last.clone();
        if let Some(update) = last.filter(|update| update.version == entry.version.to_string()) {
            self.remember(Update { outcome, why, since: time, ..update });
        }
    }

    pub(super) fn remember(&self, update: Update) {
        if let Err(error) = self.file.put(&update) {
            tracing::warn!(%error, "what became of an update is not remembered");
        }
        self.state.lock().last = Some(update);
    }

    pub(super) fn look_again(&self) {
        let layout = Layout::new(&self.machine.facts());
        self.state.lock().layout = layout;
    }

    fn say_decided(&self) {
        if let Err(error) = self.machine.say_decided() {
            tracing::warn!(%error, "nobody hears that the trial is over");
        }
    }

    fn ask_for_start(&self) -> std::io::Result<()> {
        self.machine.reboot()?;
        self.state.lock().reboots = true;
        Ok(())
    }

    /// Has the machine started again, in order.
    ///
    /// # Errors
    /// Why it is not.
    pub fn reboot(&self, author: &Author) -> Result<(), RebootError> {
        if !self.machine.can_reboot() {
            return Err(RebootError::Nobody);
        }
        // Held, so that no update begins in between.
        let receiving = self.receiving.lock();
        if receiving.is_some() {
            return Err(RebootError::Busy);
        }
        self.ask_for_start()?;
        drop(receiving);
        let from = author.from.as_deref().unwrap_or_default();
        tracing::info!(target: "audit", who = author.name, from, "the machine starts again");
        Ok(())
    }
}

impl State {
    fn trial_view(&self, now: Instant) -> TrialView {
        let seconds_left = self.trial.as_ref().map(|trial| trial.left(now).as_secs());
        TrialView { state: self.verdict, since: self.since, why: self.why.clone(), seconds_left }
    }
}

/// What became of an update, now that the machine runs this; whether that is something new.
fn became(update: &mut Update, layout: &Layout, now: &Mark) -> bool {
    let runs = layout.entry.version.to_string() == update.version;
    let outcome = match (runs, layout.on_trial()) {
        (true, true) => Outcome::Trial,
        (true, false) => Outcome::Good,
        // The machine has not been started since.
        (false, _) if update.outcome == Outcome::Waits && update.mark.boot == now.boot => Outcome::Waits,
        (false, _) if update.outcome == Outcome::Good => Outcome::Good,
        (false, _) => Outcome::WentBack,
    };
    if outcome == update.outcome {
        return false;
    }
    if outcome == Outcome::WentBack {
        let why = update.why.get_or_insert_with(|| SILENT.to_owned());
        tracing::warn!(target: "audit", version = update.version, runs = %layout.entry.version, why, "an update went back");
    }
    (update.outcome, update.since) = (outcome, now.time);
    true
}

#[cfg(test)]
mod tests;
