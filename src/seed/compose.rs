//! The first configuration, of what network data and user data say. Pure.
//!
//! User data win. Where they name `interfaces`, those are the router's, and network data fill in what one of them leaves
//! unsaid: it is the device with its MAC, its kernel name, or, where it has neither, its id. Where they do not, every device
//! of the network data is an interface, whose roles follow from its place among the others.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::network::{By, Network, Nic, Route};
use super::notes::Notes;
use crate::config::{Id, MacAddress};

/// The priority of the first of several gateways that name no metric.
const FIRST_PRIORITY: u32 = 100;

/// The document; nothing where neither says anything.
pub(super) fn compose(
    network: &Network,
    hostname: Option<&str>,
    user: Option<Map<String, Value>>,
    notes: &mut Notes,
) -> Option<Value> {
    if network.nics.is_empty() && user.is_none() {
        return None;
    }
    let mut document = user.unwrap_or_default();
    document.entry("version").or_insert_with(|| json!(1));
    let mut routes = Vec::new();
    match document.get_mut("interfaces") {
        Some(Value::Object(named)) => routes = fill_in(named, network, notes),
        Some(_) => {}
        None if network.nics.is_empty() => {}
        None => {
            let mut interfaces = Map::new();
            for nic in &network.nics {
                let id = id(&nic.id, &interfaces);
                let mut interface = selector(nic);
                interface.extend(network_of(nic, network));
                interface.insert("roles".to_owned(), roles(nic, network));
                interfaces.insert(id.clone(), Value::Object(interface));
                routes.extend(nic.routes.iter().map(|route| (id.clone(), Some(id.clone()), route.clone())));
            }
            document.insert("interfaces".to_owned(), Value::Object(interfaces));
        }
    }
    routes.extend(network.routes.iter().map(|route| ("route".to_owned(), None, route.clone())));
    add_routes(routes, &mut document, notes);
    if !network.name_servers.is_empty() {
        let servers = network.name_servers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let dns = document.entry("dns").or_insert_with(|| json!({}));
        if let Some(dns) = dns.as_object_mut() {
            dns.entry("forwarders").or_insert_with(|| json!(servers));
        }
    }
    if let Some(name) = hostname {
        // Clouds write the whole domain name.
        let label = name.split('.').next().unwrap_or(name);
        document.entry("hostname").or_insert_with(|| label.into());
    }
    // What user data say is not there at all: nothing fills it in, and no configuration writes it like this.
    document.retain(|_, value| !value.is_null());
    Some(Value::Object(document))
}

/// What leads where, by which interface, under which id.
type Routes = Vec<(String, Option<String>, Route)>;

/// Fills in what interfaces of the user leave unsaid, and says which routes of the network data are theirs.
fn fill_in(named: &mut Map<String, Value>, network: &Network, notes: &mut Notes) -> Routes {
    let mut routes = Vec::new();
    let mut found = BTreeSet::new();
    for (id, interface) in named {
        let Some(interface) = interface.as_object_mut() else { continue };
        let Some((index, nic)) = network
            .nics
            .iter()
            .enumerate()
            .find(|(_, nic)| is_meant(id, interface, nic) && is_same_vlan(interface, nic))
        else {
            continue;
        };
        found.insert(index);
        if !interface.contains_key("mac") && !interface.contains_key("device") {
            interface.extend(selector(nic));
        }
        if !interface.contains_key("addresses") && !interface.contains_key("gateway") {
            interface.extend(network_of(nic, network).into_iter().filter(|(key, _)| key != "mtu"));
            let own = nic.routes.iter().map(|route| (id.clone(), Some(id.clone()), route.clone()));
            routes.extend(own);
        }
        if let Some(mtu) = nic.mtu {
            interface.entry("mtu").or_insert_with(|| mtu.into());
        }
        interface.entry("roles").or_insert_with(|| roles(nic, network));
    }
    let others = network.nics.iter().enumerate().filter(|(index, _)| !found.contains(index));
    for (_, nic) in others {
        notes.note(format!("`{}` is none of the interfaces of the user data and is left out", nic.id));
    }
    routes
}

fn is_meant(id: &str, interface: &Map<String, Value>, nic: &Nic) -> bool {
    let text = |key: &str| interface.get(key).and_then(Value::as_str);
    match (text("mac"), text("device"), &nic.by) {
        (Some(mac), _, By::Mac(known)) => mac.parse::<MacAddress>().is_ok_and(|mac| mac == *known),
        (None, Some(device), By::Device(known)) => device == known,
        // A device that network data know by MAC may have the name that they give it.
        (None, Some(device), By::Mac(_)) => device == nic.id,
        (None, None, _) => id == nic.id,
        _ => false,
    }
}

/// Whether an interface of the user is the tagged network that a device of the network data is, or neither is one.
fn is_same_vlan(interface: &Map<String, Value>, nic: &Nic) -> bool {
    let has_selector = interface.contains_key("mac") || interface.contains_key("device");
    !has_selector || interface.get("vlan").and_then(super::network::number) == nic.vlan.map(u32::from)
}

