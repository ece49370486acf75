//! Load balancing in user space: what the kernel cannot decide packet by packet; and how backends are, for both.

pub mod health;
pub mod relay;
