//! The libvirt network that suits the pool: libvirt makes a bridge and starts its VMs on it, and adds no rule of its own.
//! Who may speak with whom is for the router that stands on the bridge; without one, VMs reach nothing.

use crate::pool::config::Network;

/// An address that is nobody's (RFC 7600): libvirt insists on one in this mode. With all 32 bits as prefix the host has no
/// way to VMs by it, and without DHCP and DNS libvirt starts no server on it.
const NOBODY: &str = "192.0.0.8";

/// The network's XML. Forward mode `open` keeps libvirt's rules away from others'; isolated ports keep VMs from each
/// other; a bridge without spanning tree lets a VM speak at once.
pub(super) fn xml(network: &Network) -> String {
    let (name, bridge) = (escape(&network.name), escape(&network.bridge));
    format!(
        "<network>\n  <name>{name}</name>\n  <forward mode='open'/>\n  \
         <bridge name='{bridge}' stp='off' delay='0'/>\n  \
         <dns enable='no'/>\n  <ip address='{NOBODY}' prefix='32'/>\n  <port isolated='yes'/>\n</network>\n"
    )
}

/// Text as XML has it between quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_open_and_its_ports_are_isolated() {
        let network = Network { name: "a'b&c".to_owned(), bridge: "br0".to_owned() };
        let xml = xml(&network);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let of = |tag: &str, attribute: &str| {
            let node = document.descendants().find(|node| node.has_tag_name(tag)).unwrap();
            node.attribute(attribute).unwrap().to_owned()
        };
        assert_eq!((of("forward", "mode"), of("port", "isolated")), ("open".to_owned(), "yes".to_owned()));
        assert_eq!((of("bridge", "name"), of("bridge", "stp")), ("br0".to_owned(), "off".to_owned()));
        let name = document.descendants().find(|node| node.has_tag_name("name")).unwrap();
        assert_eq!(name.text(), Some("a'b&c"));
    }
}
