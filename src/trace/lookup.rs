//! What a key finds in a set of our table, as the kernel finds it: hashed keys by themselves, ranges by the one that holds
//! the key; and which slot of a balancer a source's hash picks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::packet::Packet;
use crate::plan::facts::{Key, Pick, Set, Target};

/// A key that a packet is looked up with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Source,
    Destination,
    SourcePort,
    DestinationPort,
    DestinationEndpoint,
    SourcedDestinationEndpoint,
}

/// The element that a packet finds in a set.
pub(super) fn find<'a>(set: &'a Set, asked: Asked, packet: &Packet) -> Option<(&'a Key, &'a Target)> {
    let port = packet.destination_port;
    match asked {
        Asked::Source => find_address(set, packet.source),
        Asked::Destination => find_address(set, packet.destination),
        Asked::SourcePort => find_port(set, packet.source_port?),
        Asked::DestinationPort => find_port(set, port?),
        Asked::DestinationEndpoint => find_endpoint(set, packet.destination, packet.protocol, port?),
        Asked::SourcedDestinationEndpoint => {
            let port = port?;
            let fits = |key: &Key| match key {
                Key::SourcedEndpointRange(from, to, address, protocol, first, last) => {
                    (*from..=*to).contains(&packet.source)
                        && *address == packet.destination
                        && *protocol == packet.protocol
                        && (*first..=*last).contains(&port)
                }
                _ => false,
            };
            set.elements.iter().find(|(key, _)| fits(key))
        }
    }
}

fn find_port(set: &Set, port: u16) -> Option<(&Key, &Target)> {
    let below = set.elements.range(..=Key::PortRange(port, u16::MAX)).next_back()?;
    matches!(below.0, Key::PortRange(first, last) if (*first..=*last).contains(&port)).then_some(below)
}

fn find_address(set: &Set, address: Ipv4Addr) -> Option<(&Key, &Target)> {
    let single = Key::Address(address);
    if let Some(found) = set.elements.get_key_value(&single) {
        return Some(found);
    }
    let below = set.elements.range(..=Key::AddressRange(address, Ipv4Addr::BROADCAST)).next_back()?;
    matches!(below.0, Key::AddressRange(first, last) if (*first..=*last).contains(&address)).then_some(below)
}

fn find_endpoint(set: &Set, address: Ipv4Addr, protocol: u8, port: u16) -> Option<(&Key, &Target)> {
    if let Some(found) = set.elements.get_key_value(&Key::Endpoint(address, protocol, port)) {
        return Some(found);
    }
    let highest = Key::EndpointRange(address, protocol, port, u16::MAX);
    let below = set.elements.range(..=highest).next_back()?;
    let holds = matches!(below.0, Key::EndpointRange(on, of, first, last)
        if *on == address && *of == protocol && (*first..=*last).contains(&port));
    holds.then_some(below)
}

/// Where a balancer may lead a connection, and how many of its slots lead there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) slots: u32,
}

/// Where slots lead: all of them, or the one that the source's hash picks. Those with most slots first.
pub(super) fn candidates(set: &Set, pick: Pick, count: u32, source: Ipv4Addr) -> Vec<Candidate> {
    let slots = match pick {
        Pick::Source(seed) => {
            let slot = scale(hash(source, seed), count);
            slot..slot.saturating_add(1)
        }
        Pick::Next | Pick::Random => 0..count,
    };
    let mut endpoints: BTreeMap<(Ipv4Addr, u16), u32> = BTreeMap::new();
    for (key, target) in set.elements.range(Key::Slot(slots.start)..Key::Slot(slots.end)) {
        if let (Key::Slot(_), Target::Endpoint(address, port)) = (key, target) {
            *endpoints.entry((*address, *port)).or_default() += 1;
        }
    }
    let mut found: Vec<_> =
        endpoints.into_iter().map(|((address, port), slots)| Candidate { address, port, slots }).collect();
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.slots));
    found
}

