//! The decision on a message: an answer, silence, or whom to ask. Pure.
//!
//! Called for every message by the sockets, and again with what the forwarders said.
//!
//! A client that is not of a guest network is refused: the answer is never longer than the query, so nobody can be
//! flooded by it, and a guest network that was forgotten in the configuration shows at once.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::compose;
use super::data::HOST_TTL;
use super::name::Key;
use super::query::{Query, Unasked};
use super::received::{Received, count_down};
use super::reply::{self, Reply, Section, Transport};
use super::snapshot::Snapshot;
use super::wire::{CLASS_IN, HEADER, Rcode, kind};
use super::zones::Found;

/// How often a name may be another name of a name that is one again.
const MAX_CHAIN: usize = 16;
/// For how many seconds others may keep it that a name or a type is not there: short, for a host may come.
const NEGATIVE_TTL: u32 = 10;

/// How and from where a message came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) address: Ipv4Addr,
    pub(super) transport: Transport,
}

/// What forwarders are asked. Names are in the form of this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question<'a> {
    pub(super) group: u16,
    pub(super) name: &'a [u8],
    pub(super) kind: u16,
    pub(super) dnssec_ok: bool,
    pub(super) checking_disabled: bool,
}

/// What forwarders have to be asked for a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub(super) group: u16,
    /// The name in the form of this room.
    pub(super) name: Box<[u8]>,
    pub(super) kind: u16,
    pub(super) dnssec_ok: bool,
    pub(super) checking_disabled: bool,
}

impl Question<'_> {
    /// The same to be kept.
    fn to_ask(self) -> Ask {
        let Self { group, name, kind, dnssec_ok, checking_disabled } = self;
        Ask { group, name: name.into(), kind, dnssec_ok, checking_disabled }
    }
}

impl Ask {
    /// The question for the servers of the root, which every forwarder knows.
    pub(super) fn root_servers() -> Self {
        Self { group: 0, name: Box::default(), kind: kind::NS, dnssec_ok: false, checking_disabled: false }
    }

    pub(super) fn question(&self) -> Question<'_> {
        let Self { group, name, kind, dnssec_ok, checking_disabled } = self;
        Question {
            group: *group,
            name,
            kind: *kind,
            dnssec_ok: *dnssec_ok,
            checking_disabled: *checking_disabled,
        }
    }
}

/// An answer of forwarders that is at hand.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) received: Arc<Received>,
    /// How many seconds ago it was received.
    pub(super) age: u32,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The names of this site.
    Local,
    /// The forwarders, now or before.
    Forwarded,
    /// Nobody was looked up: it was refused or could not be read.
    Refused,
}

/// What becomes of a message.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing is sent.
    Silence,
    /// The answer is written.
    Answer(Outcome),
    /// Forwarders have to be asked first.
    Ask(Ask),
}

/// What was answered, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The type that was asked for; 0 where the query could not be read.
    pub(super) kind: u16,
    pub(super) rcode: Rcode,
    pub(super) source: Source,
}

/// Decides on one message. `known` has answers of forwarders that may be used; what is sent is left in `out`.
pub(super) fn respond(
    message: &[u8],
    client: Client,
    snapshot: &Snapshot,
    known: impl Fn(Question<'_>) -> Option<Known>,
    out: &mut Vec<u8>,
) -> Verdict {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Unasked::Noise) => return Verdict::Silence,
        Err(Unasked::Broken(rcode)) => {
            let rcode = if snapshot.serves(client.address) { rcode } else { Rcode::REFUSED };
            reply::header_only(out, message, rcode);
            return Verdict::Answer(Outcome { kind: 0, rcode, source: Source::Refused });
        }
    };
    let reply = Reply::new(out, &query, client.transport, snapshot.recursion());
    let refusal = refusal(&query, snapshot.serves(client.address));
    if let Some(rcode) = refusal {
        reply.finish(rcode);
        return Verdict::Answer(Outcome { kind: query.kind, rcode, source: Source::Refused });
    }
    look_up(&query, snapshot, known, reply)
}

/// The code by which a query is turned away before anything is looked up.
fn refusal(query: &Query<'_>, served: bool) -> Option<Rcode> {
    match query.kind {
        _ if !served => Some(Rcode::REFUSED),
        _ if query.edns.is_some_and(|edns| edns.version > 0) => Some(Rcode::BADVERS),
        _ if query.class != CLASS_IN => Some(Rcode::REFUSED),
        kind::AXFR | kind::IXFR => Some(Rcode::REFUSED),
        kind::ANY => None,
        kind if kind::is_meta(kind) => Some(Rcode::NOTIMP),
        _ => None,
    }
}

/// The name that is looked up, and where it stands in the answer.
struct Place {
    key: Key,
    /// Where it starts in the answer.
    owner: usize,
}

