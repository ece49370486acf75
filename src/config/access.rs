//! What the rest of the house asks of a configuration: its objects, and who is meant by an address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::certificate::Certificate;
use super::dhcp::{Host, Network};
use super::dns::Dns;
use super::document::Config;
use super::edit::Collection;
use super::eip::Eip;
use super::fault::{Faults, Pointer, Rule};
use super::firewall::Firewall;
use super::id::Id;
use super::index::{Claim, changed};
use super::interface::Interface;
use super::layout::{Layout, Zone};
use super::load_balancer::LoadBalancer;
use super::mac::MacAddress;
use super::name::Hostname;
use super::owner::Owner;
use super::port_forward::{PortForward, Transport};
use super::qos::Qos;
use super::route::Route;
use super::snat::Snat;
use super::ssh::Ssh;
use super::wire::Drift;

/// Who has ports of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortOwner<'a> {
    /// A port forward.
    PortForward(&'a Id),
    /// A load balancer.
    LoadBalancer(&'a Id),
}

impl<'a> From<&'a Claim> for PortOwner<'a> {
    fn from(claim: &'a Claim) -> Self {
        match claim {
            Claim::PortForward(id) => Self::PortForward(id),
            Claim::LoadBalancer(id) => Self::LoadBalancer(id),
        }
    }
}

impl Config {
    /// The router's own name.
    #[must_use]
    pub const fn hostname(&self) -> Option<&Hostname> {
        self.parts.hostname.as_ref()
    }

