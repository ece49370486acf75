//! Connections that are relayed as they are: tcp balancers that the kernel cannot serve.

mod carry;
pub mod hello;
mod pipe;
mod pump;

pub use carry::{Ended, Idle, carry};
