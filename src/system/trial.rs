//! Whether a version that is new shows in time that it works. Pure: moments and health are arguments.

use std::time::{Duration, Instant};

/// How long a router has to be well until it counts as good.
pub const STABLE: Duration = Duration::from_secs(5);

/// A trial that goes on.
#[derive(Debug, Clone)]
pub struct Trial {
    begin: Instant,
    most: Duration,
    well_since: Option<Instant>,
    why: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// It is good.
    Good,
    /// Its time is over, and this was wrong last.
    Bad(String),
}

impl Trial {
    /// A trial that begins now and takes so long at most.
    #[must_use]
    pub fn new(begin: Instant, most: Duration) -> Self {
        Self { begin, most, well_since: None, why: "it has not been looked at".to_owned() }
    }

    /// How the router does at a moment: well, or why it is not.
    pub fn look(&mut self, now: Instant, health: Result<(), String>) -> Verdict {
        match health {
            Ok(()) => {
                let since = *self.well_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= STABLE {
                    return Verdict::Good;
                }
                self.why = format!("it is well for less than {} seconds", STABLE.as_secs());
            }
            Err(why) => {
                self.well_since = None;
                self.why = why;
            }
        }
        if self.left(now).is_zero() { Verdict::Bad(self.why.clone()) } else { Verdict::Wait }
    }

    /// How much of its time is left.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.most.saturating_sub(now.saturating_duration_since(self.begin))
    }

    /// Why it is not good yet.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::moment;

    const MOST: Duration = Duration::from_secs(180);

    fn ill() -> Result<(), String> {
        Err("dns: no socket".to_owned())
    }

    #[test]
    fn who_is_well_for_a_while_is_good() {
        let begin = moment();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trial = Trial::new(begin, MOST);
        assert_eq!(trial.look(at(1), ill()), Verdict::Wait);
        assert_eq!(trial.why(), "dns: no socket");
        assert_eq!(trial.look(at(2), Ok(())), Verdict::Wait);
        assert_eq!(trial.look(at(6), Ok(())), Verdict::Wait);
        assert_eq!(trial.look(at(7), Ok(())), Verdict::Good);
    }

    #[test]
    fn a_moment_of_illness_begins_it_anew() {
        let begin = moment();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trial = Trial::new(begin, MOST);
        for round in 0..17 {
            assert_eq!(trial.look(at(10 * round), Ok(())), Verdict::Wait, "{round}");
            assert_eq!(trial.look(at(10 * round + 4), ill()), Verdict::Wait, "{round}");
        }
        assert_eq!(trial.left(at(174)), Duration::from_secs(6));
        assert_eq!(trial.look(at(180), ill()), Verdict::Bad("dns: no socket".to_owned()));
        let mut late = Trial::new(begin, MOST);
        assert_eq!(late.look(at(178), Ok(())), Verdict::Wait);
        let why = "it is well for less than 5 seconds".to_owned();
        assert_eq!(late.look(at(181), Ok(())), Verdict::Bad(why));
    }
}
