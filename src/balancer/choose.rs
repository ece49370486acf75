//! Which of the backends that take part is next. Pure: what is busy, whose turn it is and what is hashed are arguments.
//!
//! A chooser is built once for a set of backends and asked for every connection or request, by many threads at a time
//! and without a lock. Called by `pool.rs`.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::config::load_balancer::Algorithm;

/// What turns advance by, as a share of all: the golden section spreads them most evenly.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// How far from there is looked for the best number.
const STEPS: u64 = 64;

/// One backend among which is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What it is known by in hashes: [`hash`] of its id.
    pub seed: u64,
    /// Its share beside the others'; never 0.
    pub weight: u32,
}

/// How one of a set of backends is chosen.
#[derive(Debug)]
pub struct Chooser {
    algorithm: Algorithm,
    candidates: Box<[Candidate]>,
    /// Where the share of each ends, all shares put behind each other. Empty where all are equal.
    ends: Box<[u64]>,
    /// All shares together.
    total: u64,
    /// How far turns are apart on them; it has no divisor in common with `total`.
    step: u64,
}

/// A stable hash: the same in every build and on every router, so that clients stay where they are.
#[must_use]
pub fn hash(text: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text);
    hasher.finish()
}

impl Chooser {
    /// A chooser among `candidates`; one of weight 0 is taken as if it had 1.
    #[must_use]
    pub fn new(algorithm: Algorithm, candidates: &[Candidate]) -> Self {
        let weight = |candidate: &Candidate| u64::from(candidate.weight.max(1));
        let common = candidates.iter().map(weight).fold(0, common_divisor).max(1);
        let mut total = 0;
        let ends: Box<[u64]> = candidates
            .iter()
            .map(|candidate| {
                total += weight(candidate) / common;
                total
            })
            .collect();
        let equal = total == ends.len() as u64;
        let ends = if equal { Box::default() } else { ends };
        Self { algorithm, candidates: candidates.into(), ends, total, step: step(total) }
    }

    /// How many candidates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Chooses a candidate by its place.
    ///
    /// `key` is what is hashed, for the algorithms that hash; `turn` goes up by one for every choice; `busy` says how many
    /// connections a candidate has. `take` takes a candidate or says that it cannot be had: then another one is tried, as
    /// near to the algorithm's wish as can be. Nothing where none can be taken.
    pub fn choose(
        &self,
        key: u64,
        turn: u64,
        busy: impl Fn(usize) -> u32,
        mut take: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let first = match self.algorithm {
            _ if self.candidates.len() < 2 => 0,
            Algorithm::RoundRobin => self.place(turn),
            Algorithm::LeastConnections => {
                let start = self.place(turn);
                (start..self.len()).chain(0..start).reduce(|best, next| self.less_busy(best, next, &busy))?
            }
            Algorithm::Random => {
                let chance = mix(turn);
                let one = self.share(chance % self.total);
                let two = self.share(mix(chance) % self.total);
                let two = if one == two { (one + 1) % self.len() } else { two };
                self.less_busy(one, two, &busy)
            }
            Algorithm::Source | Algorithm::ConsistentHash => self.preferred(key),
        };
        if first < self.len() && take(first) {
            return Some(first);
        }
        self.another(key, first, busy, take)
    }

    /// The next best one where the first could not be taken.
    fn another(
        &self,
        key: u64,
        first: usize,
        busy: impl Fn(usize) -> u32,
        mut take: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut others: Vec<usize> = (first + 1..self.len()).chain(0..first.min(self.len())).collect();
        match self.algorithm {
            Algorithm::RoundRobin => {}
            Algorithm::LeastConnections | Algorithm::Random => {
                others.sort_by(|&one, &two| {
                    let scaled = |load: usize, weight: usize| u64::from(busy(load)) * self.weight(weight);
                    scaled(one, two).cmp(&scaled(two, one))
                });
            }
            Algorithm::Source | Algorithm::ConsistentHash => {
                others.sort_by(|&one, &two| self.distance(key, one).total_cmp(&self.distance(key, two)));
            }
        }
        others.into_iter().find(|&place| take(place))
    }

    /// Whose turn it is. Among `total` turns in a row each candidate has exactly as many as its share, spread evenly.
    fn place(&self, turn: u64) -> usize {
        self.share((turn % self.total.max(1)) * self.step % self.total.max(1))
    }

