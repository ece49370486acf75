//! The appliance as a whole: the real `vrouterd` in a namespace, and real clients around it.

mod access;
mod balancer;
pub(crate) mod balancing;
pub(crate) mod chance;
mod confirm;
mod disk;
mod door;
mod drift;
mod firewall;
mod foreign;
pub(crate) mod house;
mod interfaces;
mod isolation;
mod kills;
mod must_show;
mod openapi;
mod packets;
pub(crate) mod picture;
mod qos;
pub(crate) mod router;
mod rule_sets;
mod schemathesis;
mod storm;
mod trace;
pub(crate) mod traffic;
mod translation;
mod ways;
