//! `network_data.json` of `OpenStack`'s config drive: links, networks on them, and services. Pure.

use serde_json::Value;

use super::network::{By, Network, RouteSaid};
use super::notes::Notes;

/// Reads the document.
pub(super) fn read(document: &Value, network: &mut Network, notes: &mut Notes) {
    let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut left = Vec::new();
    for link in list(document, "links") {
        let Some(id) = text(&link, "id") else {
            notes.fault("a link has no `id`");
            continue;
        };
        let kind = text(&link, "type").unwrap_or_default();
        if kind == "bond" {
            notes.note(format!("`{id}` is a bond, which is not made here; it is left out"));
            left.push(id);
            continue;
        }
        if kind == "vlan" {
            match network.tagged(&id, link.get("vlan_link"), link.get("vlan_id"), notes) {
                Some(nic) => nic.largest_packet(link.get("mtu"), notes),
                None => left.push(id),
            }
            continue;
        }
        // Every other kind says how the host made it, and is a device like any other here.
        let mac = text(&link, "ethernet_mac_address").unwrap_or_default();
        let Ok(mac) = mac.parse() else {
            notes.fault(format!("`{id}`: `{mac}` is no MAC address"));
            continue;
        };
        if let Some(nic) = network.nic(&id, By::Mac(mac), notes) {
            nic.largest_packet(link.get("mtu"), notes);
        }
    }
    for one in list(document, "networks") {
        let link = text(&one, "link").unwrap_or_default();
        let kind = text(&one, "type").unwrap_or_default();
        let Some(nic) = network.nics.iter_mut().find(|nic| nic.id == link) else {
            if !left.contains(&link) {
                notes.fault(format!("a network stands on `{link}`, which is no link"));
            }
            continue;
        };
        match kind.as_str() {
            "ipv4" => nic.address(&text(&one, "ip_address").unwrap_or_default(), one.get("netmask"), notes),
            "ipv4_dhcp" => notes.note(format!("`{link}`: addresses are not asked for by DHCP here")),
            other => {
                notes.ipv6(&format!("`{link}`: {other}"));
                continue;
            }
        }
        if let Some(gateway) = text(&one, "gateway") {
            nic.default_route(&gateway, None, notes);
        }
        for route in list(&one, "routes") {
            let (destination, via) = (text(&route, "network"), text(&route, "gateway"));
            let said = RouteSaid {
                destination: destination.as_deref().unwrap_or_default(),
                netmask: route.get("netmask"),
                via: via.as_deref(),
                metric: route.get("metric"),
            };
            nic.route(&said, notes);
        }
        services(&list(&one, "services"), network, notes);
    }
    services(&list(document, "services"), network, notes);
}

fn services(services: &[Value], network: &mut Network, notes: &mut Notes) {
    for service in services {
        match service.get("type").and_then(Value::as_str) {
            Some("dns") => network.name_server(service.get("address").unwrap_or(&Value::Null), notes),
            kind => notes.note(format!("the service `{}` is left out", kind.unwrap_or("without a type"))),
        }
    }
}
