//! What the pool knows: its slots, the stations that wait, and what is left of the host. Pure: it is told what happened, by
//! values, and `plan` reads it.
//!
//! One task owns it, the manager. The laws over it: no VM is ever two stations', none is handed out that somebody may have
//! been in, and every slot fills again.

mod begin;
mod done;
mod heard;
mod listing;
mod told;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::begin::{Call, Started};
pub use self::done::{CallError, Done};
pub use self::listing::Listing;
pub use self::told::{Finish, Told};
use super::config::Config;
use super::hypervisor::{Golden, Resources};
use super::slot::{Cause, Now, Phase, Slot, State};
use crate::clock::Timestamp;

/// A station that waits at the signal port, or whose viewer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Its place among all who ever came.
    pub order: u64,
    /// Since when.
    pub since: Duration,
}

/// A session that is over, with its VM gone: what the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Record {
    /// The VM's name.
    pub vm: String,
    /// Its UUID.
    pub uuid: String,
    /// The golden version that it was made from.
    pub golden: String,
    /// Who used it; unknown where a crash took that away.
    pub station: Option<IpAddr>,
    /// When the session began.
    pub begun: Timestamp,
    /// When its VM was gone: ended, undefined, and its overlay removed.
    pub gone: Timestamp,
    /// Why it ended.
    pub why: String,
    /// Octets from the station.
    pub sent: u64,
    /// Octets to the station.
    pub received: u64,
    /// The overlay that was removed.
    pub overlay: PathBuf,
}

/// What the pool knows.
#[derive(Debug, Clone)]
pub struct Pool {
    pub(super) config: Config,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) visitors: BTreeMap<IpAddr, Visitor>,
    pub(super) golden: Option<Golden>,
    pub(super) resources: Option<Resources>,
    pub(super) draining: bool,
    /// Whether what there is was listed once: before, nothing is made and nothing handed out.
    pub(super) known: bool,
    pub(super) hypervisor_up: bool,
    pub(super) door_up: bool,
    /// How many VMs in a row could not be made, until when no further one is tried, and why not.
    pub(super) create_failures: u32,
    pub(super) create_not_before: Duration,
    pub(super) create_error: Option<String>,
    arrivals: u64,
    sequence: u64,
    finished: Vec<(IpAddr, Finish)>,
    records: Vec<Record>,
    strays: Vec<String>,
}

/// Why an operator's order was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such slot.
    #[error("there is no slot {0}; a slot is named by its port or its VM's name")]
    NoSlot(String),
    /// The slot has nothing that the order could be about.
    #[error("slot {port} is {state}: there is no VM in it to keep", state = .state.name())]
    Nothing {
        /// Which slot.
        port: u16,
        /// What it is.
        state: State,
    },
}

impl Pool {
    /// A pool that knows nothing yet.
    #[must_use]
    pub fn new(config: Config, draining: bool, now: Now) -> Self {
        let slot = |port| {
            let name = config.vm_name(port);
            (name.clone(), Slot::empty(name, port, now))
        };
        let slots = config.ports().map(slot).collect();
        Self {
            config,
            slots,
            visitors: BTreeMap::new(),
            golden: None,
            resources: None,
            draining,
            known: false,
            hypervisor_up: false,
            door_up: false,
            create_failures: 0,
            create_not_before: Duration::ZERO,
            create_error: None,
            arrivals: 0,
            sequence: 0,
            finished: Vec::new(),
            records: Vec::new(),
            strays: Vec::new(),
        }
    }

