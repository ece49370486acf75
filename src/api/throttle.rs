//! How often somebody may do something: a token bucket each, in a table that stays bounded.
//!
//! Pure: the moment is an argument. Called by `access` for failures of a source and by `door` for changes of a
//! caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How much may be done at once, and how fast it comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// How many times in a row.
    pub(super) burst: u32,
    /// How many times a second in the long run.
    pub(super) per_second: u32,
}

/// Buckets by whose they are.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    /// The most buckets; beyond it the one that was used longest ago is forgotten.
    most: usize,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// How much is missing to a full one.
    missing: f64,
    at: Instant,
}

impl Bucket {
    fn at(self, now: Instant, rate: Rate) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate.per_second);
        (self.missing - back).max(0.0)
    }
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Buckets that are all full.
    pub(super) fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, buckets: HashMap::new() }
    }

    /// Whether `who` may do it once more; otherwise in how long he may.
    ///
    /// # Errors
    /// Nothing is left; how long it takes to come back.
    pub(super) fn check(&self, who: &K, now: Instant) -> Result<(), Duration> {
        let missing = self.buckets.get(who).map_or(0.0, |bucket| bucket.at(now, self.rate));
        let over = missing + 1.0 - f64::from(self.rate.burst);
        if over <= 0.0 {
            return Ok(());
        }
        Err(Duration::try_from_secs_f64(over / f64::from(self.rate.per_second)).unwrap_or(Duration::MAX))
    }

    /// Takes one out of the bucket of `who`; whether that was the last.
    pub(super) fn take(&mut self, who: &K, now: Instant) -> bool {
        if !self.buckets.contains_key(who) && self.buckets.len() >= self.most {
            self.make_room(now);
        }
        let rate = self.rate;
        let bucket = self.buckets.entry(who.clone()).or_insert(Bucket { missing: 0.0, at: now });
        let (before, burst) = (bucket.at(now, rate), f64::from(rate.burst));
        let missing = (before + 1.0).min(burst);
        *bucket = Bucket { missing, at: now };
        before + 1.0 <= burst && missing + 1.0 > burst
    }

    /// Forgets buckets that are full again; where there is none, the one that was used longest ago.
    fn make_room(&mut self, now: Instant) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| bucket.at(now, rate) > 0.0);
        if self.buckets.len() >= self.most
            && let Some(oldest) =
                self.buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(who, _)| who.clone())
        {
            self.buckets.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::moment;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let begin = moment();
        let mut buckets = Buckets::new(RATE, 10);
        let told: Vec<bool> = (0..3).map(|_| buckets.take(&"a", begin)).collect();
        assert_eq!(told, [false, false, true], "it is told once when nothing is left");
        assert_eq!(buckets.check(&"a", begin), Err(Duration::from_millis(500)));
        assert_eq!(buckets.check(&"b", begin), Ok(()), "another is another");
        let later = begin + Duration::from_millis(500);
        assert_eq!(buckets.check(&"a", later), Ok(()));
        assert!(buckets.take(&"a", later));
        assert!(buckets.check(&"a", later).is_err());
        // What is taken where nothing is left does not make it longer.
        assert!(!buckets.take(&"a", later));
        assert_eq!(buckets.check(&"a", later), Err(Duration::from_millis(500)));
        assert_eq!(buckets.check(&"a", begin + Duration::from_secs(60)), Ok(()));
        assert_eq!(
            buckets.check(&"a", begin),
            Err(Duration::from_millis(500)),
            "a clock that goes back takes nothing"
        );
    }

    #[test]
    fn the_table_forgets_who_was_there_longest_ago() {
        let begin = moment();
        let mut buckets = Buckets::new(RATE, 4);
        for who in 0..100_u64 {
            buckets.take(&who, begin + Duration::from_millis(who));
        }
        assert_eq!(buckets.buckets.len(), 4);
        assert!(buckets.buckets.contains_key(&99) && !buckets.buckets.contains_key(&0));
        buckets.take(&7, begin + Duration::from_secs(60));
        assert_eq!(buckets.buckets.len(), 1, "those that are full again are nobody");
    }

    proptest! {
        /// Over any time, no more is let through than a burst and what came back meanwhile.
        #[test]
        fn never_more_than_the_rate(waits in proptest::collection::vec(0_u64..400, 1..200)) {
            let begin = moment();
            let (mut now, mut through) = (begin, 0_u32);
            let mut buckets = Buckets::new(RATE, 4);
            for wait in waits {
                now += Duration::from_millis(wait);
                if buckets.check(&(), now).is_ok() {
                    buckets.take(&(), now);
                    through += 1;
                }
                let allowed = f64::from(RATE.burst) + (now - begin).as_secs_f64() * f64::from(RATE.per_second);
                prop_assert!(f64::from(through) <= allowed + 1e-6);
            }
        }
    }
}
