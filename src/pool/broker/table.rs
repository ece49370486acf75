//! Who may reach which console, and what runs: decided here and nowhere else. Pure: time is an argument, and what is to
//! be done comes back as [`Effect`]s. Called by `mod.rs`, which holds it behind a lock.
//!
//! ```text
//! bind ─▶ Reserved ──first main channel authenticated──▶ Connected ◀──▶ Away (grace)
//!            │ time is over, unbound                         │ viewer, cable, console, kick
//!            ▼                                               ▼
//!          Ended, untouched                                Ended, used
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::event::{Backend, Binding, EndReason, Event, Phase, Refusal, Session};
use super::seat::{Connection, Seat};
use super::spice::{Channel, Link};
use super::ticket::Secret;

/// The most bindings at a time.
pub(super) const MAX_BINDINGS: usize = 1024;

/// How soon a viewer and a console close their channels after one of them ended.
const OTHERS_FOLLOW: Duration = Duration::from_secs(2);

/// Why nothing was bound, unbound or kicked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum BindError {
    /// The console has a binding.
    #[error("console {0} is bound already")]
    ConsoleTaken(String),
    /// The station has a binding.
    #[error("station {0} is bound to another console already")]
    StationTaken(IpAddr),
    /// No more bindings are kept.
    #[error("there are {MAX_BINDINGS} bindings already")]
    Full,
    /// The console would be reached over a network.
    #[error("console {0} is not on this host: its address has to be a loopback address")]
    NotLocal(String),
    /// TLS is asked for, and the broker has no certificate.
    #[error("console {0} asks for TLS, which the broker was started without")]
    NoTls(String),
    /// Nothing of that name is bound.
    #[error("console {0} is not bound")]
    Unknown(String),
    /// A session runs on it, which only a kick ends.
    #[error("console {0} is in use")]
    InUse(String),
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Everybody is told.
    Tell(Event),
    /// A connection is ended at once.
    Cut(u64),
}

/// What a connection needs to go on.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) console: String,
    pub(super) backend: Backend,
    pub(super) password: Option<Secret>,
    /// Whether the station's ticket matters.
    pub(super) ticket: bool,
}

/// All bindings, by station.
#[derive(Debug)]
pub(super) struct Table {
    seats: BTreeMap<IpAddr, Seat>,
    next: u64,
    /// The most connections of one station. A viewer with everything opens about ten.
    channels: usize,
    /// Whether there is a certificate for TLS.
    tls: bool,
}

impl Table {
    /// Nothing bound.
    pub(super) const fn new(channels: usize, tls: bool) -> Self {
        Self { seats: BTreeMap::new(), next: 0, channels, tls }
    }

    /// Binds a station to a console.
    pub(super) fn bind(&mut self, mut binding: Binding, now: Duration) -> Result<Vec<Effect>, BindError> {
        binding.station = binding.station.to_canonical();
        if let Backend::Address(address) = binding.backend
            && !address.ip().is_loopback()
        {
            return Err(BindError::NotLocal(binding.console));
        }
        if binding.tls && !self.tls {
            return Err(BindError::NoTls(binding.console));
        }
        if self.seats.values().any(|seat| seat.binding.console == binding.console) {
            return Err(BindError::ConsoleTaken(binding.console));
        }
        if self.seats.contains_key(&binding.station) {
            return Err(BindError::StationTaken(binding.station));
        }
        if self.seats.len() >= MAX_BINDINGS {
            return Err(BindError::Full);
        }
        let told = Event::Bound { console: binding.console.clone(), station: binding.station };
        let seat = Seat {
            phase: Phase::Reserved,
            until: Some(now.saturating_add(binding.reserved())),
            since: None,
            main: None,
            session: None,
            closing: None,
            ticket_spent: false,
            connections: BTreeMap::new(),
            sent: 0,
            received: 0,
            active: now,
            binding,
        };
        self.seats.insert(seat.binding.station, seat);
        Ok(vec![Effect::Tell(told)])
    }

