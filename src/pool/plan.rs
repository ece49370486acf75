//! What is to be done now: what the pool knows, less what it should be. Pure, synchronous, and the same every time.
//!
//! The plan leaves its executor nothing to choose: each action is one call for one slot, and what it allows is written to the
//! VM's mark by an earlier one.

use std::net::IpAddr;
use std::time::Duration;

use super::slot::{Cause, Now, Phase, Slot, State};
use super::state::Pool;

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes the call that the slot's phase is about.
    Proceed {
        /// The VM.
        name: String,
    },
    /// Makes a VM.
    Create {
        /// The VM.
        name: String,
    },
    /// Lets a VM that has booted be handed out.
    Admit {
        /// The VM.
        name: String,
    },
    /// Reserves a clean VM.
    Reserve {
        /// The VM.
        name: String,
        /// For whom.
        station: IpAddr,
    },
    /// Takes a reservation back that nobody came for.
    Withdraw {
        /// The VM.
        name: String,
    },
    /// Removes a VM.
    End {
        /// The VM.
        name: String,
        /// Why.
        cause: Cause,
    },
}

impl Action {
    /// The VM that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Proceed { name }
            | Self::Create { name }
            | Self::Admit { name }
            | Self::Reserve { name, .. }
            | Self::Withdraw { name }
            | Self::End { name, .. } => name,
        }
    }
}

/// What is to be done now.
#[must_use]
pub fn plan(pool: &Pool, now: Now) -> Vec<Action> {
    if !pool.known() {
        return Vec::new();
    }
    let idle = || pool.slots().values().filter(|slot| slot.call.is_none() && now.at >= slot.not_before);
    let mut actions: Vec<Action> = idle().filter_map(|slot| next(pool, slot, now)).collect();
    actions.extend(replacement(pool, now));
    // A slot that something is done with already is not handed out as well.
    let taken = |name: &str, actions: &[Action]| actions.iter().any(|action| action.name() == name);
    let handed: Vec<Action> = handed_out(pool, |name| taken(name, &actions));
    actions.extend(handed);
    actions.extend(created(pool, now));
    actions
}

/// What a slot by itself needs.
fn next(pool: &Pool, slot: &Slot, now: Now) -> Option<Action> {
    let name = slot.name.clone();
    let end = |cause| Some(Action::End { name: slot.name.clone(), cause });
    match slot.phase {
        Phase::Empty | Phase::Kept => None,
        Phase::Boot { until } => (now.at >= until).then_some(Action::Admit { name }),
        Phase::Clean if pool.draining() || !pool.is_wanted(slot) => end(Cause::NotWanted),
        Phase::Clean => None,
        Phase::Open => {
            let over = slot.visit.as_ref().is_none_or(|visit| now.at >= visit.until);
            (over || pool.draining()).then_some(Action::Withdraw { name })
        }
        Phase::Session => limit(pool, slot, now).and_then(end),
        // What closes a console, and what says clean, is said once and never again, so it is not even tried while nobody
        // listens.
        Phase::Close | Phase::GiveBack if !pool.reached().0 => None,
        _ => Some(Action::Proceed { name }),
    }
}

/// Which limit a session has reached.
fn limit(pool: &Pool, slot: &Slot, now: Now) -> Option<Cause> {
    let limits = &pool.config().session;
    let session = slot.session.as_ref()?;
    let idle = Duration::from_secs(limits.idle_seconds);
    let longest = Duration::from_secs(limits.longest_seconds);
    if !idle.is_zero() && session.idle >= idle {
        return Some(Cause::Idle(idle));
    }
    (!longest.is_zero() && session.lasted(now) >= longest).then_some(Cause::Longest(longest))
}

/// Which visitors are to be warned that their session ends soon.
#[must_use]
pub fn warnings(pool: &Pool) -> Vec<String> {
    let limits = &pool.config().session;
    if limits.idle_seconds == 0 || limits.idle_warning_seconds == 0 {
        return Vec::new();
    }
    let from = Duration::from_secs(limits.idle_seconds.saturating_sub(limits.idle_warning_seconds));
    let due = |slot: &&Slot| {
        slot.phase == Phase::Session
            && slot.session.as_ref().is_some_and(|session| session.idle >= from && !session.warned)
    };
    pool.slots().values().filter(due).map(|slot| slot.name.clone()).collect()
}

/// One clean VM of an older golden version, if no other VM is being renewed and none is missing: a version that cannot be
/// started costs one VM and not all.
fn replacement(pool: &Pool, now: Now) -> Option<Action> {
    let golden = pool.golden().filter(|golden| golden.fault.is_none())?;
    let renewing =
        pool.slots().values().any(|slot| matches!(slot.state(), State::Creating | State::Deleting));
    if renewing || missing(pool) > 0 || pool.hindrance(now).is_some() {
        return None;
    }
    let mut outdated: Vec<&Slot> = pool
        .slots()
        .values()
        .filter(|slot| slot.phase == Phase::Clean && slot.call.is_none() && slot.golden != golden.version)
        .collect();
    outdated.sort_by_key(|slot| (slot.since, slot.port));
    let slot = outdated.first()?;
    Some(Action::End { name: slot.name.clone(), cause: Cause::Replaced })
}

