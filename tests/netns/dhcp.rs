//! DHCP with real clients, and with messages that no client can be made to send.

mod bound;
pub(crate) mod clients;
mod house;
mod server;
pub(crate) mod wire;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use dhcproto::v4::relay::RelayInfo;
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use vrouter::config::MacAddress;
use vrouter::dhcp::{Reason, Received, Sent};
use vrouter::store::leases::LeaseState;

use self::clients::Dhclient;
use self::house::{House, SERVER, document, ip, lease, selecting};
use self::wire::{Wire, message, noise, relayed, wanting, with};
use crate::lab::until;

#[test]
fn replies_are_framed_for_who_can_hear_them() {
    let house = House::with_guests(&[0x20]);
    let server = house.serve(&document(json!({})));
    let wire = house.wire(0x20);
    let mut discover = message(MessageType::Discover, 0x20, 1);
    let offer = wire.ask(&discover);
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
    assert_eq!((offer.broadcast, offer.destination), (true, everybody));
    assert_eq!(offer.source, SocketAddrV4::new(SERVER, 67));
    assert!(offer.length >= 300);
    discover.set_flags(0.into()).set_xid(2);
    let offer = wire.ask(&discover);
    assert_eq!((offer.broadcast, offer.destination), (false, SocketAddrV4::new(ip(20), 68)));
    // A host that wants another address is refused, for everybody to hear.
    let nak = wire.ask(&selecting(0x20, 3, ip(100)));
    assert_eq!((nak.kind(), nak.broadcast, nak.destination), (MessageType::Nak, true, everybody));
    // It is acknowledged without any lease on file: booting again, and from an address that it has.
    let ack = wire.ask(&wanting(message(MessageType::Request, 0x20, 4), ip(20)));
    assert_eq!((ack.kind(), ack.address()), (MessageType::Ack, ip(20)));
    let mut rebinding = message(MessageType::Request, 0x20, 5);
    rebinding.set_ciaddr(ip(20));
    let ack = wire.ask(&rebinding);
    assert_eq!(
        (ack.kind(), ack.broadcast, ack.destination),
        (MessageType::Ack, false, SocketAddrV4::new(ip(20), 68))
    );
    // INFORM: everything but a lease.
    let mut inform = message(MessageType::Inform, 0x77, 6);
    inform.set_ciaddr(ip(77));
    let ack = wire.ask(&inform);
    assert_eq!((ack.kind(), ack.address(), ack.option(51)), (MessageType::Ack, Ipv4Addr::UNSPECIFIED, None));
    assert_eq!(ack.option(3), Some(&DhcpOption::Router(vec![SERVER])));
    assert_eq!(ack.destination, SocketAddrV4::new(ip(77), 68));
    let status = server.status();
    assert_eq!(status.listeners[0].received[&Received::Discover], 2);
    assert_eq!(status.networks[0].sent[&Sent::Nak], 1);
}

#[test]
fn ranges_survive_restarts() {
    let house = House::with_guests(&[1, 2]);
    let serving = document(json!({}));
    let server = house.serve(&serving);
    let first = house.udhcpc(1, "-x hostname:laptop").unwrap()["ip"].clone();
    let before = server.leases();
    assert_eq!(
        (before[0].address.to_string(), before[0].hostname.as_deref()),
        (first.clone(), Some("laptop"))
    );
    server.kill();
    let server = house.serve(&serving);
    assert_eq!(server.leases(), before);
    // Another client that wants just that address does not get it; the client itself is still its holder.
    let wire = house.wire(2);
    let wanted: Ipv4Addr = first.parse().unwrap();
    let offer = wire.ask(&wanting(message(MessageType::Discover, 2, 1), wanted));
    assert_ne!(offer.address(), wanted);
    assert_eq!(wire.ask(&wanting(message(MessageType::Request, 2, 2), wanted)).kind(), MessageType::Nak);
    assert_eq!(house.udhcpc(1, "").unwrap()["ip"], first);
    server.close();
    let server = house.serve(&serving);
    assert_eq!(server.leases()[0].since, before[0].since);
}

