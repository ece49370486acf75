//! What was asked and answered, counted since the service began. Snapshots come and go; these stay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Outcome, Source, Verdict};
use super::reply::Transport;
use super::wire::{Rcode, kind};

/// The record types that are counted by name; the last stands for all others.
const KINDS: [(u16, &str); 13] = [
    (kind::A, "A"),
    (kind::AAAA, "AAAA"),
    (kind::ANY, "ANY"),
    (kind::CNAME, "CNAME"),
    (kind::HTTPS, "HTTPS"),
    (kind::MX, "MX"),
    (kind::NS, "NS"),
    (kind::PTR, "PTR"),
    (kind::SOA, "SOA"),
    (kind::SRV, "SRV"),
    (kind::TXT, "TXT"),
    (kind::DS, "DS"),
    (0, "other"),
];
/// The codes that are counted by name; the last stands for all others.
const RCODES: [(Rcode, &str); 8] = [
    (Rcode::NOERROR, "NOERROR"),
    (Rcode::FORMERR, "FORMERR"),
    (Rcode::SERVFAIL, "SERVFAIL"),
    (Rcode::NXDOMAIN, "NXDOMAIN"),
    (Rcode::NOTIMP, "NOTIMP"),
    (Rcode::REFUSED, "REFUSED"),
    (Rcode::BADVERS, "BADVERS"),
    (Rcode(0xfff), "other"),
];

/// What was asked and answered.
#[derive(Debug, Default)]
pub(super) struct Counters {
    kinds: [AtomicU64; KINDS.len()],
    rcodes: [AtomicU64; RCODES.len()],
    udp: AtomicU64,
    tcp: AtomicU64,
    ignored: AtomicU64,
    local: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    /// Answers that the system did not take.
    pub(super) unsent: AtomicU64,
    /// Connections that were not taken: too many, or of strangers.
    pub(super) connections_refused: AtomicU64,
}

/// What was asked and answered since the service began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Answers by the type that was asked for.
    pub answers_by_type: BTreeMap<&'static str, u64>,
    /// Answers by response code.
    pub answers_by_rcode: BTreeMap<&'static str, u64>,
    /// Messages that came over UDP.
    pub udp_messages: u64,
    /// Messages that came over TCP.
    pub tcp_messages: u64,
    /// Messages that were no queries and got no answer.
    pub ignored: u64,
    /// Answers from the names of this site.
    pub local: u64,
    /// Answers from forwarders, kept ones included.
    pub forwarded: u64,
    /// Queries that were turned away: of strangers, broken, or of a kind that is not served.
    pub refused: u64,
    /// Questions whose answer was kept.
    pub cache_hits: u64,
    /// Questions for which forwarders were asked.
    pub cache_misses: u64,
    /// Answers that the system did not take.
    pub unsent: u64,
    /// TCP connections that were not taken: too many, or of strangers.
    pub connections_refused: u64,
}

impl Counters {
    pub(super) fn cache(&self, hit: bool) {
        add(if hit { &self.cache_hits } else { &self.cache_misses });
    }

    /// Counts what became of a message; one for which forwarders are asked is counted again when it is answered.
    pub(super) fn verdict(&self, transport: Transport, verdict: &Verdict) {
        match verdict {
            Verdict::Ask(_) => return,
            Verdict::Silence => add(&self.ignored),
            Verdict::Answer(Outcome { kind, rcode, source }) => {
                let place = KINDS.iter().position(|(known, _)| known == kind).unwrap_or(KINDS.len() - 1);
                self.kinds.get(place).into_iter().for_each(add);
                let place = RCODES.iter().position(|(known, _)| known == rcode).unwrap_or(RCODES.len() - 1);
                self.rcodes.get(place).into_iter().for_each(add);
                add(match source {
                    Source::Local => &self.local,
                    Source::Forwarded => &self.forwarded,
                    Source::Refused => &self.refused,
                });
            }
        }
        add(match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        });
    }

    /// The counts of this moment.
    pub(super) fn read(&self) -> Counts {
        fn by<T>(names: &[(T, &'static str)], counts: &[AtomicU64]) -> BTreeMap<&'static str, u64> {
            names.iter().zip(counts).map(|((_, name), count)| (*name, value(count))).collect()
        }
        Counts {
            answers_by_type: by(&KINDS, &self.kinds),
            answers_by_rcode: by(&RCODES, &self.rcodes),
            udp_messages: value(&self.udp),
            tcp_messages: value(&self.tcp),
            ignored: value(&self.ignored),
            local: value(&self.local),
            forwarded: value(&self.forwarded),
            refused: value(&self.refused),
            cache_hits: value(&self.cache_hits),
            cache_misses: value(&self.cache_misses),
            unsent: value(&self.unsent),
            connections_refused: value(&self.connections_refused),
        }
    }
}

/// Counts one more.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn value(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