fn selector(nic: &Nic) -> Map<String, Value> {
    let (key, value) = match &nic.by {
        By::Mac(mac) => ("mac", mac.to_string()),
        By::Device(device) | By::Tagged(device, _) => ("device", device.clone()),
    };
    let vlan = nic.vlan.map(|number| ("vlan".to_owned(), number.into()));
    Map::from_iter([(key.to_owned(), value.into())].into_iter().chain(vlan))
}

/// Addresses, gateway and MTU.
fn network_of(nic: &Nic, network: &Network) -> Map<String, Value> {
    let mut members = Map::new();
    if !nic.addresses.is_empty() {
        let addresses = nic.addresses.iter().map(Ipv4Net::to_string).collect::<Vec<_>>();
        members.insert("addresses".to_owned(), json!(addresses));
    }
    if let Some((gateway, _)) = nic.gateway {
        members.insert("gateway".to_owned(), gateway.to_string().into());
        if let Some(priority) = priority(nic, network) {
            members.insert("gateway_priority".to_owned(), priority.into());
        }
    }
    if let Some(mtu) = nic.mtu {
        members.insert("mtu".to_owned(), mtu.into());
    }
    members
}

/// Which of several gateways is the main one: that with the lowest metric, or the first that is named.
fn priority(nic: &Nic, network: &Network) -> Option<u32> {
    let mut gateways = network.nics.iter().filter_map(|other| Some((&other.id, other.gateway?.1)));
    if gateways.clone().count() < 2 {
        return None;
    }
    let place = gateways.position(|(id, _)| *id == nic.id)?;
    let metric = nic.gateway.and_then(|(_, metric)| metric);
    Some(metric.unwrap_or(FIRST_PRIORITY.saturating_add(u32::try_from(place).unwrap_or(u32::MAX))))
}

/// What a device is for, where nobody says so. The first one with an address is where the router is managed; one with a
/// gateway leads out; the others have guests. A lone way out at the first one makes it both.
fn roles(nic: &Nic, network: &Network) -> Value {
    let first = network.nics.iter().find(|nic| !nic.addresses.is_empty()).or(network.nics.first());
    let is_first = first.is_some_and(|first| first.id == nic.id);
    let others_lead_out = network.nics.iter().any(|other| other.id != nic.id && other.gateway.is_some());
    match (is_first, nic.gateway.is_some()) {
        (true, true) if !others_lead_out => json!(["management", "public"]),
        (true, _) => json!(["management"]),
        (false, true) => json!(["public"]),
        (false, false) => json!(["guest"]),
    }
}

/// Adds routes under ids that nobody has.
fn add_routes(routes: Routes, document: &mut Map<String, Value>, notes: &mut Notes) {
    let subnets = subnets(document);
    let (routes, astray): (Routes, Routes) = routes.into_iter().partition(|(.., route)| {
        route.via.is_none_or(|via| subnets.iter().any(|subnet| subnet.contains(&via)))
    });
    for (.., route) in astray {
        let via = route.via.map(|via| via.to_string()).unwrap_or_default();
        notes
            .note(format!("the route to {} is left out: {via} is on no interface's link", route.destination));
    }
    if routes.is_empty() {
        return;
    }
    let Some(known) = document.entry("routes").or_insert_with(|| json!({})).as_object_mut() else { return };
    for (number, (name, interface, route)) in routes.into_iter().enumerate() {
        let mut entry = Map::new();
        entry.insert("destination".to_owned(), route.destination.to_string().into());
        entry.extend(route.via.map(|via| ("via".to_owned(), via.to_string().into())));
        // A next hop says which interface it is reached by, and what a user named anew is found all the same.
        let interface = interface.filter(|_| route.via.is_none());
        if route.via.is_none() && interface.is_none() {
            notes.note(format!(
                "the route to {} has neither gateway nor device; it is left out",
                route.destination
            ));
            continue;
        }
        entry.extend(interface.map(|interface| ("interface".to_owned(), interface.into())));
        entry.extend(route.metric.map(|metric| ("metric".to_owned(), metric.into())));
        let id = id(&format!("{name}-{number}"), known);
        known.insert(id, Value::Object(entry));
    }
}

/// The subnets that the interfaces of a document stand in.
fn subnets(document: &Map<String, Value>) -> Vec<Ipv4Net> {
    let interfaces = document.get("interfaces").and_then(Value::as_object);
    let interfaces = interfaces.into_iter().flat_map(Map::values);
    let addresses = interfaces.filter_map(|interface| interface.get("addresses")?.as_array()).flatten();
    addresses.filter_map(|address| address.as_str()?.parse().ok()).collect()
}

/// A name of elsewhere as an id that nobody has.
fn id(name: &str, taken: &Map<String, Value>) -> String {
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let mut id: String = name.chars().map(|letter| if known(letter) { letter } else { '-' }).collect();
    // Room for a number behind it.
    id.truncate(Id::MAX_LENGTH - 8);
    if id.is_empty() {
        id.push('-');
    }
    let mut number = 1;
    let mut unique = id.clone();
    while taken.contains_key(&unique) {
        number += 1;
        unique = format!("{id}-{number}");
    }
    unique
}
