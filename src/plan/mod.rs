//! Decision: what the kernel should be, what it is, and the steps from one to the other. Pure and deterministic.
//!
//! [`lower()`] turns a configuration and what is there to carry it out with into [`facts::Facts`]; [`diff()`] subtracts
//! what is observed and leaves a [`step::Plan`] with nothing to choose. Called by the loop; the kernel room sees the
//! facts and the steps.

mod availability;
mod diff;
mod diff_table;
mod eip;
pub mod facts;
mod firewall;
mod forward;
mod input;
mod interface;
mod load_balancer;
mod lower;
mod mark;
mod mss;
mod names;
pub mod origin;
mod own;
mod port_forward;
mod qos;
mod ranges;
mod route;
mod sides;
mod slots;
mod snat;
pub mod step;
mod target;
mod traffic;
mod vlan;

pub use availability::{Availability, BackendName};
pub use diff::diff;
pub use lower::lower;
pub use step::{Plan, Step, TableChange};
pub use target::{Surroundings, Target, find_links};
pub use vlan::wanted_links;
