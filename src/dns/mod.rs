//! DNS for the guests: the names of this site by itself, all others by asking forwarders.
//!
//! ```text
//! Config ──facts──▶ zones ──▶ Snapshot ──▶ Service::apply
//!                                             │ swapped under
//! message ──udp, tcp──▶ answer ◀── cache ◀── forward ◀── upstream
//!                          └──▶ reply
//! ```
//!
//! `answer.rs` decides on one message and is pure; the sockets do what it says. Messages are read and written in place,
//! without a tree of objects between: that is what a query costs less than elsewhere, and what lets records that nobody
//! here knows pass through unharmed. `laws` compares every answer with a second opinion read by another library.
//!
//! What a client can expect, where the RFCs leave a choice:
//!
//! - Configured hosts, records, and the router's host name are answered with authority; a record or host overrides its
//!   one name in all types, a wildcard all below its parent that has nothing of its own (RFC 4592).
//! - A DHCP domain, a private reverse zone (RFC 6303 and its successors) and a name of one label never leave the
//!   site, unless a conditional forwarder is there for the domain or for a longer one.
//! - Clients outside the served guest networks are refused, over TCP by a closed connection. An answer to them is never
//!   longer than their query.
//! - Without the wish for recursion, only the site's own names are answered.
//! - `ANY` gets one small record (RFC 8482), other meta types and opcodes NOTIMP, zone transfers REFUSED.
//! - Answers over UDP have at most 1232 octets; what does not fit is left out whole and marked as truncated.
//! - Nothing is validated, so AD is never set; DO and CD are handed on, and with them what a validating client needs.

mod answer;
mod batch;
mod cache;
mod compose;
mod counters;
mod data;
mod engine;
mod facts;
mod forward;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod health;
#[cfg(test)]
mod laws;
mod listener;
mod name;
mod query;
mod received;
mod reply;
mod service;
mod snapshot;
mod special;
pub mod status;
mod table;
mod tcp;
mod udp;
mod upstream;
mod wire;
mod worker;
mod zones;

pub use listener::DnsError;
pub use service::Service;
pub use snapshot::Snapshot;
pub use status::Status;