    /// Takes a reservation back that no session has come of.
    pub(super) fn unbind(&mut self, console: &str) -> Result<Vec<Effect>, BindError> {
        let station = self.station_of(console)?;
        let used = self.seats.get(&station).is_some_and(|seat| seat.since.is_some());
        if used {
            return Err(BindError::InUse(console.to_owned()));
        }
        Ok(self.end(station, EndReason::Unbound))
    }

    /// Ends whatever a console is bound for.
    pub(super) fn kick(&mut self, console: &str) -> Result<Vec<Effect>, BindError> {
        let station = self.station_of(console)?;
        Ok(self.end(station, EndReason::Kicked))
    }

    /// Lets a connection in, as far as its source goes; the number is what it is known by from here on.
    pub(super) fn admit(&mut self, station: IpAddr) -> Result<(u64, Arc<Counters>), Refusal> {
        let seat = self.seats.get_mut(&station).ok_or(Refusal::NotBound)?;
        if seat.connections.len() >= self.channels {
            return Err(Refusal::TooMany);
        }
        let key = self.next;
        self.next += 1;
        let counters = Arc::<Counters>::default();
        seat.connections.insert(key, Connection { link: None, open: false, counters: counters.clone() });
        Ok((key, counters))
    }

    /// Says where the channel of a link message leads.
    pub(super) fn link(
        &mut self,
        station: IpAddr,
        key: u64,
        link: Link,
        tls: bool,
    ) -> Result<Target, Refusal> {
        let seat = self.seats.get_mut(&station).ok_or(Refusal::NotBound)?;
        let connection = seat.connections.get_mut(&key).ok_or(Refusal::NotBound)?;
        if seat.binding.tls && !tls {
            return Err(Refusal::NeedsTls);
        }
        let begins = link.session == 0;
        if begins != (link.channel == Channel::Main) {
            return Err(Refusal::NoSession);
        }
        let belongs =
            seat.phase == Phase::Connected && seat.session.is_none_or(|known| known == link.session);
        if !begins && !belongs {
            return Err(Refusal::NoSession);
        }
        connection.link = Some(link);
        Ok(Target {
            console: seat.binding.console.clone(),
            backend: seat.binding.backend,
            password: seat.binding.password.clone(),
            ticket: seat.binding.ticket.is_some(),
        })
    }

    /// Holds an opened ticket against the binding's; without one, anything will do. From here on the console counts as
    /// used: it is about to be told that somebody came.
    pub(super) fn redeem(
        &mut self,
        station: IpAddr,
        key: u64,
        offered: Option<&[u8]>,
        now: Duration,
    ) -> Result<Vec<Effect>, Refusal> {
        let seat = self.seats.get_mut(&station).ok_or(Refusal::NotBound)?;
        let connection = seat.connections.get(&key).ok_or(Refusal::NotBound)?;
        let begins = connection.link.is_some_and(|link| link.channel == Channel::Main);
        if let Some(ticket) = &seat.binding.ticket
            && (!offered.is_some_and(|offered| ticket.matches(offered)) || (begins && seat.ticket_spent))
        {
            return Err(Refusal::Ticket);
        }
        if !begins {
            return Ok(Vec::new());
        }
        seat.ticket_spent = true;
        if seat.since.is_some() {
            return Ok(Vec::new());
        }
        seat.since = Some(now);
        Ok(vec![Effect::Tell(Event::Used { console: seat.binding.console.clone(), station })])
    }

    /// The console let the channel through. A new main channel takes the place of all that the viewer had before.
    pub(super) fn authenticated(
        &mut self,
        station: IpAddr,
        key: u64,
        tls: bool,
        now: Duration,
    ) -> Vec<Effect> {
        let cut = vec![Effect::Cut(key)];
        let Some(seat) = self.seats.get_mut(&station) else { return cut };
        let Some(connection) = seat.connections.get_mut(&key) else { return cut };
        let Some(link) = connection.link else { return cut };
        let mut effects = Vec::new();
        if link.channel == Channel::Main {
            let former = seat.connections.iter().filter(|(other, former)| **other != key && former.open);
            effects.extend(former.map(|(other, _)| Effect::Cut(*other)));
            seat.phase = Phase::Connected;
            seat.until = None;
            seat.main = Some(key);
            (seat.session, seat.closing) = (None, None);
            seat.active = now;
        } else if seat.phase != Phase::Connected || seat.session.is_some_and(|known| known != link.session) {
            // The session ended, or another began, while the console thought about it.
            return cut;
        } else {
            seat.session = Some(link.session);
        }
        if let Some(connection) = seat.connections.get_mut(&key) {
            connection.open = true;
        }
        let console = seat.binding.console.clone();
        effects.push(Effect::Tell(Event::Opened { console, station, channel: link.channel, tls }));
        effects
    }

