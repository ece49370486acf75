//! Real clients, real packets: stations and routers in network namespaces on this machine.
//!
//! Needs root, iproute2 and the clients that `tests/run` installs. Every test makes its own namespaces, so all of them
//! run side by side.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    dead_code,
    reason = "a test runs programs, and says what went wrong by panicking"
)]

mod appliance;
mod balanced;
mod balancer;
mod cloudstack;
mod dhcp;
mod dns;
mod kernel;
mod lab;
mod page;
mod vrctl;
mod zstack;

#[test]
fn stations_of_a_network_reach_each_other() {
    let mut lab = lab::Lab::new();
    lab.network("lan");
    lab.station("one", "lan", "fa:aa:00:00:00:01", Some("10.0.0.1/24"));
    lab.station("two", "lan", "fa:aa:00:00:00:02", Some("10.0.0.2/24"));
    lab.ok("one", "ping -c 1 -W 5 10.0.0.2");
}