#[test]
fn an_address_that_is_in_use_is_not_offered() {
    let mut house = House::with_guests(&[1]);
    house.lab.station("squatter", "lan", "fa:aa:00:00:00:99", Some("10.1.1.100/24"));
    let server = house.serve(&document(json!({"ranges": ["10.1.1.100-10.1.1.101"]})));
    let told = house.udhcpc(1, "-r 10.1.1.100").unwrap();
    assert_eq!(told["ip"], "10.1.1.101");
    let leases = server.leases();
    let quarantined = leases.iter().find(|lease| lease.state == LeaseState::Quarantined).unwrap();
    assert_eq!(
        (quarantined.address, quarantined.mac),
        (ip(100), MacAddress::from_octets([0xfa, 0xaa, 0, 0, 0, 0x99]))
    );
    assert_eq!(server.status().networks[0].quarantined, 1);
}

#[test]
fn a_client_may_have_its_address_while_it_is_looked_for() {
    let mut house = House::new();
    house.lab.station("guest1", "lan", "fa:aa:00:00:00:01", Some("10.1.1.104/24"));
    let server = house.serve(&document(json!({})));
    // The leases were lost; the client renews what it has, and answers when it is asked who has it.
    let wire = Wire::at(&house.lab, "guest1", ip(104), 68);
    let mut renewing = message(MessageType::Request, 1, 1);
    renewing.set_ciaddr(ip(104));
    wire.send(&renewing, SERVER);
    let ack = wire.hear(1);
    assert_eq!((ack.kind(), ack.address()), (MessageType::Ack, ip(104)));
    assert_eq!(server.leases()[0].address, ip(104));
}

#[test]
fn declined_and_released_addresses() {
    let house = House::with_guests(&[1, 2]);
    let server = house.serve(&document(json!({"ranges": ["10.1.1.100-10.1.1.101"]})));
    let wire = house.wire(1);
    let address = lease(&wire, 1, 1);
    let decline = wanting(message(MessageType::Decline, 1, 3), address);
    wire.broadcast(&with(decline, DhcpOption::ServerIdentifier(SERVER)));
    until("the address is quarantined", || {
        server.leases().iter().any(|lease| lease.state == LeaseState::Quarantined).then_some(())
    });
    let other = lease(&wire, 1, 4);
    assert_ne!(other, address);
    // A client that gives its address back leaves it to the next; the declined one is nobody's for a while.
    let mut release = message(MessageType::Release, 1, 6);
    release.set_ciaddr(other);
    wire.broadcast(&with(release, DhcpOption::ServerIdentifier(SERVER)));
    until("the address is free", || (server.status().networks[0].dynamic_leases == 0).then_some(()));
    let folder = tempfile::tempdir().unwrap();
    let leases = folder.path().join("leases");
    let client = Dhclient::start(&house.lab, "guest2", &leases, "initial-interval 1;");
    assert_eq!(client.event("BOUND", 0).1["new_ip_address"], other.to_string());
    client.release(&house.lab, "guest2", &leases);
    until("the address is free", || (server.status().networks[0].dynamic_leases == 0).then_some(()));
    // A host that declines its address has it still.
    let decline = wanting(message(MessageType::Decline, 0x20, 7), ip(20));
    wire.broadcast(&with(decline, DhcpOption::ServerIdentifier(SERVER)));
    assert_eq!(wire.ask(&message(MessageType::Discover, 0x20, 8)).address(), ip(20));
    assert_eq!(server.status().listeners[0].ignored[&Reason::DeclinedBinding], 1);
}

