//! What a forwarder answered, as it is kept and handed on: its octets, and where its TTLs stand.
//!
//! The sections stay as they came, so records of types that nobody here knows are handed on unharmed (RFC 3597).
//! Their compression pointers go on pointing right: the question in front of them always has the same length.
//! Called by `upstream.rs` with what arrived, by the cache and by `answer.rs`.

use super::name::write_name;
use super::wire::{self, CLASS_IN, HEADER, Rcode, RecordAt, flag, kind};

/// The longest that an answer is kept, in seconds: a day, as others do (RFC 8767 section 4 caps at a week).
const MAX_TTL: u32 = 86_400;
/// The longest that it is kept that something is not there, in seconds (RFC 2308 section 5).
const MAX_NEGATIVE_TTL: u32 = 3600;
/// How long it is kept that a forwarder failed, in seconds (RFC 9520 section 3.2).
const FAILURE_TTL: u32 = 2;

/// The last code that says something about a name or who answers for it (RFC 6895 section 2.3).
const LAST_CODE_OF_NAMES: u16 = 10;

/// An answer of a forwarder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) rcode: Rcode,
    /// The records of the three sections, without OPT.
    pub(super) counts: [u16; 3],
    /// The sections.
    body: Box<[u8]>,
    /// Where TTLs stand in the sections.
    ttls: Box<[u16]>,
    /// For how many seconds it may be kept; 0 is not at all.
    pub(super) lifetime: u32,
}

/// Why octets are no answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It belongs to another question, or somebody made it up.
    #[error("an answer to another question")]
    Foreign,
    /// It cannot be read.
    #[error("an answer that cannot be read")]
    Malformed,
    /// Not all of it fitted.
    #[error("a truncated answer")]
    Truncated,
    /// The server does not understand EDNS.
    #[error("a server that does not understand EDNS")]
    NoEdns,
}

impl Received {
    /// An answer without records.
    pub(super) fn empty(rcode: Rcode) -> Self {
        Self { rcode, counts: [0; 3], body: Box::default(), ttls: Box::default(), lifetime: 0 }
    }

