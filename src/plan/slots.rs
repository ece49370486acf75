//! Slots: which backend a connection gets that picked a number. Pure, and the same for the same backends.
//!
//! A schedule spreads connections by weight, smoothly, for picks by turns and at random. A Maglev table does it for picks by
//! the client's address: when a backend comes or goes, few clients move (Eisenbud and others, "Maglev: A Fast and Reliable
//! Software Network Load Balancer", NSDI 2016, section 3.4). Called by `load_balancer.rs`.

use std::hash::Hasher as _;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher13;

/// A schedule has at most so many slots, unless there are more backends.
pub(super) const MOST_SLOTS: usize = 256;
/// Sizes of Maglev tables: primes, the first that has room for every backend.
const TABLE_SIZES: [usize; 4] = [251, 1021, 4093, 16_381];

/// Someone who takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// The address.
    pub(super) address: Ipv4Addr,
    /// The port.
    pub(super) port: u16,
    /// The share, compared with the others'; more than 0.
    pub(super) weight: u32,
}

/// Whose each slot is, by turns: the index of the candidate. Nobody's where there are no candidates.
pub(super) fn schedule(candidates: &[Candidate]) -> Vec<usize> {
    let counts = shares(candidates);
    let total: i64 = counts.iter().sum();
    let mut credits = vec![0_i64; counts.len()];
    let mut slots = Vec::new();
    for _ in 0..total {
        for (credit, count) in credits.iter_mut().zip(&counts) {
            *credit += count;
        }
        // The one that waited longest for its share; the first of several.
        let best = credits.iter().enumerate().rev().max_by_key(|(_, credit)| **credit);
        let Some((best, _)) = best else { break };
        if let Some(credit) = credits.get_mut(best) {
            *credit -= total;
        }
        slots.push(best);
    }
    slots
}

/// How many slots each candidate has: the weights by their greatest common divisor, or as near as a bounded number of
/// slots allows; at least one each.
fn shares(candidates: &[Candidate]) -> Vec<i64> {
    let weights: Vec<u64> = candidates.iter().map(|candidate| u64::from(candidate.weight)).collect();
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<u64> = weights.into_iter().map(|weight| weight / divisor).collect();
    let most = u64::try_from(MOST_SLOTS.max(candidates.len())).unwrap_or(u64::MAX);
    let sum: u64 = weights.iter().sum();
    let counts = if sum <= most { weights } else { apportion(&weights, most) };
    counts.into_iter().map(|count| i64::try_from(count).unwrap_or(i64::MAX)).collect()
}

