//! Load balancing in user space: what the kernel cannot decide packet by packet.
//!
//! ```text
//! Config ──snapshot──▶ Service::apply ──▶ listeners ──site──▶ http · relay ──▶ backends
//!                                         (sockets stay)  (swapped under them)
//! ```
//!
//! An edit touches what it names. A listener lives as long as something is wanted at its address and port; what it serves
//! is a site that is swapped under it and under the connections that it has. Backends keep what is known of them
//! for as long as they are in the configuration.
//!
//! Connections are spread over one thread for each core; nothing that a connection does leaves its thread, so connections
//! to backends are kept without a lock. HTTP is read and written by `http`, which says why not by pingora.
//!
//! Seams, for the files of this room:
//! - a request is `http::request::Parts`, an answer `http::response::Parts`; fields that belong to one connection are out
//!   of both before anybody decides on them, and Host is always there in HTTP/1.1 and HTTP/2;
//! - a client is a `SocketAddrV4`; time is an `Instant` of `clock::moment`; chance a `u64`.

mod accept;
mod anybody;
pub mod backend;
mod candidates;
pub mod choose;
pub mod condition;
mod counters;
pub mod fields;
#[cfg(test)]
mod figures;
mod hands;
pub mod health;
pub mod host;
pub(crate) mod http;
pub mod key;
#[cfg(test)]
mod laws;
pub mod location;
mod open;
pub mod path;
pub mod place;
pub mod pool;
mod proxy_header;
pub mod queue;
pub mod relay;
mod remembered;
mod report;
pub mod rewrite;
mod route;
mod rule;
pub mod rules;
mod secret;
mod service;
mod site;
mod snapshot;
pub mod statistics;
pub mod sticky;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
pub mod told;
mod upstream_tls;
mod view;
mod worker;

pub use service::{BalancerError, Reason, Service, Unserved};
pub use snapshot::Snapshot;
pub use statistics::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, CertificateStatistics,
    LatencyHistogram, PoolStatistics, Requests, Statistics, Traffic,
};
pub use tls::TlsError;
