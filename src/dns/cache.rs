//! Answers of forwarders that are still good, bounded in number and in octets.
//!
//! They outlive snapshots: a key names the forwarders that were asked, so that other forwarders find nothing of theirs.
//! Called by `engine.rs` for every question, and by `forward.rs` with what it found out.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use quick_cache::sync::{Cache as Kept, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter};

use super::answer::{Known, Question};
use super::received::Received;

/// The octets that one entry is counted as; longer ones are counted as several.
const ENTRY_OCTETS: usize = 1024;

/// Answers of forwarders that are still good.
#[derive(Debug)]
pub(super) struct Cache {
    kept: Kept<Key, Entry, Octets>,
    /// What ages are counted from.
    origin: Instant,
}

#[derive(Debug, Clone)]
struct Entry {
    received: Arc<Received>,
    /// When, in seconds since the origin.
    at: u32,
}

/// The question, with the forwarders' number in place of their place in a snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    forwarders: u32,
    kind: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
    name: Box<[u8]>,
}

/// The same, borrowed.
struct KeyRef<'a> {
    forwarders: u32,
    question: Question<'a>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.forwarders, self.kind, self.dnssec_ok, self.checking_disabled, &self.name, state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Question { group: _, name, kind, dnssec_ok, checking_disabled } = self.question;
        hash(self.forwarders, kind, dnssec_ok, checking_disabled, name, state);
    }
}

fn hash<H: Hasher>(
    forwarders: u32,
    kind: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
    name: &[u8],
    state: &mut H,
) {
    let flags = u64::from(dnssec_ok) << 1 | u64::from(checking_disabled);
    state.write_u64(u64::from(forwarders) << 32 | u64::from(kind) << 8 | flags);
    state.write(name);
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let Question { group: _, name, kind, dnssec_ok, checking_disabled } = self.question;
        key.forwarders == self.forwarders
            && key.kind == kind
            && key.dnssec_ok == dnssec_ok
            && key.checking_disabled == checking_disabled
            && *key.name == *name
    }
}

/// Counts what an entry takes.
#[derive(Debug, Clone)]
struct Octets;

impl Weighter<Key, Entry> for Octets {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let octets = size_of::<Key>() + key.name.len() + entry.received.size();
        octets.div_ceil(ENTRY_OCTETS) as u64
    }
}

impl Cache {
    /// An empty cache that keeps nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        let mut options = OptionsBuilder::new();
        // One shard: its bound is exact, and readers do not wait for each other.
        let built = options.shards(1).estimated_items_capacity(1024).weight_capacity(0).build();
        let kept = match built {
            Ok(options) => Kept::with_options(
                options,
                Octets,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // All options are given, which is all that it asks for.
            Err(_) => Kept::with_weighter(1024, 0, Octets),
        };
        Self { kept, origin: now }
    }

    /// Keeps at most so many entries from now on; the rest of what is kept stays.
    pub(super) fn set_entries(&self, entries: u32) {
        if self.kept.capacity() != u64::from(entries) {
            self.kept.set_capacity(u64::from(entries));
        }
    }

    /// How many entries are kept, good or outlived.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What these forwarders answered to a question, if that is still good.
    pub(super) fn get(&self, forwarders: u32, question: Question<'_>, now: Instant) -> Option<Known> {
        let entry = self.kept.get(&KeyRef { forwarders, question })?;
        let age = self.seconds(now).saturating_sub(entry.at);
        (age < entry.received.lifetime).then_some(Known { received: entry.received, age })
    }

    /// Keeps what these forwarders answered, as long as it says.
    pub(super) fn insert(
        &self,
        forwarders: u32,
        question: Question<'_>,
        received: &Arc<Received>,
        now: Instant,
    ) {
        if received.lifetime == 0 || self.kept.capacity() == 0 {
            return;
        }
        let Question { group: _, name, kind, dnssec_ok, checking_disabled } = question;
        let key = Key { forwarders, kind, dnssec_ok, checking_disabled, name: name.into() };
        self.kept.insert(key, Entry { received: received.clone(), at: self.seconds(now) });
    }

    /// Whole seconds since the origin. 136 years fit.
    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.origin).as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::query::tests::query;
    use super::super::wire::kind;
    use super::*;
    use crate::clock;

    /// An answer of so many octets that may be kept for so long.
    fn answer(ttl: u32, octets: usize) -> Arc<Received> {
        let query = query("a", kind::TXT, 0x100, None);
        let data = vec![0; octets];
        let length = u16::try_from(octets).unwrap();
        let record =
            [&[0xc0, 12, 0, 16, 0, 1][..], &ttl.to_be_bytes(), &length.to_be_bytes(), &data].concat();
        let message = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &query[12..], &record].concat();
        Arc::new(Received::read(&message, &query).unwrap())
    }

    fn question(name: &[u8]) -> Question<'_> {
        Question { group: 0, name, kind: kind::TXT, dnssec_ok: false, checking_disabled: false }
    }

    #[test]
    fn an_answer_is_found_while_it_is_good_by_those_who_asked_the_same() {
        let start = clock::moment();
        let cache = Cache::new(start);
        cache.set_entries(10);
        cache.insert(1, question(b"\x01a"), &answer(30, 4), start + Duration::from_secs(5));
        let age = |forwarders, question, after| {
            cache.get(forwarders, question, start + Duration::from_secs(after)).map(|known| known.age)
        };
        assert_eq!(age(1, question(b"\x01a"), 5), Some(0));
        assert_eq!(age(1, question(b"\x01a"), 34), Some(29));
        assert_eq!(age(1, question(b"\x01a"), 35), None, "outlived");
        assert_eq!(age(2, question(b"\x01a"), 5), None, "other forwarders");
        assert_eq!(age(1, question(b"\x01b"), 5), None);
        assert_eq!(age(1, Question { dnssec_ok: true, ..question(b"\x01a") }, 5), None);
        assert_eq!(age(1, Question { checking_disabled: true, ..question(b"\x01a") }, 5), None);
        assert_eq!(age(1, Question { kind: kind::A, ..question(b"\x01a") }, 5), None);
    }

    #[test]
    fn entries_and_octets_are_bounded() {
        let start = clock::moment();
        let cache = Cache::new(start);
        let fill = |octets: usize| {
            for name in 0..1000u16 {
                cache.insert(1, question(&name.to_be_bytes()), &answer(30, octets), start);
            }
            cache.len()
        };
        assert_eq!(fill(4), 0, "nothing is kept until it is said how much");
        cache.set_entries(100);
        assert!((90..=100).contains(&fill(4)), "{} entries", cache.len());
        assert!(fill(5000) <= 20, "{} long entries", cache.len());
        cache.set_entries(0);
        assert_eq!(cache.len(), 0);
        assert_eq!(fill(4), 0);
    }
}
