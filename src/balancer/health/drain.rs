//! How long connections of what was taken away go on. Pure.
//!
//! The plan says what drains ([`Availability::following`]); here is until when, by the wall clock, so that a restart neither
//! cuts a connection early nor lets it live for ever. Called by `table.rs`.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use imbl::ordmap::DiffItem;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::load_balancer::LoadBalancer;
use crate::config::port_forward::Transport;
use crate::plan::Availability;
use crate::plan::facts::Balanced;

/// The longest that anything drains: what a configuration can ask for, should the clock have been wrong.
const LONGEST_SECONDS: u64 = 86_400;

/// Until when what drains.
#[derive(Debug, Default)]
pub(super) struct Drains {
    until: BTreeMap<Balanced, Timestamp>,
    held: BTreeMap<Ipv4Addr, Timestamp>,
}

impl Drains {
    /// What was draining before a restart.
    pub(super) fn remembered(
        stored: impl IntoIterator<Item = (Balanced, Timestamp)>,
        now: Timestamp,
    ) -> Self {
        let alive = |(_, until): &(Balanced, Timestamp)| *until > now;
        let bounded = |(balanced, until): (_, Timestamp)| (balanced, until.min(now.after(LONGEST_SECONDS)));
        Self { until: stored.into_iter().filter(alive).map(bounded).collect(), held: BTreeMap::new() }
    }

    /// Takes over what a change of the configuration made of it: what drains from now on has its deadline, what is back
    /// in use has none. Returns the endpoints whose deadline came or went.
    pub(super) fn follow(
        &mut self,
        availability: &Availability,
        before: &Config,
        after: &Config,
        now: Timestamp,
    ) -> Vec<Balanced> {
        let seconds = drain_seconds(before, after);
        let mut touched: Vec<Balanced> = Vec::new();
        self.until.retain(|balanced, _| {
            let kept = availability.draining.contains(balanced);
            if !kept {
                touched.push(*balanced);
            }
            kept
        });
        for balanced in &availability.draining {
            if !self.until.contains_key(balanced) {
                let key = (balanced.address, balanced.protocol, balanced.port);
                self.until
                    .insert(*balanced, now.after(seconds.get(&key).copied().unwrap_or_default().into()));
                touched.push(*balanced);
            }
        }
        self.held.retain(|address, _| availability.held.contains(address));
        for address in &availability.held {
            let longest = || {
                let own = seconds.iter().filter(|((own, ..), _)| own == address);
                now.after(own.map(|(_, seconds)| u64::from(*seconds)).max().unwrap_or_default())
            };
            self.held.entry(*address).or_insert_with(longest);
        }
        touched
    }

    /// Takes out what has drained for long enough; returns which endpoints that were.
    pub(super) fn expire(&mut self, availability: &mut Availability, now: Timestamp) -> Vec<Balanced> {
        let over: Vec<Balanced> =
            self.until.iter().filter(|(_, until)| **until <= now).map(|(balanced, _)| *balanced).collect();
        for balanced in &over {
            self.until.remove(balanced);
            availability.draining.remove(balanced);
        }
        self.held.retain(|address, until| {
            let goes_on = *until > now;
            if !goes_on {
                availability.held.remove(address);
            }
            goes_on
        });
        over
    }

    /// Until when an endpoint drains.
    pub(super) fn until(&self, balanced: &Balanced) -> Option<Timestamp> {
        self.until.get(balanced).copied()
    }

    /// Everything that drains.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Balanced, Timestamp)> {
        self.until.iter().map(|(balanced, until)| (*balanced, *until))
    }

    /// Whether nothing drains.
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty() && self.held.is_empty()
    }
}

/// How long what the balancers that differ gave up may drain, by their address, protocol and port.
fn drain_seconds(before: &Config, after: &Config) -> HashMap<(Ipv4Addr, u8, u16), u32> {
    let mut seconds = HashMap::new();
    for item in before.load_balancers().diff(after.load_balancers()) {
        match item {
            DiffItem::Remove(_, old) => seconds.insert(endpoint(old), old.drain_seconds),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                seconds.insert(endpoint(old), new.drain_seconds)
            }
            DiffItem::Add(..) => None,
        };
    }
    seconds
}

fn endpoint(balancer: &LoadBalancer) -> (Ipv4Addr, u8, u16) {
    let protocol = match balancer.transport() {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    (balancer.address.get(), protocol, balancer.port)
}
