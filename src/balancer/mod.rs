//! Load balancing: connections and requests shared among backends, by the kernel or by this process.
//!
//! The engine runs for ever and gets one immutable snapshot swapped under it: what a change does not name goes on as it
//! was, counters included. Called by `engines.rs`; status asks it how it does.

pub mod health;
pub mod relay;
pub mod statistics;

pub use statistics::{
    BackendState, BackendStatistics, BalancerState, BalancerStatistics, CertificateStatistics,
    LatencyHistogram, PoolStatistics, Requests, Statistics, Traffic,
};
