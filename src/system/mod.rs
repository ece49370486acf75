//! The firmware itself: which version runs from where, updates of it, and whether a new one is good.
//!
//! ```text
//! update file ──receive──▶ idle slot · boot loader's entry ──next start──▶ trial ──▶ good, or the old one again
//! (signed, in pieces)      (each step on the medium)                       (Trial)
//! ```
//!
//! A machine has two slots for a root, each checked by dm-verity as it is read, and a boot loader that counts how often it
//! tries an entry (systemd-boot(7)). What is decided is pure: [`mod@file`] reads an update in pieces, [`manifest`] judges it,
//! [`layout`] says which slot is idle, [`entry`] what the boot loader does, [`trial`] when a version is good. [`machine`] and
//! [`hands`] touch the machine, and [`receive`] puts the steps in their order. [`System`] is what the API, status and the
//! daemon ask. A machine that is none of this, such as one started from a kernel and a root by themselves, says so.

pub mod entry;
pub mod file;
pub mod firmware;
pub mod hands;
pub mod keys;
pub mod layout;
pub mod machine;
pub mod manifest;
pub mod receive;
mod service;
pub mod trial;
mod updating;
mod version;
mod view;

pub use layout::Slot;
pub use machine::Machine;
pub use service::{Brief, RebootError, System};
pub use trial::Verdict;
pub use updating::{Order, Piece, UpdateError};
pub use version::{NoVersion, Version};
pub use view::{EntryView, Installed, LastUpdate, Receiving, SlotView, SystemView, TrialState, TrialView};
