//! Which backends of a pool take part now, and with which share: what whoever picks looks at.
//!
//! Built by `pool.rs` whenever something of it changes, and never changed itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::choose::{Candidate, Chooser, hash};
use super::condition::{Standing, millis};
use super::place::Place;
use super::queue::is_among;
use crate::config::load_balancer::Algorithm;

/// In how many steps a share grows.
const STEPS: u64 = 50;
/// A step is no shorter than this, in milliseconds: each builds a view.
const SHORTEST_STEP: u64 = 100;

/// A backend as the configuration wants it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) backend: Arc<Backend>,
    pub(super) weight: u16,
    pub(super) enabled: bool,
    pub(super) backup: bool,
}

impl Member {
    /// Whether it is wanted for what is new, if it is well.
    pub(super) const fn takes_part(&self) -> bool {
        self.enabled && self.weight > 0
    }
}

/// Those who take part.
#[derive(Debug)]
pub(super) struct View {
    backends: Box<[Arc<Backend>]>,
    /// Those that serve the clients that stay with them, and nobody else.
    keepers: Box<[Arc<Backend>]>,
    chooser: Chooser,
}

impl Default for View {
    fn default() -> Self {
        Self {
            backends: Box::default(),
            keepers: Box::default(),
            chooser: Chooser::new(Algorithm::RoundRobin, &[]),
        }
    }
}

impl View {
    /// The view of this moment, and until when it holds, in milliseconds since the origin.
    ///
    /// The first of these that has anybody takes part as a whole: those at work, those who came to them and were not
    /// checked yet, the same of the backups, and those who rest after failures. Who is down never does.
    pub(super) fn build(
        algorithm: Algorithm,
        members: &[Member],
        slow_start: Duration,
        now: Instant,
        origin: Instant,
    ) -> (Self, u64) {
        let now_ms = millis(origin, now);
        let wanted: Vec<_> = members
            .iter()
            .filter(|member| member.takes_part())
            .map(|member| (member, member.backend.standing(now)))
            .filter(|(_, standing)| *standing != Standing::Dead)
            .collect();
        let rank = |(member, standing): &(&Member, Standing)| match standing {
            Standing::Live => (0, member.backup, 0),
            Standing::Newcomer => (0, member.backup, 1),
            Standing::Resting | Standing::Dead => (1, member.backup, 0),
        };
        let best = wanted.iter().map(rank).min();
        let part: Vec<_> =
            wanted.iter().filter(|known| Some(rank(known)) == best).map(|(member, _)| *member).collect();
        let slow_ms = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        let grown: Vec<u64> = part.iter().map(|member| member.backend.grown(now_ms, slow_ms)).collect();
        let grows = grown.iter().any(|share| *share < 1000);
        let candidates: Vec<Candidate> = part
            .iter()
            .zip(&grown)
            .map(|(member, share)| {
                let weight = if grows { u64::from(member.weight) * share } else { member.weight.into() };
                Candidate {
                    seed: hash(member.backend.name().backend.as_str().as_bytes()),
                    weight: u32::try_from(weight).unwrap_or(u32::MAX),
                }
            })
            .collect();
        let rests_end = members.iter().filter_map(|member| member.backend.resting_until_ms()).min();
        let grows_next = grows.then(|| now_ms + (slow_ms / STEPS).max(SHORTEST_STEP));
        let until = rests_end.into_iter().chain(grows_next).min().unwrap_or(u64::MAX);
        let backends = part.iter().map(|member| member.backend.clone()).collect();
        // Both stand in one order.
        let mut takers = part.iter().peekable();
        let keepers = members
            .iter()
            .filter(|member| takers.next_if(|taker| std::ptr::eq(**taker, *member)).is_none())
            .filter(|member| member.enabled)
            .filter(|member| member.backend.standing(now) == Standing::Live)
            .map(|member| member.backend.clone())
            .collect();
        (Self { backends, keepers, chooser: Chooser::new(algorithm, &candidates) }, until)
    }

    pub(super) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    pub(super) fn keepers(&self) -> &[Arc<Backend>] {
        &self.keepers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// A place at one of them, but not at those that are to be avoided; nothing where they have no room.
    pub(super) fn choose(&self, key: u64, turn: u64, avoided: &[Arc<Backend>]) -> Option<Place> {
        let mut place = None;
        let take = |index: usize| {
            place = self
                .backends
                .get(index)
                .filter(|backend| avoided.is_empty() || !is_among(backend, avoided))
                .and_then(|backend| backend.try_hold());
            place.is_some()
        };
        // Whoever is full is looked at after all others.
        let busy = |index: usize| {
            self.backends
                .get(index)
                .filter(|backend| backend.has_room())
                .map_or(u32::MAX, |backend| backend.active())
        };
        self.chooser.choose(key, turn, busy, take);
        place
    }
}
