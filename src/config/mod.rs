//! The desired state: what was posted, as values that cannot be wrong.
//!
//! [`wire`] mirrors the JSON; each noun has a file beside it that says what it is. [`Config`] is the whole: it can only
//! be had from a document without a fault. No clock, no I/O, nothing of the kernel in here.

mod access;
pub mod balancer_rule;
pub mod certificate;
mod change;
mod check;
pub mod dhcp;
pub mod dns;
mod document;
mod edit;
pub mod eip;
pub mod fault;
pub mod firewall;
pub mod http;
mod id;
mod index;
pub mod interface;
pub mod json;
pub mod keyed;
pub mod layout;
pub mod limits;
pub mod load_balancer;
mod mac;
pub mod name;
pub mod net;
pub mod owner;
pub mod pool;
mod port;
pub mod port_forward;
mod public_key;
pub mod qos;
pub mod route;
pub mod rule_set;
pub mod snat;
pub mod ssh;
pub mod status_code;
mod text;
pub mod wire;

pub use access::PortOwner;
pub use change::{Change, ChangeKind, Changes, changes};
pub use document::{Config, empty_document};
pub use edit::Collection;
pub use fault::{Fault, Faults, Pointer, Rule};
pub use id::Id;
pub use mac::MacAddress;
pub use port::Ports;
pub use wire::Drift;
