//! Writing an answer: the question as it was asked, records, and OPT where the client sent one.
//!
//! What does not fit is left out whole and the answer says so (RFC 2181 section 9). Called by `answer.rs`.

use std::ops::Range;

use super::query::Query;
use super::wire::{CLASS_IN, HEADER, MAX_UDP, POINTER, Rcode, flag, kind};

/// The octets of the OPT record that goes with an answer.
const OPT: usize = 11;
/// How far a compression pointer reaches.
const POINTER_REACH: usize = 0x3fff;

/// How a message came, and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    /// One datagram.
    Udp,
    /// A stream, each message behind its length.
    Tcp,
}

/// The section that a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
}

/// Records of one name and type while they are written to the answer section.
#[derive(Debug)]
pub(super) struct RecordSet {
    pub(super) owner: usize,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    /// Where the data of what is written stands. Nearly always there is one record.
    first: Option<Range<usize>>,
    more: Vec<Range<usize>>,
}

impl RecordSet {
    /// A set without records, whose owner starts at `owner` in the answer.
    pub(super) const fn new(owner: usize, kind: u16, ttl: u32) -> Self {
        Self { owner, kind, ttl, first: None, more: Vec::new() }
    }
}

/// An answer while it is written.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    query: &'a Query<'a>,
    limit: usize,
    flags: u16,
    counts: [u16; 3],
}

