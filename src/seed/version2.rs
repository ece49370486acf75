//! cloud-init's network configuration, version 2, which is Netplan's: mappings of devices by kind. Pure.

use serde_json::{Map, Value};

use super::network::{By, Network, Nic, RouteSaid};
use super::notes::Notes;
use super::yaml::Order;

/// What may stand beside `ethernets` and means nothing to a router.
const SILENT: &[&str] = &["version", "renderer", "ethernets", "vlans"];
/// What of a device is read.
const READ: &[&str] = &["match", "id", "link", "addresses", "gateway4", "routes", "nameservers", "mtu"];
/// What of a device means nothing to a router whose devices are named by its configuration, and which waits for none.
const WITHOUT_MEANING: &[&str] = &[
    "set-name",
    "optional",
    "critical",
    "renderer",
    "wakeonlan",
    "link-local",
    "accept-ra",
    "dhcp4-overrides",
    "dhcp6-overrides",
    "dhcp-identifier",
    "ipv6-privacy",
];

/// The mappings whose order tells which device is the first.
pub(super) const IN_ORDER: &[&str] = &["ethernets", "vlans"];

/// Reads the mapping that holds `ethernets`.
pub(super) fn read(config: &Map<String, Value>, order: &Order, network: &mut Network, notes: &mut Notes) {
    for (kind, devices) in config.iter().filter(|(kind, _)| !SILENT.contains(&kind.as_str())) {
        let names: Vec<_> = devices.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        notes.note(format!("`{kind}` ({}) are not made here; they are left out", names.join(", ")));
    }
    for (id, device) in in_order("ethernets", config, order) {
        ethernet(id, device, network, notes);
    }
    for (id, vlan) in in_order("vlans", config, order) {
        if network.tagged(id, vlan.get("link"), vlan.get("id"), notes).is_some() {
            on_device(vlan, network, notes);
        }
    }
}

/// The members of a mapping as they are written.
fn in_order<'a>(kind: &str, config: &'a Map<String, Value>, order: &'a Order) -> Vec<(&'a str, &'a Value)> {
    let devices = config.get(kind).and_then(Value::as_object);
    let ids = order.get(kind).into_iter().flatten();
    ids.filter_map(|id| Some((id.as_str(), devices?.get(id)?))).collect()
}

fn ethernet(id: &str, device: &Value, network: &mut Network, notes: &mut Notes) {
    let matched =
        |key: &str| device.get("match").and_then(|matched| matched.get(key)).and_then(Value::as_str);
    let by = match (matched("macaddress"), matched("name")) {
        (Some(mac), _) => match mac.parse() {
            Ok(mac) => By::Mac(mac),
            Err(_) => return notes.fault(format!("`{id}`: {mac} is no MAC address")),
        },
        (None, Some(name)) if name.contains(['*', '?', '[']) => {
            return notes
                .fault(format!("`{id}`: devices are found by MAC or by their name, not by `{name}`"));
        }
        (None, Some(name)) => By::Device(name.to_owned()),
        (None, None) if matched("driver").is_some() => {
            return notes.fault(format!("`{id}`: devices are found by MAC or by their name, not by driver"));
        }
        (None, None) => By::Device(id.to_owned()),
    };
    if network.nic(id, by, notes).is_some() {
        on_device(device, network, notes);
    }
}

/// What stands on the device that was named last.
fn on_device(device: &Value, network: &mut Network, notes: &mut Notes) {
    let Some(nic) = network.nics.last_mut() else { return };
    for address in device.get("addresses").and_then(Value::as_array).into_iter().flatten() {
        // An address with options is a mapping of one member.
        let text = address.as_str().or_else(|| address.as_object()?.keys().next().map(String::as_str));
        nic.address(text.unwrap_or_default(), None, notes);
    }
    if let Some(gateway) = device.get("gateway4").and_then(Value::as_str) {
        nic.default_route(gateway, None, notes);
    }
    for route in device.get("routes").and_then(Value::as_array).into_iter().flatten() {
        one_route(route, nic, notes);
    }
    nic.largest_packet(device.get("mtu"), notes);
    say_the_rest(device, nic, notes);
    let servers = device.get("nameservers").and_then(|servers| servers.get("addresses"));
    network.name_servers(servers.unwrap_or(&Value::Null), notes);
}

fn one_route(route: &Value, nic: &mut Nic, notes: &mut Notes) {
    let text = |key: &str| route.get(key).and_then(Value::as_str);
    for key in ["table", "type", "from", "on-link", "scope"] {
        if route.get(key).is_some() {
            notes.note(format!("`{}`: `{key}` of a route is left out", nic.id));
        }
    }
    let (destination, via) = (text("to").unwrap_or_default(), text("via"));
    // `0.0.0.0/0` is an older word for `default`, and `::/0` is seen to be of IPv6.
    let destination = if destination == "0.0.0.0" { "default" } else { destination };
    nic.route(&RouteSaid { destination, netmask: None, via, metric: route.get("metric") }, notes);
}

/// What of a device is not done, said by name.
fn say_the_rest(device: &Value, nic: &Nic, notes: &mut Notes) {
    for (key, said) in device.as_object().into_iter().flatten() {
        let wanted = said != &Value::Bool(false) && !said.is_null();
        match key.as_str() {
            "dhcp4" if is_yes(said) => {
                notes.note(format!("`{}`: addresses are not asked for by DHCP here", nic.id));
            }
            "dhcp6" if is_yes(said) => notes.ipv6(&format!("`{}`: DHCP", nic.id)),
            "gateway6" => notes.ipv6(&format!("`{}`: the gateway", nic.id)),
            "dhcp4" | "dhcp6" => {}
            known if READ.contains(&known) || WITHOUT_MEANING.contains(&known) => {}
            other if wanted => notes.note(format!("`{}`: `{other}` is left out", nic.id)),
            _ => {}
        }
    }
}

/// YAML 1.1, which others read this by, has more words for it.
fn is_yes(said: &Value) -> bool {
    said.as_bool().unwrap_or_else(|| {
        said.as_str().is_some_and(|word| matches!(word, "yes" | "Yes" | "on" | "On" | "y"))
    })
}
