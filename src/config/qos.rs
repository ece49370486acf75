//! What the bandwidth of a public address is.

use super::edit::FlatNoun;
use super::fault::{Faults, Pointer, Rule};
use super::net::Address;
use super::wire;

/// The slowest rate: a large packet takes more than a second then.
const SLOWEST: u64 = 8_000;

/// How fast a public address, or one port of it, may be reached and may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qos {
    /// The public address.
    pub address: Address,
    /// The TCP and UDP port; all of the address where absent.
    pub port: Option<u16>,
    /// What may come in.
    pub ingress: Option<Rate>,
    /// What may go out.
    pub egress: Option<Rate>,
}

/// A rate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// The rate, unless it is too slow for packets to pass.
    #[must_use]
    pub const fn new(bits_per_second: u64) -> Option<Self> {
        if bits_per_second >= SLOWEST { Some(Self(bits_per_second)) } else { None }
    }

    /// Octets per second.
    #[must_use]
    pub const fn octets(self) -> u64 {
        self.0 / 8
    }
}

impl FlatNoun for Qos {
    type Wire = wire::Qos;

    fn read(wire: wire::Qos, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::Qos { address, port, ingress_bits_per_second, egress_bits_per_second } = wire;
        let before = faults.as_slice().len();
        if port == Some(0) {
            faults.add(at.key("port"), Rule::OutOfRange, "a port is from 1 to 65535");
        }
        let mut rate = |member: &str, bits: Option<u64>| {
            let rate = bits.and_then(Rate::new);
            if bits.is_some() && rate.is_none() {
                faults.add(
                    at.key(member),
                    Rule::OutOfRange,
                    format!("a rate is {SLOWEST} bits per second or more"),
                );
            }
            rate
        };
        let ingress = rate("ingress_bits_per_second", ingress_bits_per_second);
        let egress = rate("egress_bits_per_second", egress_bits_per_second);
        if ingress_bits_per_second.is_none() && egress_bits_per_second.is_none() {
            let detail = "there is `ingress_bits_per_second`, `egress_bits_per_second` or both";
            faults.add(at.clone(), Rule::MissingField, detail);
        }
        (faults.as_slice().len() == before).then_some(Self { address, port, ingress, egress })
    }

    fn write(&self) -> wire::Qos {
        let Self { address, port, ingress, egress } = self;
        wire::Qos {
            address: *address,
            port: *port,
            ingress_bits_per_second: ingress.map(|rate| rate.0),
            egress_bits_per_second: egress.map(|rate| rate.0),
        }
    }
}
