//! Where a packet that came in goes next: to the router itself, out, or nowhere because of its addresses or for lack of a
//! route (`net/ipv4/route.c`: ip_route_input_slow; `net/ipv4/fib_frontend.c`: fib_validate_source).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::fib::{self, Found, Out, Tables};
use super::packet::Packet;
use crate::plan::facts::{Device, Sysctl};

/// Where a packet goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// To the router; the device that has the address, or none where everybody is meant.
    Local(Option<Device>),
    /// Out.
    Out(Out),
    /// Nowhere.
    Nowhere(Nowhere),
}

/// Why a packet goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nowhere {
    /// Nobody can have this source.
    ImpossibleSource,
    /// Nobody can have this destination.
    ImpossibleDestination,
    /// It goes to a group, and groups are not routed.
    Multicast,
    /// No route leads there.
    NoRoute,
    /// The router does not forward.
    NotForwarding,
    /// The source is an address of the router's own.
    OwnSource,
    /// No route leads back to the source.
    SourceUnreachable,
    /// What goes to the source leaves by another device.
    SourceElsewhere,
}

impl Nowhere {
    /// Whether the addresses alone say so, whatever the routes are.
    pub(super) const fn is_about_addresses(self) -> bool {
        matches!(self, Self::ImpossibleSource | Self::ImpossibleDestination | Self::Multicast)
    }
}

/// What decides about ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways<'a> {
    pub(super) tables: Tables<'a>,
    pub(super) sysctls: &'a BTreeMap<Sysctl, String>,
}

impl Ways<'_> {
    /// Where a packet goes that came in by a device.
    pub(super) fn of(&self, packet: &Packet, mark: u32, input: &Device) -> Way {
        let Packet { source, destination, .. } = *packet;
        let limited = destination.is_broadcast() || (source.is_unspecified() && destination.is_unspecified());
        if source.is_multicast() || source.is_broadcast() || source.is_loopback() {
            return Way::Nowhere(Nowhere::ImpossibleSource);
        }
        if destination.is_multicast() {
            return Way::Nowhere(Nowhere::Multicast);
        }
        if limited {
            return self.for_router(None, packet, input);
        }
        if is_zero_net(source) {
            return Way::Nowhere(Nowhere::ImpossibleSource);
        }
        if is_zero_net(destination) || destination.is_loopback() {
            return Way::Nowhere(Nowhere::ImpossibleDestination);
        }
        match self.tables.find(fib::Question { source, destination, mark }) {
            None => Way::Nowhere(Nowhere::NoRoute),
            Some(Found::Everybody) => self.for_router(None, packet, input),
            Some(Found::Own(device)) => self.for_router(Some(device), packet, input),
            Some(Found::Out(_)) if !self.forwards() => Way::Nowhere(Nowhere::NotForwarding),
            Some(Found::Out(out)) => self.wrong_source(packet, input).map_or(Way::Out(out), Way::Nowhere),
        }
    }

    fn for_router(&self, device: Option<Device>, packet: &Packet, input: &Device) -> Way {
        // A client without an address asks everybody.
        if is_zero_net(packet.source) {
            return Way::Local(device);
        }
        self.wrong_source(packet, input).map_or(Way::Local(device), Way::Nowhere)
    }

    fn forwards(&self) -> bool {
        self.number(&Sysctl::Namespace("ipv4/ip_forward")) != 0
    }

    /// What is wrong with a source, if something is (RFC 3704: 1 is strict, 2 is loose).
    fn wrong_source(&self, packet: &Packet, input: &Device) -> Option<Nowhere> {
        let all = self.number(&Sysctl::Namespace("ipv4/conf/all/rp_filter"));
        let filter = all.max(self.number(&Sysctl::Device(input.clone(), "rp_filter")));
        // The way back, without the mark: that is not asked for.
        let back = fib::Question { source: packet.destination, destination: packet.source, mark: 0 };
        match self.tables.find(back) {
            Some(Found::Own(_) | Found::Everybody) => Some(Nowhere::OwnSource),
            None if filter > 0 => Some(Nowhere::SourceUnreachable),
            Some(Found::Out(out)) if filter == 1 && out.device != *input => Some(Nowhere::SourceElsewhere),
            _ => None,
        }
    }

    /// A value of `/proc/sys`; 0 where it is not there.
    fn number(&self, sysctl: &Sysctl) -> u32 {
        self.sysctls.get(sysctl).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// 0.0.0.0/8, which is nobody's (RFC 6890).
fn is_zero_net(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
}
