//! A world for the tests of this room: an engine, what it serves, a time, and clients that speak to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::relay::RelayAgentInformation;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable, Encodable};
use serde_json::{Value, json};

use super::decision::{Action, Decision, Probe, Reason, Reply, Sent};
use super::engine::Engine;
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::plan::facts::{Device, Link};

/// The index of the device that the guests are on.
pub(super) const DEVICE: u32 = 7;
/// The server's address there.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

/// An engine, what it serves, and a time.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) config: Config,
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
}

/// A network with a small range and two hosts, of which the second has its main network elsewhere.
pub(super) fn document() -> Value {
    json!({
        "version": 1,
        "interfaces": {"guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
        "routes": {"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.254"}},
        "dhcp": {"guest": {
            "interface": "guest",
            "ranges": ["10.1.1.100-10.1.1.103"],
            "lease_seconds": 600,
            "domain": "demo.local",
            "hosts": {
                "web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"},
                "web2": {"mac": "fa:aa:00:00:00:21", "ip": "10.1.1.21", "hostname": "web2", "gateway": false}
            }
        }},
        "dns": {"forwarders": ["192.0.2.53"]}
    })
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    /// The world with this merge patch applied to its document.
    pub(super) fn with(patch: Value) -> Self {
        let config = Config::default().replace(document()).unwrap_or_else(|faults| panic!("{faults}"));
        let config = config.patch(patch).unwrap_or_else(|faults| panic!("{faults}"));
        let snapshot = Snapshot::new(&config, &links());
        Self { engine: Engine::default(), config, snapshot, now: Timestamp::from_seconds(1_000_000) }
    }

    pub(super) fn patch(&mut self, patch: Value) {
        self.config = self.config.patch(patch).unwrap_or_else(|faults| panic!("{faults}"));
        let next = Snapshot::new(&self.config, &links());
        self.engine.changed(&self.snapshot, &next, self.now);
        self.snapshot = next;
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(seconds);
    }

    pub(super) fn decide(&mut self, message: &Message) -> Decision {
        self.engine.handle(&self.snapshot, DEVICE, &message.to_vec().unwrap(), self.now)
    }

    /// What is decided in the end, where nothing answers for any address that is looked for.
    pub(super) fn settle(&mut self, message: &Message) -> Decision {
        let decision = self.decide(message);
        let Action::Probe(Probe { address, .. }) = decision.action else { return decision };
        assert_eq!(self.engine.probed(address, None, self.now), None);
        self.decide(message)
    }

    /// The reply that a message gets in the end.
    pub(super) fn answer(&mut self, message: &Message) -> Said {
        let decision = self.settle(message);
        match decision.action {
            Action::Answer(reply) | Action::Grant(_, reply) => Said::new(reply),
            other => panic!("no answer: {other:?}"),
        }
    }

    pub(super) fn ignored(&mut self, message: &Message) -> Reason {
        match self.settle(message).action {
            Action::Ignore(reason) => reason,
            other => panic!("not ignored: {other:?}"),
        }
    }

    /// A client gets itself an address.
    pub(super) fn lease(&mut self, client: u8) -> Ipv4Addr {
        let offer = self.answer(&discover(client)).address();
        let ack = self.answer(&selecting(client, offer));
        assert_eq!((ack.reply.kind, ack.address()), (Sent::Ack, offer));
        offer
    }
}

/// A reply as its client reads it.
pub(super) struct Said {
    pub(super) reply: Reply,
    pub(super) message: Message,
}

impl Said {
    fn new(reply: Reply) -> Self {
        let message = Message::from_bytes(&reply.message).unwrap();
        Self { reply, message }
    }

    pub(super) fn kind(&self) -> Sent {
        assert_eq!(
            self.message.opts().msg_type(),
            Some(match self.reply.kind {
                Sent::Offer => MessageType::Offer,
                Sent::Ack => MessageType::Ack,
                Sent::Nak => MessageType::Nak,
            })
        );
        self.reply.kind
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.message.yiaddr()
    }

    pub(super) fn option(&self, code: u8) -> Option<&DhcpOption> {
        self.message.opts().get(OptionCode::from(code))
    }

    pub(super) fn routers(&self) -> Option<Vec<Ipv4Addr>> {
        match self.option(3) {
            Some(DhcpOption::Router(routers)) => Some(routers.clone()),
            _ => None,
        }
    }
}

pub(super) fn links() -> BTreeMap<crate::config::Id, Link> {
    let device = Device { index: DEVICE, name: "eth1".into() };
    let link = Link { mac: Some([2, 0, 0, 0, 0, 1]), ..Link::ethernet(device) };
    BTreeMap::from([("guest".parse().unwrap(), link)])
}

/// A message of the client that ends in this octet, with a transaction of its own.
pub(super) fn message(client: u8, kind: MessageType) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mac = [0xfa, 0xaa, 0, 0, 0, client];
    let mut message = Message::new_with_id(0xabcd_0000 + u32::from(client), none, none, none, none, &mac);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message
}

pub(super) fn discover(client: u8) -> Message {
    message(client, MessageType::Discover)
}

pub(super) fn selecting(client: u8, address: Ipv4Addr) -> Message {
    let mut message = init_reboot(client, address);
    message.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
    message
}

pub(super) fn init_reboot(client: u8, address: Ipv4Addr) -> Message {
    let mut message = message(client, MessageType::Request);
    message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
    message
}

pub(super) fn renewing(client: u8, address: Ipv4Addr) -> Message {
    let mut message = message(client, MessageType::Request);
    message.set_ciaddr(address);
    message
}

/// The message with what the client wants to know.
pub(super) fn asking(mut message: Message, codes: &[u8]) -> Message {
    let codes = codes.iter().map(|code| OptionCode::from(*code)).collect();
    message.opts_mut().insert(DhcpOption::ParameterRequestList(codes));
    message
}

pub(super) fn with(mut message: Message, code: u8, value: &[u8]) -> Message {
    // The codec writes the relay's option twice where it does not know it for what it is.
    message.opts_mut().insert(match RelayAgentInformation::from_bytes(value) {
        Ok(agent) if code == 82 => DhcpOption::RelayAgentInformation(agent),
        _ => DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec())),
    });
    message
}

pub(super) fn broadcasting(mut message: Message) -> Message {
    message.set_flags(Flags::default().set_broadcast());
    message
}

pub(super) fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, last)
}
