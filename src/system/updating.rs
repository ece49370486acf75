//! An update as it is asked for, from who may send it to what is remembered of it. Called by the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::entry::Entry;
use super::layout::Layout;
use super::manifest::Recipient;
use super::receive::{Cut, ReceiveError, Steps, receive};
use super::service::System;
use super::version::Version;
use super::view::{Installed, TrialState};
use crate::clock::{Mark, Timestamp};
use crate::store::Author;
use crate::store::updates::{Outcome, Update};

/// How far an update is.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) octets: AtomicU64,
    pub(super) version: Mutex<Option<Version>>,
    pub(super) since: Timestamp,
    pub(super) author: Author,
}

/// An update as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Whether an older version is taken.
    pub force: bool,
    /// Who sends it.
    pub author: Author,
    /// The interfaces that have a device.
    pub interfaces: Vec<String>,
}

/// What comes of an update's file.
#[derive(Debug)]
pub enum Piece {
    /// Its next octets.
    Octets(Bytes),
    /// Its end.
    End,
    /// No more of it.
    Cut(Cut),
}

/// Why an update is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// This machine takes none.
    #[error("this machine takes no updates: {0}")]
    Unfit(String),
    /// One is being received.
    #[error("another update is being received; GET /v1/system says how far it is")]
    Busy,
    /// What it would overwrite may be needed.
    #[error(
        "version {0} is on trial, and the slot that an update goes to holds what comes back if it fails; GET /v1/system says when it is good"
    )]
    OnTrial(Version),
    /// It did not come, or is none.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl System {
    /// Receives an update, piece by piece. Waits for pieces and for the disk: for a thread that may. `mark` reads the clocks
    /// when it is there.
    ///
    /// # Errors
    /// Why it is not taken; what runs is untouched then.
    pub fn receive(
        &self,
        order: &Order,
        begin: Timestamp,
        mut pieces: mpsc::Receiver<Piece>,
        mark: impl FnOnce() -> Mark,
    ) -> Result<Installed, UpdateError> {
        let progress = self.enter(order, begin)?;
        let keys = self.machine.keys().map_err(UpdateError::Unfit)?;
        let layout = Layout::new(&self.machine.facts()).map_err(|why| UpdateError::Unfit(why.to_string()))?;
        let (stuck, ends) = {
            let state = self.state.lock();
            (state.verdict == TrialState::Failed, state.reboots)
        };
        if ends {
            return Err(UpdateError::Unfit("it is being started again".to_owned()));
        }
        if layout.on_trial() && !stuck {
            return Err(UpdateError::OnTrial(layout.entry.version));
        }
        let next = || match pieces.blocking_recv() {
            Some(Piece::Octets(octets)) => {
                progress.0.octets.fetch_add(octets.len() as u64, Ordering::Relaxed);
                Ok(Some(octets))
            }
            Some(Piece::End) => Ok(None),
            Some(Piece::Cut(cut)) => Err(cut),
            None => Err(Cut::Gone),
        };
        let recipient = Recipient {
            version: layout.entry.version,
            architecture: std::env::consts::ARCH,
            slot: layout.idle.octets,
        };
        let received = receive(&keys, next, |manifest| {
            manifest.check(&recipient, order.force)?;
            *progress.0.version.lock() = Some(manifest.version);
            let opened = self.machine.disks(&layout).map_err(|source| ReceiveError::System {
                what: format!("open the idle slot on {}", layout.idle.device),
                source,
            });
            let from = order.author.from.as_deref().unwrap_or_default();
            tracing::info!(target: "audit", who = order.author.name, from, version = %manifest.version, runs = %recipient.version,
                           slot = layout.idle_slot.name(), forced = order.force, "an update is written");
            Ok((Steps::new(&layout, manifest.version), opened?))
        });
        self.look_again();
        let version = received.inspect_err(|error| {
            let from = order.author.from.as_deref().unwrap_or_default();
            tracing::warn!(target: "audit", who = order.author.name, from, %error, "an update is not taken");
        })?;
        let installed = Installed {
            version,
            runs: layout.entry.version.to_string(),
            slot: layout.idle_slot,
            entry: Entry::fresh(version).to_string(),
            starts: "next_boot",
        };
        self.remember_installed(&installed, order, mark());
        Ok(installed)
    }

    /// One update is received at a time.
    fn enter(&self, order: &Order, since: Timestamp) -> Result<Entered<'_>, UpdateError> {
        let mut receiving = self.receiving.lock();
        if receiving.is_some() {
            return Err(UpdateError::Busy);
        }
        let (octets, version, author) = (AtomicU64::new(0), Mutex::default(), order.author.clone());
        let progress = Arc::new(Progress { octets, version, since, author });
        *receiving = Some(progress.clone());
        Ok(Entered(progress, &self.receiving))
    }

    fn remember_installed(&self, installed: &Installed, order: &Order, mark: Mark) {
        let Order { force, author, interfaces } = order.clone();
        let update = Update {
            version: installed.version.to_string(),
            from: installed.runs.clone(),
            slot: installed.slot.name().to_owned(),
            forced: force,
            since: mark.time,
            author,
            mark,
            interfaces,
            outcome: Outcome::Waits,
            why: None,
        };
        let (who, from) = (&update.author.name, update.author.from.as_deref().unwrap_or_default());
        tracing::info!(target: "audit", who, from, version = update.version, runs = update.from, slot = update.slot,
                       "an update is there and starts with the machine's next start");
        self.remember(update);
    }
}

/// The right to receive an update; it is over when this is dropped.
struct Entered<'s>(Arc<Progress>, &'s Mutex<Option<Arc<Progress>>>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.1.lock() = None;
    }
}
