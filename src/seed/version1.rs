//! cloud-init's network configuration, version 1: a list of devices with subnets. Pure.

use serde_json::Value;

use super::network::{By, Network, Nic, RouteSaid};
use super::notes::Notes;

/// Reads the list under `config`.
pub(super) fn read(config: &Value, network: &mut Network, notes: &mut Notes) {
    let Some(entries) = config.as_array() else {
        // cloud-init's word for a network that is not its business.
        if config.as_str() != Some("disabled") {
            notes.fault("`config` is no list");
        }
        return;
    };
    for entry in entries {
        let kind = entry.get("type").and_then(Value::as_str).unwrap_or("physical");
        match kind {
            "physical" => physical(entry, network, notes),
            "vlan" => vlan(entry, network, notes),
            "nameserver" => {
                network.name_servers(entry.get("address").unwrap_or(&Value::Null), notes);
            }
            "route" => {
                let route = route(entry).read("route", notes);
                network.routes.extend(route);
            }
            "loopback" => {}
            other => {
                let name = entry.get("name").and_then(Value::as_str).unwrap_or("without a name");
                notes.note(format!("`{name}` is a {other}, which is not made here; it is left out"));
            }
        }
    }
}

fn physical(entry: &Value, network: &mut Network, notes: &mut Notes) {
    let Some(name) = entry.get("name").and_then(Value::as_str) else {
        return notes.fault("a device has no `name`");
    };
    let by = match entry.get("mac_address").filter(|mac| !mac.is_null()) {
        None => By::Device(name.to_owned()),
        Some(mac) => match mac.as_str().map(str::parse) {
            Some(Ok(mac)) => By::Mac(mac),
            _ => return notes.fault(format!("`{name}`: {mac} is no MAC address")),
        },
    };
    if network.nic(name, by, notes).is_some() {
        subnets(entry, network, notes);
    }
}

fn vlan(entry: &Value, network: &mut Network, notes: &mut Notes) {
    let Some(name) = entry.get("name").and_then(Value::as_str) else {
        return notes.fault("a device has no `name`");
    };
    if network.tagged(name, entry.get("vlan_link"), entry.get("vlan_id"), notes).is_some() {
        subnets(entry, network, notes);
    }
}

/// What stands on the device that was named last.
fn subnets(entry: &Value, network: &mut Network, notes: &mut Notes) {
    let mut name_servers = Vec::new();
    let Some(nic) = network.nics.last_mut() else { return };
    nic.largest_packet(entry.get("mtu"), notes);
    for subnet in entry.get("subnets").and_then(Value::as_array).into_iter().flatten() {
        name_servers.extend(subnet.get("dns_nameservers").cloned());
        one_subnet(subnet, nic, notes);
    }
    for servers in name_servers {
        network.name_servers(&servers, notes);
    }
}

fn one_subnet(subnet: &Value, nic: &mut Nic, notes: &mut Notes) {
    let kind = subnet.get("type").and_then(Value::as_str).unwrap_or("static");
    let text = |key: &str| subnet.get(key).and_then(Value::as_str);
    match kind {
        "static" | "static4" => match text("address") {
            Some(address) => nic.address(address, subnet.get("netmask"), notes),
            None => notes.fault(format!("`{}`: a static subnet without `address`", nic.id)),
        },
        "manual" => {}
        "dhcp" | "dhcp4" => notes.note(format!("`{}`: addresses are not asked for by DHCP here", nic.id)),
        other => return notes.ipv6(&format!("`{}`: {other}", nic.id)),
    }
    if let Some(gateway) = text("gateway") {
        nic.default_route(gateway, None, notes);
    }
    nic.largest_packet(subnet.get("mtu"), notes);
    for entry in subnet.get("routes").and_then(Value::as_array).into_iter().flatten() {
        nic.route(&route(entry), notes);
    }
}

/// A route as both places write it: `destination` or `network`, and `netmask` or `prefix` beside it.
fn route(entry: &Value) -> RouteSaid<'_> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    RouteSaid {
        destination: text("destination").or_else(|| text("network")).unwrap_or_default(),
        netmask: entry.get("netmask").or_else(|| entry.get("prefix")),
        via: text("gateway"),
        metric: entry.get("metric"),
    }
}
