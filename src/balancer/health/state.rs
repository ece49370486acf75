//! What is known of a backend, and what the outcome of a check makes of it. Pure.
//!
//! A backend of which nothing is known is taken to be up, until it failed as often as it takes; its first good answer is
//! enough to know. What is known from before a restart, or by another check, is not proven: a backend that was down
//! stays down until the first good answer, and then is up at once. Called by `table.rs`.

use std::borrow::Cow;

use crate::balancer::condition::Health;
use crate::clock::Timestamp;
use crate::config::pool::HealthCheck;

/// What came of a check, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The backend is well.
    Well(Cow<'static, str>),
    /// It is not.
    Ill(Cow<'static, str>),
    /// The router could not ask; this says nothing about the backend.
    Undecided(Cow<'static, str>),
}

impl Outcome {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Well(reason) | Self::Ill(reason) | Self::Undecided(reason) => reason,
        }
    }
}

/// How many outcomes in a row it takes to change what is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones that bring a backend up.
    pub healthy: u32,
    /// Bad ones that take it down.
    pub unhealthy: u32,
}

impl From<&HealthCheck> for Thresholds {
    fn from(check: &HealthCheck) -> Self {
        Self { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold }
    }
}

/// What is known of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it is well.
    pub health: Health,
    /// Why that is believed.
    pub reason: Cow<'static, str>,
    /// Since when.
    pub since: Timestamp,
    /// How many outcomes in a row spoke against it.
    against: u32,
    /// Whether a check of this process, as it is configured now, said so.
    proven: bool,
}

impl State {
    /// Nothing is known.
    #[must_use]
    pub const fn unknown(now: Timestamp) -> Self {
        Self {
            health: Health::Unknown,
            reason: Cow::Borrowed("not checked yet"),
            since: now,
            against: 0,
            proven: false,
        }
    }

    /// What was known before.
    #[must_use]
    pub const fn remembered(health: Health, reason: Cow<'static, str>, since: Timestamp) -> Self {
        Self { health, reason, since, against: 0, proven: false }
    }

    /// What was known under another check: it holds until the new one has said something.
    #[must_use]
    pub fn unproven(self) -> Self {
        Self { against: 0, proven: false, ..self }
    }

    /// What an outcome at `now` makes of it.
    #[must_use]
    pub fn next(self, outcome: Outcome, thresholds: Thresholds, now: Timestamp) -> Self {
        use Health::{Down, Unknown, Up};
        let (health, reason, needed) = match (self.health, outcome) {
            (_, Outcome::Undecided(_)) => return self,
            (Unknown | Up, Outcome::Ill(reason)) => (Down, reason, thresholds.unhealthy),
            (Unknown, Outcome::Well(reason)) => (Up, reason, 1),
            (Down, Outcome::Well(reason)) => (Up, reason, if self.proven { thresholds.healthy } else { 1 }),
            (Up, Outcome::Well(reason)) | (Down, Outcome::Ill(reason)) => {
                return Self { reason, against: 0, proven: true, ..self };
            }
        };
        let against = self.against.saturating_add(1);
        if against < needed {
            return Self { against, ..self };
        }
        Self { health, reason, since: now, against: 0, proven: true }
    }

    /// Connections of clients failed so often that no check has to be waited for.
    #[must_use]
    pub fn condemned(self, reason: Cow<'static, str>, now: Timestamp) -> Self {
        if self.health == Health::Down {
            return self;
        }
        Self { health: Health::Down, reason, since: now, against: 0, proven: true }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy: 2, unhealthy: 3 };

    fn after(state: State, outcomes: &str) -> State {
        outcomes.bytes().zip(1..).fold(state, |state, (outcome, second)| {
            state.next(outcome_of(outcome), THRESHOLDS, Timestamp::from_seconds(second))
        })
    }