    /// Who commands the router, where that is not whoever uses the native API.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.parts.owner.as_deref()
    }

    /// What becomes of what somebody else changed of ours in the kernel.
    #[must_use]
    pub const fn drift(&self) -> Drift {
        self.parts.drift
    }

    /// SSH for the router's operators, where it is on.
    #[must_use]
    pub const fn ssh(&self) -> Option<&Ssh> {
        self.parts.ssh.as_ref()
    }

    /// The router's addresses where SSH answers, on its port: those of the interfaces with the role management. None where
    /// it is off.
    #[must_use]
    pub fn ssh_addresses(&self) -> BTreeSet<Ipv4Addr> {
        let zones = self.layout.zones().filter(|(_, zone)| self.parts.ssh.is_some() && zone.management);
        zones.flat_map(|(_, zone)| zone.managed_addresses()).map(|own| own.address()).collect()
    }

    /// The interfaces by id.
    #[must_use]
    pub const fn interfaces(&self) -> &Collection<Interface> {
        &self.parts.interfaces
    }

    /// The static routes by id.
    #[must_use]
    pub const fn routes(&self) -> &Collection<Route> {
        &self.parts.routes
    }

    /// The DHCP networks by id.
    #[must_use]
    pub const fn dhcp(&self) -> &Collection<Network> {
        &self.parts.dhcp
    }

    /// DNS, where it is served.
    #[must_use]
    pub const fn dns(&self) -> Option<&Dns> {
        self.parts.dns.as_ref()
    }

    /// The source translations by id.
    #[must_use]
    pub const fn snat(&self) -> &Collection<Snat> {
        &self.parts.snat
    }

    /// The EIPs by id.
    #[must_use]
    pub const fn eips(&self) -> &Collection<Eip> {
        &self.parts.eips
    }

    /// The port forwards by id.
    #[must_use]
    pub const fn port_forwards(&self) -> &Collection<PortForward> {
        &self.parts.port_forwards
    }

    /// How fast public addresses may be reached and may send, by id.
    #[must_use]
    pub const fn qos(&self) -> &Collection<Qos> {
        &self.parts.qos
    }

    /// What may pass.
    #[must_use]
    pub const fn firewall(&self) -> &Firewall {
        &self.parts.firewall
    }

    /// The certificates by id.
    #[must_use]
    pub const fn certificates(&self) -> &Collection<Certificate> {
        &self.parts.certificates
    }

    /// The certificates that `before` does not have and that have expired at `now`, in seconds since 1970: nobody who
    /// posts one means it.
    #[must_use]
    pub fn expired_certificates(&self, before: &Self, now: i64) -> Faults {
        let mut faults = Faults::default();
        for (id, certificate) in changed(&before.parts.certificates, &self.parts.certificates) {
            if certificate.not_after() < now {
                let at = Pointer::root().key("certificates").key(id.as_str()).key("chain_pem");
                let days = (now - certificate.not_after()) / (24 * 60 * 60);
                let since = if days == 0 { "less than a day".to_owned() } else { format!("{days} days") };
                faults.add(at, Rule::Expired, format!("a certificate of the chain expired {since} ago"));
            }
        }
        faults
    }

    /// The load balancers by id.
    #[must_use]
    pub const fn load_balancers(&self) -> &Collection<LoadBalancer> {
        &self.parts.load_balancers
    }

    /// What the interfaces make of the network.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether two generations have one layout in memory: then nothing about it differs.
    #[must_use]
    pub fn shares_layout(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layout, &other.layout)
    }

    /// The subnet that a DHCP network serves.
    #[must_use]
    pub fn dhcp_subnet(&self, network: &Id) -> Option<Ipv4Net> {
        self.subnets.get(network).copied()
    }

    /// The host of a DHCP network that has this MAC.
    #[must_use]
    pub fn dhcp_host_by_mac(&self, network: &Id, mac: MacAddress) -> Option<(&Id, &Host)> {
        self.dhcp_host(network, self.index.host_by_mac(network, mac)?)
    }

    /// The host of a DHCP network that has this address.
    #[must_use]
    pub fn dhcp_host_by_ip(&self, network: &Id, ip: Ipv4Addr) -> Option<(&Id, &Host)> {
        self.dhcp_host(network, self.index.host_by_ip(network, ip)?)
    }

    fn dhcp_host(&self, network: &Id, id: &Id) -> Option<(&Id, &Host)> {
        let hosts = &self.parts.dhcp.get(network)?.hosts;
        hosts.get_key_value(id).map(|(id, host)| (id, host.as_ref()))
    }

    /// The EIP that has this public address.
    #[must_use]
    pub fn eip_by_address(&self, address: Ipv4Addr) -> Option<&Eip> {
        self.parts.eips.get(self.index.eip_of(address)?).map(AsRef::as_ref)
    }

    /// The EIP on an interface that leads to this guest.
    #[must_use]
    pub fn eip_by_target(&self, target: Ipv4Addr, interface: &Id) -> Option<&Eip> {
        self.parts.eips.get(self.index.eip_for(target, interface)?).map(AsRef::as_ref)
    }

    /// The id of the EIP that has this public address.
    #[must_use]
    pub fn eip_id(&self, address: Ipv4Addr) -> Option<&Id> {
        self.index.eip_of(address)
    }

    /// The id of the EIP on an interface that leads to this guest.
    #[must_use]
    pub fn eip_id_by_target(&self, target: Ipv4Addr, interface: &Id) -> Option<&Id> {
        self.index.eip_for(target, interface)
    }

    /// Who has this port of this address.
    #[must_use]
    pub fn port_owner(&self, address: Ipv4Addr, transport: Transport, port: u16) -> Option<PortOwner<'_>> {
        self.index.claim_at(address, transport, port).map(PortOwner::from)
    }

    /// Who has ports of this address: one of them.
    #[must_use]
    pub fn port_owner_on(&self, address: Ipv4Addr) -> Option<PortOwner<'_>> {
        self.index.claim_on(address).map(PortOwner::from)
    }

    /// Whether DNS answers on an interface.
    #[must_use]
    pub fn serves_dns_on(&self, interface: &Id) -> bool {
        let named =
            |dns: &Dns| dns.settings.interfaces.as_ref().is_none_or(|named| named.contains(interface));
        self.dns().is_some_and(named) && self.layout.zone(interface).is_some_and(Zone::has_guests)
    }

    /// Whether DNS answers on this address: it does on the router's own among guests.
    #[must_use]
    pub fn dns_answers_on(&self, address: Ipv4Addr) -> bool {
        let owner = self.layout.owner(address).filter(|(id, _)| self.serves_dns_on(id));
        owner.is_some_and(|(_, zone)| zone.guest_addresses().any(|own| own.address() == address))
    }

    /// Whether a port of this address is forwarded or balanced.
    #[must_use]
    pub fn serves_ports_on(&self, address: Ipv4Addr) -> bool {
        self.index.claim_on(address).is_some()
    }
}
