//! What a call's answer changes.
//!
//! A call that failed may still act later. Two kinds could do harm then, the one that says clean and the one that closes a
//! console: neither is tried a second time, and the VM is removed instead.

use std::time::Duration;

use super::{Finish, Pool, Record};
use crate::pool::hypervisor::Start;
use crate::pool::slot::{Cause, Now, Phase, Session, Slot};

/// How often it is tried to close the console of a VM that is kept.
const CLOSINGS: u32 = 6;

/// What a call came back with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is done.
    Done,
    /// It runs, started like this.
    Started(Start),
    /// The binding is taken back: whether it was used, where the broker knew it at all.
    Unbound(Option<bool>),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// For an operator.
    pub text: String,
    /// Whether the hypervisor, or the broker, cannot be reached at all.
    pub unreached: bool,
}

impl Pool {
    /// A call came back. Answers to calls that nobody waits for are ignored.
    pub fn done(&mut self, name: &str, number: u64, result: Result<Done, CallError>, now: Now) {
        let at = self.ask();
        let Some(slot) = self.slots.get_mut(name).filter(|slot| slot.call == Some(number)) else { return };
        slot.call = None;
        slot.touched = at;
        // An order or an event may have sent the slot elsewhere while the call was under way; its phase then waits for a
        // call of its own.
        let made = slot.made.take();
        if made != Some(slot.phase) {
            return;
        }
        if let Err(error) = &result
            && error.unreached
        {
            let of_door = matches!(slot.phase, Phase::Bind | Phase::Unbind | Phase::Cut | Phase::IsolateCut);
            *(if of_door { &mut self.door_up } else { &mut self.hypervisor_up }) = false;
        }
        let phase = slot.phase;
        match result {
            Ok(done) => {
                slot.error = None;
                self.succeeded(name, phase, &done, now);
            }
            Err(error) => self.failed(name, phase, error.text, now),
        }
    }

    fn succeeded(&mut self, name: &str, phase: Phase, done: &Done, now: Now) {
        let boot = Duration::from_secs(self.config.clones.boot_seconds);
        let tries = Duration::from_secs(u64::from(self.config.signal.tries));
        let Some(slot) = self.slots.get_mut(name) else { return };
        let next = match phase {
            Phase::Define => Phase::Start,
            Phase::Start => {
                let boot = if *done == Done::Started(Start::Instant) { Duration::ZERO } else { boot };
                Phase::Boot { until: now.at.saturating_add(boot) }
            }
            Phase::Admit => {
                self.create_failures = 0;
                self.create_error = None;
                Phase::Clean
            }
            Phase::Reserve => Phase::Ticket,
            Phase::Ticket => Phase::Bind,
            Phase::Bind => {
                if let Some(visit) = &mut slot.visit {
                    visit.until = now.at.saturating_add(tries);
                }
                if slot.used { Phase::Use } else { Phase::Open }
            }
            Phase::Unbind => {
                let ended_unused = slot.visit.as_ref().is_some_and(|visit| visit.ended_unused);
                let unused = *done == Done::Unbound(Some(false)) || ended_unused;
                if slot.used || *done == Done::Unbound(Some(true)) {
                    // It came in the last moment.
                    slot.go(Phase::Open, now);
                    return self.begin_session(name, now);
                }
                if !unused {
                    let cause = Cause::SessionOver("the broker does not know it any more".to_owned());
                    slot.used = true;
                    return slot.condemn(cause, now);
                }
                Phase::Close
            }
            Phase::Close => Phase::GiveBack,
            Phase::GiveBack => {
                slot.visit = None;
                Phase::Clean
            }
            Phase::Use => Phase::Session,
            Phase::Isolate => Phase::IsolateCut,
            Phase::IsolateCut => Phase::IsolateClose,
            Phase::IsolateClose => Phase::Kept,
            Phase::Condemn => Phase::Cut,
            Phase::Cut => Phase::Destroy,
            Phase::Destroy => Phase::Undefine,
            Phase::Undefine => Phase::Remove,
            Phase::Remove => return self.gone(name, now),
            rests => rests,
        };
        slot.go(next, now);
    }

