//! Reading what a client asks: strict, total, without a copy.
//!
//! What is no query is not answered; what is a broken one is answered with its header alone. Called by `answer.rs`.

use super::name::Key;
use super::wire::{self, HEADER, MIN_UDP, Rcode, RecordAt, flag, kind};

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    message: &'a [u8],
    flags: u16,
    question_end: usize,
    /// The type that is asked for.
    pub(super) kind: u16,
    /// The class that is asked in.
    pub(super) class: u16,
    /// What the client says of itself by EDNS, if it does.
    pub(super) edns: Option<Edns>,
}

/// What a client says by EDNS (RFC 6891 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    /// The most octets that it takes over UDP; never below 512.
    pub(super) payload: u16,
    /// The version that it speaks.
    pub(super) version: u8,
    /// Whether it wants DNSSEC records.
    pub(super) dnssec_ok: bool,
}

/// Why a message is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unasked {
    /// Too short to be answered, or an answer itself: an answer to it could go round for ever.
    Noise,
    /// A query that is answered with a header and this code.
    Broken(Rcode),
}

impl<'a> Query<'a> {
    /// The query that a message is.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, Unasked> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(Unasked::Noise)?;
        let [_, _, f1, f2, q1, q2, an1, an2, ns1, ns2, ar1, ar2] = *header;
        let flags = u16::from_be_bytes([f1, f2]);
        if flags & flag::RESPONSE != 0 {
            return Err(Unasked::Noise);
        }
        if flags & flag::OPCODE != 0 {
            return Err(Unasked::Broken(Rcode::NOTIMP));
        }
        // One question (RFC 9619); a query carries no answers.
        if [q1, q2, an1, an2, ns1, ns2] != [0, 1, 0, 0, 0, 0] {
            return Err(Unasked::Broken(Rcode::FORMERR));
        }
        Self::read_body(message, flags, u16::from_be_bytes([ar1, ar2])).ok_or(Unasked::Broken(Rcode::FORMERR))
    }

    fn read_body(message: &'a [u8], flags: u16, additional: u16) -> Option<Self> {
        let name_end = wire::plain_name(message, HEADER)?;
        let question_end = name_end + 4;
        let (kind, class) = (wire::u16_at(message, name_end)?, wire::u16_at(message, name_end + 2)?);
        let mut edns = None;
        let mut at = question_end;
        for _ in 0..additional {
            let record = RecordAt::read(message, at)?;
            if record.kind == kind::OPT && edns.replace(Edns::read(message, &record)?).is_some() {
                return None;
            }
            at = record.end;
        }
        (at == message.len()).then_some(Self { message, flags, question_end, kind, class, edns })
    }

    /// The two octets by which the client knows its query again.
    pub(super) fn id(&self) -> [u8; 2] {
        self.message.first_chunk().copied().unwrap_or_default()
    }

    /// The question as it was asked: name, type and class.
    pub(super) fn question(&self) -> &'a [u8] {
        self.message.get(HEADER..self.question_end).unwrap_or_default()
    }

    /// The name as it was asked, with its final zero.
    pub(super) fn name(&self) -> &'a [u8] {
        self.message.get(HEADER..self.question_end.saturating_sub(4)).unwrap_or_default()
    }

    /// The name to be looked up.
    pub(super) fn key(&self) -> Option<Key> {
        Key::of_wire(self.name())
    }

    /// The flags that an answer repeats.
    pub(super) fn repeated_flags(&self) -> u16 {
        self.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED)
    }

    /// Whether the client wants names found out that are not ours.
    pub(super) fn recursion_desired(&self) -> bool {
        self.flags & flag::RECURSION_DESIRED != 0
    }

    /// Whether the client validates by itself and wants what others would hold back.
    pub(super) fn checking_disabled(&self) -> bool {
        self.flags & flag::CHECKING_DISABLED != 0
    }

    /// Whether the client wants DNSSEC records.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

