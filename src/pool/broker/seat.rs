//! One binding and what runs under it: its connections and its account of octets. Pure; kept by `table.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::event::{Binding, ChannelStatus, EndReason, Event, Phase, Session};
use super::spice::Link;
use super::table::Effect;

/// A connection of a station.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) link: Option<Link>,
    pub(super) open: bool,
    pub(super) counters: Arc<Counters>,
}

/// A binding.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) binding: Binding,
    pub(super) phase: Phase,
    /// When reservation or grace is over, since the broker's start; none while a session runs.
    pub(super) until: Option<Duration>,
    /// When the first channel was authenticated, since the broker's start.
    pub(super) since: Option<Duration>,
    /// The main channel's connection, and the number of the session once it is known.
    pub(super) main: Option<u64>,
    pub(super) session: Option<u32>,
    /// When the first of the channels that end now did, and why.
    pub(super) closing: Option<(Duration, EndReason)>,
    pub(super) ticket_spent: bool,
    pub(super) connections: BTreeMap<u64, Connection>,
    /// Octets of channels that ended.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// When the station last did something on a channel that ended.
    pub(super) active: Duration,
}

impl Seat {
    /// Adds what a connection carried to the session's account.
    pub(super) fn account(&mut self, connection: &Connection) -> Vec<Effect> {
        let (Some(link), true) = (connection.link, connection.open) else { return Vec::new() };
        let (sent, received) = connection.counters.totals();
        self.sent = self.sent.saturating_add(sent);
        self.received = self.received.saturating_add(received);
        if link.channel.shows_presence() {
            self.active = self.active.max(connection.counters.active());
        }
        let console = self.binding.console.clone();
        vec![Effect::Tell(Event::Closed { console, channel: link.channel, sent, received })]
    }

    pub(super) fn status(&self, now: Duration) -> Session {
        let (mut sent, mut received, mut active) = (self.sent, self.received, self.active);
        let mut channels = Vec::new();
        for connection in self.connections.values().filter(|connection| connection.open) {
            let Some(link) = connection.link else { continue };
            let (from, to) = connection.counters.totals();
            sent = sent.saturating_add(from);
            received = received.saturating_add(to);
            if link.channel.shows_presence() {
                active = active.max(connection.counters.active());
            }
            channels.push(ChannelStatus { channel: link.channel, sent: from, received: to });
        }
        let since =
            |moment: Duration| u64::try_from(now.saturating_sub(moment).as_millis()).unwrap_or(u64::MAX);
        Session {
            console: self.binding.console.clone(),
            station: self.binding.station,
            phase: self.phase,
            used: self.since.is_some(),
            age_ms: self.since.map_or(0, since),
            idle_ms: self.since.map_or(0, |_| since(active)),
            sent,
            received,
            channels,
        }
    }
}
