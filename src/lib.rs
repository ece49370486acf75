//! vrouter: the firmware of a virtual-router appliance.
//!
//! One JSON document is the whole desired state of a router. It flows one way through the house, and each room is
//! named after what it does to it:
//!
//! ```text
//! JSON ──api──▶ Config ──plan──▶ Plan ──kernel──▶ netlink + nftables ──▶ verify ──▶ status
//!               (valid)   (pure)   │
//!                                  └──▶ snapshots ──▶ dhcp · dns · balancer   (engines that never restart)
//! ```
//!
//! Rooms in the order of the flow; a room sees only rooms above it, and `tests/architecture` holds that:
//!
//! - [`config`]: bytes become a valid, normalised `Config`, or a list of every fault. Pure.
//! - [`plan`]: what the kernel should be, less what it is. Pure.
//! - [`kernel`]: the only writer to the kernel; it reads back what came of it.
//! - [`trace`]: what becomes of a packet, and who decides it. Pure.
//! - [`dhcp`]: addresses for the guests, by the configuration and by leases.
//! - [`dns`]: names for the guests, by itself or by asking forwarders.
//! - [`balancer`]: connections and requests shared among backends.
//! - [`ssh`]: the commands of the command line for operators elsewhere, where the configuration turns it on.
//! - [`reconcile`]: the loop that owns them all: one path for boot, change, rollback and repair.
//! - [`system`]: the firmware itself: which version runs, updates of it, whether a new one is good.
//! - [`status`]: how each part does, since when, and why not.
//! - [`api`]: the door: HTTP to a value or a refusal.
//! - [`engines`]: DHCP, DNS and the balancer side by side.
//! - [`daemon`]: all of it brought up and ended in order.
//! - [`seed`]: what a host tells a fresh machine by a disk, as a first configuration. Pure.
//! - [`store`]: what must outlive power.
//! - [`merge_patch`]: RFC 7396.
//! - [`clock`]: time and chance, handed to everything that decides.
//! - [`log`]: where services write what they have to say.
//! - [`zstack`]: ZStack's commands as changes of the one configuration.
//! - [`cli`]: the operator's command line, which speaks with the router as any client does.
//!
//! The same noun has the same file name in every room: `config/eip.rs` is what an EIP is, `plan/eip.rs` how it
//! becomes kernel facts. The host's companion, `pool`, stands beside these rooms and shares [`clock`] and
//! [`log`] with them, nothing else.

#[cfg(feature = "router")]
pub mod api;
#[cfg(feature = "router")]
pub mod balancer;
#[cfg(feature = "router")]
pub mod cli;
#[cfg(any(feature = "router", feature = "companion"))]
pub mod clock;
#[cfg(feature = "router")]
pub mod config;
#[cfg(feature = "router")]
pub mod daemon;
#[cfg(feature = "router")]
pub mod dhcp;
#[cfg(feature = "router")]
pub mod dns;
#[cfg(feature = "router")]
pub mod engines;
#[cfg(all(feature = "router", fuzzing))]
pub mod fuzzing;
#[cfg(feature = "router")]
pub mod kernel;
#[cfg(any(feature = "router", feature = "companion"))]
pub mod log;
#[cfg(feature = "router")]
pub mod merge_patch;
#[cfg(feature = "router")]
pub mod plan;
#[cfg(feature = "companion")]
pub mod pool;
#[cfg(feature = "router")]
pub mod reconcile;
#[cfg(feature = "router")]
pub mod seed;
#[cfg(feature = "router")]
pub mod ssh;
#[cfg(feature = "router")]
pub mod status;
#[cfg(feature = "router")]
pub mod store;
#[cfg(feature = "router")]
pub mod system;
#[cfg(feature = "router")]
pub mod trace;
#[cfg(feature = "router")]
pub mod zstack;