#[test]
fn strangers_servers_and_other_interfaces_are_left_alone() {
    let mut house = House::with_guests(&[1, 0x20]);
    house.guest(3, "other");
    let known = document(json!({"known_only": true}));
    let server = house.serve(&known);
    assert_eq!(house.udhcpc(1, "-t 2 -T 1"), None, "a stranger");
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.20");
    // The first answer is to the second message: the one that meant another server got none.
    let wire = house.wire(0x20);
    let mut stranger = selecting(0x20, 1, ip(20));
    stranger.opts_mut().insert(DhcpOption::ServerIdentifier(ip(2)));
    wire.broadcast(&stranger);
    let ack = wire.ask(&selecting(0x20, 2, ip(20)));
    assert_eq!((ack.kind(), wire.next().is_none()), (MessageType::Ack, true));
    assert_eq!(server.status().listeners[0].ignored[&Reason::OtherServer], 1);
    // Nothing on an interface that has no network, until it has one.
    assert_eq!(house.udhcpc(3, "-t 2 -T 1"), None, "another interface");
    let mut both = known;
    both["dhcp"]["other"] = json!({"interface": "other", "ranges": ["10.2.2.50-10.2.2.60"]});
    server.apply(&both).unwrap();
    assert!(house.udhcpc(3, "").unwrap()["ip"].starts_with("10.2.2."));
    let received = server.status().listeners[0].received[&Received::Discover];
    assert!(received >= 3, "counters go on over the change: {received}");
    both["dhcp"].as_object_mut().unwrap().remove("other");
    server.apply(&both).unwrap();
    assert_eq!(house.udhcpc(3, "-t 2 -T 1"), None, "not any more");
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.20");
}

#[test]
fn relays_are_served_and_get_back_what_they_said() {
    let mut house = House::new();
    house.lab.station("relay", "lan", "fa:aa:00:00:00:fe", Some("10.1.1.254/24"));
    let mut serving = document(json!({}));
    serving["routes"] = json!({"far": {"destination": "10.7.7.0/24", "via": "10.1.1.254"}});
    serving["dhcp"]["far"] = json!({
        "interface": "guest", "subnet": "10.7.7.0/24", "gateway": "10.7.7.1", "ranges": ["10.7.7.50-10.7.7.60"],
        "hosts": {"db": {"mac": "fa:aa:00:00:00:30", "ip": "10.7.7.30"}}
    });
    house.lab.ok("router", "ip route add 10.7.7.0/24 via 10.1.1.254");
    house.lab.ok("relay", "ip address add 10.7.7.1/32 dev lo");
    let server = house.serve(&serving);
    let relay = Ipv4Addr::new(10, 7, 7, 1);
    let wire = Wire::at(&house.lab, "relay", relay, 67);
    let circuit = RelayInfo::AgentCircuitId(b"port-7".to_vec());
    let ask = |wire: &Wire, message: &Message| {
        wire.send(message, SERVER);
        let heard = wire.hear(message.xid());
        assert_eq!(heard.destination, SocketAddrV4::new(message.giaddr(), 67));
        assert_eq!(heard.option(82), message.opts().get(OptionCode::RelayAgentInformation));
        heard
    };
    let agent = std::slice::from_ref(&circuit);
    let offer = ask(&wire, &relayed(message(MessageType::Discover, 0x30, 1), relay, agent));
    assert_eq!((offer.kind(), offer.address()), (MessageType::Offer, Ipv4Addr::new(10, 7, 7, 30)));
    assert_eq!((offer.source, offer.message.giaddr()), (SocketAddrV4::new(SERVER, 67), relay));
    assert_eq!(offer.option(3), Some(&DhcpOption::Router(vec![relay])));
    let ack = ask(&wire, &relayed(selecting(0x30, 2, offer.address()), relay, agent));
    assert_eq!(ack.kind(), MessageType::Ack);
    // A range behind a relay, where nothing answers an echo request.
    let offer = ask(&wire, &relayed(message(MessageType::Discover, 9, 3), relay, agent));
    assert_eq!(offer.address().octets()[..3], [10, 7, 7]);
    assert_eq!(ask(&wire, &relayed(selecting(9, 4, offer.address()), relay, agent)).kind(), MessageType::Ack);
    // Where something does, the address is not offered.
    let taken = Ipv4Addr::new(10, 7, 7, 55);
    house.lab.ok("relay", "ip address add 10.7.7.55/32 dev lo");
    let wanting_it = relayed(wanting(message(MessageType::Discover, 10, 5), taken), relay, agent);
    assert_ne!(ask(&wire, &wanting_it).address(), taken);
    // Link selection: the relay is reached elsewhere than where its client is.
    let outside = Wire::at(&house.lab, "relay", ip(254), 67);
    let selection = [circuit.clone(), RelayInfo::LinkSelection(relay)];
    let offer = ask(&outside, &relayed(message(MessageType::Discover, 0x30, 6), ip(254), &selection));
    assert_eq!(offer.address(), Ipv4Addr::new(10, 7, 7, 30));
    // A client renews by itself, through the routers, and is answered there.
    house.lab.ok("relay", "ip address add 10.7.7.30/32 dev lo");
    let client = Wire::at(&house.lab, "relay", Ipv4Addr::new(10, 7, 7, 30), 68);
    let mut renewing = message(MessageType::Request, 0x30, 7);
    renewing.set_ciaddr(Ipv4Addr::new(10, 7, 7, 30));
    client.send(&renewing, SERVER);
    let ack = client.hear(7);
    assert_eq!((ack.kind(), ack.destination.ip()), (MessageType::Ack, &Ipv4Addr::new(10, 7, 7, 30)));
    // A relay of a network that is not served gets nothing: the first answer is to the second message.
    wire.send(&relayed(message(MessageType::Discover, 0x30, 8), Ipv4Addr::new(192, 0, 2, 1), agent), SERVER);
    ask(&wire, &relayed(message(MessageType::Discover, 0x30, 9), relay, agent));
    assert_eq!(server.status().listeners[0].ignored[&Reason::NotServed], 1);
}