    /// The console told the number of the session.
    pub(super) fn session_is(&mut self, station: IpAddr, key: u64, number: u32) {
        if let Some(seat) = self.seats.get_mut(&station)
            && seat.main == Some(key)
        {
            seat.session = Some(number);
        }
    }

    /// A connection is gone. With the main channel the session goes, at once or after the grace.
    pub(super) fn closed(
        &mut self,
        station: IpAddr,
        key: u64,
        reason: EndReason,
        now: Duration,
    ) -> Vec<Effect> {
        let Some(seat) = self.seats.get_mut(&station) else { return Vec::new() };
        let Some(connection) = seat.connections.remove(&key) else { return Vec::new() };
        let mut effects = seat.account(&connection);
        // Viewer and console close the rest when one channel ends: what ended that one ended all.
        let first = seat.closing.filter(|(at, _)| now.saturating_sub(*at) < OTHERS_FOLLOW);
        let reason = first.map_or(reason, |(_, first)| first);
        if connection.open && reason != EndReason::Kicked {
            seat.closing = first.or(Some((now, reason)));
        }
        if seat.main != Some(key) {
            if !connection.open && seat.main.is_none() {
                // The console did not let it through: the ticket has opened nothing.
                seat.ticket_spent = false;
            }
            return effects;
        }
        seat.main = None;
        let grace = seat.binding.grace();
        if grace.is_zero() || reason == EndReason::ConsoleClosed {
            effects.extend(self.end(station, reason));
            return effects;
        }
        seat.phase = Phase::Away;
        seat.session = None;
        // The ticket opened the session that is to be continued, so it may do so again.
        seat.ticket_spent = false;
        seat.until = Some(now.saturating_add(grace));
        effects.extend(
            seat.connections.iter().filter(|(_, other)| other.open).map(|(key, _)| Effect::Cut(*key)),
        );
        effects.push(Effect::Tell(Event::Away { console: seat.binding.console.clone(), reason }));
        effects
    }

    /// Ends what is over.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let over: Vec<_> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.until.is_some_and(|until| until <= now))
            .map(|(station, seat)| (*station, seat.phase))
            .collect();
        let reason =
            |phase| if phase == Phase::Reserved { EndReason::Expired } else { EndReason::ViewerLeft };
        over.into_iter().flat_map(|(station, phase)| self.end(station, reason(phase))).collect()
    }

    /// When something will be over, since the broker's start.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.seats.values().filter_map(|seat| seat.until).min()
    }

    /// Everything that is bound.
    pub(super) fn list(&self, now: Duration) -> Vec<Session> {
        self.seats.values().map(|seat| seat.status(now)).collect()
    }

    /// How many bindings there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    fn station_of(&self, console: &str) -> Result<IpAddr, BindError> {
        self.seats
            .values()
            .find(|seat| seat.binding.console == console)
            .map(|seat| seat.binding.station)
            .ok_or_else(|| BindError::Unknown(console.to_owned()))
    }

    /// Removes a binding and everything of it.
    fn end(&mut self, station: IpAddr, reason: EndReason) -> Vec<Effect> {
        let Some(mut seat) = self.seats.remove(&station) else { return Vec::new() };
        let mut effects = Vec::new();
        for (key, connection) in std::mem::take(&mut seat.connections) {
            effects.push(Effect::Cut(key));
            effects.extend(seat.account(&connection));
        }
        effects.push(Effect::Tell(Event::Ended {
            console: seat.binding.console.clone(),
            station,
            reason,
            used: seat.since.is_some(),
            sent: seat.sent,
            received: seat.received,
        }));
        effects
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