    /// Reads what arrived as the answer to `query`, a query of one question.
    pub(super) fn read(message: &[u8], query: &[u8]) -> Result<Self, Unusable> {
        let (header, id) = (message.first_chunk::<HEADER>(), query.first_chunk::<2>());
        let (Some(header), Some(id)) = (header, id) else { return Err(Unusable::Foreign) };
        let [i1, i2, f1, f2, questions @ ..] = *header;
        let [q1, q2, an1, an2, ns1, ns2, ar1, ar2] = questions;
        let flags = u16::from_be_bytes([f1, f2]);
        if [i1, i2] != *id || flags & flag::RESPONSE == 0 || flags & flag::OPCODE != 0 {
            return Err(Unusable::Foreign);
        }
        let rcode = Rcode(flags & flag::RCODE);
        let counts = [[an1, an2], [ns1, ns2], [ar1, ar2]].map(u16::from_be_bytes);
        // A server that cannot read a query may not repeat its question.
        if [q1, q2] == [0, 0] && rcode != Rcode::NOERROR && message.len() == HEADER {
            return Err(if rcode == Rcode::FORMERR { Unusable::NoEdns } else { Unusable::Malformed });
        }
        let name_end = wire::plain_name(query, HEADER).ok_or(Unusable::Foreign)?;
        let end = name_end + 4;
        // The letters of the name may come back in another case.
        let (names, kinds) = (HEADER..name_end, name_end..end);
        let same_name =
            message.get(names.clone()).zip(query.get(names)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        let same_kind = message.get(kinds.clone()).is_some_and(|kind| Some(kind) == query.get(kinds));
        if [q1, q2] != [0, 1] || !same_name || !same_kind {
            return Err(Unusable::Foreign);
        }
        match rcode {
            _ if flags & flag::TRUNCATED != 0 => Err(Unusable::Truncated),
            Rcode::FORMERR => Err(Unusable::NoEdns),
            _ => Self::sections(message, end, counts, rcode).ok_or(Unusable::Malformed),
        }
    }

    fn sections(message: &[u8], start: usize, mut counts: [u16; 3], rcode: Rcode) -> Option<Self> {
        let (mut body, mut ttls, mut least) = (message.get(start..)?.to_vec(), Vec::new(), MAX_TTL);
        let (mut at, mut soa) = (start, false);
        let mut rcode = rcode;
        let sections = counts;
        for (section, (count, kept)) in sections.into_iter().zip(&mut counts).enumerate() {
            for index in 0..count {
                let record = RecordAt::read(message, at)?;
                if record.kind == kind::OPT && section == 2 {
                    let [high, ..] = record.ttl.to_be_bytes();
                    rcode.0 |= u16::from(high) << 4;
                    // What stands behind OPT is dropped with it, so that nothing moves.
                    *kept = index;
                    break;
                }
                // The records of another class are nobody's answer here.
                if record.class != CLASS_IN {
                    return None;
                }
                let negative = section == 1 && record.kind == kind::SOA;
                soa |= negative;
                let ttl = if negative { negative_ttl(message, &record)? } else { ttl(record.ttl) };
                least = least.min(ttl);
                let place = record.ttl_at - start;
                body.get_mut(place..place + 4)?.copy_from_slice(&ttl.to_be_bytes());
                ttls.push(u16::try_from(place).ok()?);
                at = record.end;
            }
        }
        body.truncate(at - start);
        // Codes that are between us and the server say nothing to a client.
        if rcode == Rcode::FORMERR || rcode.0 > LAST_CODE_OF_NAMES {
            return Some(Self::empty(Rcode::SERVFAIL));
        }
        let answered = counts.first().is_some_and(|count| *count > 0);
        let lifetime = match rcode {
            Rcode::NOERROR if answered || soa => least,
            Rcode::NXDOMAIN if soa => least,
            Rcode::SERVFAIL => FAILURE_TTL,
            _ => 0,
        };
        Some(Self { rcode, counts, body: body.into(), ttls: ttls.into(), lifetime })
    }

    /// The sections, and where the TTLs stand in them.
    pub(super) fn parts(&self) -> (&[u8], &[u16]) {
        (&self.body, &self.ttls)
    }

    /// The whole message again, as the answer to a question, so many seconds after it was received.
    pub(super) fn message(&self, name: &[u8], kind: u16, age: u32) -> Vec<u8> {
        let [answers, authority, additional] = self.counts;
        let flags = flag::RESPONSE | self.rcode.0 & flag::RCODE;
        let mut message = [0, flags, 1, answers, authority, additional].map(u16::to_be_bytes).concat();
        write_name(name, &mut message);
        message.extend_from_slice(&[kind, CLASS_IN].map(u16::to_be_bytes).concat());
        let start = message.len();
        message.extend_from_slice(&self.body);
        count_down(message.get_mut(start..).unwrap_or_default(), &self.ttls, age);
        message
    }

    /// How many octets it takes to keep.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.body.len() + size_of_val(&*self.ttls)
    }
}

/// Takes `age` seconds off the TTLs at these places.
pub(super) fn count_down(sections: &mut [u8], ttls: &[u16], age: u32) {
    if age == 0 {
        return;
    }
    for place in ttls {
        let place = usize::from(*place);
        if let Some(octets) = sections.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *octets = u32::from_be_bytes(*octets).saturating_sub(age).to_be_bytes();
        }
    }
}

/// The TTL of a record: one with its high bit set is none (RFC 2181 section 8).
fn ttl(ttl: u32) -> u32 {
    if ttl > 0x7fff_ffff { 0 } else { ttl.min(MAX_TTL) }
}

