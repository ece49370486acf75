//! What each station that waits is told, and how its waiting ended.

use std::net::IpAddr;
use std::time::Duration;

use super::Pool;
use crate::pool::slot::{Now, Phase, State};

/// What a station is told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It waits.
    Wait {
        /// Its place in the queue, from 1.
        position: usize,
        /// What it waits for, for people.
        reason: String,
    },
    /// It may connect, with this ticket where tickets are handed out.
    Connect {
        /// The ticket.
        ticket: Option<String>,
    },
    /// Its session goes on.
    InSession,
    /// Its session ends soon if nobody touches anything.
    Idle {
        /// How soon.
        left: Duration,
    },
    /// There is nothing more to wait for.
    Over(Finish),
}

/// How a station's waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Its viewer is connected.
    Connected,
    /// It was told to connect and did not.
    NotCome,
    /// No VM became free in the time that a station may wait.
    TooLong,
    /// The session that it had is over.
    SessionOver,
}

impl Pool {
    /// What every station at the signal port is told now.
    #[must_use]
    pub fn told(&self, now: Now) -> Vec<(IpAddr, Told)> {
        let mut waiting: Vec<_> =
            self.visitors.iter().map(|(station, visitor)| (visitor.order, *station)).collect();
        waiting.sort_unstable();
        let mut position = 0;
        let reason = self.reason(now);
        let mut told = Vec::with_capacity(waiting.len());
        for (_, station) in waiting {
            told.push((station, self.told_to(station, now, &reason, &mut position)));
        }
        told
    }

    /// What a station in a session is told, whether or not it is in the queue.
    #[must_use]
    pub fn told_in_session(&self, station: IpAddr) -> Option<Told> {
        let slot = self.slots.values().find(|slot| {
            slot.station() == Some(station) && matches!(slot.state(), State::Used | State::Deleting)
        })?;
        if slot.state() == State::Deleting {
            return None;
        }
        let limit = Duration::from_secs(self.config.session.idle_seconds);
        let session = slot.session.as_ref()?;
        Some(if session.warned {
            Told::Idle { left: limit.saturating_sub(session.idle) }
        } else {
            Told::InSession
        })
    }

    fn told_to(&self, station: IpAddr, now: Now, reason: &str, position: &mut usize) -> Told {
        let of_station = |slot: &&crate::pool::slot::Slot| slot.serves() == Some(station);
        if let Some(slot) = self.slots.values().find(of_station) {
            match slot.phase {
                Phase::Open if slot.visit.as_ref().is_some_and(|visit| visit.until > now.at) => {
                    let ticket = slot.visit.as_ref().and_then(|visit| visit.ticket.clone());
                    return Told::Connect { ticket };
                }
                Phase::Use | Phase::Session => {
                    return self.told_in_session(station).unwrap_or(Told::InSession);
                }
                _ => {}
            }
        }
        *position += 1;
        Told::Wait { position: *position, reason: reason.to_owned() }
    }

    /// Why stations wait.
    #[must_use]
    pub fn reason(&self, now: Now) -> String {
        let counts = |state| self.slots.values().filter(|slot| slot.state() == state).count();
        if self.draining {
            return "no VM is handed out now".to_owned();
        }
        if !self.known {
            return "the pool is starting".to_owned();
        }
        if !self.hypervisor_up {
            return "the host's hypervisor does not answer".to_owned();
        }
        if !self.door_up {
            return "the console broker does not answer".to_owned();
        }
        if counts(State::Clean) > 0 || counts(State::Reserved) > 0 && counts(State::Used) == 0 {
            return "a VM is being handed out".to_owned();
        }
        if counts(State::Creating) > 0 {
            return "a VM is being made".to_owned();
        }
        if counts(State::Deleting) > 0 {
            return "a VM is being renewed".to_owned();
        }
        match self.hindrance(now) {
            Some(hindrance) => hindrance,
            None => "all VMs are in use".to_owned(),
        }
    }

    /// A station need not wait any more.
    pub(super) fn finish(&mut self, station: IpAddr, finish: Finish) {
        if self.visitors.remove(&station).is_some() {
            self.finished.push((station, finish));
        }
    }
}