/// Divides so many slots by weight: whoever would have less than one has one, and what is left goes to the largest
/// remainders.
fn apportion(weights: &[u64], slots: u64) -> Vec<u64> {
    let mut is_small = vec![false; weights.len()];
    loop {
        let small = is_small.iter().filter(|small| **small).count();
        let left = slots.saturating_sub(u64::try_from(small).unwrap_or(u64::MAX));
        let sum: u64 =
            weights.iter().zip(&is_small).filter(|(_, small)| !**small).map(|(weight, _)| *weight).sum();
        let mut found = false;
        for (weight, small) in weights.iter().zip(&mut is_small) {
            if !*small && weight * left < sum {
                (*small, found) = (true, true);
            }
        }
        if found {
            continue;
        }
        let share = |weight: u64| {
            let (whole, rest) = ((weight * left).checked_div(sum), (weight * left).checked_rem(sum));
            (whole.unwrap_or(0), rest.unwrap_or(0))
        };
        let mut counts: Vec<u64> = weights
            .iter()
            .zip(&is_small)
            .map(|(weight, small)| if *small { 1 } else { share(*weight).0 })
            .collect();
        let mut order: Vec<usize> = (0..weights.len()).collect();
        let remainder = |index: usize| match (weights.get(index), is_small.get(index)) {
            (Some(weight), Some(false)) => share(*weight).1,
            _ => 0,
        };
        order.sort_by_key(|index| std::cmp::Reverse(remainder(*index)));
        let given: u64 = counts.iter().sum();
        let rest = usize::try_from(slots.saturating_sub(given)).unwrap_or(usize::MAX);
        for index in order.into_iter().take(rest) {
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
        }
        return counts;
    }
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Whose each slot is, by a number that says who asks: the index of the candidate. Nobody's where there are no candidates.
pub(super) fn maglev(candidates: &[Candidate]) -> Vec<usize> {
    let heaviest = candidates.iter().map(|candidate| u64::from(candidate.weight)).max().unwrap_or(0);
    if heaviest == 0 {
        return Vec::new();
    }
    let size = TABLE_SIZES.into_iter().find(|size| *size >= candidates.len()).unwrap_or(TABLE_SIZES[3]);
    let mut table: Vec<Option<usize>> = vec![None; size];
    let mut walks: Vec<Walk> = candidates.iter().map(|candidate| Walk::new(candidate, size)).collect();
    let mut left = size;
    while left > 0 {
        for (index, (walk, candidate)) in walks.iter_mut().zip(candidates).enumerate() {
            // The heaviest has a turn each time, half as heavy ones every other time.
            walk.credit += u64::from(candidate.weight);
            if walk.credit < heaviest || left == 0 {
                continue;
            }
            walk.credit -= heaviest;
            // Its own order goes through every slot, and one is free.
            while let Some(slot) = table.get_mut(walk.next()) {
                if slot.is_none() {
                    *slot = Some(index);
                    left -= 1;
                    break;
                }
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// The order in which a candidate would like the slots: from one on, by steps that reach all of them.
struct Walk {
    at: usize,
    step: usize,
    size: usize,
    credit: u64,
}

impl Walk {
    fn new(candidate: &Candidate, size: usize) -> Self {
        let hash = |key: u64| {
            let mut hasher = SipHasher13::new_with_keys(key, key);
            hasher.write(&candidate.address.octets());
            hasher.write(&candidate.port.to_be_bytes());
            usize::try_from(hasher.finish() >> 32).unwrap_or(0)
        };
        Self { at: hash(1) % size, step: hash(2) % (size - 1) + 1, size, credit: 0 }
    }

    fn next(&mut self) -> usize {
        let at = self.at;
        self.at = (at + self.step) % self.size;
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let candidate = |(index, weight): (usize, &u32)| Candidate {
            address: Ipv4Addr::from(0x0a01_0100 + u32::try_from(index).unwrap()),
            port: 80,
            weight: *weight,
        };
        weights.iter().enumerate().map(candidate).collect()
    }

    fn counts(slots: &[usize], candidates: usize) -> Vec<usize> {
        (0..candidates).map(|index| slots.iter().filter(|slot| **slot == index).count()).collect()
    }

    #[test]
    fn a_schedule_is_as_short_as_it_can_be_and_smooth() {
        assert!(schedule(&[]).is_empty());
        assert_eq!(schedule(&candidates(&[100])), [0]);
        assert_eq!(schedule(&candidates(&[100, 100])), [0, 1]);
        assert_eq!(schedule(&candidates(&[100, 50])), [0, 1, 0]);
        assert_eq!(schedule(&candidates(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&candidates(&[1000, 1])).len(), MOST_SLOTS);
        assert_eq!(counts(&schedule(&candidates(&[1000, 1])), 2), [255, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Everybody has what the weight says within one slot, unless somebody is so small that one slot is more.
        #[test]
        fn slots_are_fair_within_one_slot(weights in prop::collection::vec(1_u32..=1000, 1..60)) {
            let slots = schedule(&candidates(&weights));
            prop_assert!(slots.len() <= MOST_SLOTS);
            let counts = counts(&slots, weights.len());
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let share = |weight: u32| f64::from(weight) * slots.len() as f64 / sum;
            let small = weights.iter().any(|weight| share(*weight) < 1.0);
            for (weight, count) in weights.iter().zip(counts) {
                prop_assert!(count >= 1);
                let difference = (count as f64 - share(*weight)).abs();
                prop_assert!(small || difference < 1.0, "weight {weight} has {count}, not {}", share(*weight));
            }
        }

        /// Every piece of a schedule gives everybody the share of that piece, within one and a half connections or so.
        #[test]
        fn a_schedule_is_smooth(weights in prop::collection::vec(1_u32..=10, 2..6)) {
            let slots = schedule(&candidates(&weights));
            let total = slots.len() as f64;
            let all = counts(&slots, weights.len());
            for end in 1..=slots.len() {
                let seen = counts(&slots[..end], weights.len());
                for (all, seen) in all.iter().zip(seen) {
                    let due = *all as f64 * end as f64 / total;
                    prop_assert!((seen as f64 - due).abs() < 2.0, "{seen} of {due} after {end}");
                }
            }
        }

        /// Whoever goes leaves its slots to others, and few of theirs change hands.
        #[test]
        fn few_clients_move(weights in prop::collection::vec(1_u32..=1000, 2..30), gone in any::<prop::sample::Index>()) {
            let before = candidates(&weights);
            let gone = gone.index(before.len());
            let mut after = before.clone();
            let lost = after.remove(gone);
            let (old, new) = (maglev(&before), maglev(&after));
            prop_assert_eq!(old.len(), 251);
            prop_assert_eq!(new.len(), 251);
            let moved = old
                .iter()
                .zip(&new)
                .filter(|(old, new)| before[**old] != lost && before[**old] != after[**new])
                .count();
            prop_assert!(moved <= 100, "{moved} of 251 moved that need not have");
        }

        /// A Maglev table is by weight, as far as its size lets it be.
        #[test]
        fn a_table_is_by_weight(weights in prop::collection::vec(1_u32..=100, 1..12)) {
            let counts = counts(&maglev(&candidates(&weights)), weights.len());
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (weight, count) in weights.iter().zip(counts) {
                let share = f64::from(*weight) * 251.0 / sum;
                // What others lack of their last turn falls to those who have theirs.
                let spare = 2.0 + f64::from(*weight) * weights.len() as f64 / sum;
                prop_assert!((count as f64 - share).abs() <= spare, "weight {weight} has {count}, not {share}");
            }
        }
    }
}
