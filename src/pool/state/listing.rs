//! What a complete listing says of every slot: at the start, where it is all that is known, and later, where it shows what
//! changed without being told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Pool;
use crate::pool::door::{DoorSession, vm_of};
use crate::pool::hypervisor::{Domain, MarkState, OVERLAY_SUFFIX, Power};
use crate::pool::slot::{Cause, Now, Phase, Session, Slot, State, Visit};

/// Everything of the pool that the hypervisor has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// What [`Pool::ask`] said when it was asked for.
    pub asked: u64,
    /// The domains with our mark.
    pub domains: Vec<Domain>,
    /// The overlays of ours.
    pub overlays: Vec<PathBuf>,
}

impl Pool {
    /// Takes a listing in. At the first one `sessions` is what the broker has: a VM that was used stays only if its session
    /// goes on, and one that was clean stays only if nobody can have been in it.
    pub fn listed(&mut self, listing: &Listing, sessions: &[DoorSession], now: Now) {
        self.hypervisor_up = true;
        let domains: BTreeMap<&str, &Domain> =
            listing.domains.iter().map(|domain| (domain.name.as_str(), domain)).collect();
        let overlays: BTreeSet<&Path> = listing.overlays.iter().map(PathBuf::as_path).collect();
        let first = !self.known;
        for domain in &listing.domains {
            if !self.slots.contains_key(&domain.name) {
                self.stray(&domain.name, domain.mark.as_ref().map(|mark| mark.overlay.clone()), now);
            }
        }
        for overlay in &listing.overlays {
            let of_domain =
                |domain: &Domain| domain.mark.as_ref().is_some_and(|mark| mark.overlay == *overlay);
            if !self.slots.values().any(|slot| slot.overlay == *overlay)
                && !listing.domains.iter().any(of_domain)
                && let Some(name) = overlay.file_name().and_then(|name| name.to_str())
            {
                let name = name.trim_end_matches(OVERLAY_SUFFIX).to_owned();
                self.stray(&name, Some(overlay.clone()), now);
            }
        }
        let at = self.ask();
        for slot in self.slots.values_mut().filter(|slot| slot.call.is_none() && slot.touched < listing.asked)
        {
            let domain = domains.get(slot.name.as_str()).copied();
            let of_mark = domain.and_then(|domain| domain.mark.as_ref()).map(|mark| mark.overlay.as_path());
            let overlay =
                overlays.contains(slot.overlay.as_path()) || of_mark.is_some_and(|of| overlays.contains(of));
            let before = slot.phase;
            if slot.phase == Phase::Empty {
                found(slot, domain, overlay, if first { sessions } else { &[] }, now);
            } else {
                compared(slot, domain, overlay, now);
            }
            if slot.phase != before {
                slot.touched = at;
            }
        }
        if first {
            self.known = true;
            let adopted: BTreeSet<String> = self
                .slots
                .values()
                .filter_map(|slot| slot.visit.as_ref().map(|visit| visit.binding.clone()))
                .collect();
            let left = sessions.iter().map(|session| &session.id).filter(|id| !adopted.contains(*id));
            self.strays.extend(left.cloned());
        }
    }

    /// Something of ours that no slot of the configuration stands for: it gets a slot until it is gone.
    fn stray(&mut self, name: &str, overlay: Option<PathBuf>, now: Now) {
        let port = name.rsplit_once('-').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
        let overlay = overlay.unwrap_or_default();
        let slot = || Slot { overlay, ..Slot::empty(name.to_owned(), port, now) };
        self.slots.entry(name.to_owned()).or_insert_with(slot);
    }
}

/// An empty slot for which something is there.
fn found(slot: &mut Slot, domain: Option<&Domain>, overlay: bool, sessions: &[DoorSession], now: Now) {
    let Some(domain) = domain else {
        if overlay {
            slot.cause = Some(Cause::NotWhole("an overlay without a domain"));
            slot.go(Phase::Remove, now);
        }
        return;
    };
    slot.uuid.clone_from(&domain.uuid);
    let Some(mark) = &domain.mark else {
        return slot.condemn(Cause::NotWhole("its mark cannot be read"), now);
    };
    slot.golden.clone_from(&mark.golden);
    slot.overlay.clone_from(&mark.overlay);
    // The one that was used comes first, should there be several.
    let session =
        sessions.iter().filter(|session| vm_of(&session.id) == slot.name).max_by_key(|session| session.used);
    let runs = domain.power == Power::Running;
    slot.used = matches!(mark.state, MarkState::Used | MarkState::Reserved | MarkState::Quarantined);
    match (mark.state, session) {
        (MarkState::Clean, None) if runs && overlay => slot.go(Phase::Clean, now),
        (MarkState::Used | MarkState::Reserved, Some(session)) if runs && overlay && session.used => {
            adopt(slot, session, mark.since, now);
            // What is marked as reserved is marked as used now.
            slot.go(if mark.state == MarkState::Used { Phase::Session } else { Phase::Use }, now);
        }
        (MarkState::Quarantined, session) => {
            if let Some(station) = mark.station {
                adopt(slot, &gone_session(station, session), mark.since, now);
            }
            // Somebody may be in it still: whoever kept it may have been killed before cutting him off and closing its console.
            slot.go(if runs { Phase::IsolateCut } else { Phase::Kept }, now);
        }
        (state, session) => {
            if let (Some(station), MarkState::Used | MarkState::Reserved) = (mark.station, state) {
                adopt(slot, &gone_session(station, session), mark.since, now);
            }
            // That a VM was reserved says not that anybody was in it.
            slot.used = state == MarkState::Used || session.is_some_and(|session| session.used);
            let cause = if !overlay {
                Cause::NotWhole("a domain without an overlay")
            } else if !runs {
                Cause::NotWhole("it does not run")
            } else {
                Cause::NotProvablyUntouched(state)
            };
            slot.condemn(cause, now);
        }
    }
    slot.since = mark.since;
}

/// What is kept for the record of a session that the broker has no more.
fn gone_session(station: IpAddr, session: Option<&DoorSession>) -> DoorSession {
    session.cloned().unwrap_or_else(|| DoorSession {
        id: String::new(),
        station,
        used: false,
        idle: Duration::ZERO,
        sent: 0,
        received: 0,
    })
}

fn adopt(slot: &mut Slot, session: &DoorSession, since: crate::clock::Timestamp, now: Now) {
    slot.visit = Some(Visit {
        station: session.station,
        binding: session.id.clone(),
        password: String::new(),
        ticket: None,
        until: now.at,
        ended_unused: false,
    });
    slot.session = Some(Session {
        begun: since,
        before: Duration::from_secs(now.time.since(since)),
        heard: now.at,
        idle: session.idle,
        warned: false,
        sent: session.sent,
        received: session.received,
    });
}

/// A slot that should have a VM, held against what there is.
fn compared(slot: &mut Slot, domain: Option<&Domain>, overlay: bool, now: Now) {
    if slot.state() == State::Deleting {
        return;
    }
    let Some(domain) = domain else {
        return slot.condemn(Cause::NotWhole("its domain is gone"), now);
    };
    if domain.uuid != slot.uuid || domain.mark.is_none() {
        return slot.condemn(Cause::NotWhole("its domain is another one, or has lost its mark"), now);
    }
    if !overlay {
        return slot.condemn(Cause::NotWhole("its overlay is gone"), now);
    }
    let should_run =
        matches!(slot.phase, Phase::Boot { .. } | Phase::Clean | Phase::Open | Phase::Use | Phase::Session);
    if should_run && domain.power != Power::Running {
        slot.condemn(Cause::GuestEnded, now);
    }
}