    fn outcome_of(letter: u8) -> Outcome {
        match letter {
            b'+' => Outcome::Well("status 200".into()),
            b'-' => Outcome::Ill("connection refused".into()),
            _ => Outcome::Undecided("no descriptors".into()),
        }
    }

    fn unknown() -> State {
        State::unknown(Timestamp::from_seconds(0))
    }

    #[test]
    fn the_first_good_answer_is_enough_and_bad_ones_have_to_repeat() {
        let cases = [
            ("", Health::Unknown, 0),
            ("+", Health::Up, 1),
            ("--", Health::Unknown, 0),
            ("---", Health::Down, 3),
            ("--+", Health::Up, 3),
            ("+--", Health::Up, 1),
            ("+--+--", Health::Up, 1),
            ("+---", Health::Down, 4),
            ("+---+", Health::Down, 4),
            ("+---+-+", Health::Down, 4),
            ("+---++", Health::Up, 6),
            ("-?-?-", Health::Down, 5),
            ("???", Health::Unknown, 0),
        ];
        for (outcomes, health, since) in cases {
            let state = after(unknown(), outcomes);
            assert_eq!((state.health, state.since.seconds()), (health, since), "{outcomes}");
        }
        assert_eq!(after(unknown(), "---").reason, "connection refused");
    }

    #[test]
    fn what_was_down_before_a_restart_is_up_with_the_first_good_answer() {
        let down =
            || State::remembered(Health::Down, "connection refused".into(), Timestamp::from_seconds(0));
        assert_eq!(after(down(), "+").health, Health::Up);
        assert_eq!(after(down(), "?").health, Health::Down);
        // A bad one proves it.
        assert_eq!(after(down(), "-+").health, Health::Down);
        assert_eq!(after(down(), "-++").health, Health::Up);
        // What was up has to fail as often as ever.
        let up = State::remembered(Health::Up, "connected".into(), Timestamp::from_seconds(0));
        assert_eq!(after(up.clone(), "--").health, Health::Up);
        assert_eq!(after(up, "---").health, Health::Down);
    }

    #[test]
    fn failed_connections_take_a_backend_down_and_checks_bring_it_back() {
        let state = after(unknown(), "+").condemned("connection refused".into(), Timestamp::from_seconds(9));
        assert_eq!((state.health, state.since.seconds()), (Health::Down, 9));
        assert_eq!(after(state.clone(), "+").health, Health::Down);
        assert_eq!(after(state.clone(), "++").health, Health::Up);
        let again = state.clone().condemned("timed out".into(), Timestamp::from_seconds(12));
        assert_eq!(again, state, "a backend that is down cannot go down");
    }

    proptest! {
        /// What is believed follows from the last change and the outcomes since: a run of the same kind against it.
        #[test]
        fn a_change_takes_a_whole_run_and_nothing_else_changes_anything(
            outcomes in "[+?-]{0,40}", healthy in 1_u32..5, unhealthy in 1_u32..5
        ) {
            let thresholds = Thresholds { healthy, unhealthy };
            let mut state = unknown();
            let mut run = 0;
            for (outcome, second) in outcomes.bytes().zip(1..) {
                let before = state.clone();
                let now = Timestamp::from_seconds(second);
                state = state.next(outcome_of(outcome), thresholds, now);
                run = match (before.health, outcome) {
                    (_, b'?') => run,
                    (Health::Down, b'+') | (Health::Unknown | Health::Up, b'-') => run + 1,
                    _ => 0,
                };
                let needed = if before.health == Health::Down { healthy } else { unhealthy };
                let expected = match before.health {
                    Health::Unknown if outcome == b'+' => Health::Up,
                    Health::Down if run == needed => Health::Up,
                    Health::Unknown | Health::Up if run == needed => Health::Down,
                    same => same,
                };
                prop_assert_eq!(state.health, expected);
                prop_assert_eq!(state.since, if expected == before.health { before.since } else { now });
                if expected != before.health {
                    run = 0;
                }
            }
        }
    }
}
