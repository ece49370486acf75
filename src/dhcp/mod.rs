//! DHCP for IPv4: addresses and what belongs to them, for clients on the link and behind relays.
//!
//! RFC 2131 and 2132, with long options (RFC 3396), classless routes (RFC 3442), relay information (RFC 3046, 3527,
//! 5107) and the client's identifier given back (RFC 6842).
//!
//! Decision is pure: [`Engine`] takes a datagram, a [`Snapshot`] of what is served and the time, and says what is to
//! be done. [`Service`] acts: it owns the sockets, the leases on disk and the addresses that are being looked for.
//!
//! What is promised, and when:
//!
//! - A configured host has its address by the configuration, which is on disk before it is served. Its answer leaves at
//!   once; that it was seen is written behind it, so a disk that is slow, full or gone keeps no host waiting.
//! - A client of a range has its address by its lease. The answer leaves when the lease is on disk, and all that wait
//!   for the disk share one sync. Before an address is offered that is not known to be the client's, it is looked for
//!   on the network; what something answers for, and what a client declines, is given to nobody for an hour.
//! - The file of the leases is rewritten from the live ones when it has grown to several times their number.
//! - Leases of addresses that are handed out no more are kept for an hour, in which a rollback may bring them back.
//!
//! Frames go to clients on the link whether or not they have their address already; UDP goes to relays and to clients
//! behind routers. The firewall has to let UDP port 67 in from guests, from relays and from 0.0.0.0.

mod counters;
mod decision;
mod discover;
mod engine;
mod frame;
mod header;
mod ledger;
mod listener;
mod message;
mod options;
mod pool;
mod prober;
mod reply;
mod request;
mod scope;
mod service;
mod shared;
mod snapshot;
mod socket;
mod table;
#[cfg(test)]
mod testing;
mod withdraw;

pub use counters::{ListenerStatus, NetworkStatus, Status};
pub use decision::{Action, Decision, Destination, Probe, Reason, Reply, Sent};
pub use engine::Engine;
pub use message::Received;
pub use service::{DhcpError, LeaseView, Service};
pub use snapshot::Snapshot;
