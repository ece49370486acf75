//! Datagrams of DHCP clients, several to one engine: a reply can be read by another library, fits, and goes to its
//! client; and no address is granted to one client while it is another's. Input: datagrams, each behind its length of two
//! octets and an octet that says how many minutes pass before it.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use dhcproto::Decodable;
use dhcproto::v4::{Message, MessageType, Opcode};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use vrouter::clock::Timestamp;
use vrouter::config::Config;
use vrouter::dhcp::{Action, Engine, Probe, Reply, Sent, Snapshot};
use vrouter::plan::facts::{Device, Link};
use vrouter::store::leases::{Lease, LeaseState};

const DEVICE: u32 = 7;
const MTU: u32 = 1500;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let document = json!({
        "version": 1,
        "interfaces": {"guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
        "routes": {"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.254"}},
        "dhcp": {
            "guest": {"interface": "guest", "ranges": ["10.1.1.100-10.1.1.103"], "lease_seconds": 600,
                "domain": "demo.local", "hosts": {
                "web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"},
                "web2": {"mac": "fa:aa:00:00:00:21", "ip": "10.1.1.21", "hostname": "web2", "gateway": false}}},
            "far": {"interface": "guest", "subnet": "10.9.1.0/24", "gateway": "10.9.1.1", "lease_seconds": 600,
                "ranges": ["10.9.1.10-10.9.1.12"]}},
        "dns": {"forwarders": ["192.0.2.53"]}
    });
    let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
    let device = Device { index: DEVICE, name: "eth1".into() };
    let link = Link { mac: Some([2, 0, 0, 0, 0, 1]), mtu: MTU, ..Link::ethernet(device) };
    Snapshot::new(&config, &BTreeMap::from([("guest".parse().expect("an id"), link)]))
});

fuzz_target!(|data: &[u8]| {
    let (mut engine, mut now) = (Engine::default(), Timestamp::from_seconds(1_000_000));
    let mut held: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
    let mut rest = data;
    while let Some((&[minutes, a, b], behind)) = rest.split_first_chunk() {
        let (datagram, behind) = behind.split_at(usize::from(u16::from_be_bytes([a, b])).min(behind.len()));
        rest = behind;
        now = now.after(u64::from(minutes) * 60);
        let mut decision = engine.handle(&SNAPSHOT, DEVICE, datagram, now);
        if let Action::Probe(Probe { address, .. }) = decision.action {
            // Something answers for one address of the range.
            let station = (address.octets()[3] == 101).then_some([2, 9, 9, 9, 9, 9]);
            note(&mut held, engine.probed(address, station, now));
            decision = engine.handle(&SNAPSHOT, DEVICE, datagram, now);
        }
        note(&mut held, decision.leases.into_iter());
        match decision.action {
            Action::Answer(reply) => said(&reply, datagram),
            Action::Grant(lease, reply) => {
                let before = held.get(&lease.address).filter(|before| before.is_live(now));
                assert!(
                    before.is_none_or(|before| before.client() == lease.client()),
                    "{before:?}, then {lease:?}"
                );
                assert!(lease.state == LeaseState::Dynamic && lease.expires == now.after(600));
                assert!(matches!(lease.address.octets(), [10, 1, 1, 100..=103] | [10, 9, 1, 10..=12]));
                said(&reply, datagram);
                assert_eq!(Message::from_bytes(&reply.message).expect("a message").yiaddr(), lease.address);
                held.insert(lease.address, lease);
            }
            Action::Probe(_) | Action::Done | Action::Ignore(_) => {}
        }
    }
});

fn note(held: &mut BTreeMap<Ipv4Addr, Lease>, leases: impl IntoIterator<Item = Lease>) {
    held.extend(leases.into_iter().map(|lease| (lease.address, lease)));
}

fn said(reply: &Reply, datagram: &[u8]) {
    let message =
        Message::from_bytes(&reply.message).unwrap_or_else(|error| panic!("{error}: {:02x?}", reply.message));
    let kind = match reply.kind {
        Sent::Offer => MessageType::Offer,
        Sent::Ack => MessageType::Ack,
        Sent::Nak => MessageType::Nak,
    };
    assert_eq!((message.opcode(), message.opts().msg_type()), (Opcode::BootReply, Some(kind)));
    assert_eq!(reply.message[4..8], datagram[4..8], "another transaction");
    let hardware = 28..28 + usize::from(datagram[2]);
    assert_eq!(reply.message[hardware.clone()], datagram[hardware], "another client");
    assert!(reply.kind != Sent::Nak || message.yiaddr().is_unspecified());
    // What the client and its relay said is given back whole; all else makes room for it.
    let most = (datagram.len() + 256).max(MTU as usize - 28);
    assert!(reply.message.len() <= most, "{} octets for {}", reply.message.len(), datagram.len());
}
