//! Routes and policy rules: those that carry our number, and no others.
//!
//! Ten thousand public addresses are ten thousand local routes, so routes go many to a buffer: the kernel works off all
//! of it before it returns, and tells of those that it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use imbl::OrdMap;
use ipnet::Ipv4Net;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::KernelError;
use super::netlink::Netlink;
use crate::plan::facts::route::{Selector, TABLE_LOCAL};
use crate::plan::facts::{Link, PolicyRule, ROUTE_PROTOCOL, RULE_PRIORITIES, Route, RouteKey};

/// How many routes go to the kernel at once.
const BATCH: usize = 500;

/// The routes that carry our number, of every table.
pub(super) fn observe(
    netlink: &mut Netlink,
    links: &BTreeMap<u32, Link>,
) -> Result<OrdMap<RouteKey, Route>, KernelError> {
    let mut request = RouteMessageBuilder::<Ipv4Addr>::new().protocol(protocol()).build();
    // All tables, and every type: with strict checking the kernel sends what carries our number and nothing else.
    request.header.table = 0;
    request.header.kind = RouteType::Unspec;
    let messages = netlink.dump(&RouteNetlinkMessage::GetRoute(request))?;
    Ok(messages.iter().filter_map(|message| of_message(message, links)).collect())
}

/// Whether a route can be read alone: the kernel finds one by what it leads to, as it does for a packet, and nothing
/// comes before an address of the router's own.
pub(super) fn is_read_alone(key: &RouteKey) -> bool {
    key.table == TABLE_LOCAL && key.destination.prefix_len() == 32
}

/// The route of this key, if it is there.
pub(super) fn read(
    netlink: &mut Netlink,
    key: &RouteKey,
    links: &BTreeMap<u32, Link>,
) -> Result<Option<Route>, KernelError> {
    let mut request =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(key.destination.addr(), 32).build();
    // The kernel is asked which route it takes, and answers with the whole route.
    request.header.flags = RouteFlags::FibMatch | RouteFlags::LookupTable;
    request.header.table = 0;
    request.header.protocol = RouteProtocol::Unspec;
    request.header.kind = RouteType::Unspec;
    let answer = netlink.get(RouteNetlinkMessage::GetRoute(request))?;
    let found = answer.as_ref().and_then(|message| of_message(message, links));
    // Without policy rules the local table is a part of the main one, and the kernel names that.
    let ours = |(found, route): &(RouteKey, Route)| {
        found.destination == key.destination && matches!(route, Route::Local(_))
    };
    Ok(found.filter(ours).map(|(_, route)| route))
}

fn of_message(message: &RouteNetlinkMessage, links: &BTreeMap<u32, Link>) -> Option<(RouteKey, Route)> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    if message.header.protocol != protocol() {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    let (mut device, mut via, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(index) => device = links.get(index).map(|link| link.device.clone()),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    let device = device?;
    let route = match (message.header.kind, via) {
        (RouteType::Local, _) => Route::Local(device),
        (_, Some(via)) => Route::Via(via, device),
        (_, None) => Route::OnLink(device, source),
    };
    Some((RouteKey { table, destination, metric }, route))
}

/// Adds or replaces routes.
pub(super) fn add(netlink: &mut Netlink, routes: &[(RouteKey, Route)]) -> Result<(), KernelError> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    send(netlink, routes, flags, "add", RouteNetlinkMessage::NewRoute, |_| false)
}

/// Removes routes; those that went by themselves, with their device or address, are no fault.
pub(super) fn remove(netlink: &mut Netlink, routes: &[(RouteKey, Route)]) -> Result<(), KernelError> {
    let gone = |code| code == libc::ESRCH || code == libc::ENODEV || code == libc::EADDRNOTAVAIL;
    send(netlink, routes, 0, "remove", RouteNetlinkMessage::DelRoute, gone)
}

