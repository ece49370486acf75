//! The lease table: what is promised to whom, by address and by client. No decisions here; the engine makes them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::clock::Timestamp;
use crate::store::leases::{Lease, LeaseState, Octets};

/// The most addresses that are kept: some 300 octets each. It bounds what a network of made-up clients can cost.
const MAX_ENTRIES: usize = 1 << 17;

/// What is promised of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// It was found for a client that has not asked for it yet.
    Offer(Offer),
    /// It is leased or quarantined.
    Lease(Lease),
}

/// An address that was found for a client. Never stored: after a restart the client is found another, or the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// What tells the client from others.
    pub(super) client: Box<[u8]>,
    /// Until when it is kept for the client.
    pub(super) until: Timestamp,
    /// Whether nothing else answered for it; before that is known, it is not offered.
    pub(super) probed: bool,
}

/// What is promised to whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    entries: BTreeMap<Ipv4Addr, Entry>,
    clients: HashMap<Box<[u8]>, Vec<Ipv4Addr>>,
}

impl Entry {
    /// Whether it counts at this time.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        match self {
            Self::Offer(offer) => offer.until > now,
            Self::Lease(lease) => lease.is_live(now),
        }
    }

    /// Whose it is; a quarantined address is nobody's.
    pub(super) fn client(&self) -> Option<&[u8]> {
        match self {
            Self::Offer(offer) => Some(&offer.client),
            Self::Lease(lease) => (lease.state != LeaseState::Quarantined).then(|| lease.client()),
        }
    }
}

impl Table {
    /// The table after a restart: the last word on each address counts.
    pub(super) fn restored(leases: Vec<Lease>, now: Timestamp) -> Self {
        let mut table = Self::default();
        for lease in leases {
            if lease.is_live(now) {
                table.insert(lease.address, Entry::Lease(lease));
            } else {
                table.remove(lease.address);
            }
        }
        table
    }

    /// What is promised of an address now.
    pub(super) fn live(&self, address: Ipv4Addr, now: Timestamp) -> Option<&Entry> {
        self.entries.get(&address).filter(|entry| entry.is_live(now))
    }

    /// What was last promised of an address, even if it is over.
    pub(super) fn last(&self, address: Ipv4Addr) -> Option<&Entry> {
        self.entries.get(&address)
    }

    /// The addresses that are, or were, a client's.
    pub(super) fn of(&self, client: &[u8]) -> &[Ipv4Addr] {
        self.clients.get(client).map_or(&[], Vec::as_slice)
    }

    /// Whether one more address would be too many.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// Puts something in the place of what was promised of an address.
    pub(super) fn insert(&mut self, address: Ipv4Addr, entry: Entry) {
        let same = self.entries.get(&address).is_some_and(|old| old.client() == entry.client());
        if !same {
            self.remove(address);
            if let Some(client) = entry.client() {
                self.clients.entry(client.into()).or_default().push(address);
            }
        }
        self.entries.insert(address, entry);
    }

    /// Forgets what was promised of an address.
    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Option<Entry> {
        let entry = self.entries.remove(&address)?;
        if let Some(client) = entry.client()
            && let Some(addresses) = self.clients.get_mut(client)
        {
            addresses.retain(|other| *other != address);
            if addresses.is_empty() {
                self.clients.remove(client);
            }
        }
        Some(entry)
    }

    /// Forgets what is over.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let over: Vec<Ipv4Addr> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_live(now))
            .map(|(address, _)| *address)
            .collect();
        for address in over {
            self.remove(address);
        }
    }

    /// Lets leases end no later than `end` where `goes` says so of their address.
    pub(super) fn shorten(&mut self, end: Timestamp, goes: impl Fn(Ipv4Addr) -> bool) {
        for (address, entry) in &mut self.entries {
            if let Entry::Lease(lease) = entry
                && lease.expires > end
                && goes(*address)
            {
                lease.expires = end;
            }
        }
    }

    /// The leases and quarantined addresses that count, by address.
    pub(super) fn leases(&self, now: Timestamp) -> impl Iterator<Item = &Lease> {
        self.entries.values().filter_map(move |entry| match entry {
            Entry::Lease(lease) if lease.is_live(now) => Some(lease),
            _ => None,
        })
    }

    /// How many addresses of a network are in this state.
    pub(super) fn count(&self, subnet: Ipv4Net, state: LeaseState, now: Timestamp) -> u64 {
        let entries = self.entries.range(subnet.network()..=subnet.broadcast());
        let is = |entry: &Entry| matches!(entry, Entry::Lease(lease) if lease.state == state && lease.is_live(now));
        entries.filter(|(_, entry)| is(entry)).map(|_| 1).sum()
    }

    /// How many addresses are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// A quarantined address: nobody's until then, because this station has it.
pub(super) fn quarantined(address: Ipv4Addr, station: &[u8], now: Timestamp, until: Timestamp) -> Lease {
    Lease {
        address,
        hardware: Octets(station.into()),
        client_id: None,
        hostname: None,
        state: LeaseState::Quarantined,
        since: now,
        expires: until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(address: u8, client: u8, expires: u64) -> Lease {
        Lease {
            state: LeaseState::Dynamic,
            ..quarantined(
                Ipv4Addr::new(10, 0, 0, address),
                &[1, 2, 0, 0, 0, 0, client],
                Timestamp::from_seconds(1),
                Timestamp::from_seconds(expires),
            )
        }
    }

    #[test]
    fn an_address_that_changes_hands_leaves_its_former_client() {
        let mut table = Table::default();
        for (address, client) in [(1, 1), (2, 1), (1, 2)] {
            let lease = lease(address, client, 9);
            table.insert(lease.address, Entry::Lease(lease));
        }
        assert_eq!(table.of(&[1, 2, 0, 0, 0, 0, 1]), [Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(table.of(&[1, 2, 0, 0, 0, 0, 2]), [Ipv4Addr::new(10, 0, 0, 1)]);
        table.sweep(Timestamp::from_seconds(9));
        assert_eq!((table.len(), table.clients.len()), (0, 0));
    }

    #[test]
    fn after_a_restart_the_last_word_counts() {
        let free = Lease { state: LeaseState::Free, ..lease(2, 2, 9) };
        let stored = vec![lease(1, 1, 3), lease(2, 2, 9), lease(1, 3, 9), free, lease(4, 4, 5)];
        let table = Table::restored(stored, Timestamp::from_seconds(5));
        assert_eq!(table.leases(Timestamp::from_seconds(5)).cloned().collect::<Vec<_>>(), [lease(1, 3, 9)]);
    }
}
