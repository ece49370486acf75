//! What the engine decides on a message, as values that leave nothing to choose. Acted upon by the listeners.

use std::net::{Ipv4Addr, SocketAddrV4};

use schemars::JsonSchema;
use serde::Serialize;

use super::message::Received;
use crate::config::Id;
use crate::store::leases::Lease;

/// What is to be done about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the message was, where it could be read.
    pub received: Option<Received>,
    /// What has changed of leases and belongs on disk, besides what is granted.
    pub leases: Vec<Lease>,
    /// What happens now.
    pub action: Action,
}

/// What happens now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The answer leaves at once; where leases changed, the disk is behind it.
    Answer(Reply),
    /// The answer leaves when its lease is on disk, if the lease is still the client's then.
    Grant(Lease, Reply),
    /// The message is looked at again when it is known whether something answers for the address.
    Probe(Probe),
    /// There is nothing to answer to this kind of message.
    Done,
    /// There is no answer, for this reason.
    Ignore(Reason),
}

/// A message to a client or its relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub kind: Sent,
    /// The network that it is of.
    pub network: Id,
    /// The server's address, from which it comes.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub to: Destination,
    /// The message.
    pub message: Vec<u8>,
}

/// What a server can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// You could have this address.
    Offer,
    /// You have this address, or here is what you wanted to know.
    Ack,
    /// You cannot have this address.
    Nak,
}

/// Where a reply goes (RFC 2131 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// In a frame to a client on the link that answers no ARP yet, or need not be asked: its Ethernet and its IP address.
    Frame([u8; 6], Ipv4Addr),
    /// Through the router's own routes: to a relay, or to a client behind routers.
    Socket(SocketAddrV4),
}

/// An address that has to be looked for before it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The address.
    pub address: Ipv4Addr,
    /// The Ethernet address of whom it is for: that one may answer.
    pub client: Option<[u8; 6]>,
    /// Whether it is on the link, where ARP finds it, or behind routers, where only an echo request does.
    pub on_link: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is no DHCP message from a client.
    Malformed,
    /// No network is served that its client or its relay could be in.
    NotServed,
    /// It means another server.
    OtherServer,
    /// The client is no configured host, and only those are served.
    Stranger,
    /// Every address of the ranges is taken.
    NoFreeAddress,
    /// So many leases are kept that one more would be too many.
    TooManyLeases,
    /// It is asked already whether something answers for the client's address.
    Probing,
    /// So many addresses are asked for already that one more would be too many.
    TooManyProbes,
    /// It contradicts what is known: a release or a decline of an address that is not the client's.
    NotHeld,
    /// A configured host declined its own address; it is its address still.
    DeclinedBinding,
    /// The leases could not be stored, so their client was promised nothing.
    NotStored,
    /// The system would not send the answer.
    NotSent,
}

impl Received {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Discover, Self::Request, Self::Decline, Self::Release, Self::Inform];

    /// Its name, as metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Release => "release",
            Self::Inform => "inform",
        }
    }
}

impl Sent {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Offer, Self::Ack, Self::Nak];

    /// Its name, as metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
        }
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::NotServed,
        Self::OtherServer,
        Self::Stranger,
        Self::NoFreeAddress,
        Self::TooManyLeases,
        Self::Probing,
        Self::TooManyProbes,
        Self::NotHeld,
        Self::DeclinedBinding,
        Self::NotStored,
        Self::NotSent,
    ];

    /// Its name, as metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotServed => "not_served",
            Self::OtherServer => "other_server",
            Self::Stranger => "stranger",
            Self::NoFreeAddress => "no_free_address",
            Self::TooManyLeases => "too_many_leases",
            Self::Probing => "probing",
            Self::TooManyProbes => "too_many_probes",
            Self::NotHeld => "not_held",
            Self::DeclinedBinding => "declined_binding",
            Self::NotStored => "not_stored",
            Self::NotSent => "not_sent",
        }
    }
}
