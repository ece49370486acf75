//! Ranges that overlap or touch, made into as few as say the same.

use std::net::Ipv4Addr;

use crate::config::Ports;
use crate::config::net::AddressRange;

/// The addresses of these ranges, as ranges that do not touch, in order.
pub(super) fn merged(ranges: impl Iterator<Item = AddressRange>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let numbers = ranges.map(|range| (u32::from(range.first()), u32::from(range.last()))).collect();
    union(numbers).into_iter().map(|(first, last)| (first.into(), last.into())).collect()
}

/// The ports of these ranges, as ranges that do not touch, in order.
pub(super) fn merged_ports(ranges: &[Ports]) -> Vec<(u16, u16)> {
    let numbers = ranges.iter().map(|ports| (u32::from(ports.first()), u32::from(ports.last()))).collect();
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    union(numbers).into_iter().map(|(first, last)| (narrow(first), narrow(last))).collect()
}

fn union(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut union: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match union.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => union.push((first, last)),
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let ports = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Ports>>();
        assert_eq!(
            merged_ports(&ports(&["80", "443", "81-90", "85-100", "1"])),
            [(1, 1), (80, 100), (443, 443)]
        );
        assert_eq!(merged_ports(&ports(&["1-65535", "80"])), [(1, 65535)]);
        let all = ["0.0.0.0-255.255.255.255", "10.0.0.1-10.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(merged(all.into_iter()), [(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)]);
    }
}
