//! What is on a made-up host: domains, overlays, and what goes wrong next. Called by `host`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use crate::pool::hypervisor::{Answer, Event, Golden, HypervisorError, Lifecycle, Mark, Power, Resources};

/// How many events are kept for a listener that is slow.
const EVENTS: usize = 256;

/// How the next call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused and nothing is done.
    Refused,
    /// It is done, and the answer is lost.
    Unanswered,
    /// The connection is gone; nothing is done.
    Disconnected,
    /// The disk is full; nothing is done.
    NoRoom,
}

/// A domain of the made-up host.
#[derive(Debug, Clone)]
pub(super) struct FakeDomain {
    pub(super) uuid: String,
    pub(super) power: Power,
    pub(super) mark: Option<Mark>,
    pub(super) port: u16,
    /// What its console is opened with, while it is open at all.
    pub(super) password: Option<String>,
    /// Whose it is where it carries no mark: a foreign one.
    pub(super) foreign: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) domains: BTreeMap<String, FakeDomain>,
    pub(super) overlays: BTreeSet<PathBuf>,
    pub(super) golden: Golden,
    pub(super) resources: Resources,
    pub(super) networks: Vec<String>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) events: VecDeque<Event>,
    /// How many calls were answered.
    pub(super) calls: u64,
    /// At which call nothing is done any more, and whether that one is still done.
    pub(super) stop_at: Option<(u64, bool)>,
}

impl World {
    /// A domain of ours.
    pub(super) fn ours(&mut self, name: &str) -> Answer<&mut FakeDomain> {
        match self.domains.get_mut(name) {
            None => Err(HypervisorError::NotFound(name.to_owned())),
            Some(domain) if domain.foreign => Err(HypervisorError::NotOurs(name.to_owned())),
            Some(domain) => Ok(domain),
        }
    }

    /// Something happened to a domain.
    pub(super) fn tell(&mut self, name: &str, what: Lifecycle) {
        if self.events.len() == EVENTS {
            self.events.clear();
            self.events.push_back(Event::Lost);
        }
        self.events.push_back(Event::Lifecycle { name: name.to_owned(), what });
    }
}
