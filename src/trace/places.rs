//! Which objects of the configuration devices, routes and addresses belong to.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::fib::Out;
use crate::config::{Config, Id, Pointer};
use crate::plan::facts::route::TABLE_MAIN;
use crate::plan::facts::{Device, Link};
use crate::plan::origin::Origin;

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cause {
    pub(super) origin: Option<Origin>,
    /// Where that is in the document, to the member where it is one.
    pub(super) pointer: Option<Pointer>,
}

impl Cause {
    /// An object as a whole.
    pub(super) fn of(origin: Origin) -> Self {
        Self { pointer: Some(origin.pointer()), origin: Some(origin) }
    }

    /// A member of an object.
    pub(super) fn member(origin: Origin, member: &str) -> Self {
        Self { pointer: Some(origin.pointer().key(member)), origin: Some(origin) }
    }

    /// The object, as a sentence names it.
    pub(super) fn name(&self) -> String {
        let Some(origin) = &self.origin else { return "nothing that is configured".to_owned() };
        match origin.id() {
            Some(id) => format!("{} `{id}`", origin.noun()),
            None => origin.noun().to_owned(),
        }
    }
}

/// The configuration and its devices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) config: &'a Config,
    pub(super) links: &'a BTreeMap<Id, Link>,
}

impl<'a> Places<'a> {
    /// The interface of a device.
    pub(super) fn interface(&self, device: &Device) -> Option<&'a Id> {
        self.interface_of(device.index)
    }

    /// The interface of a device, by its index.
    pub(super) fn interface_of(&self, index: u32) -> Option<&'a Id> {
        self.links.iter().find(|(_, link)| link.device.index == index).map(|(id, _)| id)
    }

    /// A device as a sentence names it.
    pub(super) fn name(&self, device: &Device) -> String {
        self.interface(device).map_or_else(|| device.to_string(), |id| format!("`{id}`"))
    }

    /// What a route comes from: a static route, a gateway, or an address of an interface.
    pub(super) fn of_route(&self, out: &Out) -> Cause {
        if out.table == TABLE_MAIN && !out.connected {
            let fits = |route: &crate::config::route::Route| {
                route.destination.net() == out.destination
                    && route.metric.unwrap_or(0) == out.metric
                    && route.hop.via().map(|via| via.get()) == out.via
            };
            if let Some((id, _)) = self.config.routes().iter().find(|(_, route)| fits(route)) {
                return Cause::of(Origin::Route(id.clone()));
            }
        }
        let Some(id) = self.interface(&out.device) else { return Cause::default() };
        match out.via {
            Some(_) => Cause::member(Origin::Interface(id.clone()), "gateway"),
            None => self.of_subnet(id, |own| own.trunc() == out.destination),
        }
    }

    /// What makes an address the router's own.
    pub(super) fn of_own(&self, address: Ipv4Addr) -> Cause {
        if let Some((id, _)) = self.config.layout().owner(address) {
            return self.of_subnet(id, |own| own.addr() == address);
        }
        if let Some(id) = self.config.eip_id(address) {
            return Cause::of(Origin::Eip(id.clone()));
        }
        if let Some(owner) = self.config.port_owner_on(address) {
            return Cause::of(owner.into());
        }
        let mut snat = self.config.snat().iter();
        let claims = snat.find(|(_, snat)| snat.address.is_some_and(|own| own.get() == address));
        claims.map(|(id, _)| Cause::of(Origin::Snat(id.clone()))).unwrap_or_default()
    }

    fn of_subnet(&self, id: &Id, fits: impl Fn(ipnet::Ipv4Net) -> bool) -> Cause {
        let origin = Origin::Interface(id.clone());
        let addresses = self.config.interfaces().get(id).map_or(&[][..], |interface| &interface.addresses);
        let index = addresses.iter().position(|own| fits(own.net()));
        let pointer = index.map(|index| origin.pointer().key("addresses").index(index));
        Cause { pointer: Some(pointer.unwrap_or_else(|| origin.pointer())), origin: Some(origin) }
    }
}
