//! What source translation, EIPs and port forwards say of interfaces and guests.

use super::Context;
use crate::config::edit::Collection;
use crate::config::eip::Eip;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::interface::Role;
use crate::config::port_forward::PortForward;
use crate::config::snat::Snat;

/// Reports source translations that name the wrong interface or address, or that say one thing twice.
pub(in crate::config) fn check_snat(snat: &Collection<Snat>, context: Context<'_>, faults: &mut Faults) {
    for (index, (id, entry)) in snat.iter().enumerate() {
        let at = Pointer::root().key("snat").key(id.as_str());
        context.interface(&entry.interface, Role::Public, &at.key("interface"), faults);
        let Some(zone) = context.layout.zone(&entry.interface) else { continue };
        match entry.address {
            None if zone.public_address().is_none() => {
                let detail = format!("interface `{}` has no address to be known by", entry.interface);
                faults.add(at.key("address"), Rule::MissingField, detail);
            }
            None => {}
            Some(address) => {
                let owner = context.layout.owner(address.get());
                if let Some((owner, _)) = owner.filter(|(owner, _)| **owner != entry.interface) {
                    let detail = format!("{address} is the router's own address on `{owner}`");
                    faults.add(at.key("address"), Rule::Conflict, detail);
                }
                context.public_address(address.get(), || at.key("address"), faults);
            }
        }
        let same = |other: &Snat| other.source == entry.source && other.interface == entry.interface;
        if let Some((other, _)) = snat.iter().take(index).find(|(_, other)| same(other)) {
            let detail = format!("`{other}` translates {} on `{}` already", entry.source, entry.interface);
            faults.add(at.key("source"), Rule::Conflict, detail);
        }
    }
}

/// Reports an EIP on the wrong interface, on an address that is somebody's, or for a target that nobody reaches.
pub(in crate::config) fn check_eip(id: &Id, eip: &Eip, context: Context<'_>, faults: &mut Faults) {
    let at = || Pointer::root().key("eips").key(id.as_str());
    let known = context.interfaces.get(&eip.interface).is_some_and(|interface| interface.is(Role::Public));
    if !known {
        context.interface(&eip.interface, Role::Public, &at().key("interface"), faults);
    }
    if let Some((owner, _)) = context.layout.owner(eip.address.get()) {
        let detail = format!("{} is the router's own address on `{owner}`", eip.address);
        faults.add(at().key("address"), Rule::Conflict, detail);
    } else if context.layout.guest(eip.address.get()).is_some() {
        context.public_address(eip.address.get(), || at().key("address"), faults);
    }
    context.guest(eip.target.get(), || at().key("target"), faults);
}

/// Reports a port forward on an address that is not public, or for a target that nobody reaches.
pub(in crate::config) fn check_port_forward(
    id: &Id,
    forward: &PortForward,
    context: Context<'_>,
    faults: &mut Faults,
) {
    let at = || Pointer::root().key("port_forwards").key(id.as_str());
    match context.layout.owner(forward.address.get()) {
        Some((owner, zone)) if !zone.public => {
            let detail =
                format!("{} is the router's own address on `{owner}`, which is not public", forward.address);
            faults.add(at().key("address"), Rule::Conflict, detail);
        }
        Some(_) => {}
        None => context.public_address(forward.address.get(), || at().key("address"), faults),
    }
    if context.layout.public().is_empty() && !context.unread.any {
        faults.add(at().key("address"), Rule::Unreachable, "there is no public interface to reach it by");
    }
    context.guest(forward.target.get(), || at().key("target"), faults);
}
