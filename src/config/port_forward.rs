//! What a port forward is: ports of a public address that lead to a guest.

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
use super::net::{Address, AddressMatch};
use super::port::Ports;
use super::wire;
pub use super::wire::Transport;

/// Ports of a public address that lead to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForward {
    /// The transport.
    pub protocol: Transport,
    /// The public address.
    pub address: Address,
    /// Which port leads to which.
    pub ports: PortMapping,
    /// The guest.
    pub target: Address,
    /// Who may use it; anybody where absent, never empty.
    pub allowed_sources: Option<Vec<AddressMatch>>,
}

/// Public ports and as many of a guest: the first leads to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    public: Ports,
    /// Absent where they follow the public ones, also when a patch changes these.
    target: Option<Ports>,
}

impl PortMapping {
    /// The mapping, if there are as many ports on either side.
    #[must_use]
    pub fn new(public: Ports, target: Option<Ports>) -> Option<Self> {
        target.is_none_or(|target| public.count() == target.count()).then_some(Self { public, target })
    }

    /// The public ports.
    #[must_use]
    pub const fn public(self) -> Ports {
        self.public
    }

    /// The guest's ports.
    #[must_use]
    pub fn target(self) -> Ports {
        self.target.unwrap_or(self.public)
    }

    /// Whether every port leads to its own number.
    #[must_use]
    pub fn is_identity(self) -> bool {
        self.public == self.target()
    }

    /// Each public port with the one that it leads to.
    pub fn pairs(self) -> impl Iterator<Item = (u16, u16)> {
        (self.public.first()..=self.public.last()).zip(self.target().first()..=self.target().last())
    }
}

impl FlatNoun for PortForward {
    type Wire = wire::PortForward;

    fn read(wire: wire::PortForward, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::PortForward { protocol, address, ports, target, target_ports, allowed_sources } = wire;
        let mapping = PortMapping::new(ports, target_ports);
        if let Some(target_ports) = target_ports.filter(|_| mapping.is_none()) {
            let (many, needed) = (target_ports.count(), ports.count());
            let detail =
                format!("{target_ports} counts {many} and {ports} counts {needed}; they have to be as many");
            faults.add(at.key("target_ports"), Rule::Contradiction, detail);
        }
        if allowed_sources.as_ref().is_some_and(Vec::is_empty) {
            let detail = "nobody could use it; leave the member out to allow anybody";
            faults.add(at.key("allowed_sources"), Rule::OutOfRange, detail);
        }
        Some(Self { protocol, address, ports: mapping?, target, allowed_sources })
    }

    fn write(&self) -> wire::PortForward {
        let Self { protocol, address, ports, target, allowed_sources } = self;
        wire::PortForward {
            protocol: *protocol,
            address: *address,
            ports: ports.public,
            target: *target,
            target_ports: ports.target,
            allowed_sources: allowed_sources.clone(),
        }
    }
}