/// Jenkins' hash of an address (`include/linux/jhash.h`: jhash of four octets).
fn hash(address: Ipv4Addr, seed: u32) -> u32 {
    const INITIAL: u32 = 0xdead_beef;
    let start = INITIAL.wrapping_add(4).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    a = a.wrapping_add(u32::from_le_bytes(address.octets()));
    let mix = |to: &mut u32, from: u32, by: u32| *to = (*to ^ from).wrapping_sub(from.rotate_left(by));
    mix(&mut c, b, 14);
    mix(&mut a, c, 11);
    mix(&mut b, a, 25);
    mix(&mut c, b, 16);
    mix(&mut a, c, 4);
    mix(&mut b, a, 14);
    mix(&mut c, b, 24);
    c
}

/// A hash as a number below `count` (`include/linux/kernel.h`: reciprocal_scale).
fn scale(hash: u32, count: u32) -> u32 {
    u32::try_from((u64::from(hash) * u64::from(count)) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::SetKind;

    fn packet(destination: &str, port: u16) -> Packet {
        Packet {
            source: "192.0.2.9".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            source_port: None,
            destination_port: Some(port),
            icmp: None,
        }
    }

    fn set(kind: SetKind, keys: impl IntoIterator<Item = Key>) -> Set {
        Set { kind, elements: keys.into_iter().map(|key| (key, Target::Member)).collect() }
    }

    #[test]
    fn a_range_holds_what_is_between_its_ends() {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let ranges = set(
            SetKind::AddressRanges,
            [("10.0.0.1", "10.0.0.9"), ("10.0.0.20", "10.0.0.20")]
                .map(|(first, last)| Key::AddressRange(address(first), address(last))),
        );
        for (text, inside) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.9", true),
            ("10.0.0.10", false),
            ("10.0.0.20", true),
            ("10.0.0.21", false),
        ] {
            assert_eq!(find(&ranges, Asked::Destination, &packet(text, 1)).is_some(), inside, "{text}");
        }
        let (one, other) = (address("198.51.100.5"), address("198.51.100.6"));
        let endpoints = set(
            SetKind::EndpointRanges,
            [
                Key::EndpointRange(one, 6, 80, 90),
                Key::EndpointRange(one, 17, 85, 95),
                Key::EndpointRange(other, 6, 1, 9),
            ],
        );
        for (text, port, inside) in [
            ("198.51.100.5", 80, true),
            ("198.51.100.5", 95, false),
            ("198.51.100.6", 80, false),
            ("198.51.100.6", 9, true),
        ] {
            let found = find(&endpoints, Asked::DestinationEndpoint, &packet(text, port));
            assert_eq!(found.is_some(), inside, "{text}:{port}");
        }
        let sourced = set(
            SetKind::SourcedEndpointRanges,
            [Key::SourcedEndpointRange(address("192.0.2.0"), address("192.0.2.9"), one, 6, 80, 80)],
        );
        for (port, inside) in [(80, true), (81, false)] {
            let found = find(&sourced, Asked::SourcedDestinationEndpoint, &packet("198.51.100.5", port));
            assert_eq!(found.is_some(), inside, "{port}");
        }
    }

    #[test]
    fn slots_are_counted_by_where_they_lead() {
        let endpoint = |last: u8| Target::Endpoint(Ipv4Addr::new(10, 1, 1, last), 80);
        let elements =
            [20, 21, 21].into_iter().zip(0..).map(|(last, slot)| (Key::Slot(slot), endpoint(last)));
        let set = Set { kind: SetKind::SlotToEndpoint, elements: elements.collect() };
        let source = Ipv4Addr::new(192, 0, 2, 9);
        let all = candidates(&set, Pick::Next, 3, source);
        assert_eq!(
            all.iter().map(|one| (one.address.octets()[3], one.slots)).collect::<Vec<_>>(),
            [(21, 2), (20, 1)]
        );
        let one = candidates(&set, Pick::Source(118), 3, source);
        assert_eq!(one.iter().map(|one| one.slots).collect::<Vec<_>>(), [1]);
    }
}
