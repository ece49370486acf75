//! A router with guests, served by DHCP alone, and what its documents and its clients look like.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clients::{Told, udhcpc};
use super::server::Server;
use super::wire::{Wire, message, wanting, with};
use crate::lab::Lab;

/// The router's address on the guests' network.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

/// A router, a network with guests, and one without DHCP.
pub(crate) struct House {
    pub(crate) lab: Lab,
    pub(crate) state: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let mut lab = Lab::new();
        lab.network("lan");
        lab.network("other");
        lab.namespace("router");
        lab.plug("router", "eth0", "52:54:00:00:00:01", "lan");
        lab.plug("router", "eth1", "52:54:00:00:00:02", "other");
        for (device, address) in [("eth0", "10.1.1.1/24"), ("eth1", "10.2.2.1/24")] {
            lab.ok("router", &format!("ip address add {address} dev {device}"));
            lab.ok("router", &format!("ip link set {device} up"));
        }
        Self { lab, state: tempfile::tempdir().unwrap() }
    }

    /// The house with a guest for each of these last octets of a MAC.
    pub(crate) fn with_guests(guests: &[u8]) -> Self {
        let mut house = Self::new();
        for guest in guests {
            house.guest(*guest, "lan");
        }
        house
    }

    pub(crate) fn guest(&mut self, guest: u8, network: &str) {
        let mac = format!("fa:aa:00:00:00:{guest:02x}");
        self.lab.station(&name(guest), network, &mac, None);
    }

    pub(crate) fn serve(&self, document: &Value) -> Server {
        Server::start(&self.lab, "router", self.state.path(), document)
    }

    pub(crate) fn udhcpc(&self, guest: u8, arguments: &str) -> Option<Told> {
        udhcpc(&self.lab, &name(guest), arguments, false)
    }

    pub(crate) fn wire(&self, guest: u8) -> Wire {
        Wire::client(&self.lab, &name(guest))
    }
}

pub(crate) fn name(guest: u8) -> String {
    format!("guest{guest}")
}

/// Two hosts, a range, and whatever `network` says more of the network.
pub(crate) fn document(network: Value) -> Value {
    let mut guest = json!({
        "interface": "guest",
        "ranges": ["10.1.1.100-10.1.1.110"],
        "lease_seconds": 3600,
        "domain": "demo.local",
        "hosts": {
            "web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"},
            "web2": {"mac": "fa:aa:00:00:00:21", "ip": "10.1.1.21", "hostname": "web2", "gateway": false}
        }
    });
    for (key, value) in network.as_object().unwrap() {
        guest[key] = value.clone();
    }
    json!({
        "version": 1,
        "interfaces": {
            "guest": {"mac": "52:54:00:00:00:01", "roles": ["guest"], "addresses": ["10.1.1.1/24"], "mtu": 1450},
            "other": {"mac": "52:54:00:00:00:02", "roles": ["guest"], "addresses": ["10.2.2.1/24"]}
        },
        "dhcp": {"guest": guest},
        "dns": {"forwarders": ["192.0.2.53"]}
    })
}

pub(crate) fn selecting(client: u8, xid: u32, address: Ipv4Addr) -> Message {
    with(wanting(message(MessageType::Request, client, xid), address), DhcpOption::ServerIdentifier(SERVER))
}

pub(crate) fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, last)
}

/// A client that speaks for itself gets an address.
pub(crate) fn lease(wire: &Wire, client: u8, xid: u32) -> Ipv4Addr {
    let offer = wire.ask(&message(MessageType::Discover, client, xid));
    assert_eq!(offer.kind(), MessageType::Offer);
    let ack = wire.ask(&selecting(client, xid + 1, offer.address()));
    assert_eq!((ack.kind(), ack.address()), (MessageType::Ack, offer.address()));
    ack.address()
}
