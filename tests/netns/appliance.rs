//! The appliance as a whole: the real `vrouterd` in a namespace, and real clients around it.

mod door;
mod foreign;
mod house;
mod must_show;
mod openapi;
mod picture;
mod router;
mod storm;
mod traffic;
mod translation;
mod ways;
