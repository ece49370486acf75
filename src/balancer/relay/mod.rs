//! Connections that are relayed as they are: tcp balancers that the kernel cannot serve.

mod carry;
pub mod hello;
mod pipe;
mod pump;
mod serve;

pub use carry::{Ended, Idle, carry};
pub use serve::{Event, Site, connect, serve};
