//! What an EIP is: a public address that is one guest's, in both directions.

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer};
use super::id::Id;
use super::net::Address;
use super::wire;
pub use super::wire::OnRemove;

/// A public address that is one guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eip {
    /// The public address.
    pub address: Address,
    /// The public interface that it is on.
    pub interface: Id,
    /// The guest.
    pub target: Address,
    /// What becomes of its connections when the mapping goes or leads elsewhere.
    pub on_remove: OnRemove,
}

impl FlatNoun for Eip {
    type Wire = wire::Eip;

    fn read(wire: wire::Eip, _: &Pointer, _: &mut Faults) -> Option<Self> {
        let wire::Eip { address, interface, target, on_remove } = wire;
        Some(Self { address, interface, target, on_remove })
    }

    fn write(&self) -> wire::Eip {
        let Self { address, interface, target, on_remove } = self;
        wire::Eip { address: *address, interface: interface.clone(), target: *target, on_remove: *on_remove }
    }
}
