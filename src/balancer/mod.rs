//! Load balancing: connections and requests shared among backends, by the kernel or by this process.
//!
//! The engine runs for ever and gets one immutable snapshot swapped under it: what a change does not name goes on as it
//! was, counters included. Called by `engines.rs`; status asks it how it does.

pub mod backend;
pub mod choose;
pub mod condition;
pub mod health;
#[cfg(test)]
mod laws;
pub mod place;
pub mod pool;
mod proxy_header;
pub mod queue;
pub mod relay;
pub mod statistics;
#[cfg(test)]
mod testing;
mod view;

pub use statistics::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, CertificateStatistics,
    LatencyHistogram, PoolStatistics, Requests, Statistics, Traffic,
};
