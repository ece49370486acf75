//! What the laws find around the router: devices, and a kernel that can do most of what is asked of it.

use vrouter::plan::facts::{Capabilities, Device, Link};

/// All devices of [`links`].
pub(crate) const ALL: u8 = 0b11111;

/// The devices that the generated documents ask for, by MAC and by name; a bit for each that is there.
pub(crate) fn links(present: u8) -> Vec<Link> {
    [1, 2, 3, 0x12, 0x13]
        .into_iter()
        .enumerate()
        .filter(|(index, _)| present & (1 << index) != 0)
        .map(|(index, last)| Link {
            mac: Some([0x52, 0x54, 0, 0, 0, last]),
            up: false,
            ..Link::ethernet(Device {
                index: u32::try_from(index).unwrap() + 2,
                name: format!("eth{index}").into(),
            })
        })
        .collect()
}

/// A kernel that has everything but flowtables and what nobody here configures.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        flowtable: false,
        log_group: true,
        conntrack_size: true,
        balancing: true,
        connection_limit: true,
        stickiness: true,
        vlan: false,
        vrf: false,
        wireguard: false,
    }
}
