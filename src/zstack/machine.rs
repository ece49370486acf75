//! What commands have to know of the machine: its network devices, and by which of them a command came.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::{Facts, Nic};
use crate::config::MacAddress;

/// The kernel's release, such as `6.1.0-13-cloud-amd64` (proc(5)).
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// Ethernet among the kinds of links (ARPHRD_ETHER, `linux/if_arp.h`).
const ETHERNET: u16 = 1;

/// The facts for commands that came to the address `local` of this machine.
///
/// # Errors
/// The kernel's list of devices cannot be had, in the system's words.
pub(super) fn facts(local: IpAddr) -> Result<Facts, String> {
    let mut nics = BTreeMap::new();
    let mut device_of_local = None;
    let all = getifaddrs().map_err(|error| format!("the network devices cannot be listed: {error}"))?;
    for entry in all {
        let Some(address) = entry.address else { continue };
        let link = address.as_link_addr().filter(|link| link.hatype() == ETHERNET);
        if let Some(mac) = link.and_then(|link| MacAddress::from_octets(link.addr()?)) {
            nics.insert(entry.interface_name, mac);
        } else if address.as_sockaddr_in().is_some_and(|address| IpAddr::V4(address.ip()) == local) {
            device_of_local = Some(entry.interface_name);
        }
    }
    let management = device_of_local.and_then(|device| nics.get(&device).copied());
    Ok(Facts {
        nics: nics.into_iter().map(|(device, mac)| Nic { mac, device }).collect(),
        management,
        node: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: std::fs::read_to_string(RELEASE).unwrap_or_default().trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_is_no_device_of_anybody() {
        let facts = facts(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(facts.management, None);
        assert!(!facts.kernel.is_empty() && !facts.kernel.contains('\n'), "{}", facts.kernel);
        assert!(facts.nics.iter().all(|nic| nic.device != "lo"), "{:?}", facts.nics);
    }
}
