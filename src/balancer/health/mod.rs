//! How the backends of balancers are, for those that the kernel serves and those that the proxy does.
//!
//! ```text
//! Config ─apply─▶ table ──due──▶ probes (one task for each check that is under way) ──outcome──▶ table
//!                   │                          connections of the proxy ──passive──────────────▶ │
//!                   └──▶ Availability (watched by the loop and the proxy), status, the store
//! ```
//!
//! `state` decides what an outcome makes of a backend, `table` who is asked when, and `drain` how long connections of what
//! was taken away go on: all pure. `probe` asks. [`Checker`] owns them and is what the rest of the house calls.
//!
//! There is no task for a backend, only one for a check that is under way: thousands of backends that wait cost an entry
//! in a table each. A backend has one check under way at most, and slow ones hold up nobody: their checks wait beside the
//! others, up to a number of open connections that takes thousands of silent backends to reach.

mod checker;
mod drain;
mod entry;
mod passive;
mod probe;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use super::condition::Health;
pub use checker::Checker;
pub use entry::{BackendHealth, LastCheck, Turn};
pub use passive::Passive;
pub use state::{Outcome, State, Thresholds};
