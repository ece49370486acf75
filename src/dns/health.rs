//! What is known of a forwarder's health, and whom a question goes to. Pure.
//!
//! A forwarder that is overtaken by the next one is slow and goes to the end of the line for a while; one that is
//! silent for [`SILENCE`] while it is asked is down and is asked only now and then, beside a good one where there is
//! one, so that nobody waits for it. Called by `upstream.rs` with what happens and by `forward.rs` to choose.

use std::time::{Duration, Instant};

/// How long a forwarder may be silent, asked by anybody, before it counts as down.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// How long a slow one stays at the end of the line.
const SLOW: Duration = Duration::from_secs(10);
/// How long a forwarder that went down is left alone at first; twice as long each time it stays down.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest that it is left alone.
const LONGEST_REST: Duration = Duration::from_secs(8);
/// How long the next one is held back while nothing is known of the first one.
const UNKNOWN_HEAD_START: Duration = Duration::from_millis(300);
/// The bounds of that time once something is.
const HEAD_START: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(600));

/// What is known of one forwarder.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    answered: Option<Instant>,
    latency: Option<Duration>,
    slow_until: Option<Instant>,
    down: Option<Down>,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Down {
    since: Instant,
    retry_at: Instant,
    rest: Duration,
}

/// How good a forwarder is; the first is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Good,
    Slow,
    /// Silent, and it is time to see whether it still is.
    Due,
    /// Silent, and left alone.
    Down,
}

impl Health {
    /// How good it is now.
    pub(super) fn rank(&self, now: Instant) -> Rank {
        match (self.down, self.slow_until) {
            (Some(down), _) if now >= down.retry_at => Rank::Due,
            (Some(_), _) => Rank::Down,
            (None, Some(until)) if now < until => Rank::Slow,
            _ => Rank::Good,
        }
    }

    /// It is tried although it is down; the next try is later.
    pub(super) fn tried(&mut self, now: Instant) {
        if let Some(down) = &mut self.down {
            down.retry_at = now + SILENCE + down.rest;
        }
    }

    /// It answered, this long after it was asked.
    pub(super) fn answered(&mut self, now: Instant, took: Duration) {
        self.answered = Some(now);
        self.latency = Some(self.latency.map_or(took, |latency| (latency * 7 + took) / 8));
        self.down = None;
        if took < SILENCE / 4 {
            self.slow_until = None;
        }
    }

    /// It did not answer within its head start.
    pub(super) fn overtaken(&mut self, now: Instant) {
        self.slow_until = Some(now + SLOW);
    }

    /// Something went wrong that is no fault of its.
    pub(super) fn noted(&mut self, error: String) {
        self.last_error = Some(error);
    }

    /// Who was asked at `asked` failed now.
    pub(super) fn failed(&mut self, asked: Instant, now: Instant, error: String) {
        self.noted(error);
        if self.has_answered_since(asked) {
            return;
        }
        self.down = Some(match self.down {
            None => Down { since: now, retry_at: now + FIRST_REST, rest: FIRST_REST },
            // Those who were asked before it went down say nothing new.
            Some(down) if asked < down.since => down,
            Some(down) => {
                let rest = (down.rest * 2).min(LONGEST_REST);
                Down { since: down.since, retry_at: now + rest, rest }
            }
        });
    }

    /// Whether it answered anybody since then.
    pub(super) fn has_answered_since(&self, then: Instant) -> bool {
        self.answered.is_some_and(|answered| answered >= then)
    }

    /// How long the next one is held back.
    pub(super) fn head_start(&self) -> Duration {
        let (least, most) = HEAD_START;
        self.latency.map_or(UNKNOWN_HEAD_START, |latency| (latency * 4).clamp(least, most))
    }

    /// Whether it is known to answer, or not to; nothing while nobody asked.
    pub(super) fn reachable(&self) -> Option<bool> {
        match (self.down, self.answered) {
            (Some(_), _) => Some(false),
            (None, Some(_)) => Some(true),
            (None, None) => None,
        }
    }

