//! Where the kernel itself says that a packet goes: all of its routes and policy rules decide, whoever put them there, and
//! whether the source can come in by that device. Called by the kernel room's front, for the trace.

use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::KernelError;
use super::netlink::{Netlink, decode};
use crate::plan::facts::{WayAnswer, WayQuestion};

/// Asks for the way of a packet (`net/ipv4/route.c`: inet_rtm_getroute).
pub(super) fn ask(netlink: &mut Netlink, question: &WayQuestion) -> Result<WayAnswer, KernelError> {
    let WayQuestion { input, source, destination, mark } = *question;
    let mut request = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination, 32)
        .source_prefix(source, 32)
        .build();
    request.header.table = 0;
    request.header.protocol = RouteProtocol::Unspec;
    request.header.scope = RouteScope::Universe;
    request.header.kind = RouteType::Unspec;
    request.attributes.push(RouteAttribute::Iif(input));
    if mark != 0 {
        request.attributes.push(RouteAttribute::Mark(mark));
    }
    let answer = netlink.ask(RouteNetlinkMessage::GetRoute(request), decode)?;
    Ok(match answer {
        Ok(Some(RouteNetlinkMessage::NewRoute(message))) => read(&message),
        Ok(_) => WayAnswer::Nowhere("the kernel names no route".to_owned()),
        Err(refusal) => WayAnswer::Nowhere(refusal.reason),
    })
}

fn read(message: &RouteMessage) -> WayAnswer {
    let (mut device, mut via) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            _ => {}
        }
    }
    match (message.header.kind, device) {
        (RouteType::Local | RouteType::Broadcast, _) => WayAnswer::Local,
        (RouteType::Unicast, Some(device)) => WayAnswer::Out { device, via },
        (kind, _) => WayAnswer::Nowhere(format!("the kernel's route is of the kind {kind:?}")),
    }
}
