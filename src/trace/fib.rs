//! Which route a packet takes: policy rules in their order, the longest prefix of the table that one names.
//!
//! Besides the routes that are ours this knows those that the kernel makes of addresses by itself: an address is the
//! router's own, its subnet is on the link, and the last address of the subnet means everybody.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use imbl::OrdMap;
use ipnet::Ipv4Net;

use crate::plan::facts::route::{Selector, TABLE_MAIN};
use crate::plan::facts::{Device, PolicyRule, Route, RouteKey};

/// Addresses, routes and policy rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) addresses: &'a BTreeSet<(Device, Ipv4Net)>,
    pub(super) routes: &'a OrdMap<RouteKey, Route>,
    pub(super) rules: &'a BTreeSet<PolicyRule>,
}

/// What is asked of the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) mark: u32,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// An address of the router's own, on this device.
    Own(Device),
    /// Everybody on a link.
    Everybody,
    /// A way out.
    Out(Out),
}

/// A way out of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) table: u32,
    pub(super) destination: Ipv4Net,
    pub(super) metric: u32,
    /// The neighbour; the destination itself where absent.
    pub(super) via: Option<Ipv4Addr>,
    pub(super) device: Device,
    /// Whether the kernel made the route of an address by itself.
    pub(super) connected: bool,
}

impl Tables<'_> {
    /// The route of a packet; nothing where none leads there.
    pub(super) fn find(&self, question: Question) -> Option<Found> {
        if let Some(found) = self.local(question.destination) {
            return Some(found);
        }
        for rule in self.rules {
            let fits = match rule.selector {
                Selector::Mark { value, mask } => question.mark & mask == value,
                Selector::From(net) => net.contains(&question.source),
                Selector::AllButDefault => true,
            };
            let found = if fits { self.longest(rule.table, question.destination) } else { None };
            let suppressed =
                |out: &Out| rule.selector == Selector::AllButDefault && out.destination.prefix_len() == 0;
            if let Some(out) = found.filter(|out| !suppressed(out)) {
                return Some(Found::Out(out));
            }
        }
        self.longest(TABLE_MAIN, question.destination).map(Found::Out)
    }

    /// The table of what is the router's own, which is asked before all rules.
    fn local(&self, destination: Ipv4Addr) -> Option<Found> {
        if let Some(Route::Local(device)) = self.routes.get(&RouteKey::own(destination)) {
            return Some(Found::Own(device.clone()));
        }
        let own = self.addresses.iter().find(|(_, net)| net.addr() == destination);
        if let Some((device, _)) = own {
            return Some(Found::Own(device.clone()));
        }
        let last = |net: &Ipv4Net| net.prefix_len() < 31 && net.broadcast() == destination;
        self.addresses.iter().any(|(_, net)| last(net)).then_some(Found::Everybody)
    }

    /// The longest prefix of a table that has a destination; among equals, the lowest metric.
    fn longest(&self, table: u32, destination: Ipv4Addr) -> Option<Out> {
        (0..=32_u8).rev().find_map(|length| {
            let net = Ipv4Net::new(destination, length).ok()?.trunc();
            let connected = || {
                let on_link = |(_, own): &&(Device, Ipv4Net)| own.prefix_len() < 32 && own.trunc() == net;
                self.addresses.iter().find(on_link).map(|(device, _)| Out {
                    table,
                    destination: net,
                    metric: 0,
                    via: None,
                    device: device.clone(),
                    connected: true,
                })
            };
            if table == TABLE_MAIN
                && let Some(out) = connected()
            {
                return Some(out);
            }
            let lowest = RouteKey { table, destination: net, metric: 0 };
            let highest = RouteKey { metric: u32::MAX, ..lowest };
            self.routes.range(lowest..=highest).find_map(|(key, route)| {
                let (via, device) = match route {
                    Route::Via(via, device) => (Some(*via), device.clone()),
                    Route::OnLink(device, _) => (None, device.clone()),
                    Route::Local(_) => return None,
                };
                Some(Out { table, destination: net, metric: key.metric, via, device, connected: false })
            })
        })
    }

    /// The router's address that masquerading takes: the device's first that is near the next hop, else its first
    /// (`net/ipv4/devinet.c`: inet_select_addr). Addresses of one subnet are told apart by their order alone.
    pub(super) fn own_address(&self, device: &Device, next_hop: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = || self.addresses.iter().filter(|(on, _)| on == device).map(|(_, net)| net);
        let near = own().find(|net| net.contains(&next_hop));
        near.or_else(|| own().next()).map(Ipv4Net::addr)
    }
}