    /// How long an answer takes, lately.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// What went wrong last.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

/// Whom a question goes to, by place in the list of forwarders.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// One after the other, each as the one before it fails or has had its head start.
    pub(super) line: Vec<usize>,
    /// At once, to see whether they are back.
    pub(super) probes: Vec<usize>,
}

/// Whom to ask, given how good each one is. Nobody, where all are down and left alone.
pub(super) fn plan(ranks: &[Rank]) -> Plan {
    let of = |wanted: Rank| {
        ranks.iter().enumerate().filter(move |(_, rank)| **rank == wanted).map(|(place, _)| place)
    };
    Plan { line: of(Rank::Good).chain(of(Rank::Slow)).collect(), probes: of(Rank::Due).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(health: &mut Health, asked: Instant, now: Instant) {
        health.failed(asked, now, "silence".to_owned());
    }

    #[test]
    fn the_configured_order_holds_among_the_good() {
        use Rank::{Down, Due, Good, Slow};
        let whom = |ranks: &[Rank]| {
            let Plan { line, probes } = plan(ranks);
            (line, probes)
        };
        assert_eq!(whom(&[Good, Good]), (vec![0, 1], vec![]));
        assert_eq!(whom(&[Slow, Good]), (vec![1, 0], vec![]));
        assert_eq!(whom(&[Down, Good, Due]), (vec![1], vec![2]));
        assert_eq!(whom(&[Due, Due]), (vec![], vec![0, 1]));
        assert_eq!(whom(&[Down, Down]), (vec![], vec![]));
    }

    #[test]
    fn who_is_silent_is_down_and_tried_ever_more_seldom() {
        let start = clock::moment();
        let mut health = Health::default();
        assert_eq!((health.rank(start), health.reachable()), (Rank::Good, None));
        let now = start + SILENCE;
        failed(&mut health, start, now);
        assert_eq!((health.rank(now), health.reachable()), (Rank::Down, Some(false)));
        // Others that were asked meanwhile change nothing.
        failed(&mut health, start + SECOND / 2, now + SECOND / 2);
        assert_eq!(health.rank(now + FIRST_REST), Rank::Due);
        let mut now = now + FIRST_REST;
        for rest in [2, 4, 8, 8] {
            health.tried(now);
            assert_eq!(health.rank(now), Rank::Down, "one try at a time");
            failed(&mut health, now, now + SILENCE);
            now += SILENCE;
            assert_eq!(health.rank(now + SECOND * rest - SECOND / 10), Rank::Down);
            now += SECOND * rest;
            assert_eq!(health.rank(now), Rank::Due);
        }
        health.answered(now, SECOND / 100);
        assert_eq!((health.rank(now), health.reachable()), (Rank::Good, Some(true)));
    }

    #[test]
    fn who_answers_others_is_not_down() {
        let start = clock::moment();
        let mut health = Health::default();
        health.answered(start + SECOND, SECOND);
        failed(&mut health, start, start + SILENCE);
        assert_eq!(health.rank(start + SILENCE), Rank::Good);
        assert_eq!(health.last_error(), Some("silence"));
    }

    #[test]
    fn who_is_overtaken_stands_behind_until_it_is_quick_again() {
        let start = clock::moment();
        let mut health = Health::default();
        health.overtaken(start);
        assert_eq!(health.rank(start), Rank::Slow);
        health.answered(start, SECOND);
        assert_eq!(health.rank(start), Rank::Slow, "a late answer is no quick one");
        assert_eq!(health.rank(start + SLOW), Rank::Good);
        health.overtaken(start);
        health.answered(start, SECOND / 50);
        assert_eq!(health.rank(start), Rank::Good);
        assert!(health.head_start() > HEAD_START.0 && health.head_start() <= HEAD_START.1);
    }
}