#[test]
fn noise_changes_nothing() {
    let house = House::with_guests(&[0x20]);
    let server = house.serve(&document(json!({})));
    let wire = house.wire(0x20);
    let mut sound = wire::octets(&message(MessageType::Request, 0x20, 1));
    for seed in 0..3000u64 {
        let mut octets = noise(seed, usize::try_from(seed % 1400).unwrap());
        if seed % 2 == 0 {
            // Half of it looks like a message for most of its length.
            let at = 240.min(octets.len());
            octets.splice(..at, sound.iter().copied().take(240));
        }
        wire.say(&octets, Ipv4Addr::BROADCAST);
    }
    sound.resize(9000, 0xff);
    wire.say(&sound[..1400], Ipv4Addr::BROADCAST);
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.20");
    until("the noise was heard", || {
        let status = server.status();
        (status.listeners[0].ignored.get(&Reason::Malformed).copied().unwrap_or(0) > 1000).then_some(())
    });
}

#[test]
fn a_device_that_cannot_be_served_changes_nothing() {
    let house = House::with_guests(&[0x20]);
    let serving = document(json!({}));
    let server = house.serve(&serving);
    // Somebody else listens on the other device.
    let squatter = house.lab.inside("router", || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind_device(Some(b"eth1")).unwrap();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67).into()).unwrap();
        socket
    });
    let mut both = document(json!({"hosts": {"web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.66"}}}));
    both["dhcp"]["other"] = json!({"interface": "other", "ranges": ["10.2.2.50-10.2.2.60"]});
    let error = server.apply(&both).unwrap_err();
    assert!(error.contains("eth1"), "{error}");
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.20");
    drop(squatter);
    server.apply(&both).unwrap();
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.66");
}

#[test]
fn a_full_disk_stops_ranges_and_not_hosts() {
    let house = House::with_guests(&[1, 0x20]);
    let disk = SmallDisk::new(house.state.path());
    let server = house.serve(&document(json!({})));
    disk.fill();
    assert_eq!(house.udhcpc(0x20, "").unwrap()["ip"], "10.1.1.20");
    assert_eq!(house.udhcpc(1, "-t 3 -T 1"), None);
    assert!(server.status().storage_fault.is_some());
    assert!(server.status().listeners[0].ignored[&Reason::NotStored] > 0);
    disk.empty();
    assert!(house.udhcpc(1, "").is_some());
    assert_eq!(server.status().storage_fault, None);
    server.close();
}

/// A disk of a few pages in the place of a folder.
struct SmallDisk<'a> {
    folder: &'a Path,
}

impl<'a> SmallDisk<'a> {
    fn new(folder: &'a Path) -> Self {
        let mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        let said = std::process::Command::new(mount[0]).args(&mount[1..]).arg(folder).status().unwrap();
        assert!(said.success());
        Self { folder }
    }

    fn fill(&self) {
        // It takes what fits, and then no more.
        let _ = std::fs::write(self.folder.join("ballast"), vec![0; 1 << 17]);
    }

    fn empty(&self) {
        std::fs::remove_file(self.folder.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.folder).status();
    }
}
