//! HTTP between clients and backends.
//!
//! ```text
//! client ──head, body──▶ connection (HTTP/1) ─┐                        ┌─▶ upstream (kept connections)
//! client ──h2──────────▶ stream (HTTP/2) ─────┴─▶ exchange ──answer────┘
//! ```
//!
//! Heads are found by `httparse` and judged by `head.rs`, bodies taken out of their framing by `body.rs` and put into
//! another by `outgoing.rs`: what a backend gets was written here, so nothing of a client's framing reaches it. HTTP/2 is
//! the `h2` crate's. Both directions of an exchange are driven by one task, without channels between: a request costs
//! less than half of the processor time that it costs pingora's proxy, which is what keeps this level with haproxy; and
//! trailers pass, which they do not there.

mod answer;
mod body;
mod client;
pub(crate) mod connection;
mod duplex;
mod exchange;
mod fields;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod head;
pub(crate) mod io;
mod outgoing;
mod plain;
mod refusal;
mod rewound;
pub(crate) mod socket;
pub(crate) mod spare;
pub(crate) mod stream;
mod tunnel;
pub(crate) mod upstream;

pub(crate) use duplex::Times;
pub(crate) use head::HeadLimits;
pub(crate) use refusal::Refusal;