impl<'a> Reply<'a> {
    /// An answer with the question alone. `recursion` says whether names that are not ours are found out at all.
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        query: &'a Query<'a>,
        transport: Transport,
        recursion: bool,
    ) -> Self {
        let most = match (transport, query.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.payload.min(MAX_UDP),
            (Transport::Udp, None) => super::wire::MIN_UDP,
        };
        let limit = usize::from(most) - if query.edns.is_some() { OPT } else { 0 };
        let available = if recursion { flag::RECURSION_AVAILABLE } else { 0 };
        let flags = flag::RESPONSE | query.repeated_flags() | available;
        out.clear();
        out.extend_from_slice(&query.id());
        out.extend_from_slice(&[0; HEADER - 2]);
        out.extend_from_slice(query.question());
        Self { out, query, limit, flags, counts: [0; 3] }
    }

    /// Leaves out the records that are written.
    pub(super) fn clear(&mut self) {
        self.out.truncate(HEADER + self.query.question().len());
        self.counts = [0; 3];
    }

    /// Says that the answer comes from who knows.
    pub(super) fn authoritative(&mut self) {
        self.flags |= flag::AUTHORITATIVE;
    }

    /// How many records the answer section has.
    pub(super) fn answers(&self) -> u16 {
        self.counts.first().copied().unwrap_or(0)
    }

    /// Writes a record whose owner starts at `owner` in this answer. Returns where its data starts.
    pub(super) fn record(
        &mut self,
        section: Section,
        owner: usize,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let pointer = u16::try_from(owner.min(POINTER_REACH)).unwrap_or(0) | u16::from(POINTER) << 8;
        let [p1, p2] = pointer.to_be_bytes();
        let [k1, k2] = kind.to_be_bytes();
        let [c1, c2] = CLASS_IN.to_be_bytes();
        let [t1, t2, t3, t4] = ttl.to_be_bytes();
        self.out.extend_from_slice(&[p1, p2, k1, k2, c1, c2, t1, t2, t3, t4, 0, 0]);
        let start = self.out.len();
        data(self.out);
        let length = u16::try_from(self.out.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.out.get_mut(start - 2..start) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self.count(section, 1);
        start
    }

    /// Writes a record of a set, unless the set has it (RFC 2181 section 5) or the answer is too long by now.
    pub(super) fn record_of(&mut self, set: &mut RecordSet, data: impl FnOnce(&mut Vec<u8>)) {
        if self.out.len() > self.limit {
            return;
        }
        let (before, counts) = (self.out.len(), self.counts);
        let start = self.record(Section::Answer, set.owner, set.kind, set.ttl, data);
        let place = start..self.out.len();
        let octets = self.out.get(place.clone());
        if set.first.iter().chain(&set.more).any(|other| self.out.get(other.clone()) == octets) {
            self.out.truncate(before);
            self.counts = counts;
        } else if set.first.is_none() {
            set.first = Some(place);
        } else {
            set.more.push(place);
        }
    }

    /// Turns the records from `start` on, which all have one length, so that clients do not all take the first one.
    pub(super) fn rotate(&mut self, start: usize, records: u16) {
        let written = self.out.get_mut(start..).unwrap_or_default();
        if let Some(length) = written.len().checked_div(usize::from(records)) {
            let first = u16::from_be_bytes(self.query.id()) % records;
            written.rotate_left(usize::from(first) * length);
        }
    }

    /// How long the answer is so far.
    pub(super) fn length(&self) -> usize {
        self.out.len()
    }

    /// Takes records that are written already and point to nothing.
    pub(super) fn encoded(&mut self, section: Section, records: &[u8], count: usize) {
        self.out.extend_from_slice(records);
        self.count(section, u16::try_from(count).unwrap_or(u16::MAX));
    }

    fn count(&mut self, section: Section, records: u16) {
        let count = match section {
            Section::Answer => self.counts.first_mut(),
            Section::Authority => self.counts.get_mut(1),
        };
        if let Some(count) = count {
            *count = count.saturating_add(records);
        }
    }

    /// Takes the sections of another answer to the same question: the octets behind its question.
    pub(super) fn sections(&mut self, body: &[u8], counts: [u16; 3]) -> &mut [u8] {
        let start = self.out.len();
        self.out.extend_from_slice(body);
        self.counts = counts;
        self.out.get_mut(start..).unwrap_or_default()
    }

    /// Ends the answer.
    pub(super) fn finish(mut self, rcode: Rcode) {
        if self.out.len() > self.limit {
            self.clear();
            self.flags |= flag::TRUNCATED;
        }
        let Self { out, query, flags, counts, .. } = self;
        let mut additional = counts.last().copied().unwrap_or(0);
        if query.edns.is_some() {
            additional += 1;
            let [high, low] = (rcode.0 >> 4).to_be_bytes();
            let [f1, f2] = if query.dnssec_ok() { flag::DNSSEC_OK } else { 0 }.to_be_bytes();
            let [s1, s2] = MAX_UDP.to_be_bytes();
            let [k1, k2] = kind::OPT.to_be_bytes();
            // The code's high bits, version 0, flags, no options.
            debug_assert_eq!(high, 0);
            out.extend_from_slice(&[0, k1, k2, s1, s2, low, 0, f1, f2, 0, 0]);
        }
        let [f1, f2] = (flags | rcode.0 & flag::RCODE).to_be_bytes();
        let [answers, authority, _] = counts.map(u16::to_be_bytes);
        let [a1, a2] = additional.to_be_bytes();
        let header = [f1, f2, 0, 1, answers[0], answers[1], authority[0], authority[1], a1, a2];
        if let Some(place) = out.get_mut(2..HEADER) {
            place.copy_from_slice(&header);
        }
    }
}

/// Writes the answer to what cannot be read: its header, with a code.
pub(super) fn header_only(out: &mut Vec<u8>, message: &[u8], rcode: Rcode) {
    let header: [u8; HEADER] = message.first_chunk().copied().unwrap_or_default();
    let [i1, i2, f1, f2, ..] = header;
    let asked = u16::from_be_bytes([f1, f2]) & (flag::OPCODE | flag::RECURSION_DESIRED);
    let [f1, f2] = (flag::RESPONSE | asked | rcode.0 & flag::RCODE).to_be_bytes();
    out.clear();
    out.extend_from_slice(&[i1, i2, f1, f2, 0, 0, 0, 0, 0, 0, 0, 0]);
}
