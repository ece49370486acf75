//! Laws that hold for every configuration, over generated ones.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

mod availability;
mod config;
mod confirm;
mod door;
mod drift;
mod generate;
mod leases;
mod octets;
mod plan;
mod reconcile;
mod seed;
mod state;
mod surroundings;
mod trace;
mod vlan;
mod zstack;