fn look_up(
    query: &Query<'_>,
    snapshot: &Snapshot,
    known: impl Fn(Question<'_>) -> Option<Known>,
    mut reply: Reply<'_>,
) -> Verdict {
    let local = |rcode| Verdict::Answer(Outcome { kind: query.kind, rcode, source: Source::Local });
    let Some(key) = query.key() else {
        // The name was read before, so it has a key.
        reply.finish(Rcode::FORMERR);
        return local(Rcode::FORMERR);
    };
    let mut place = Place { key, owner: HEADER };
    for _ in 0..MAX_CHAIN {
        let rcode = match snapshot.zones().find(&place.key, query.kind) {
            Found::Elsewhere(group) => return elsewhere(query, snapshot, group, &place, known, reply),
            Found::Data(data) => {
                reply.authoritative();
                let alias = data.alias().filter(|_| !matches!(query.kind, kind::CNAME | kind::ANY));
                if let Some((target, ttl)) = alias
                    && let Some(key) = Key::of_text(target.as_str())
                {
                    let write = |out: &mut Vec<u8>| super::name::write_text(target.as_str(), out);
                    let owner = reply.record(Section::Answer, place.owner, kind::CNAME, ttl, write);
                    place = Place { key, owner };
                    continue;
                }
                let before = reply.answers();
                match query.kind {
                    kind::ANY => small(place.owner, &mut reply),
                    asked => data.write(asked, place.owner, &mut reply),
                }
                if reply.answers() == before {
                    negative(query.kind, snapshot, &place, &mut reply);
                }
                Rcode::NOERROR
            }
            Found::Empty => {
                reply.authoritative();
                negative(query.kind, snapshot, &place, &mut reply);
                Rcode::NOERROR
            }
            Found::Missing => {
                reply.authoritative();
                negative(query.kind, snapshot, &place, &mut reply);
                Rcode::NXDOMAIN
            }
        };
        reply.finish(rcode);
        return local(rcode);
    }
    // Names that are other names of each other lead nowhere.
    reply.clear();
    reply.finish(Rcode::SERVFAIL);
    local(Rcode::SERVFAIL)
}

/// Answers ANY with as little as there is (RFC 8482 section 4.2).
fn small(owner: usize, reply: &mut Reply<'_>) {
    reply.record(Section::Answer, owner, kind::HINFO, HOST_TTL, |out| {
        out.extend_from_slice(b"\x07RFC8482\x00")
    });
}

/// Writes the SOA record that says who knows that something is not there, or answers who asks for it.
fn negative(asked: u16, snapshot: &Snapshot, place: &Place, reply: &mut Reply<'_>) {
    let apex = snapshot.zones().apex(&place.key);
    let own = apex == place.key.octets().len() && snapshot.zones().is_apex(place.key.octets());
    let section = if asked == kind::SOA && own { Section::Answer } else { Section::Authority };
    let zone = place.owner + place.key.offset_of(apex);
    let pointer = u16::try_from(zone).unwrap_or(0) | 0xc000;
    reply.record(section, zone, kind::SOA, NEGATIVE_TTL, |out| {
        // The zone itself as the server, and nobody to write to (RFC 6303 section 3).
        out.extend_from_slice(&pointer.to_be_bytes());
        out.extend_from_slice(b"\x06nobody\x07invalid\x00");
        for number in [1, 3600, 1200, 604_800, NEGATIVE_TTL] {
            out.extend_from_slice(&u32::to_be_bytes(number));
        }
    });
}

/// Answers from what forwarders said, or says whom to ask.
fn elsewhere(
    query: &Query<'_>,
    snapshot: &Snapshot,
    group: u16,
    place: &Place,
    known: impl Fn(Question<'_>) -> Option<Known>,
    mut reply: Reply<'_>,
) -> Verdict {
    let chained = reply.answers() > 0;
    let forwarders = snapshot.groups().get(usize::from(group)).is_some_and(|group| !group.is_empty());
    let outcome = |rcode, source| Verdict::Answer(Outcome { kind: query.kind, rcode, source });
    // Who does not want names found out gets what is ours; what others know is none of a stranger's business.
    if !forwarders || !query.recursion_desired() {
        let rcode = if chained { Rcode::NOERROR } else { Rcode::REFUSED };
        reply.finish(rcode);
        return outcome(rcode, if chained { Source::Local } else { Source::Refused });
    }
    if query.kind == kind::ANY {
        small(place.owner, &mut reply);
        reply.finish(Rcode::NOERROR);
        return outcome(Rcode::NOERROR, Source::Local);
    }
    let question = Question {
        group,
        name: place.key.octets(),
        kind: query.kind,
        dnssec_ok: query.dnssec_ok(),
        checking_disabled: query.checking_disabled(),
    };
    let Some(known) = known(question) else { return Verdict::Ask(question.to_ask()) };
    let rcode = if chained {
        compose::append(&mut reply, &known, place.key.octets(), query.kind)
    } else {
        let (body, ttls) = known.received.parts();
        count_down(reply.sections(body, known.received.counts), ttls, known.age);
        known.received.rcode
    };
    reply.finish(rcode);
    outcome(rcode, Source::Forwarded)
}
