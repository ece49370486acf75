//! The appliance as a whole: the real `vrouterd` in a namespace, and real clients around it.

mod balancer;
mod balancing;
mod chance;
mod door;
mod firewall;
mod foreign;
pub(crate) mod house;
mod interfaces;
mod isolation;
mod kills;
mod must_show;
mod openapi;
mod packets;
mod picture;
mod qos;
mod router;
mod storm;
mod traffic;
mod translation;
mod ways;
