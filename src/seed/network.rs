//! What network data come to, whoever wrote them: the devices of the machine with addresses, gateways and routes, the name
//! servers, and what of it a router cannot do. The readers of each format fill it in; `compose.rs` makes a configuration
//! of it. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde_json::Value;

use super::notes::Notes;
use crate::config::MacAddress;

/// How many devices are taken.
const MAX_NICS: usize = 256;
/// How many addresses, routes and name servers are taken of each.
const MAX_OF_NIC: usize = 1000;

/// What network data say.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The devices, in the order in which they are named.
    pub(super) nics: Vec<Nic>,
    /// Who is asked for names.
    pub(super) name_servers: Vec<Ipv4Addr>,
    /// Routes that name no device.
    pub(super) routes: Vec<Route>,
}

/// One device.
#[derive(Debug)]
pub(super) struct Nic {
    /// What it is called there.
    pub(super) id: String,
    /// How it is found; of a tagged network, how the device is that carries it.
    pub(super) by: By,
    /// The number of the tagged network that it is.
    pub(super) vlan: Option<u16>,
    /// Its addresses with the lengths of their prefixes.
    pub(super) addresses: Vec<Ipv4Net>,
    /// The default route by it, and its metric.
    pub(super) gateway: Option<(Ipv4Addr, Option<u32>)>,
    pub(super) routes: Vec<Route>,
    pub(super) mtu: Option<u32>,
}

/// How a device is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum By {
    Mac(MacAddress),
    Device(String),
    /// A tagged network on what has this id there; [`Network::finish`] finds out how that is found.
    Tagged(String, u16),
}

/// A static route.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) destination: Ipv4Net,
    pub(super) via: Option<Ipv4Addr>,
    pub(super) metric: Option<u32>,
}

impl Network {
    /// A device to be filled in; nothing where there are too many.
    pub(super) fn nic(&mut self, id: &str, by: By, notes: &mut Notes) -> Option<&mut Nic> {
        if self.nics.len() >= MAX_NICS {
            notes.fault(format!("there are more than {MAX_NICS} devices"));
            return None;
        }
        let twin = self.nics.iter().any(|nic| nic.id == id || nic.by == by);
        if twin {
            notes.fault(format!("device `{id}` is described twice"));
            return None;
        }
        let (id, addresses, routes) = (id.to_owned(), Vec::new(), Vec::new());
        self.nics.push(Nic { id, by, vlan: None, addresses, gateway: None, routes, mtu: None });
        self.nics.last_mut()
    }

    /// Finds the devices that carry tagged networks; one that does nothing else is no interface of its own.
    pub(super) fn finish(&mut self, notes: &mut Notes) {
        let known: Vec<_> = self.nics.iter().map(|nic| (nic.id.clone(), nic.by.clone())).collect();
        let mut carriers = Vec::new();
        self.nics.retain_mut(|nic| {
            let By::Tagged(link, number) = &nic.by else { return true };
            match known.iter().find(|(id, by)| id == link && !matches!(by, By::Tagged(..))) {
                Some((_, by)) => {
                    carriers.push(link.clone());
                    (nic.vlan, nic.by) = (Some(*number), by.clone());
                    true
                }
                None => {
                    notes.note(format!("`{}` is on `{link}`, which is no device; it is left out", nic.id));
                    false
                }
            }
        });
        self.nics
            .retain(|nic| !nic.addresses.is_empty() || nic.vlan.is_some() || !carriers.contains(&nic.id));
    }

    /// A tagged network; nothing where its number or what carries it is not said.
    pub(super) fn tagged(
        &mut self,
        id: &str,
        link: Option<&Value>,
        number: Option<&Value>,
        notes: &mut Notes,
    ) -> Option<&mut Nic> {
        let tag = number.and_then(self::number).and_then(|number| u16::try_from(number).ok());
        match (link.and_then(Value::as_str), tag) {
            (Some(link), Some(tag)) => self.nic(id, By::Tagged(link.to_owned(), tag), notes),
            _ => {
                notes.fault(format!("`{id}`: a VLAN has a number, and a device that carries it"));
                None
            }
        }
    }

    /// A name server.
    pub(super) fn name_server(&mut self, said: &Value, notes: &mut Notes) {
        let text = said.as_str().unwrap_or_default();
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(server)) if self.name_servers.len() < MAX_OF_NIC => {
                if !self.name_servers.contains(&server) {
                    self.name_servers.push(server);
                }
            }
            Ok(IpAddr::V4(_)) => notes.fault(format!("there are more than {MAX_OF_NIC} name servers")),
            Ok(IpAddr::V6(_)) => notes.ipv6(&format!("the name server {text}")),
            Err(_) => notes.fault(format!("{said} is no address of a name server")),
        }
    }

    /// Name servers as a list, or as a text with blanks between them.
    pub(super) fn name_servers(&mut self, said: &Value, notes: &mut Notes) {
        match said {
            Value::Null => {}
            Value::String(text) => {
                text.split([' ', ',']).filter(|part| !part.is_empty()).for_each(|part| {
                    self.name_server(&part.into(), notes);
                });
            }
            Value::Array(list) => list.iter().for_each(|server| self.name_server(server, notes)),
            _ => notes.fault(format!("{said} are no name servers")),
        }
    }
}