    /// In whose share a point lies.
    fn share(&self, point: u64) -> usize {
        if self.ends.is_empty() {
            usize::try_from(point).unwrap_or_default()
        } else {
            self.ends.partition_point(|&end| end <= point)
        }
    }

    /// The one of two with fewer connections for its weight; the first where they are level.
    fn less_busy(&self, one: usize, two: usize, busy: &impl Fn(usize) -> u32) -> usize {
        let level = u64::from(busy(one)) * self.weight(two) <= u64::from(busy(two)) * self.weight(one);
        if level { one } else { two }
    }

    /// The candidate that is nearest to a key (rendezvous hashing): when one comes, keys move to it alone; when one goes,
    /// its own keys move and no others.
    fn preferred(&self, key: u64) -> usize {
        let places = self.candidates.iter().enumerate();
        let nearest = if self.ends.is_empty() {
            // With equal weights the order of distances is that of the hashes.
            places.max_by_key(|(_, candidate)| mix(key ^ candidate.seed)).map(|(place, _)| place)
        } else {
            places
                .map(|(place, candidate)| (place, distance(key, candidate)))
                .min_by(|(_, one), (_, two)| one.total_cmp(two))
                .map(|(place, _)| place)
        };
        nearest.unwrap_or_default()
    }

    fn distance(&self, key: u64, place: usize) -> f64 {
        self.candidates.get(place).map_or(f64::INFINITY, |candidate| distance(key, candidate))
    }

    fn weight(&self, place: usize) -> u64 {
        self.candidates.get(place).map_or(1, |candidate| u64::from(candidate.weight.max(1)))
    }
}

/// How far a candidate is from a key. The least of exponential variables is each one's with the share of its rate.
fn distance(key: u64, candidate: &Candidate) -> f64 {
    // 53 bits are what a float holds exactly; never 0, whose logarithm is no number.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are held exactly")]
    let chance = ((mix(key ^ candidate.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -chance.ln() / f64::from(candidate.weight.max(1))
}

/// Spreads numbers that are near each other over all numbers (the finaliser of `SplitMix64`).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const fn common_divisor(one: u64, two: u64) -> u64 {
    if two == 0 { one } else { common_divisor(two, one % two) }
}

/// A number near the golden section of `total` that has no divisor in common with it, and whose multiples spread evenly:
/// none of the quotients of the continued fraction is great.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some number near it does"
)]
fn step(total: u64) -> u64 {
    let wanted = (total as f64 * GOLDEN).round() as u64;
    let near = (0..STEPS).flat_map(|away| [wanted.saturating_add(away), wanted.saturating_sub(away)]);
    let fits = |step: &u64| (1..=total).contains(step) && common_divisor(*step, total) == 1;
    near.filter(fits).min_by_key(|step| greatest_quotient(total, *step)).unwrap_or(1)
}

