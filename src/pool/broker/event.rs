//! What a broker is told and what it tells: bindings, sessions and events, as they stand in the control socket's lines.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spice::Channel;
use super::ticket::Secret;

/// A console that one station may use from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The name that events carry; the VM's. No two bindings share one.
    pub console: String,
    /// Where the station's connections come from. No two bindings share one.
    pub station: IpAddr,
    /// Where the console is reached.
    pub backend: Backend,
    /// How long the station has until its first channel is authenticated, in milliseconds.
    pub reserved_ms: u64,
    /// How long a viewer that went away may take to come back, in milliseconds.
    #[serde(default)]
    pub grace_ms: u64,
    /// What the station has to know. It opens one session and the further channels of that session, and no second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Secret>,
    /// What the console is opened with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Whether the station has to speak TLS.
    #[serde(default)]
    pub tls: bool,
}

/// Where a console is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A port, which has to be on the host itself.
    Address(SocketAddr),
    /// A descriptor for each channel, which is asked for by [`Event::Wanted`] and handed over: the console has no port.
    Descriptor,
}

/// Why a session or a reservation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The station never connected. Its console is untouched.
    Expired,
    /// The reservation was taken back. Its console is untouched.
    Unbound,
    /// The viewer was closed.
    ViewerLeft,
    /// The station stopped answering: its cable, its power, or a viewer that stopped reading.
    StationLost,
    /// The console closed the session: the VM ended.
    ConsoleClosed,
    /// The session was ended by command.
    Kicked,
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nothing is bound to the station.
    NotBound,
    /// The station has as many connections as it may have.
    TooMany,
    /// It said something else than SPICE, or nothing in time.
    NotSpice,
    /// The channel belongs to no session that runs.
    NoSession,
    /// The ticket is wrong, or it has opened a session already.
    Ticket,
    /// The binding asks for TLS.
    NeedsTls,
    /// The console cannot be reached, or turned the channel away.
    Console,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A station may connect.
    Bound {
        /// The binding's console.
        console: String,
        /// Its station.
        station: IpAddr,
    },
    /// The first octet of the session is about to be relayed: the console is used from here on. Sent once a binding.
    Used {
        /// The binding's console.
        console: String,
        /// Its station.
        station: IpAddr,
    },
    /// A channel is authenticated.
    Opened {
        /// The binding's console.
        console: String,
        /// Its station.
        station: IpAddr,
        /// The kind of channel.
        channel: Channel,
        /// Whether it came by TLS.
        tls: bool,
    },
    /// A channel ended.
    Closed {
        /// The binding's console.
        console: String,
        /// The kind of channel.
        channel: Channel,
        /// Octets from the station.
        sent: u64,
        /// Octets to the station.
        received: u64,
    },
    /// The viewer went away and may come back within the grace.
    Away {
        /// The binding's console.
        console: String,
        /// Why it went.
        reason: EndReason,
    },
    /// The binding is gone, and with it the session if there was one.
    Ended {
        /// The binding's console.
        console: String,
        /// Its station.
        station: IpAddr,
        /// Why.
        reason: EndReason,
        /// Whether [`Event::Used`] was sent: what was not used is untouched.
        used: bool,
        /// Octets from the station on all channels.
        sent: u64,
        /// Octets to the station on all channels.
        received: u64,
    },
    /// A connection was turned away.
    Refused {
        /// Where it came from.
        station: IpAddr,
        /// Why.
        reason: Refusal,
    },
    /// A channel waits for a descriptor of its console.
    Wanted {
        /// What the descriptor has to be handed over for.
        request: u64,
        /// The binding's console.
        console: String,
    },
    /// Events were lost because the listener was slow: what is there has to be listed again.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Where a binding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The station has not been there.
    Reserved,
    /// A session runs.
    Connected,
    /// The viewer went away and may come back.
    Away,
}

/// A channel of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its kind.
    pub channel: Channel,
    /// Octets from the station.
    pub sent: u64,
    /// Octets to the station.
    pub received: u64,
}

/// A binding and its session, as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The binding's console.
    pub console: String,
    /// Its station.
    pub station: IpAddr,
    /// Where it stands.
    pub phase: Phase,
    /// Whether anything was relayed.
    pub used: bool,
    /// How long ago the first channel was authenticated, in milliseconds; 0 before.
    pub age_ms: u64,
    /// How long the station has done nothing on keyboard, mouse and USB, in milliseconds; 0 before it connects.
    pub idle_ms: u64,
    /// Octets from the station on all channels, those that ended among them.
    pub sent: u64,
    /// Octets to the station on all channels.
    pub received: u64,
    /// The channels that are open.
    pub channels: Vec<ChannelStatus>,
}

impl Binding {
    /// How long the station has until its first channel is authenticated.
    #[must_use]
    pub const fn reserved(&self) -> Duration {
        Duration::from_millis(self.reserved_ms)
    }

    /// How long a viewer that went away may take to come back.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the station never connected",
            Self::Unbound => "the reservation was taken back",
            Self::ViewerLeft => "the viewer was closed",
            Self::StationLost => "the station stopped answering",
            Self::ConsoleClosed => "the VM closed its console: its guest shut down or crashed",
            Self::Kicked => "the session was ended by command",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBound => "no console is reserved for it",
            Self::TooMany => "it has as many connections as it may have",
            Self::NotSpice => "it does not speak SPICE",
            Self::NoSession => "the channel belongs to no session that runs",
            Self::Ticket => "its ticket is wrong or spent",
            Self::NeedsTls => "it has to speak TLS",
            Self::Console => "the console turned it away",
        })
    }
}
