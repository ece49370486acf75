//! The engine: a message, what is served, what is leased and the time come in, a decision comes out. No I/O, no clock.
//!
//! Two rules decide. A configured host always has its address: its binding is the authority, and a lease is only a
//! record that the host was seen. Any other client has what the lease table promises it, and nothing that is promised
//! to another. The server is the only authority on the networks that it serves, so it refuses (NAK) what it cannot
//! grant, and takes over a free address that a client remembers from before the leases were kept here.
//!
//! This file sorts messages by kind and keeps the table; `discover.rs`, `request.rs` and `withdraw.rs` decide.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::decision::{Action, Decision, Reason};
use super::message::{Message, Received};
use super::pool::Cursor;
use super::scope::Scope;
use super::snapshot::Snapshot;
use super::table::{Entry, Offer, Table, quarantined};
use crate::clock::Timestamp;
use crate::config::Id;
use crate::store::leases::Lease;

/// How long an address is kept for a client that has not asked for it yet.
pub(super) const OFFER_SECONDS: u64 = 30;
/// How long nobody gets an address that something else answered for, or that a client declined.
pub(super) const QUARANTINE_SECONDS: u64 = 3600;
/// How long the lease of an address that is not handed out any more is kept: its network may come back with a rollback.
const ORPHAN_SECONDS: u64 = 3600;
/// How often what is over is forgotten.
const SWEEP_SECONDS: u64 = 60;

/// How often people are told of what a client does.
const WARN_SECONDS: u64 = 10;

/// Decides on messages, and keeps the lease table.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    pub(super) table: Table,
    pub(super) cursors: BTreeMap<Id, Cursor>,
    swept: Timestamp,
    warned: Timestamp,
}

/// One message and all that it is decided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange<'s, 'm> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) scope: Scope<'s>,
    pub(super) message: &'m Message<'m>,
    pub(super) now: Timestamp,
}

/// What is decided on an exchange: leases that belong on disk, and what happens now.
pub(super) type Outcome = (Vec<Lease>, Action);

impl Engine {
    /// An engine that remembers these leases, in the order in which they were stored.
    #[must_use]
    pub fn restored(leases: Vec<Lease>, now: Timestamp) -> Self {
        Self { table: Table::restored(leases, now), swept: now, ..Self::default() }
    }

    /// Decides on a datagram that arrived on the device of this index.
    pub fn handle(&mut self, snapshot: &Snapshot, device: u32, datagram: &[u8], now: Timestamp) -> Decision {
        if now.since(self.swept) >= SWEEP_SECONDS || now < self.swept {
            self.table.sweep(now);
            self.swept = now;
        }
        let Ok(message) = Message::parse(datagram) else {
            return Decision {
                received: None,
                leases: Vec::new(),
                action: Action::Ignore(Reason::Malformed),
            };
        };
        let received = Some(message.kind);
        let Some(scope) = Scope::of(snapshot, device, &message) else {
            return Decision { received, leases: Vec::new(), action: Action::Ignore(Reason::NotServed) };
        };
        let exchange = Exchange { snapshot, scope, message: &message, now };
        let (leases, action) = match message.kind {
            Received::Discover => self.discover(exchange),
            Received::Request => self.request(exchange),
            Received::Inform => exchange.inform(),
            Received::Release => self.release(exchange),
            Received::Decline => self.decline(exchange),
        };
        Decision { received, leases, action }
    }

    /// Takes note of whether something answered for an address that a decision asked about: then it is quarantined,
    /// else it can be offered to its client. The message is to be handled again afterwards. Returns what belongs on disk.
    pub fn probed(&mut self, address: Ipv4Addr, answer: Option<[u8; 6]>, now: Timestamp) -> Option<Lease> {
        let Some(Entry::Offer(offer)) = self.table.last(address) else { return None };
        if offer.probed {
            return None;
        }
        let Some(station) = answer else {
            let offer = Offer { until: now.after(OFFER_SECONDS), probed: true, ..offer.clone() };
            self.table.insert(address, Entry::Offer(offer));
            return None;
        };
        let [a, b, c, d, e, f] = station;
        let lease = quarantined(address, &[1, a, b, c, d, e, f], now, now.after(QUARANTINE_SECONDS));
        self.table.insert(address, Entry::Lease(lease.clone()));
        Some(lease)
    }

    /// Gives up an address that a decision asked about and that cannot be asked for now.
    pub fn not_probed(&mut self, address: Ipv4Addr) {
        if let Some(Entry::Offer(Offer { probed: false, .. })) = self.table.last(address) {
            self.table.remove(address);
        }
    }

    /// Whether a lease that was granted is still its client's.
    #[must_use]
    pub fn is_current(&self, lease: &Lease) -> bool {
        matches!(self.table.last(lease.address), Some(Entry::Lease(held))
            if held.state == lease.state && held.client() == lease.client())
    }

    /// Takes note of what is served from now on. Leases of addresses that are not handed out any more soon end.
    pub fn changed(&mut self, before: &Snapshot, after: &Snapshot, now: Timestamp) {
        self.cursors.retain(|id, _| after.networks().iter().any(|network| network.id == *id));
        if !before.has_same_ranges(after) {
            self.table.shorten(now.after(ORPHAN_SECONDS), |address| {
                let network = after.network_of(address);
                network.is_none_or(|network| {
                    !after.is_dynamic(network, address) && !after.is_bound(network, address)
                })
            });
        }
    }

    /// Whether it is time to tell people something again that a client could make us say at any rate.
    pub(super) fn may_warn(&mut self, now: Timestamp) -> bool {
        let may = now.since(self.warned) >= WARN_SECONDS;
        if may {
            self.warned = now;
        }
        may
    }

    /// How many addresses are kept.
    pub(super) fn kept(&self) -> usize {
        self.table.len()
    }

    /// The leases and quarantined addresses that count, by address: what a rewritten file has to hold.
    pub fn leases(&self, now: Timestamp) -> impl Iterator<Item = &Lease> {
        self.table.leases(now)
    }
}
