//! What arrives from clients and from forwarders, for the fuzz targets. Built under `cfg(fuzzing)` alone; called by
//! `tests/fuzz`.

use std::net::Ipv4Addr;

use super::answer::{Client, Verdict, respond as decide};
use super::name::Key;
use super::query::Query;
use super::received::Received;
use super::reply::Transport;
use super::snapshot::Snapshot;

/// The answer to a message of a client with its code, where it can be given without asking forwarders.
#[must_use]
pub fn respond(message: &[u8], from: Ipv4Addr, udp: bool, snapshot: &Snapshot) -> Option<(u16, Vec<u8>)> {
    let transport = if udp { Transport::Udp } else { Transport::Tcp };
    let mut out = Vec::new();
    match decide(message, Client { address: from, transport }, snapshot, |_| None, &mut out) {
        Verdict::Answer(outcome) => Some((outcome.rcode.0, out)),
        Verdict::Silence | Verdict::Ask(_) => None,
    }
}

/// What is made of a forwarder's answer to `query`: as it was received, and written anew after `age` seconds. Where it
/// may be kept, reading it anew gives the same; nothing where that is not so.
#[must_use]
pub fn forwarded(message: &[u8], query: &[u8], age: u32) -> Option<[Vec<u8>; 2]> {
    let key = Query::read(query).ok().and_then(|query| Some((query.key()?, query.kind)));
    let ((key, kind), received): ((Key, u16), _) = (key?, Received::read(message, query).ok()?);
    let mut again = received.message(key.octets(), kind, 0);
    // The identifier is the querier's, and some codes are not for clients.
    for (octet, own) in again.iter_mut().zip(query).take(2) {
        *octet = *own;
    }
    if received.lifetime > 0 {
        let read = Received::read(&again, query);
        assert_eq!(read.as_ref(), Ok(&received), "it reads otherwise when it is written anew");
    }
    Some([again, received.message(key.octets(), kind, age)])
}
