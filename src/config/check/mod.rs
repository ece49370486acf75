//! What one object says of others: references, addresses that have to be in a network, claims on one thing by two.
//!
//! What an object alone can get wrong is found where it is read. Called by `document.rs` once all objects are read:
//! objects that a request does not touch are looked at again only where the layout they stand in has changed.

mod dhcp;
mod dns;
mod firewall;
mod interface;
mod load_balancer;
mod nat;
mod qos;
mod route;
mod ssh;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

pub(super) use dhcp::{check_host, check_network, check_networks};
pub(super) use dns::{check_conditional_forwarders, check_dns, check_record};
pub(super) use firewall::{check_rule, check_rule_set};
pub(super) use interface::check_interfaces;
pub(super) use load_balancer::check_load_balancer;
pub(super) use nat::{check_eip, check_port_forward, check_snat};
pub(super) use qos::check_qos;
pub(super) use route::check_routes;
pub(super) use ssh::check_ssh;

use super::edit::Collection;
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::interface::{Interface, Role};
use super::layout::{Layout, Zone};

/// What the checks look into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) interfaces: &'a Collection<Interface>,
    pub(super) layout: &'a Layout,
    /// What of the surroundings could not be read: nobody is blamed for the absence of what has its own fault.
    pub(super) unread: &'a Unread,
}

/// Interfaces, routes and certificates that could not be read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    interfaces: BTreeSet<String>,
    certificates: BTreeSet<String>,
    any: bool,
}

impl Unread {
    /// What these faults say could not be read.
    pub(super) fn of(faults: &Faults) -> Self {
        let mut unread = Self::default();
        for fault in faults.as_slice() {
            let mut parts = fault.pointer.as_str().split('/').skip(1);
            match (parts.next(), parts.next()) {
                (Some("interfaces"), Some(id)) => {
                    unread.interfaces.insert(id.to_owned());
                    unread.any = true;
                }
                (Some("certificates"), Some(id)) => {
                    unread.certificates.insert(id.to_owned());
                }
                (Some("interfaces" | "routes"), _) => unread.any = true,
                _ => {}
            }
        }
        unread
    }
}

impl Context<'_> {
    /// Reports an interface that is not there or lacks the role that is needed.
    fn interface(self, id: &Id, role: Role, at: &Pointer, faults: &mut Faults) {
        match self.interfaces.get(id) {
            None => self.dangling(id, at, faults),
            Some(interface) if !interface.is(role) => {
                let role = match role {
                    Role::Management => "management",
                    Role::Public => "public",
                    Role::Guest => "guest",
                };
                faults.add(at.clone(), Rule::Contradiction, format!("interface `{id}` has no {role} role"));
            }
            Some(_) => {}
        }
    }

    fn dangling(self, id: &Id, at: &Pointer, faults: &mut Faults) {
        if !self.unread.interfaces.contains(id.as_str()) {
            faults.add(at.clone(), Rule::DanglingReference, format!("there is no interface `{id}`"));
        }
    }

    /// Reports a guest's address that is the router's own or that no guest network reaches.
    fn guest(self, target: Ipv4Addr, at: impl Fn() -> Pointer, faults: &mut Faults) {
        if let Some((owner, _)) = self.layout.owner(target) {
            let detail = format!("{target} is the router's own address on `{owner}`");
            faults.add(at(), Rule::Conflict, detail);
            return;
        }
        match self.layout.guest(target) {
            None if self.unread.any => {}
            None => {
                let detail = format!("{target} is in no guest network and behind none");
                faults.add(at(), Rule::Unreachable, detail);
            }
            Some((id, zone)) if zone.isolated => {
                let detail = format!("{target} is in `{id}`, which is isolated and reaches the router alone");
                faults.add(at(), Rule::Unreachable, detail);
            }
            Some((_, zone)) => {
                if zone
                    .guests
                    .iter()
                    .any(|net| net.contains(&target) && !super::net::is_host_of(*net, target))
                {
                    let detail = format!("{target} is the address of the network itself or its broadcast");
                    faults.add(at(), Rule::InvalidValue, detail);
                }
            }
        }
    }

    /// Reports a public address that is a guest network's, unless guests live in the very network of the way out.
    fn public_address(self, address: Ipv4Addr, at: impl Fn() -> Pointer, faults: &mut Faults) {
        let own_and_public = self.layout.owner(address).is_some_and(|(_, zone)| zone.public);
        let alone = |zone: &Zone| !zone.public || !zone.outside.is_some_and(|net| net.contains(&address));
        if let Some((id, _)) = self.layout.guest(address).filter(|(_, zone)| !own_and_public && alone(zone)) {
            let detail =
                format!("{address} is in the guest network `{id}`, so it cannot be a public address");
            faults.add(at(), Rule::Overlap, detail);
        }
    }
}