/// For how long the SOA record of a negative answer lets it be kept (RFC 2308 section 5).
fn negative_ttl(message: &[u8], record: &RecordAt) -> Option<u32> {
    let minimum = wire::u32_at(message, record.end.checked_sub(4).filter(|at| *at >= record.data)?)?;
    Some(ttl(record.ttl).min(ttl(minimum)).min(MAX_NEGATIVE_TTL))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::query::tests::query;
    use super::*;

    const NOTHING: [&[u8]; 3] = [&[], &[], &[]];

    /// A record whose owner is the name that was asked for.
    fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        let parts =
            [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes(), data];
        parts.concat()
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        let mut data = vec![0, 0];
        data.extend([1, 2, 3, 4, minimum].map(u32::to_be_bytes).concat());
        record(kind::SOA, ttl, &data)
    }

    /// An answer to `query` with these flags and records.
    fn answer(query: &[u8], flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
        let counts = sections.map(|section| u16::try_from(section.len()).unwrap().to_be_bytes()).concat();
        let head = [&query[..2], &(0x8180 | flags).to_be_bytes(), &[0, 1], &counts, &query[12..]].concat();
        [head, sections.concat().concat()].concat()
    }

    fn read(flags: u16, sections: [&[Vec<u8>]; 3]) -> Result<Received, Unusable> {
        let query = query("www.example.com", kind::A, 0x100, None);
        Received::read(&answer(&query, flags, sections), &query)
    }

    #[test]
    fn the_shortest_ttl_says_how_long_an_answer_is_kept_and_all_count_down() {
        let sections = [&[record(1, 300, &[10, 0, 0, 1]), record(1, 40, &[10, 0, 0, 2])][..], &[], &[]];
        let received = read(0, sections).unwrap();
        assert_eq!((received.lifetime, received.counts), (40, [2, 0, 0]));
        let (body, ttls) = received.parts();
        let mut body = body.to_vec();
        count_down(&mut body, ttls, 15);
        let left: Vec<u32> = ttls.iter().map(|at| wire::u32_at(&body, usize::from(*at)).unwrap()).collect();
        assert_eq!(left, [285, 25]);
    }

    #[test]
    fn ttls_are_bounded() {
        let lifetime = |ttl| read(0, [&[record(1, ttl, &[10, 0, 0, 1])], &[], &[]]).unwrap().lifetime;
        assert_eq!(lifetime(0), 0);
        assert_eq!(lifetime(0x7fff_ffff), MAX_TTL);
        assert_eq!(lifetime(0x8000_0000), 0);
    }

    #[test]
    fn what_is_not_there_is_kept_as_its_soa_says() {
        for rcode in [0, 3] {
            assert_eq!(read(rcode, [&[], &[soa(600, 30)], &[]]).unwrap().lifetime, 30);
            assert_eq!(read(rcode, [&[], &[soa(20, 900)], &[]]).unwrap().lifetime, 20);
            assert_eq!(read(rcode, [&[], &[soa(86_400, 86_400)], &[]]).unwrap().lifetime, MAX_NEGATIVE_TTL);
            assert_eq!(read(rcode, [&[], &[], &[]]).unwrap().lifetime, 0, "without SOA nothing is kept");
        }
        let alias = record(kind::CNAME, 500, &[0xc0, 12]);
        assert_eq!(read(3, [&[alias], &[soa(600, 30)], &[]]).unwrap().lifetime, 30);
    }

    #[test]
    fn failures_are_kept_for_a_moment_and_refusals_not_at_all() {
        assert_eq!(read(2, NOTHING.map(|_| &[][..])).unwrap().lifetime, FAILURE_TTL);
        assert_eq!(read(5, NOTHING.map(|_| &[][..])).unwrap().lifetime, 0);
    }

    #[test]
    fn opt_is_between_two_servers_and_not_handed_on() {
        let opt = |high: u8| vec![0, 0, 41, 4, 208, high, 0, 0, 0, 0, 0];
        let glue = || record(1, 77, &[10, 0, 0, 1]);
        let received = read(0, [&[glue()], &[], &[glue(), opt(0), glue()]]).unwrap();
        assert_eq!(received.counts, [1, 0, 1]);
        assert_eq!(received.parts().0.len(), 2 * glue().len());
        assert_eq!(read(0, [&[], &[], &[opt(1)]]), Ok(Received::empty(Rcode::SERVFAIL)));
    }

    #[test]
    fn records_that_nobody_knows_are_handed_on_as_they_are() {
        // A type of nobody's, and an HTTPS record whose parameters are out of order (RFC 9460 section 2.2).
        let strange = record(65_280, 60, b"\xff\x00\xc0\x0c anything");
        let broken = record(kind::HTTPS, 60, b"\x00\x01\x00\x00\x03\x00\x02\x01\xbb\x00\x01\x00\x03\x02h2");
        for record in [strange, broken] {
            let received = read(0, [std::slice::from_ref(&record), &[], &[]]).unwrap();
            assert_eq!(received.parts().0, record);
        }
    }

    #[test]
    fn only_the_answer_to_the_question_is_one() {
        let query = query("www.example.com", kind::A, 0x100, None);
        let good = answer(&query, 0, [&[record(1, 60, &[10, 0, 0, 1])], &[], &[]]);
        let with = |at: usize, octet: u8| {
            let mut message = good.clone();
            message[at] = octet;
            Received::read(&message, &query).map(|_| ())
        };
        assert_eq!(with(13, b'W'), Ok(()), "another case is the same name");
        for (at, octet) in [(0, 0), (2, 0x01), (2, 0xa9), (5, 0), (13, b'x'), (30, 28), (32, 3)] {
            assert_eq!(with(at, octet), Err(Unusable::Foreign), "octet {at}");
        }
        assert_eq!(with(2, 0x83), Err(Unusable::Truncated));
        assert_eq!(with(3, 0x81), Err(Unusable::NoEdns));
        assert_eq!(with(38, 3), Err(Unusable::Malformed), "a record of another class");
        assert_eq!(Received::read(&good[..good.len() - 1], &query), Err(Unusable::Malformed));
        assert_eq!(Received::read(&[], &query), Err(Unusable::Foreign));
        let header = [&query[..2], &[0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(Received::read(&header, &query), Err(Unusable::NoEdns), "a header alone");
    }

    proptest! {
        /// Whatever arrives is read or not, and what is read can be written and read again.
        #[test]
        fn what_is_read_can_be_read_again(
            damage in prop::collection::vec((0usize..160, any::<u8>()), 0..6),
            cut in 30usize..170,
            age in any::<u32>(),
        ) {
            let query = query("www.example.com", kind::A, 0x100, None);
            let opt = vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
            let sections = [&[record(1, 300, &[10, 0, 0, 1])][..], &[soa(5, 6)], &[record(1, 9, &[1, 2, 3, 4]), opt]];
            let mut message = answer(&query, 0, sections);
            for (at, octet) in damage {
                if let Some(place) = message.get_mut(at) {
                    *place = octet;
                }
            }
            message.truncate(cut);
            if let Ok(received) = Received::read(&message, &query) {
                let key = super::super::name::Key::of_text("www.example.com").unwrap();
                let mut again = received.message(key.octets(), kind::A, 0);
                again[..2].copy_from_slice(&query[..2]);
                again[3] &= 0x8f;
                let counted = received.message(key.octets(), kind::A, age);
                prop_assert_eq!(counted.len(), again.len());
                if received.lifetime > 0 {
                    prop_assert_eq!(Received::read(&again, &query), Ok(received));
                }
            }
        }

        #[test]
        fn no_octets_make_reading_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let query = query("a", kind::A, 0x100, None);
            let _ = Received::read(&octets, &query);
            let whole = [&query[..2], &[0x81, 0x80, 0, 1], &octets].concat();
            let _ = Received::read(&whole, &query);
        }
    }
}
