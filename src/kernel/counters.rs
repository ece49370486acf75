//! What the kernel counts, read for status and metrics. Takes no part in a change. Called by the daemon's probes.

use std::fs;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use super::KernelError;
use super::netlink::{NETLINK_ROUTE, Netlink};
use super::nftables;
use crate::plan::facts::{AddressTraffic, Connections, Counters, Traffic};

/// What the kernel has counted up to now.
///
/// # Errors
/// The kernel does not answer.
pub fn counters() -> Result<Counters, KernelError> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    let messages = netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let traffic = messages.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(message) => Some((message.header.index, traffic(message)?)),
        _ => None,
    });
    Ok(Counters { connections: connections(), traffic: traffic.collect() })
}

/// What went to and came from each address that our table counts.
///
/// # Errors
/// The kernel does not answer.
pub fn address_traffic() -> Result<AddressTraffic, KernelError> {
    nftables::address_traffic()
}

fn traffic(message: &LinkMessage) -> Option<Traffic> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(Traffic {
            received_bytes: stats.rx_bytes,
            received_packets: stats.rx_packets,
            received_errors: stats.rx_errors,
            received_dropped: stats.rx_dropped,
            sent_bytes: stats.tx_bytes,
            sent_packets: stats.tx_packets,
            sent_errors: stats.tx_errors,
            sent_dropped: stats.tx_dropped,
        }),
        _ => None,
    })
}

/// The files are absent until something makes the kernel track connections.
fn connections() -> Option<Connections> {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?;
        text.trim().parse().ok()
    };
    Some(Connections { count: number("count")?, limit: number("max")? })
}
