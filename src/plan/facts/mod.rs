//! Facts of the kernel: what can be wanted, and observed, as values that can be compared.
//!
//! Plain addresses and names, nothing of the configuration: the kernel room sees these and no more.

pub mod link;

pub use link::{Device, Link};
