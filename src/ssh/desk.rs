//! What the connections of SSH share: whom they let in, what they may have done, and how many there are.
//!
//! Made by `service.rs`; each connection asks it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::command::Commands;
use super::snapshot::Snapshot;

/// How many connections there are at once.
const CONNECTIONS: usize = 32;
/// How many of them one address has.
const OF_ADDRESS: usize = 8;
/// How many of them are those of nobody yet.
const STRANGERS: usize = 16;

/// What the connections share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    commands: Mutex<Option<Arc<dyn Commands>>>,
    places: Mutex<Places>,
    /// Told of each connection that ends.
    left: Notify,
    pub(super) admitted: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// Who is there.
#[derive(Debug, Default)]
struct Places {
    addresses: HashMap<IpAddr, usize>,
    all: usize,
    strangers: usize,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    desk: Arc<Desk>,
    address: IpAddr,
    stranger: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            snapshot: watch::Sender::new(Arc::default()),
            commands: Mutex::default(),
            places: Mutex::default(),
            left: Notify::new(),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// What can be asked from now on; nothing while the router starts and ends.
    pub(super) fn answer_with(&self, commands: Option<Arc<dyn Commands>>) {
        *self.commands.lock() = commands;
    }

    /// What can be asked.
    pub(super) fn commands(&self) -> Option<Arc<dyn Commands>> {
        self.commands.lock().clone()
    }

    /// A place for somebody of whom nothing is known yet, where there is one.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut places = self.places.lock();
        let of_address = places.addresses.get(&address).copied().unwrap_or(0);
        if places.all >= CONNECTIONS || places.strangers >= STRANGERS || of_address >= OF_ADDRESS {
            return None;
        }
        places.all += 1;
        places.strangers += 1;
        places.addresses.insert(address, of_address + 1);
        Some(Place { desk: self.clone(), address, stranger: true })
    }

    /// Ends once nobody is there.
    pub(super) async fn empty(&self) {
        while self.places.lock().all > 0 {
            self.left.notified().await;
        }
    }

    /// How many are known.
    pub(super) fn operators(&self) -> usize {
        let places = self.places.lock();
        places.all - places.strangers
    }
}

impl Place {
    /// He is known now.
    pub(super) fn admit(&mut self) {
        if std::mem::take(&mut self.stranger) {
            self.desk.places.lock().strangers -= 1;
            self.desk.admitted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.desk.places.lock();
        places.all -= 1;
        if self.stranger {
            places.strangers -= 1;
            self.desk.refused.fetch_add(1, Ordering::Relaxed);
        }
        match places.addresses.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                places.addresses.remove(&self.address);
            }
        }
        drop(places);
        self.desk.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_take_every_place_and_no_address_takes_them_all() {
        let desk = Arc::new(Desk::new());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut of_one: Vec<_> = (0..=OF_ADDRESS).map(|_| desk.enter(address(1))).collect();
        assert_eq!(of_one.iter().flatten().count(), OF_ADDRESS);
        let strangers: Vec<_> = (0..STRANGERS).map(|_| desk.enter(address(2))).collect();
        assert_eq!(strangers.iter().flatten().count(), STRANGERS - OF_ADDRESS);
        assert!(desk.enter(address(3)).is_none(), "so many are known by nobody");
        for place in of_one.iter_mut().flatten() {
            place.admit();
            place.admit();
        }
        assert_eq!(
            (desk.operators(), desk.admitted.load(Ordering::Relaxed)),
            (OF_ADDRESS, OF_ADDRESS as u64)
        );
        assert!(desk.enter(address(3)).is_some(), "who is known is no stranger");
        drop((of_one, strangers));
        assert_eq!(desk.operators(), 0);
        assert_eq!(desk.refused.load(Ordering::Relaxed), (STRANGERS - OF_ADDRESS + 1) as u64);
        assert!(desk.places.lock().addresses.is_empty());
    }
}
