//! What the broker and the hypervisor tell by themselves, and time that passes.

use std::time::Duration;

use super::{Finish, Pool};
use crate::pool::door::{DoorEvent, DoorSession, vm_of};
use crate::pool::hypervisor::GraphicsPhase;
use crate::pool::slot::{Cause, Now, Phase, Slot, State};

impl Pool {
    /// The broker told something. What it says of a binding that is not the slot's present one is of a time gone by.
    pub fn door(&mut self, event: &DoorEvent, now: Now) {
        match event {
            DoorEvent::Opened => self.door_up = true,
            DoorEvent::Closed => self.door_up = false,
            DoorEvent::Used { id } => {
                if let Some(name) = self.bound(id) {
                    self.begin_session(&name, now);
                }
            }
            DoorEvent::Ended { id, why, used, sent, received } => {
                if let Some(name) = self.bound(id) {
                    self.ended(&name, why, *used, (*sent, *received), now);
                }
            }
            DoorEvent::Wanted { .. } | DoorEvent::Refused { .. } => {}
        }
    }

    /// The broker listed its bindings; `asked` is what [`Pool::ask`] said when it was asked. A binding that it does not
    /// know any more may have been used, for all that is known.
    pub fn door_sessions(&mut self, sessions: &[DoorSession], asked: u64, now: Now) {
        self.door_up = true;
        for session in sessions {
            match self.bound(&session.id) {
                Some(name) if session.used => {
                    self.begin_session(&name, now);
                    self.measured(&name, session);
                }
                Some(_) => {}
                // One that was bound after the question is not in the answer; one in the answer that no slot has is stray.
                None => self.strays.push(session.id.clone()),
            }
        }
        let lost: Vec<String> = self
            .slots
            .values()
            .filter(|slot| matches!(slot.phase, Phase::Open | Phase::Use | Phase::Session))
            .filter(|slot| slot.touched < asked && slot.call.is_none())
            .filter(|slot| {
                let binding = slot.visit.as_ref().map(|visit| visit.binding.as_str());
                !sessions.iter().any(|session| Some(session.id.as_str()) == binding)
            })
            .map(|slot| slot.name.clone())
            .collect();
        for name in lost {
            self.condemn(&name, Cause::SessionOver("the broker does not know it any more".to_owned()), now);
        }
    }

    /// The connection to the hypervisor is open or gone.
    pub const fn hypervisor(&mut self, up: bool) {
        self.hypervisor_up = up;
    }

    /// The broker is reached, or is not.
    pub const fn door_is(&mut self, up: bool) {
        self.door_up = up;
    }

    /// A guest restarted. That ends a session as shutting down does: what comes up is what its visitor left.
    pub fn guest_restarted(&mut self, name: &str, now: Now) {
        let state = self.slots.get(name).map(Slot::state);
        if matches!(state, Some(State::Reserved | State::Used)) {
            self.condemn(name, Cause::GuestEnded, now);
        }
    }

    /// Somebody is authenticated at a console. Where the broker let nobody in, the VM is not clean any more.
    pub fn console_entered(&mut self, name: &str, phase: GraphicsPhase, now: Now) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if phase == GraphicsPhase::Initialized && matches!(slot.state(), State::Creating | State::Clean) {
            slot.used = true;
            self.condemn(name, Cause::NotWhole("somebody entered its console past the broker"), now);
        }
    }

    /// Time passed: stations that waited for too long are let go, and stations whose viewer did not come.
    pub fn tick(&mut self, now: Now) {
        let longest = Duration::from_secs(self.config.signal.wait_seconds);
        let served = |station| {
            self.slots.values().any(|slot| slot.station() == Some(station) && slot.state() == State::Reserved)
        };
        let late: Vec<_> = self
            .visitors
            .iter()
            .filter(|(station, visitor)| {
                now.at.saturating_sub(visitor.since) >= longest && !served(**station)
            })
            .map(|(station, _)| *station)
            .collect();
        for station in late {
            self.finish(station, Finish::TooLong);
        }
        let not_come: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.phase == Phase::Open)
            .filter_map(|slot| slot.visit.as_ref())
            .filter(|visit| visit.until <= now.at)
            .map(|visit| visit.station)
            .collect();
        for station in not_come {
            self.finish(station, Finish::NotCome);
        }
    }

    /// A visitor is warned that the session ends soon.
    pub fn warned(&mut self, name: &str) {
        if let Some(session) = self.slots.get_mut(name).and_then(|slot| slot.session.as_mut()) {
            session.warned = true;
        }
    }

    /// The slot whose present binding this is.
    fn bound(&self, id: &str) -> Option<String> {
        let slot = self.slots.get(vm_of(id))?;
        let binding = &slot.visit.as_ref()?.binding;
        (binding == id).then(|| slot.name.clone())
    }

    pub(super) fn measured(&mut self, name: &str, heard: &DoorSession) {
        let warning = Duration::from_secs(
            self.config.session.idle_seconds.saturating_sub(self.config.session.idle_warning_seconds),
        );
        let Some(session) = self.slots.get_mut(name).and_then(|slot| slot.session.as_mut()) else { return };
        session.idle = heard.idle;
        session.sent = heard.sent;
        session.received = heard.received;
        // Somebody moved: the next warning is a new one.
        if heard.idle < warning {
            session.warned = false;
        }
    }

    fn ended(&mut self, name: &str, why: &str, used: bool, octets: (u64, u64), now: Now) {
        if used {
            self.begin_session(name, now);
        }
        let at = self.ask();
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.touched = at;
        if let Some(session) = &mut slot.session {
            (session.sent, session.received) = octets;
        }
        let was_used = slot.used;
        match slot.phase {
            // Its end says that nothing was relayed by it, and nothing can be any more.
            Phase::Open if !was_used => slot.go(Phase::Close, now),
            // The answer to the call under way says the rest.
            Phase::Bind | Phase::Unbind if !was_used => {
                if let Some(visit) = &mut slot.visit {
                    visit.ended_unused = true;
                }
            }
            Phase::Open | Phase::Bind | Phase::Unbind | Phase::Use | Phase::Session => {
                slot.condemn(Cause::SessionOver(why.to_owned()), now);
            }
            _ => {}
        }
    }
}
