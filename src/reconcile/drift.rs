//! Drift: what others do to ours in the kernel. Who, what and when is remembered, and how often it is put back is limited.
//! Pure: time is an argument. Called by `repair.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::kernel::Happened;
use crate::store::generations::Number;

/// How many events are remembered.
const EVENTS: usize = 100;
/// How many differences an event names; it always counts all of them.
pub(super) const NAMED: usize = 20;
/// How many differences that are there are known one by one. Where there are more, those behind are told again.
const PRESENT: usize = 10_000;
/// So much is put back in a row, and then so much each second.
const REPAIRS: Bucket = Bucket::of(10, Duration::from_secs(1));
/// So often is looked in a row, and then twice each second: what others do to their own costs a look as well.
const LOOKS: Bucket = Bucket::of(20, Duration::from_millis(500));

/// Why the kernel was not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftCause {
    /// Somebody changed what is ours.
    Foreign,
    /// A device came or went, and everything on it with it.
    Devices,
}

/// Something that was not as the generation wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DriftEvent {
    /// When it was seen.
    pub time: Timestamp,
    /// The generation that wants it otherwise.
    pub generation: Number,
    /// Why.
    pub cause: DriftCause,
    /// The process that changed the ruleset, where the kernel names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What differed, as the steps that put it back; the first twenty.
    pub differences: Vec<String>,
    /// How many there were.
    pub count: usize,
    /// Whether it was put back.
    pub put_back: bool,
    /// Why it could not be put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is told of drift.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct DriftSeen {
    /// How many events there were since the start.
    pub total: u64,
    /// How many differences are there now, which are reported and not put back.
    pub present: usize,
    /// Since when somebody changes what is ours faster than it is put back.
    pub fight_since: Option<Timestamp>,
    /// The last hundred events, oldest first.
    pub events: VecDeque<DriftEvent>,
}

/// What is known of drift.
#[derive(Debug)]
pub(super) struct Drift {
    repairs: Bucket,
    looks: Bucket,
    /// What happened and was not looked at yet.
    deferred: Option<Happened>,
    /// What was reported and is still there.
    present: BTreeSet<String>,
    pub(super) seen: DriftSeen,
}

impl Default for Drift {
    fn default() -> Self {
        let (repairs, looks) = (REPAIRS, LOOKS);
        Self { repairs, looks, deferred: None, present: BTreeSet::new(), seen: DriftSeen::default() }
    }
}

impl Drift {
    /// Whether what happened may be looked at now; else it is kept for later.
    pub(super) fn may_look(&mut self, happened: Happened, now: Duration) -> Option<Happened> {
        let happened = match self.deferred.take() {
            Some(before) => before.and(happened),
            None => happened,
        };
        if self.looks.take(now) {
            return Some(happened);
        }
        self.deferred = Some(happened);
        None
    }

    /// What waits to be looked at, if it is time.
    pub(super) fn due(&mut self, now: Duration) -> Option<Happened> {
        let happened = self.deferred.take()?;
        self.may_look(happened, now)
    }

    /// Whether something may be put back now; else it is looked at again later, and somebody fights.
    pub(super) fn may_repair(&mut self, now: Duration, time: Timestamp) -> bool {
        let may = self.repairs.take(now);
        if !may {
            self.deferred.get_or_insert_with(|| Happened { foreign: true, ..Happened::default() });
            self.seen.fight_since.get_or_insert(time);
        }
        may
    }

    /// Whether a fight is over since this was asked last: nothing had to be put back for as long as that takes.
    pub(super) fn has_calmed(&mut self, now: Duration) -> bool {
        self.seen.fight_since.is_some() && self.repairs.is_full(now) && self.seen.fight_since.take().is_some()
    }

    /// Takes note of what was put back, or could not be.
    pub(super) fn record(&mut self, event: DriftEvent) {
        self.seen.total += 1;
        self.seen.events.push_back(event);
        while self.seen.events.len() > EVENTS {
            self.seen.events.pop_front();
        }
    }

