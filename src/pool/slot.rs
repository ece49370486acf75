//! A slot: the place of one VM after another, and how far it is with its present one.
//!
//! A slot is resting, or one call for it is under way, or one waits to be made; never two. What a phase allows was written to
//! the VM's mark before. Pure; `observed` changes slots, `plan` reads them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::hypervisor::MarkState;
use crate::clock::Timestamp;

/// What time it is, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which marks and records carry.
    pub time: Timestamp,
    /// How long the manager runs, which timers are measured by.
    pub at: Duration,
}

/// What a slot is, as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has no VM.
    Empty,
    /// Its VM is being made.
    Creating,
    /// Its VM waits for a visitor.
    Clean,
    /// A station may connect.
    Reserved,
    /// A visitor works in it.
    Used,
    /// Its VM is being removed.
    Deleting,
    /// It is kept for an operator.
    Quarantined,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::Creating,
        Self::Clean,
        Self::Reserved,
        Self::Used,
        Self::Deleting,
        Self::Quarantined,
    ];

    /// In which of the old scripts' lists its VM would stand.
    #[must_use]
    pub const fn old_name(self) -> &'static str {
        match self {
            Self::Empty | Self::Creating | Self::Deleting => "recycle",
            Self::Clean => "clear",
            Self::Reserved => "conn_wait",
            Self::Used => "waste",
            Self::Quarantined => "-",
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Creating => "creating",
            Self::Clean => "clean",
            Self::Reserved => "reserved",
            Self::Used => "used",
            Self::Deleting => "deleting",
            Self::Quarantined => "quarantined",
        }
    }
}

/// How far a slot is. Each phase that does not rest is one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Rests without a VM.
    Empty,
    /// Defines the VM, marked as creating.
    Define,
    /// Starts it.
    Start,
    /// Rests until it may be handed out.
    Boot {
        /// When that is.
        until: Duration,
    },
    /// Marks it clean for the first time.
    Admit,
    /// Rests, clean.
    Clean,
    /// Marks it reserved.
    Reserve,
    /// Gives its console a password.
    Ticket,
    /// Binds it to its station at the broker.
    Bind,
    /// Rests until the station connects, or does not.
    Open,
    /// Takes the binding back, which tells whether it was used.
    Unbind,
    /// Takes its console's password back.
    Close,
    /// Marks it clean again.
    GiveBack,
    /// Marks it used.
    Use,
    /// Rests while its visitor works.
    Session,
    /// Marks it as kept for an operator.
    Isolate,
    /// Cuts its connections.
    IsolateCut,
    /// Takes its console's password back.
    IsolateClose,
    /// Rests, kept.
    Kept,
    /// Marks it as being removed.
    Condemn,
    /// Cuts its connections.
    Cut,
    /// Ends the VM.
    Destroy,
    /// Forgets it.
    Undefine,
    /// Removes its overlay.
    Remove,
}

impl Phase {
    /// What an operator sees of it.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Empty => State::Empty,
            Self::Define | Self::Start | Self::Boot { .. } | Self::Admit => State::Creating,
            Self::Clean => State::Clean,
            Self::Reserve
            | Self::Ticket
            | Self::Bind
            | Self::Open
            | Self::Unbind
            | Self::Close
            | Self::GiveBack => State::Reserved,
            Self::Use | Self::Session => State::Used,
            Self::Isolate | Self::IsolateCut | Self::IsolateClose | Self::Kept => State::Quarantined,
            Self::Condemn | Self::Cut | Self::Destroy | Self::Undefine | Self::Remove => State::Deleting,
        }
    }

    /// Whether nothing is to be called for it.
    #[must_use]
    pub const fn rests(self) -> bool {
        matches!(
            self,
            Self::Empty | Self::Boot { .. } | Self::Clean | Self::Open | Self::Session | Self::Kept
        )
    }

    /// What its VM's mark is to say, for the phases that write it.
    #[must_use]
    pub const fn mark(self) -> Option<MarkState> {
        Some(match self {
            Self::Define => MarkState::Creating,
            Self::Admit | Self::GiveBack => MarkState::Clean,
            Self::Reserve => MarkState::Reserved,
            Self::Use => MarkState::Used,
            Self::Isolate => MarkState::Quarantined,
            Self::Condemn => MarkState::Deleting,
            _ => return None,
        })
    }
}

