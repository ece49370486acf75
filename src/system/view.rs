//! What the API says of the firmware. Pure; made by `service.rs`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::entry::{self, Entry};
use super::layout::{Layout, Partition, Slot};
use super::version::Version;
use crate::clock::Timestamp;
use crate::store::Author;
use crate::store::updates::{Outcome, Update};

/// The firmware of a router.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SystemView {
    /// The version that runs: of the firmware's entry, or of the service where there is none.
    pub version: String,
    /// The kind of machine that it is for.
    pub architecture: &'static str,
    /// Why it takes no updates; absent where it does.
    pub no_updates: Option<String>,
    /// The slot that runs; absent where there are none.
    pub slot: Option<Slot>,
    /// The slots, by name.
    pub slots: BTreeMap<&'static str, SlotView>,
    /// The entries of the boot loader.
    pub entries: Vec<EntryView>,
    /// Whether what runs is good.
    pub trial: TrialView,
    /// The update that is being received.
    pub receiving: Option<Receiving>,
    /// The last update that came to the disk, and what became of it.
    pub last_update: Option<LastUpdate>,
    /// Whether the machine was asked to start again.
    pub reboots: bool,
}

/// A place that a version runs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SlotView {
    /// The kernel's name of its partition.
    pub device: String,
    /// The octets that fit.
    pub octets: u64,
    /// Whether it runs.
    pub runs: bool,
}

impl SlotView {
    fn new(partition: &Partition, runs: bool) -> Self {
        Self { device: partition.device.clone(), octets: partition.octets, runs }
    }
}

/// An entry of the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EntryView {
    /// The name of its file.
    pub name: String,
    /// What it starts.
    pub version: Version,
    /// How many tries are left; absent where it is good.
    pub tries_left: Option<u32>,
    /// Whether it runs.
    pub runs: bool,
    /// Whether the next start of the machine is its.
    pub next: bool,
}

/// Whether what runs is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TrialView {
    /// Whether it is.
    pub state: TrialState,
    /// Since when, as far as this service knows.
    pub since: Timestamp,
    /// Why it is not good yet.
    pub why: Option<String>,
    /// How many seconds are left until the machine starts again without it.
    pub seconds_left: Option<u64>,
}

/// Whether what runs is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// The boot loader counts nothing on this machine.
    Off,
    /// It has yet to show that it is.
    Trial,
    /// It is.
    Good,
    /// It is not, and its time is over.
    Failed,
}

impl TrialState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Off, Self::Trial, Self::Good, Self::Failed];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Trial => "trial",
            Self::Good => "good",
            Self::Failed => "failed",
        }
    }
}

/// An update that is being received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Receiving {
    /// What it brings; absent until its manifest was read.
    pub version: Option<Version>,
    /// How many octets came.
    pub octets: u64,
    /// Since when they come.
    pub since: Timestamp,
    /// Who sends it.
    pub author: Author,
}

/// The last update that came to the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LastUpdate {
    /// What it brought.
    pub version: String,
    /// What ran.
    pub from: String,
    /// The slot that it went to.
    pub slot: String,
    /// Whether an older version was taken because somebody said so.
    pub forced: bool,
    /// Who sent it.
    pub author: Author,
    /// When it was there.
    pub time: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it is not good.
    pub why: Option<String>,
}

impl From<&Update> for LastUpdate {
    fn from(update: &Update) -> Self {
        let Update { version, from, slot, forced, author, mark, interfaces: _, outcome, since, why } =
            update.clone();
        Self { version, from, slot, forced, author, time: mark.time, outcome, since, why }
    }
}

/// An update that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Installed {
    /// What it brings.
    pub version: Version,
    /// What runs until the machine starts again.
    pub runs: String,
    /// The slot that it is in.
    pub slot: Slot,
    /// The boot loader's entry of it.
    pub entry: String,
    /// When it starts: `next_boot`.
    pub starts: &'static str,
}

/// The slots of a machine.
pub(super) fn slots(layout: &Layout) -> BTreeMap<&'static str, SlotView> {
    [
        (layout.slot.name(), SlotView::new(&layout.running, true)),
        (layout.idle_slot.name(), SlotView::new(&layout.idle, false)),
    ]
    .into()
}

/// The entries of a machine; what it prefers comes first.
pub(super) fn entries(layout: &Layout) -> Vec<EntryView> {
    let next = entry::next(&layout.entries).copied();
    let view = |entry: &Entry| EntryView {
        name: entry.to_string(),
        version: entry.version,
        tries_left: entry.tries.map(|tries| tries.left),
        runs: *entry == layout.entry,
        next: Some(*entry) == next,
    };
    let mut entries: Vec<EntryView> = layout.entries.iter().map(view).collect();
    entries.sort_by_key(|entry| Reverse((entry.next, entry.version)));
    entries
}
