//! The host's companion: its laws over random schedules, the whole of it on a made-up host, and itself against what it works
//! with: viewers and consoles over real sockets and in namespaces, and a real libvirtd with virtual machines.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

mod broker;
mod cable;
mod conformance;
#[cfg(feature = "pool")]
mod desk;
#[cfg(feature = "pool")]
mod ends;
#[path = "../netns/lab.rs"]
#[allow(dead_code, reason = "the lab serves several suites")]
mod lab;
mod laws;
mod manager;
mod notify;
mod operators;
#[cfg(feature = "pool")]
mod real;
mod refill;
mod rig;
mod schedule;
mod service;
mod spice;
mod stations;
#[cfg(feature = "pool")]
mod trouble;
#[cfg(feature = "pool")]
mod units;
#[cfg(feature = "pool")]
mod whole;
#[cfg(feature = "pool")]
mod within;
mod world;
