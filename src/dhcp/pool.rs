//! Finding an address for a client that has none: the same one again for the same client where it is free, and never
//! more work for one message than is bounded. Called by the engine.

use std::net::Ipv4Addr;

use super::snapshot::{Served, Snapshot};
use super::table::Table;
use crate::clock::Timestamp;

/// How many addresses are looked at from where the client's own place in the range is.
const NEAR: u64 = 64;
/// How many more are looked at from where the last search ended.
const FAR: u64 = 4096;

/// Where the search of a network's ranges goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    place: u64,
    /// How many addresses were looked at in vain since the last one was found.
    vain: u64,
    /// When the ranges were found to be full: until the second is over, nobody looks again.
    full: Option<Timestamp>,
}

impl Cursor {
    /// A free address of a network for a client: `wanted` if it is free, else one near the client's own place, else the
    /// next one.
    pub(super) fn search(
        &mut self,
        snapshot: &Snapshot,
        network: &Served,
        table: &Table,
        client: &[u8],
        wanted: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        let free = |address: &Ipv4Addr| {
            table.live(*address, now).is_none() && snapshot.is_dynamic(network, *address)
        };
        if let Some(wanted) = wanted.filter(free) {
            return Some(wanted);
        }
        let size = network.size();
        if size == 0 || self.full == Some(now) {
            return None;
        }
        let at = |place: u64| network.nth(place % size).filter(free);
        // The client's own place does not change with time, so that it mostly finds its old address there.
        let home = u64::from(crc32fast::hash(client)) % size;
        if let Some(address) = (home..home + NEAR.min(size)).find_map(at) {
            self.vain = 0;
            return Some(address);
        }
        for _ in 0..FAR.min(size) {
            let found = at(self.place);
            self.place = (self.place + 1) % size;
            if found.is_some() {
                self.vain = 0;
                return found;
            }
            self.vain += 1;
        }
        if self.vain >= size {
            self.vain = 0;
            self.full = Some(now);
        }
        None
    }
}