impl Nic {
    /// An address, `A/N` or beside its netmask. IPv6 is noted and left out.
    pub(super) fn address(&mut self, address: &str, netmask: Option<&Value>, notes: &mut Notes) {
        let id = &self.id;
        if is_ipv6(address) {
            return notes.ipv6(&format!("`{id}`: {address}"));
        }
        let net = match netmask.filter(|_| !address.contains('/')) {
            None => address.parse::<Ipv4Net>().ok(),
            Some(mask) => {
                address.parse().ok().and_then(|address| Ipv4Net::new(address, prefix_length(mask)?).ok())
            }
        };
        match net {
            None => notes.fault(format!(
                "`{id}`: {address} is no IPv4 address with the length of its prefix or a netmask"
            )),
            Some(_) if self.addresses.len() >= MAX_OF_NIC => {
                notes.fault(format!("`{id}`: there are more than {MAX_OF_NIC} addresses"));
            }
            Some(net) if self.addresses.contains(&net) => {}
            Some(net) => self.addresses.push(net),
        }
    }

    /// The way to everywhere else. Of two, the one with the lower metric, or the first.
    pub(super) fn default_route(&mut self, via: &str, metric: Option<u32>, notes: &mut Notes) {
        let id = &self.id;
        match via.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => notes.ipv6(&format!("`{id}`: the gateway {via}")),
            Err(_) => notes.fault(format!("`{id}`: {via} is no address of a gateway")),
            Ok(IpAddr::V4(via)) => match self.gateway {
                Some((known, _)) if known == via => {}
                Some((known, before)) => {
                    let (kept, left) = match metric.unwrap_or(0) < before.unwrap_or(0) {
                        true => ((via, metric), known),
                        false => ((known, before), via),
                    };
                    notes.note(format!("`{id}`: a device has one gateway here; {left} is left out"));
                    self.gateway = Some(kept);
                }
                None => self.gateway = Some((via, metric)),
            },
        }
    }

    /// A route of this device: `destination` is `A/N`, `default`, or an address beside its netmask.
    pub(super) fn route(&mut self, said: &RouteSaid<'_>, notes: &mut Notes) {
        let Some(route) = said.read(&self.id, notes) else { return };
        match (route.destination.prefix_len(), route.via) {
            (0, Some(via)) => self.default_route(&via.to_string(), route.metric, notes),
            (0, None) => notes.fault(format!("`{}`: a default route without a gateway", self.id)),
            _ if self.routes.len() >= MAX_OF_NIC => {
                notes.fault(format!("`{}`: there are more than {MAX_OF_NIC} routes", self.id));
            }
            _ => self.routes.push(route),
        }
    }

    /// The largest packet; null says nothing.
    pub(super) fn largest_packet(&mut self, said: Option<&Value>, notes: &mut Notes) {
        let Some(said) = said.filter(|said| !said.is_null()) else { return };
        match number(said) {
            Some(mtu) => self.mtu = Some(mtu),
            None => notes.fault(format!("`{}`: {said} is no MTU", self.id)),
        }
    }
}

/// A route as it is written.
#[derive(Debug, Default)]
pub(super) struct RouteSaid<'a> {
    pub(super) destination: &'a str,
    pub(super) netmask: Option<&'a Value>,
    pub(super) via: Option<&'a str>,
    pub(super) metric: Option<&'a Value>,
}

impl RouteSaid<'_> {
    /// The route; nothing where it is of IPv6, which is noted, or not understood, which is a fault.
    pub(super) fn read(&self, of: &str, notes: &mut Notes) -> Option<Route> {
        let Self { destination, netmask, via, metric } = self;
        if is_ipv6(destination) || via.is_some_and(is_ipv6) {
            notes.ipv6(&format!("`{of}`: the route to {destination}"));
            return None;
        }
        let net = match netmask {
            _ if *destination == "default" => Some(Ipv4Net::default()),
            Some(mask) if !destination.contains('/') => {
                destination.parse().ok().and_then(|address| Ipv4Net::new(address, prefix_length(mask)?).ok())
            }
            _ => destination.parse().ok().or_else(|| destination.parse().ok().map(Ipv4Addr::into)),
        };
        let hop = via.map(str::parse::<Ipv4Addr>).transpose();
        let metric = metric.filter(|said| !said.is_null()).map(|said| number(said).ok_or(said)).transpose();
        match (net, hop, metric) {
            (Some(net), Ok(via), Ok(metric)) => Some(Route { destination: net.trunc(), via, metric }),
            _ => {
                notes.fault(format!("`{of}`: the route to {destination} is not understood"));
                None
            }
        }
    }
}

/// Whether a text would be an address or a network of IPv6.
pub(super) fn is_ipv6(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A number, also one that stands in quotes.
pub(super) fn number(said: &Value) -> Option<u32> {
    match said {
        Value::String(text) => text.parse().ok(),
        _ => said.as_u64().and_then(|number| u32::try_from(number).ok()),
    }
}

/// Of a netmask, or of the number itself.
fn prefix_length(said: &Value) -> Option<u8> {
    if let Some(length) = number(said) {
        return u8::try_from(length).ok();
    }
    ipnet::ipv4_mask_to_prefix(said.as_str()?.parse().ok()?).ok()
}
