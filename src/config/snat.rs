//! What a source translation is.

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer};
use super::id::Id;
use super::net::{Address, Prefix};
use super::wire;

/// Guests of `source` go out by `interface` under a public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snat {
    /// The guests' network.
    pub source: Prefix,
    /// The public interface.
    pub interface: Id,
    /// The public address; the interface's first where absent.
    pub address: Option<Address>,
}

impl FlatNoun for Snat {
    type Wire = wire::Snat;

    fn read(wire: wire::Snat, _: &Pointer, _: &mut Faults) -> Option<Self> {
        let wire::Snat { source, interface, address } = wire;
        Some(Self { source, interface, address })
    }

    fn write(&self) -> wire::Snat {
        let Self { source, interface, address } = self;
        wire::Snat { source: *source, interface: interface.clone(), address: *address }
    }
}