/// Why a VM is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The broker says that the session is over, and why.
    SessionOver(String),
    /// Its guest shut down or restarted, or it crashed.
    GuestEnded,
    /// Nobody touched anything for so long.
    Idle(Duration),
    /// The session was as long as one may be.
    Longest(Duration),
    /// The golden image has a newer version.
    Replaced,
    /// The pool hands nothing out, or has no such slot any more.
    NotWanted,
    /// An operator said so.
    Operator,
    /// A manager that started cannot prove that nobody was in it.
    NotProvablyUntouched(MarkState),
    /// What was found of it is not whole: which part is missing or wrong.
    NotWhole(&'static str),
    /// A call failed.
    Failed(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionOver(why) => f.write_str(why),
            Self::GuestEnded => f.write_str("the guest shut down or restarted"),
            Self::Idle(after) => write!(f, "nobody touched anything for {} s", after.as_secs()),
            Self::Longest(after) => write!(f, "the session lasted {} s, as long as one may", after.as_secs()),
            Self::Replaced => f.write_str("the golden image has a newer version"),
            Self::NotWanted => f.write_str("it is not wanted any more"),
            Self::Operator => f.write_str("an operator said so"),
            Self::NotProvablyUntouched(state) => {
                write!(f, "found as {state:?}: it cannot be proved that nobody was in it")
            }
            Self::NotWhole(part) => write!(f, "it is not whole: {part}"),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// A station that a VM is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The station's address.
    pub station: IpAddr,
    /// What the broker knows the binding by. Every reservation has its own, so nothing that is said late of an earlier one
    /// is taken for this.
    pub binding: String,
    /// The console's password for this reservation.
    pub password: String,
    /// What the station has to know, where tickets are handed out.
    pub ticket: Option<String>,
    /// Until when the station may connect; counted from when it may.
    pub until: Duration,
    /// Whether the broker said that the binding ended without having been used.
    pub ended_unused: bool,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// When it began.
    pub begun: Timestamp,
    /// How long it had lasted when this manager first heard of it, by the wall clock: no other outlives a manager.
    pub before: Duration,
    /// When that was.
    pub heard: Duration,
    /// How long nobody touches anything, as last heard.
    pub idle: Duration,
    /// Whether the visitor was warned of that.
    pub warned: bool,
    /// Octets from the station.
    pub sent: u64,
    /// Octets to the station.
    pub received: u64,
}

impl Session {
    /// How long it has lasted. A wall clock that is set while it goes on neither ends nor lengthens it.
    #[must_use]
    pub const fn lasted(&self, now: Now) -> Duration {
        self.before.saturating_add(now.at.saturating_sub(self.heard))
    }
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its VM's name.
    pub name: String,
    /// Its console's port.
    pub port: u16,
    /// How far it is.
    pub phase: Phase,
    /// Since when its state is what it is.
    pub since: Timestamp,
    /// Its VM's UUID.
    pub uuid: String,
    /// The golden version that its VM was made from.
    pub golden: String,
    /// Where its VM's overlay is; empty where there is none or it is not known.
    pub overlay: PathBuf,
    /// Who it is bound to.
    pub visit: Option<Visit>,
    /// The session, once there is one.
    pub session: Option<Session>,
    /// Whether anybody may have been in it. Never taken back while the VM is there.
    pub used: bool,
    /// Why it is removed, while it is.
    pub cause: Option<Cause>,
    /// The call under way.
    pub call: Option<u64>,
    /// The phase that it was made for.
    pub made: Option<Phase>,
    /// When the next call may be made.
    pub not_before: Duration,
    /// How many calls failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// When it last changed, in the order of everything that happened: a listing asked for before says nothing of it.
    pub touched: u64,
}

impl Slot {
    /// A slot without a VM.
    #[must_use]
    pub fn empty(name: String, port: u16, now: Now) -> Self {
        Self {
            name,
            port,
            phase: Phase::Empty,
            since: now.time,
            uuid: String::new(),
            golden: String::new(),
            overlay: PathBuf::new(),
            visit: None,
            session: None,
            used: false,
            cause: None,
            call: None,
            made: None,
            not_before: Duration::ZERO,
            failures: 0,
            error: None,
            touched: 0,
        }
    }

    /// What an operator sees of it.
    #[must_use]
    pub const fn state(&self) -> State {
        self.phase.state()
    }

    /// The station that it is bound to.
    #[must_use]
    pub fn station(&self) -> Option<IpAddr> {
        self.visit.as_ref().map(|visit| visit.station)
    }

    /// The station that it is there for. One whose VM is kept for an operator is free to get another.
    #[must_use]
    pub fn serves(&self) -> Option<IpAddr> {
        if matches!(self.phase, Phase::IsolateClose | Phase::Kept) { None } else { self.station() }
    }

    /// Goes on to a phase.
    pub fn go(&mut self, phase: Phase, now: Now) {
        if phase.state() != self.phase.state() {
            self.since = now.time;
        }
        self.phase = phase;
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// Has its VM removed. What is being removed already goes on as it is.
    pub fn condemn(&mut self, cause: Cause, now: Now) {
        if self.state() == State::Deleting {
            return;
        }
        self.cause = Some(cause);
        self.go(Phase::Condemn, now);
    }

    /// Waits before the call is made again: 1 s, 2 s and so on up to a minute.
    pub fn back_off(&mut self, error: String, now: Now) {
        self.not_before = now.at.saturating_add(back_off(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
    }
}

/// How long is waited after so many failures.
#[must_use]
pub fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1u64.checked_shl(failures).unwrap_or(u64::MAX).clamp(1, 60))
}
