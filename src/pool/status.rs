//! How the pool does, for operators: every slot and station with since when and why. Made by the manager; shown by the API,
//! the metrics and `vrouter-pool status`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::manager::Counters;
use super::slot::{Now, State};
use super::state::{Pool, Told};
use crate::clock::Timestamp;

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// When this was true.
    pub time: Timestamp,
    /// The pool's name.
    pub pool: String,
    /// The golden domain's name.
    pub base: String,
    /// Its version, where it is known.
    pub golden: Option<String>,
    /// Whether what there is was looked at since the start.
    pub known: bool,
    /// Whether the pool hands nothing out.
    pub draining: bool,
    /// Whether the hypervisor is reached.
    pub hypervisor: bool,
    /// Whether the console broker is reached.
    pub broker: bool,
    /// Why no VM can be made now.
    pub hindrance: Option<String>,
    /// How many clean VMs are wanted.
    pub spare: u16,
    /// The slots, by their ports.
    pub slots: Vec<SlotStatus>,
    /// The stations that wait, first come first.
    pub stations: Vec<StationStatus>,
    /// What was counted since the start.
    pub counters: Counters,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its console's port, which is its name.
    pub port: u16,
    /// Its VM's name.
    pub vm: String,
    /// What it is.
    pub state: String,
    /// In which of the old lists its VM would be.
    pub list: String,
    /// Since when.
    pub since: Timestamp,
    /// The station that it is reserved for or used by.
    pub station: Option<IpAddr>,
    /// The golden version of its VM.
    pub golden: Option<String>,
    /// Why it is what it is: why it is removed, or why the last call failed.
    pub why: Option<String>,
    /// How long nobody touched anything, in seconds, in a session.
    pub idle_seconds: Option<u64>,
    /// Octets from the station, in a session.
    pub sent: Option<u64>,
    /// Octets to the station, in a session.
    pub received: Option<u64>,
}

/// A station that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationStatus {
    /// Its address.
    pub station: IpAddr,
    /// How long it has been there, in seconds.
    pub seconds: u64,
    /// What it is told.
    pub told: String,
}

impl Status {
    /// How a pool is.
    #[must_use]
    pub fn of(pool: &Pool, counters: &Counters, now: Now) -> Self {
        let config = pool.config();
        let (hypervisor, broker) = pool.reached();
        let mut slots: Vec<_> = pool.slots().values().map(SlotStatus::of).collect();
        slots.sort_by(|a, b| (a.port, &a.vm).cmp(&(b.port, &b.vm)));
        let station = |(station, told): (IpAddr, Told)| {
            let since = pool.visitors().get(&station).map_or(now.at, |visitor| visitor.since);
            StationStatus { station, seconds: now.at.saturating_sub(since).as_secs(), told: words(&told) }
        };
        Self {
            time: now.time,
            pool: config.name.clone(),
            base: config.base.clone(),
            golden: pool.golden().map(|golden| golden.version.clone()),
            known: pool.known(),
            draining: pool.draining(),
            hypervisor,
            broker,
            hindrance: pool.hindrance(now),
            spare: config.spare(),
            slots,
            stations: pool.told(now).into_iter().map(station).collect(),
            counters: counters.clone(),
        }
    }

    /// How many slots are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.slots.iter().filter(|slot| slot.state == state.name()).count()
    }
}

impl SlotStatus {
    fn of(slot: &super::slot::Slot) -> Self {
        let session = slot.session.as_ref().filter(|_| slot.state() == State::Used);
        let why = slot.error.clone().or_else(|| slot.cause.as_ref().map(ToString::to_string));
        Self {
            port: slot.port,
            vm: slot.name.clone(),
            state: slot.state().name().to_owned(),
            list: slot.state().old_name().to_owned(),
            since: slot.since,
            station: slot.station(),
            golden: (!slot.golden.is_empty()).then(|| slot.golden.clone()),
            why,
            idle_seconds: session.map(|session| session.idle.as_secs()),
            sent: session.map(|session| session.sent),
            received: session.map(|session| session.received),
        }
    }
}

fn words(told: &Told) -> String {
    match told {
        Told::Wait { position, reason } => format!("waits as number {position}: {reason}"),
        Told::Connect { .. } => "may connect".to_owned(),
        Told::InSession => "has a session".to_owned(),
        Told::Idle { left } => {
            format!("has a session that ends in {} s unless somebody moves", left.as_secs())
        }
        Told::Over(finish) => format!("is let go: {finish:?}"),
    }
}
