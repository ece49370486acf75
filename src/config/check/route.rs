//! What static routes say of interfaces and of each other.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::Context;
use crate::config::edit::Collection;
use crate::config::fault::{Faults, Pointer, Rule};
use crate::config::id::Id;
use crate::config::route::{Hop, Route};

/// Reports routes that lead nowhere, that lead twice, and that contradict what is on link.
pub(in crate::config) fn check_routes(routes: &Collection<Route>, context: Context<'_>, faults: &mut Faults) {
    let mut taken: BTreeMap<(Ipv4Net, u32), &Id> = BTreeMap::new();
    for (id, route) in routes {
        let at = Pointer::root().key("routes").key(id.as_str());
        check_hop(&route.hop, &at, context, faults);
        let destination = route.destination.net();
        let first = destination.network().octets()[0];
        if first == 127 || first >= 224 {
            let detail = format!("{destination} is not a network of stations");
            faults.add(at.key("destination"), Rule::InvalidValue, detail);
        }
        let connected =
            context.layout.zones().flat_map(|(id, zone)| zone.addresses.iter().map(move |own| (id, own)));
        for (interface, _) in connected.filter(|(_, own)| own.subnet() == destination) {
            let detail = format!("{destination} is on link at `{interface}`");
            faults.add(at.key("destination"), Rule::Conflict, detail);
        }
        if destination.prefix_len() == 0 && route.metric.unwrap_or(0) == 0 {
            let gateway = context.interfaces.iter().find(|(_, interface)| interface.gateway.is_some());
            if let Some((interface, _)) = gateway {
                let detail =
                    format!("the gateway of `{interface}` is the default route; give this one a `metric`");
                faults.add(at.key("destination"), Rule::Conflict, detail);
            }
        }
        if let Some(other) = taken.insert((destination, route.metric.unwrap_or(0)), id) {
            let detail = format!("`{other}` leads to {destination} with the same metric");
            faults.add(at.key("destination"), Rule::Conflict, detail);
        }
    }
}

fn check_hop(hop: &Hop, at: &Pointer, context: Context<'_>, faults: &mut Faults) {
    if let Some(id) = hop.interface().filter(|id| !context.interfaces.contains_key(*id)) {
        context.dangling(id, &at.key("interface"), faults);
        return;
    }
    let Some(via) = hop.via() else { return };
    let place = at.key("via");
    let on_link = context.layout.on_link(via.get());
    match (on_link, hop.interface()) {
        _ if context.layout.owner(via.get()).is_some() => {
            faults.add(place, Rule::Contradiction, format!("{via} is the router itself"));
        }
        (None, _) if context.unread.any => {}
        (None, _) => faults.add(place, Rule::OutsideSubnet, format!("{via} is in no interface's subnet")),
        (Some((near, _)), Some(named)) if near != named => {
            let detail = format!("{via} is on link at `{near}`, not at `{named}`");
            faults.add(place, Rule::OutsideSubnet, detail);
        }
        (Some(_), _) => {}
    }
}