    /// Takes note of what differs and stays so: those of the differences that were not told yet.
    pub(super) fn report(&mut self, differences: Vec<String>) -> Vec<String> {
        self.seen.present = differences.len();
        let news = differences.iter().filter(|line| !self.present.contains(*line)).cloned().collect();
        self.present = differences.into_iter().take(PRESENT).collect();
        news
    }

    /// Everything is as wanted. Says whether that is new.
    pub(super) fn agrees(&mut self) -> bool {
        self.present.clear();
        std::mem::take(&mut self.seen.present) > 0
    }
}

/// A token bucket: so many at once, and one more each `every`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket {
    size: u32,
    every: Duration,
    /// When it would be full again.
    full_at: Duration,
}

impl Bucket {
    const fn of(size: u32, every: Duration) -> Self {
        Self { size, every, full_at: Duration::ZERO }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Duration) -> bool {
        let full_at = self.full_at.max(now) + self.every;
        let may = full_at.saturating_sub(now) <= self.every * self.size;
        if may {
            self.full_at = full_at;
        }
        may
    }

    fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn ten_repairs_in_a_row_and_then_one_each_second() {
        let mut drift = Drift::default();
        let (mut done, mut second) = (0, Vec::new());
        for tick in 0..200_u64 {
            let now = Duration::from_millis(1000 + tick * 50);
            if drift.may_repair(now, Timestamp::from_seconds(tick)) {
                done += 1;
                second.push(tick / 20);
            }
        }
        assert_eq!(done, 19, "ten, and one each second of the ten: {second:?}");
        assert_eq!(second.iter().filter(|second| **second == 0).count(), 10);
        assert_eq!(drift.seen.fight_since, Some(Timestamp::from_seconds(10)));
        assert!(drift.due(Duration::from_secs(12)).is_some(), "what was not put back is looked at again");
        assert!(!drift.has_calmed(Duration::from_secs(15)));
        assert!(drift.has_calmed(Duration::from_secs(22)));
        assert_eq!(drift.seen.fight_since, None);
    }

    #[test]
    fn what_was_not_looked_at_is_not_lost() {
        let mut drift = Drift::default();
        let device = |index| Happened { announce: [index].into(), ..Happened::default() };
        let mut looked = Vec::new();
        for index in 0..30 {
            looked.extend(drift.may_look(device(index), Duration::ZERO));
        }
        assert_eq!(looked.len(), 20);
        assert_eq!(drift.due(Duration::ZERO), None);
        let rest = drift.due(Duration::from_secs(1)).unwrap();
        assert_eq!(rest.announce, (20..30).collect());
        assert_eq!(drift.due(Duration::from_secs(9)), None);
    }

    #[test]
    fn a_difference_is_reported_once_until_it_is_gone() {
        let mut drift = Drift::default();
        assert_eq!(drift.report(lines(&["a", "b"])), ["a", "b"]);
        assert!(drift.report(lines(&["a", "b"])).is_empty());
        assert_eq!(drift.report(lines(&["b", "c"])), ["c"]);
        assert_eq!(drift.seen.present, 2);
        assert_eq!(drift.report(lines(&["a"])), ["a"]);
        assert!(drift.agrees() && !drift.agrees());
        assert_eq!(drift.report(lines(&["a"])), ["a"]);
    }

    #[test]
    fn the_last_hundred_events_are_remembered() {
        let mut drift = Drift::default();
        for generation in 0..250 {
            drift.record(DriftEvent {
                time: Timestamp::default(),
                generation,
                cause: DriftCause::Foreign,
                by: None,
                differences: lines(&["link eth0 up"]),
                count: 1,
                put_back: true,
                why: None,
            });
        }
        assert_eq!((drift.seen.total, drift.seen.events.len()), (250, EVENTS));
        assert_eq!(drift.seen.events.front().unwrap().generation, 150);
    }
}
