//! The KVM host's companion: a pool of disposable virtual machines for walk-up stations.
//!
//! A station asks at the signal port, is told when a clean VM waits for it, and reaches that VM's console through the
//! broker. A VM is used once: whatever ends the session ends the VM, and its slot is filled again from the golden image.
//!
//! ```text
//! station ──signal──▶ visitors ─┐
//! hypervisor · broker ──────────├─▶ state ──plan──▶ actions ──manager──▶ hypervisor · broker
//! clock ────────────────────────┘  (pure)  (pure)
//! ```
//!
//! - [`config`]: the TOML file.
//! - [`slot`], [`state`], [`plan`]: what is known and what is to be done. Pure.
//! - [`hypervisor`]: what the pool asks of libvirt, as a trait; what the marks on its domains say.
//! - `libvirt`: that for real. [`golden`]: whether the golden domain can be cloned, and its versions. [`clone`]: a
//!   clone's description, disk and memory, made of the golden domain's.
//! - [`door`]: what the pool asks of the console broker, as a trait.
//! - [`broker`]: SPICE from stations to the consoles that they were given.
//! - [`reached`]: the broker, as the manager reaches it.
//! - [`signal`]: the port that stations read.
//! - [`manager`]: the loop that owns it all.
//! - [`journal`], [`status`], [`metrics`], [`api`]: what operators see of it, and what they may ask.
//! - [`command`]: the command line and its services.
//! - [`fake`]: a host and a broker that are made up.
//!
//! This room sees no room of the router, and the other way round.

pub mod api;
pub mod broker;
pub mod clone;
pub mod command;
pub mod config;
pub mod door;
pub mod fake;
pub mod golden;
pub mod hypervisor;
pub mod journal;
#[cfg(feature = "pool")]
pub mod libvirt;
pub mod manager;
pub mod metrics;
pub mod plan;
pub mod reached;
pub mod signal;
pub mod slot;
pub mod state;
pub mod status;
