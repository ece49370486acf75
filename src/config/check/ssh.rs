//! What SSH says of interfaces, and of what else is on its port.

use super::Context;
use crate::config::Config;
use crate::config::dns;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::port_forward::Transport;

/// Reports SSH that answers nowhere, and a port that is somebody else's on an address where it answers.
pub(in crate::config) fn check_ssh(config: &Config, context: Context<'_>, faults: &mut Faults) {
    let Some(ssh) = config.ssh() else { return };
    let at = Pointer::root().key("ssh");
    let addresses = config.ssh_addresses();
    if addresses.is_empty() && !context.unread.any {
        let lacks = if context.layout.zones().any(|(_, zone)| zone.management) {
            "no interface with the role management has an address"
        } else {
            "no interface has the role management"
        };
        faults.add(at, Rule::Unreachable, format!("{lacks}, so SSH would answer nowhere"));
        return;
    }
    for address in addresses {
        if let Some(other) = config.index.claim_at(address, Transport::Tcp, ssh.port) {
            let detail = format!("{other} has port {} of {address}", ssh.port);
            faults.add(at.key("port"), Rule::Overlap, detail);
        } else if ssh.port == dns::PORT && config.dns_answers_on(address) {
            faults.add(at.key("port"), Rule::Overlap, format!("DNS answers on this port of {address}"));
        }
    }
}