/// Clean VMs for those who wait, first come, first served; the newest golden version first, then the oldest VM.
fn handed_out(pool: &Pool, taken: impl Fn(&str) -> bool) -> Vec<Action> {
    if pool.draining() || pool.reached() != (true, true) {
        return Vec::new();
    }
    let newest = pool.golden().map(|golden| golden.version.as_str());
    let mut clean: Vec<&Slot> = pool
        .slots()
        .values()
        .filter(|slot| slot.phase == Phase::Clean && slot.call.is_none() && !slot.used && !taken(&slot.name))
        .collect();
    clean.sort_by_key(|slot| (Some(slot.golden.as_str()) != newest, slot.since, slot.port));
    waiting(pool)
        .into_iter()
        .zip(clean)
        .map(|(station, slot)| Action::Reserve { name: slot.name.clone(), station })
        .collect()
}

/// The stations that no VM is bound to, in the order in which they came.
fn waiting(pool: &Pool) -> Vec<IpAddr> {
    let bound = |station: &IpAddr| pool.slots().values().any(|slot| slot.serves() == Some(*station));
    let mut waiting: Vec<_> = pool
        .visitors()
        .iter()
        .filter(|(station, _)| !bound(station))
        .map(|(station, visitor)| (visitor.order, *station))
        .collect();
    waiting.sort_unstable();
    waiting.into_iter().map(|(_, station)| station).collect()
}

/// New VMs, as many as are wanted, allowed and possible.
fn created(pool: &Pool, now: Now) -> Vec<Action> {
    let creating = pool.slots().values().filter(|slot| slot.state() == State::Creating).count();
    let parallel = usize::from(pool.config().slots.parallel).saturating_sub(creating);
    let room = room(pool, now).saturating_sub(creating);
    let empty = pool
        .slots()
        .values()
        .filter(|slot| slot.phase == Phase::Empty && slot.call.is_none() && pool.is_wanted(slot));
    empty
        .take(missing(pool).min(parallel).min(room))
        .map(|slot| Action::Create { name: slot.name.clone() })
        .collect()
}

/// How many clean VMs are missing, as far as there are slots for them: those that should be spare and those that are
/// waited for.
fn missing(pool: &Pool) -> usize {
    let count = |state| {
        let of_state = |slot: &&Slot| slot.state() == state && pool.is_wanted(slot);
        pool.slots().values().filter(of_state).count()
    };
    let wanted = usize::from(pool.config().spare()).saturating_add(waiting(pool).len());
    let ready = count(State::Clean).saturating_add(count(State::Creating));
    wanted.saturating_sub(ready).min(count(State::Empty))
}

/// How many VMs the host has room for, those in the making included.
fn room(pool: &Pool, now: Now) -> usize {
    if pool.hindrance(now).is_some() {
        return 0;
    }
    let (Some(golden), Some(host)) = (pool.golden(), pool.resources()) else { return 0 };
    let clones = &pool.config().clones;
    let fits = |free: u64, each: u64| usize::try_from(free.checked_div(each).unwrap_or(u64::MAX));
    let memory = fits(host.memory.saturating_sub(clones.memory_reserve), golden.memory);
    let disk = fits(host.disk.saturating_sub(clones.disk_reserve), clones.overlay_limit);
    memory.unwrap_or(usize::MAX).min(disk.unwrap_or(usize::MAX))
}

impl Pool {
    /// Why no VM can be made now, in words for an operator.
    #[must_use]
    pub fn hindrance(&self, now: Now) -> Option<String> {
        if self.draining {
            return Some("the pool is drained".to_owned());
        }
        if !self.hypervisor_up {
            return Some("the hypervisor does not answer".to_owned());
        }
        let Some(golden) = &self.golden else {
            return Some(format!("nothing is known of the golden domain {}", self.config.base));
        };
        if let Some(fault) = &golden.fault {
            return Some(format!("the golden domain {}: {fault}", self.config.base));
        }
        let Some(host) = self.resources else {
            return Some("nothing is known of the host's memory and disk".to_owned());
        };
        let clones = &self.config.clones;
        if host.memory < clones.memory_reserve.saturating_add(golden.memory) {
            return Some(format!(
                "the host has {} MiB of memory left, too little for a VM",
                host.memory >> 20
            ));
        }
        if host.disk < clones.disk_reserve.saturating_add(clones.overlay_limit) {
            return Some(format!("there are {} MiB left for overlays, too little for a VM", host.disk >> 20));
        }
        (now.at < self.create_not_before).then(|| {
            let why = self.create_error.as_deref().unwrap_or_default();
            let wait = self.create_not_before.saturating_sub(now.at).as_secs();
            format!("the last VM could not be made, next try in {wait} s: {why}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::pool::config::Config;
    use crate::pool::slot::Session;

    /// Input: a session that this manager found 40 s old, then hours by which the wall clock is set, and seconds that pass.
    /// Output: it ends when it is as old as one may be, whatever the wall clock says.
    #[test]
    fn a_wall_clock_that_is_set_ends_no_session() {
        let config =
            Config::parse("base = 'kiosk'\n[slots]\nsize = 1\n[session]\nlongest_seconds = 60\n").unwrap();
        let found = Timestamp::from_seconds(1_000_040);
        let now = |time, at| Now { time: Timestamp::from_seconds(time), at: Duration::from_secs(at) };
        let pool = Pool::new(config, false, Now { time: found, at: Duration::ZERO });
        let mut slot = pool.slots().values().next().unwrap().clone();
        slot.session = Some(Session {
            begun: Timestamp::from_seconds(1_000_000),
            before: Duration::from_secs(40),
            heard: Duration::from_secs(5),
            idle: Duration::ZERO,
            warned: false,
            sent: 0,
            received: 0,
        });
        for time in [0, 1_000_060, 2_000_000] {
            assert_eq!(limit(&pool, &slot, now(time, 24)), None);
            let ends = limit(&pool, &slot, now(time, 25));
            assert_eq!(ends, Some(Cause::Longest(Duration::from_secs(60))));
        }
    }
}