impl Edns {
    fn read(message: &[u8], record: &RecordAt) -> Option<Self> {
        // The owner is the root (RFC 6891 section 6.1.2), and the options fill the data.
        if message.get(record.start) != Some(&0) {
            return None;
        }
        let mut option = record.data;
        while option < record.end {
            option += 4 + usize::from(wire::u16_at(message, option + 2)?);
        }
        let [_, version, f1, f2] = record.ttl.to_be_bytes();
        (option == record.end).then_some(Self {
            payload: record.class.max(MIN_UDP),
            version,
            dnssec_ok: u16::from_be_bytes([f1, f2]) & flag::DNSSEC_OK != 0,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::name::write_text;
    use super::*;

    /// A query in octets.
    pub(in crate::dns) fn query(name: &str, kind: u16, flags: u16, edns: Option<Edns>) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd];
        for part in [flags, 1, 0, 0, u16::from(edns.is_some())] {
            message.extend(part.to_be_bytes());
        }
        write_text(name, &mut message);
        message.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
        if let Some(edns) = edns {
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            message.extend([0, 0, 41]);
            message.extend(edns.payload.to_be_bytes());
            message.extend([0, edns.version, flags, 0, 0, 0]);
        }
        message
    }

    #[test]
    fn a_query_is_read() {
        let edns = Edns { payload: 1400, version: 0, dnssec_ok: true };
        let message = query("wWw.demo.local", kind::AAAA, flag::RECURSION_DESIRED, Some(edns));
        let read = Query::read(&message).unwrap();
        assert_eq!(read.id(), [0xab, 0xcd]);
        assert_eq!(read.kind, kind::AAAA);
        assert_eq!(read.name(), b"\x03wWw\x04demo\x05local\x00");
        assert_eq!(read.key().unwrap().octets(), b"\x05local\x04demo\x03www");
        assert_eq!(read.edns, Some(edns));
        assert!(read.recursion_desired() && read.dnssec_ok() && !read.checking_disabled());
    }

    #[test]
    fn what_is_no_query_is_told_from_what_is_a_broken_one() {
        let whole = query("a.b", kind::A, 0, Some(Edns { payload: 512, version: 0, dnssec_ok: false }));
        let opt = whole.len() - 11;
        let with = |at: usize, octet: u8| {
            let mut message = whole.clone();
            message[at] = octet;
            message
        };
        let broken = |message: &[u8]| Query::read(message).map(|_| ()).unwrap_err();
        assert_eq!(broken(&whole[..11]), Unasked::Noise);
        assert_eq!(broken(&with(2, 0x80)), Unasked::Noise);
        assert_eq!(broken(&with(2, 0x28)), Unasked::Broken(Rcode::NOTIMP));
        let formerr = Unasked::Broken(Rcode::FORMERR);
        for end in 12..whole.len() {
            assert_eq!(broken(&whole[..end]), formerr, "{end} octets");
        }
        assert_eq!(broken(&with(5, 0)), formerr, "no question");
        assert_eq!(broken(&with(5, 2)), formerr, "two questions");
        assert_eq!(broken(&with(7, 1)), formerr, "an answer");
        assert_eq!(broken(&with(9, 1)), formerr, "authority");
        assert_eq!(broken(&with(12, 0xc0)), formerr, "a pointer in the question");
        assert_eq!(broken(&with(whole.len() - 1, 1)), formerr, "torn options");
        let twice = [with(11, 2), whole[opt..].to_vec()].concat();
        assert_eq!(broken(&twice), formerr, "two OPT records");
        let behind = [whole.clone(), vec![0]].concat();
        assert_eq!(broken(&behind), formerr, "something behind the end");
    }

    proptest! {
        #[test]
        fn no_octets_make_reading_panic(octets in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Query::read(&octets);
        }

        /// Octets that are nearly a query reach every branch.
        #[test]
        fn no_damage_makes_reading_panic(damage in prop::collection::vec((0usize..60, any::<u8>()), 0..4), cut in 0usize..80) {
            let edns = Edns { payload: 512, version: 0, dnssec_ok: false };
            let mut message = query("www.demo.local", kind::A, 0, Some(edns));
            for (at, octet) in damage {
                if let Some(place) = message.get_mut(at) {
                    *place = octet;
                }
            }
            message.truncate(cut);
            if let Ok(query) = Query::read(&message) {
                prop_assert!(query.key().is_some());
            }
        }
    }
}