fn greatest_quotient(mut one: u64, mut two: u64) -> u64 {
    let mut greatest = 0;
    while two > 0 {
        greatest = greatest.max(one / two);
        (one, two) = (two, one % two);
    }
    greatest
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let candidate = |(place, &weight): (usize, &u32)| Candidate {
            seed: hash(format!("b{place}").as_bytes()),
            weight,
        };
        weights.iter().enumerate().map(candidate).collect()
    }

    fn idle(_: usize) -> u32 {
        0
    }

    fn pick(chooser: &Chooser, key: u64, turn: u64) -> usize {
        chooser.choose(key, turn, idle, |_| true).unwrap()
    }

    proptest! {
        /// In any window of turns each has its share, but for a few turns; in a whole round, exactly.
        #[test]
        fn turns_are_shared_by_weight(
            weights in prop::collection::vec(1u32..=1000, 1..20),
            start in 0u64..1 << 40,
            window in 1u64..3000,
        ) {
            let chooser = Chooser::new(Algorithm::RoundRobin, &candidates(&weights));
            let mut counts = vec![0.0; weights.len()];
            for turn in start..start + window {
                counts[pick(&chooser, 0, turn)] += 1.0;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = window as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((count - fair).abs() <= 6.0, "{count} turns, not {fair:.1}, of {weights:?}");
            }
        }

        /// When a backend goes, only its own keys move; when it comes, keys move to it alone.
        #[test]
        fn only_the_keys_of_the_one_that_goes_move(
            weights in prop::collection::vec(1u32..=1000, 2..20),
            equal in any::<bool>(),
            gone in any::<prop::sample::Index>(),
            keys in prop::collection::vec(any::<u64>(), 200),
        ) {
            let weights = if equal { vec![100; weights.len()] } else { weights };
            let all = candidates(&weights);
            let gone = gone.index(all.len());
            let rest: Vec<_> = all.iter().copied().filter(|candidate| *candidate != all[gone]).collect();
            let before = Chooser::new(Algorithm::ConsistentHash, &all);
            let after = Chooser::new(Algorithm::ConsistentHash, &rest);
            for key in keys {
                let old = all[pick(&before, key, 0)];
                let new = rest[pick(&after, key, 0)];
                prop_assert!(old == new || old == all[gone]);
            }
        }

        /// Whoever cannot be taken is passed over, and somebody who can be taken is found.
        #[test]
        fn somebody_is_found_as_long_as_there_is_room(
            weights in prop::collection::vec(1u32..=1000, 1..20),
            full in prop::collection::vec(any::<bool>(), 20),
            key in any::<u64>(),
            turn in any::<u64>(),
        ) {
            for algorithm in [
                Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::Source,
                Algorithm::Random, Algorithm::ConsistentHash,
            ] {
                let chooser = Chooser::new(algorithm, &candidates(&weights));
                let asked = RefCell::new(Vec::new());
                let found = chooser.choose(key, turn, idle, |place| {
                    asked.borrow_mut().push(place);
                    !full[place]
                });
                prop_assert_eq!(found.is_some(), (0..weights.len()).any(|place| !full[place]));
                let mut asked = asked.into_inner();
                asked.sort_unstable();
                let count = asked.len();
                asked.dedup();
                prop_assert_eq!(count, asked.len(), "nobody is asked twice");
            }
        }
    }

    #[test]
    fn a_round_is_exact_and_spread() {
        let round = |weights: &[u32]| -> Vec<usize> {
            let chooser = Chooser::new(Algorithm::RoundRobin, &candidates(weights));
            (0..chooser.total).map(|turn| pick(&chooser, 0, turn)).collect()
        };
        assert_eq!(round(&[100, 100]), [0, 1]);
        assert_eq!(round(&[300, 100]), [0, 1, 0, 0]);
        let mut equal = round(&[7, 7, 7, 7, 7]);
        equal.sort_unstable();
        assert_eq!(equal, [0, 1, 2, 3, 4]);
        assert_eq!(round(&[1000, 1, 500]).iter().filter(|place| **place == 2).count(), 500);
    }

    #[test]
    fn keys_and_chance_are_shared_by_weight() {
        for (algorithm, weights) in [
            (Algorithm::ConsistentHash, vec![100, 100, 100]),
            (Algorithm::Source, vec![100, 200, 700]),
            (Algorithm::Random, vec![100, 100, 100]),
        ] {
            let chooser = Chooser::new(algorithm, &candidates(&weights));
            let mut counts = vec![0.0; weights.len()];
            for number in 0..100_000 {
                counts[pick(&chooser, mix(number), number)] += 1.0;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = 100_000.0 * f64::from(*weight) / f64::from(total);
                assert!((count / fair - 1.0).abs() < 0.05, "{count} of {fair} by {algorithm:?}");
            }
        }
    }

    #[test]
    fn the_less_busy_are_preferred_by_weight() {
        let chooser = Chooser::new(Algorithm::LeastConnections, &candidates(&[100, 200, 100]));
        let busy = |loads: [u32; 3]| chooser.choose(0, 0, |place| loads[place], |_| true);
        assert_eq!(busy([2, 1, 2]), Some(1));
        assert_eq!(busy([1, 3, 2]), Some(0));
        assert_eq!(busy([3, 5, 3]), Some(1));
        // Connections that stay: they are shared by weight.
        let mut loads = [0; 3];
        for turn in 0..400 {
            loads[chooser.choose(0, turn, |place| loads[place], |_| true).unwrap()] += 1;
        }
        assert_eq!(loads, [100, 200, 100]);
        // Two at random, the less busy of them: nobody is far ahead.
        let chooser = Chooser::new(Algorithm::Random, &candidates(&[100; 10]));
        let mut loads = [0_u32; 10];
        for turn in 0..10_000 {
            loads[chooser.choose(0, turn, |place| loads[place], |_| true).unwrap()] += 1;
        }
        assert!(loads.iter().all(|load| load.abs_diff(1000) < 10), "{loads:?}");
    }
}
