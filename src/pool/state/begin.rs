//! What a plan's action changes before its call is made, and what the call is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Pool;
use crate::clock::Timestamp;
use crate::pool::door::Binding;
use crate::pool::hypervisor::{CloneRequest, Mark, Start, Ticket};
use crate::pool::plan::Action;
use crate::pool::slot::{Now, Phase, Slot, Visit};

/// One call, with everything that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Defines a VM.
    Create(Box<CloneRequest>),
    /// Starts it.
    Start(Start),
    /// Writes its mark.
    SetMark(Box<Mark>),
    /// Opens its console to a password, or closes it.
    SetTicket(Ticket),
    /// Lets its station in.
    Bind(Box<Binding>),
    /// Takes a binding back, if it was not used.
    Unbind(String),
    /// Cuts whatever is connected by a binding; nothing where there was none.
    Kick(Option<String>),
    /// Ends it.
    Destroy,
    /// Forgets it.
    Undefine,
    /// Removes its overlay; nothing where none is known.
    DeleteOverlay(Option<PathBuf>),
}

/// A call that is to be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The VM.
    pub name: String,
    /// What its answer is told with.
    pub number: u64,
    /// The call.
    pub call: Call,
}

/// How much longer the broker holds a reservation than the pool: the pool takes it back itself, the broker's own end is for
/// when the manager is gone.
const BROKER_SLACK: Duration = Duration::from_secs(5);

impl Pool {
    /// Starts an action of the plan. `chance` gives random numbers that nobody can guess. Nothing where the action fits no
    /// more, which a plan that was just made never is.
    pub fn begin(&mut self, action: &Action, now: Now, chance: &mut dyn FnMut() -> u64) -> Option<Started> {
        let number = self.ask();
        let golden = self.golden.as_ref().map(|golden| golden.version.clone());
        let (config, slots) = (&self.config, &mut self.slots);
        let slot = slots.get_mut(action.name())?;
        if slot.call.is_some() {
            return None;
        }
        match action {
            Action::Proceed { .. } => {}
            Action::Create { .. } => {
                let fresh = Slot::empty(slot.name.clone(), slot.port, now);
                let uuid = uuid(chance);
                let overlay = config.overlay(slot.port, &uuid);
                *slot = Slot { uuid, golden: golden?, overlay, ..fresh };
                slot.go(Phase::Define, now);
            }
            Action::Admit { .. } => slot.go(Phase::Admit, now),
            Action::Reserve { station, .. } => {
                slot.visit = Some(Visit {
                    station: *station,
                    binding: format!("{}@{:016x}", slot.name, chance()),
                    password: secret(chance),
                    ticket: config.signal.ticket.then(|| secret(chance)),
                    until: Duration::MAX,
                    ended_unused: false,
                });
                slot.go(Phase::Reserve, now);
            }
            Action::Withdraw { .. } => slot.go(Phase::Unbind, now),
            Action::End { cause, .. } => slot.condemn(cause.clone(), now),
        }
        slot.touched = number;
        let call = call(slot, config, now, chance)?;
        slot.call = Some(number);
        slot.made = Some(slot.phase);
        Some(Started { name: slot.name.clone(), number, call })
    }
}

/// The call of a slot's phase. Nothing for a phase that rests.
fn call(
    slot: &Slot,
    config: &crate::pool::config::Config,
    now: Now,
    chance: &mut dyn FnMut() -> u64,
) -> Option<Call> {
    let console = SocketAddr::from((Ipv4Addr::LOCALHOST, slot.port));
    if let Some(state) = slot.phase.mark() {
        let mark = Mark {
            pool: config.name.clone(),
            uuid: slot.uuid.clone(),
            port: slot.port,
            state,
            since: now.time,
            station: slot.station().filter(|_| slot.phase != Phase::GiveBack),
            golden: slot.golden.clone(),
            overlay: slot.overlay.clone(),
        };
        if slot.phase != Phase::Define {
            return Some(Call::SetMark(Box::new(mark)));
        }
        return Some(Call::Create(Box::new(CloneRequest {
            name: slot.name.clone(),
            uuid: slot.uuid.clone(),
            mac: mac(slot.port),
            console,
            password: secret(chance),
            overlay_limit: (config.clones.overlay_limit > 0).then_some(config.clones.overlay_limit),
            mark,
        })));
    }
    let visit = slot.visit.as_ref();
    Some(match slot.phase {
        Phase::Start => Call::Start(if config.clones.instant { Start::Instant } else { Start::Cold }),
        Phase::Ticket => Call::SetTicket(Ticket { password: visit?.password.clone(), until: None }),
        // One that nobody knows and that is over.
        Phase::Close | Phase::IsolateClose => {
            Call::SetTicket(Ticket { password: secret(chance), until: Some(Timestamp::from_seconds(1)) })
        }
        Phase::Bind => {
            let visit = visit?;
            let reserved = Duration::from_secs(u64::from(config.signal.tries));
            Call::Bind(Box::new(Binding {
                id: visit.binding.clone(),
                station: visit.station,
                console,
                password: visit.password.clone(),
                ticket: visit.ticket.clone(),
                reserved: reserved.saturating_add(BROKER_SLACK),
                grace: Duration::from_secs(config.session.grace_seconds),
            }))
        }
        Phase::Unbind => Call::Unbind(visit?.binding.clone()),
        Phase::Cut | Phase::IsolateCut => Call::Kick(visit.map(|visit| visit.binding.clone())),
        Phase::Destroy => Call::Destroy,
        Phase::Undefine => Call::Undefine,
        Phase::Remove => {
            Call::DeleteOverlay(Some(slot.overlay.clone()).filter(|overlay| !overlay.as_os_str().is_empty()))
        }
        _ => return None,
    })
}

/// A MAC of QEMU's range for a slot: unicast, and the same for every VM of the slot, so that switches and DHCP servers see
/// as many machines as there are slots.
fn mac(port: u16) -> [u8; 6] {
    let [high, low] = port.to_be_bytes();
    [0x52, 0x54, 0x00, high, low, 0x00]
}

/// A random UUID, RFC 9562 version 4.
fn uuid(chance: &mut dyn FnMut() -> u64) -> String {
    let (high, low) = (chance(), chance());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// 128 random bits in hexadecimal digits.
fn secret(chance: &mut dyn FnMut() -> u64) -> String {
    format!("{:016x}{:016x}", chance(), chance())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every port that a slot can have: a unicast MAC of QEMU's range, and no two alike. Half of the old scripts' were
    /// multicast, which libvirt refuses.
    #[test]
    fn every_slot_has_a_unicast_address_of_its_own() {
        let all: BTreeSet<[u8; 6]> = (1024..=u16::MAX).map(mac).collect();
        assert_eq!(all.len(), usize::from(u16::MAX) - 1023);
        assert!(all.iter().all(|mac| mac[..3] == [0x52, 0x54, 0x00] && mac[0] & 1 == 0));
    }

    #[test]
    fn identifiers_are_whole_whatever_is_drawn() {
        for drawn in [0, 1, u64::MAX, 0x8000_0000_0000_0000] {
            let made = uuid(&mut || drawn);
            let parts: Vec<usize> = made.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{made}");
            assert!(made.as_bytes()[14] == b'4' && b"89ab".contains(&made.as_bytes()[19]), "{made}");
            assert_eq!(secret(&mut || drawn).len(), 32);
        }
    }
}
