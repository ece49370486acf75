//! The connections at the signal port: one for each station, the latest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::sync::watch;

use crate::pool::slot::Now;
use crate::pool::state::{Finish, Pool, Told};

#[derive(Debug)]
struct Desk {
    connection: u64,
    told: watch::Sender<Told>,
}

/// The connections at the signal port.
#[derive(Debug, Default)]
pub(super) struct Desks(BTreeMap<IpAddr, Desk>);

impl Desks {
    /// A station connected; an earlier connection of it ends.
    pub(super) fn arrived(&mut self, station: IpAddr, connection: u64, told: watch::Sender<Told>) {
        self.0.insert(station, Desk { connection, told });
    }

    /// A connection ended. Whether it was the station's latest.
    pub(super) fn left(&mut self, station: IpAddr, connection: u64) -> bool {
        let latest = self.0.get(&station).is_some_and(|desk| desk.connection == connection);
        if latest {
            self.0.remove(&station);
        }
        latest
    }

    /// Tells every station what is new for it. Nobody is waited for.
    pub(super) fn tell(&self, pool: &Pool, finished: &[(IpAddr, Finish)], now: Now) {
        for (station, finish) in finished {
            self.say(*station, Told::Over(*finish));
        }
        for (station, told) in pool.told(now) {
            self.say(station, told);
        }
        // Those who stay through their session.
        for (station, desk) in &self.0 {
            if pool.visitors().contains_key(station) || finished.iter().any(|(other, _)| other == station) {
                continue;
            }
            let was = desk.told.borrow().clone();
            let now = match (pool.told_in_session(*station), was) {
                (Some(told), _) => told,
                (None, Told::InSession | Told::Idle { .. }) => Told::Over(Finish::SessionOver),
                (None, _) => continue,
            };
            self.say(*station, now);
        }
    }

    fn say(&self, station: IpAddr, now: Told) {
        if let Some(desk) = self.0.get(&station) {
            desk.told.send_if_modified(|told| {
                let new = *told != now;
                *told = now;
                new
            });
        }
    }
}