    /// The slots, by their VMs' names.
    #[must_use]
    pub const fn slots(&self) -> &BTreeMap<String, Slot> {
        &self.slots
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The stations at the signal port.
    #[must_use]
    pub const fn visitors(&self) -> &BTreeMap<IpAddr, Visitor> {
        &self.visitors
    }

    /// What was heard of the golden image.
    #[must_use]
    pub const fn golden(&self) -> Option<&Golden> {
        self.golden.as_ref()
    }

    /// What was heard of the host.
    #[must_use]
    pub const fn resources(&self) -> Option<Resources> {
        self.resources
    }

    /// Whether the pool hands nothing out.
    #[must_use]
    pub const fn draining(&self) -> bool {
        self.draining
    }

    /// Whether what there is was listed once.
    #[must_use]
    pub const fn known(&self) -> bool {
        self.known
    }

    /// Whether the hypervisor and the broker are reached.
    #[must_use]
    pub const fn reached(&self) -> (bool, bool) {
        (self.hypervisor_up, self.door_up)
    }

    /// Why no VM can be made, as the last try said.
    #[must_use]
    pub fn create_error(&self) -> Option<&str> {
        self.create_error.as_deref()
    }

    /// A number for something that is asked for now: answers to it say nothing of what changes later.
    pub fn ask(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Takes the stations that need not wait any more, each with how it went.
    pub fn take_finished(&mut self) -> Vec<(IpAddr, Finish)> {
        std::mem::take(&mut self.finished)
    }

    /// Takes the sessions that are over with nothing left of their VMs.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Takes the bindings that the broker has and nobody wants; they are to be taken back.
    pub fn take_strays(&mut self) -> Vec<String> {
        std::mem::take(&mut self.strays)
    }

    /// A station is at the signal port. One that is there already keeps its place.
    pub fn arrive(&mut self, station: IpAddr, now: Now) {
        self.arrivals += 1;
        let order = self.arrivals;
        self.visitors.entry(station).or_insert(Visitor { order, since: now.at });
    }

    /// A station left the signal port. What was reserved for it stays so for its time: its viewer may be starting.
    pub fn leave(&mut self, station: IpAddr) {
        self.visitors.remove(&station);
    }

    /// Hands nothing out any more and makes nothing; or does so again.
    pub const fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Has the VM of a slot removed and a new one made, whatever it is.
    ///
    /// # Errors
    /// There is no such slot.
    pub fn recycle(&mut self, slot: &str, now: Now) -> Result<(), OrderError> {
        self.touch(slot, now, |slot, now| {
            if slot.phase != Phase::Empty {
                slot.condemn(Cause::Operator, now);
            }
            Ok(())
        })
    }

    /// Keeps the VM of a slot as it is, with all connections to it cut.
    ///
    /// # Errors
    /// There is no such slot, or no VM in it that could be kept.
    pub fn quarantine(&mut self, slot: &str, now: Now) -> Result<(), OrderError> {
        self.touch(slot, now, |slot, now| match slot.state() {
            State::Empty | State::Creating | State::Deleting => {
                Err(OrderError::Nothing { port: slot.port, state: slot.state() })
            }
            State::Quarantined => Ok(()),
            State::Clean | State::Reserved | State::Used => {
                slot.go(Phase::Isolate, now);
                Ok(())
            }
        })
    }

    /// Has every VM of the pool removed, those that are kept among them.
    pub fn clear(&mut self, now: Now) {
        let at = self.ask();
        for slot in self.slots.values_mut().filter(|slot| slot.phase != Phase::Empty) {
            slot.condemn(Cause::Operator, now);
            slot.touched = at;
        }
    }

    /// What the host has left, or that it cannot be told.
    pub fn host(&mut self, resources: Option<Resources>) {
        self.resources = resources;
    }

    /// What the golden image is, or that it cannot be told.
    pub fn golden_is(&mut self, golden: Option<Golden>) {
        self.golden = golden;
    }

    fn touch(
        &mut self,
        named: &str,
        now: Now,
        change: impl FnOnce(&mut Slot, Now) -> Result<(), OrderError>,
    ) -> Result<(), OrderError> {
        let at = self.ask();
        let slot = self.slots.values_mut().find(|slot| slot.name == named || slot.port.to_string() == named);
        let slot = slot.ok_or_else(|| OrderError::NoSlot(named.to_owned()))?;
        change(slot, now)?;
        slot.touched = at;
        Ok(())
    }

    /// Whether a slot is one of the configuration's.
    pub(super) fn is_wanted(&self, slot: &Slot) -> bool {
        self.config.vm_name(slot.port) == slot.name && self.config.port_of(&slot.name).is_some()
    }
}