    fn failed(&mut self, name: &str, phase: Phase, error: String, now: Now) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        match phase {
            Phase::Define | Phase::Start | Phase::Admit => {
                self.create_not_before =
                    now.at.saturating_add(crate::pool::slot::back_off(self.create_failures));
                self.create_failures = self.create_failures.saturating_add(1);
                self.create_error = Some(error.clone());
                slot.condemn(Cause::Failed(error), now);
            }
            // It was never bound, so nobody can have been in it.
            Phase::Reserve | Phase::Ticket => {
                slot.go(if phase == Phase::Ticket { Phase::Close } else { Phase::GiveBack }, now);
                slot.back_off(error, now);
            }
            Phase::Bind | Phase::Unbind | Phase::Close | Phase::GiveBack => {
                slot.condemn(Cause::Failed(error), now)
            }
            // The session goes on, marked as reserved, which is no more trusted than used.
            Phase::Use => slot.back_off(error, now),
            Phase::Isolate | Phase::IsolateCut => slot.back_off(error, now),
            // Nobody is led to it any more, so a call that acts late closes what is closed. Where it is not running, there is
            // no console.
            Phase::IsolateClose if slot.failures < CLOSINGS => slot.back_off(error, now),
            Phase::IsolateClose => {
                slot.go(Phase::Kept, now);
                slot.error = Some(error);
            }
            // That it is being removed needs not be written: what is shut off or half there is removed anyway. A broker that
            // is not reached loses the console when the VM ends.
            Phase::Condemn | Phase::Cut => {
                let next = if phase == Phase::Condemn { Phase::Cut } else { Phase::Destroy };
                slot.go(next, now);
                slot.error = Some(error);
            }
            Phase::Destroy | Phase::Remove => slot.back_off(error, now),
            // It may run, for all that is known.
            Phase::Undefine => {
                let failures = slot.failures;
                slot.phase = Phase::Destroy;
                slot.failures = failures;
                slot.back_off(error, now);
            }
            _ => {}
        }
    }

    /// Has a VM removed.
    pub(super) fn condemn(&mut self, name: &str, cause: Cause, now: Now) {
        let at = self.ask();
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.condemn(cause, now);
        slot.touched = at;
    }

    /// The first octet is about to be relayed to a VM: it is used from here on.
    pub(super) fn begin_session(&mut self, name: &str, now: Now) {
        let at = self.ask();
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.used = true;
        slot.touched = at;
        slot.session.get_or_insert(Session {
            begun: now.time,
            before: Duration::ZERO,
            heard: now.at,
            idle: Duration::ZERO,
            warned: false,
            sent: 0,
            received: 0,
        });
        if matches!(slot.phase, Phase::Open) {
            slot.go(Phase::Use, now);
        }
        if let Some(station) = slot.station() {
            self.finish(station, Finish::Connected);
        }
    }

    /// What is to be known of the session in a VM that is about to go; nothing where nobody was in it.
    #[must_use]
    pub fn ending(&self, name: &str, now: Now) -> Option<Record> {
        record(self.slots.get(name)?, now)
    }

    /// Takes over the records of sessions whose VMs somebody else removed: those of VMs that are not there any more.
    pub fn finish_records(&mut self, unfinished: Vec<Record>, now: Now) {
        let there = |record: &Record| self.slots.values().any(|slot| slot.uuid == record.uuid);
        let gone = unfinished.into_iter().filter(|record| !there(record));
        let records: Vec<_> = gone.map(|record| Record { gone: now.time, ..record }).collect();
        self.records.extend(records);
    }

    /// Nothing of a VM is left.
    fn gone(&mut self, name: &str, now: Now) {
        let Some(slot) = self.slots.remove(name) else { return };
        if let Some(record) = record(&slot, now) {
            self.records.push(record);
        }
        if self.is_wanted(&slot) {
            let touched = slot.touched;
            let empty = Slot { touched, ..Slot::empty(slot.name, slot.port, now) };
            self.slots.insert(name.to_owned(), empty);
        }
    }
}

fn record(slot: &Slot, now: Now) -> Option<Record> {
    if !slot.used {
        return None;
    }
    let session = slot.session.as_ref();
    Some(Record {
        vm: slot.name.clone(),
        uuid: slot.uuid.clone(),
        golden: slot.golden.clone(),
        station: slot.station(),
        begun: session.map_or(slot.since, |session| session.begun),
        gone: now.time,
        why: slot.cause.as_ref().map(ToString::to_string).unwrap_or_default(),
        sent: session.map_or(0, |session| session.sent),
        received: session.map_or(0, |session| session.received),
        overlay: slot.overlay.clone(),
    })
}