fn send(
    netlink: &mut Netlink,
    routes: &[(RouteKey, Route)],
    flags: u16,
    action: &str,
    wrap: fn(RouteMessage) -> RouteNetlinkMessage,
    is_fine: impl Fn(i32) -> bool,
) -> Result<(), KernelError> {
    for chunk in routes.chunks(BATCH) {
        let mut buffer = Vec::new();
        let mut sequences = BTreeMap::new();
        for (key, route) in chunk {
            sequences.insert(netlink.pack(&mut buffer, wrap(message(key, route)), flags), (key, route));
        }
        let refused = netlink.send(&buffer)?.into_iter().find(|refusal| !is_fine(refusal.code));
        if let Some(refusal) = refused {
            let route = sequences
                .get(&refusal.sequence)
                .map_or_else(String::new, |(key, route)| format!("{key} {route}"));
            return Err(KernelError::Refused {
                action: format!("{action} route {route}"),
                reason: refusal.reason,
            });
        }
    }
    Ok(())
}

fn message(key: &RouteKey, route: &Route) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .table_id(key.table)
        .protocol(protocol())
        .destination_prefix(key.destination.addr(), key.destination.prefix_len());
    let builder = match route {
        Route::Local(device) => {
            builder.kind(RouteType::Local).scope(RouteScope::Host).output_interface(device.index)
        }
        Route::Via(via, device) => builder.gateway(*via).output_interface(device.index),
        Route::OnLink(device, source) => {
            let builder = builder.scope(RouteScope::Link).output_interface(device.index);
            match source {
                Some(source) => builder.pref_source(*source),
                None => builder,
            }
        }
    };
    if key.metric > 0 { builder.priority(key.metric).build() } else { builder.build() }
}

/// The policy rules that carry our number, or that stand among ours.
pub(super) fn observe_rules(netlink: &mut Netlink) -> Result<BTreeSet<PolicyRule>, KernelError> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet;
    let messages = netlink.dump(&RouteNetlinkMessage::GetRule(request))?;
    Ok(messages.iter().filter_map(rule_of).collect())
}

fn rule_of(message: &RouteNetlinkMessage) -> Option<PolicyRule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let mut table = u32::from(message.header.table);
    let (mut priority, mut value, mut mask, mut from, mut suppress) = (0, None, u32::MAX, None, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(number) => value = Some(*number),
            RuleAttribute::FwMask(number) => mask = *number,
            RuleAttribute::Source(IpAddr::V4(address)) => {
                from = Ipv4Net::new(*address, message.header.src_len).ok()
            }
            RuleAttribute::SuppressPrefixLen(0) => suppress = true,
            _ => {}
        }
    }
    let selector = match (value, from, suppress) {
        (Some(value), ..) => Selector::Mark { value, mask },
        (None, Some(from), _) => Selector::From(from),
        (None, None, _) => Selector::AllButDefault,
    };
    RULE_PRIORITIES.contains(&priority).then_some(PolicyRule { priority, selector, table })
}

/// Adds a policy rule.
pub(super) fn add_rule(netlink: &mut Netlink, rule: &PolicyRule) -> Result<(), KernelError> {
    let message = RouteNetlinkMessage::NewRule(rule_message(rule));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    netlink.request(message, flags, || format!("add rule {rule}"))
}

/// Removes a policy rule.
pub(super) fn remove_rule(netlink: &mut Netlink, rule: &PolicyRule) -> Result<(), KernelError> {
    netlink.request_gone(RouteNetlinkMessage::DelRule(rule_message(rule)), || format!("remove rule {rule}"))
}

fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(protocol()),
    ];
    match rule.selector {
        Selector::Mark { value, mask } => {
            message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
        }
        Selector::From(net) => {
            message.header.src_len = net.prefix_len();
            message.attributes.push(RuleAttribute::Source(IpAddr::V4(net.addr())));
        }
        Selector::AllButDefault => message.attributes.push(RuleAttribute::SuppressPrefixLen(0)),
    }
    message
}

fn protocol() -> RouteProtocol {
    RouteProtocol::from(ROUTE_PROTOCOL)
}
