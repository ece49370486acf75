//! Laws of DHCP: one address never has two live leases, and a configured host always gets its address, over any
//! messages, times, changes of what is served, failures of the disk and restarts.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType};
use dhcproto::{Decodable, Encodable};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vrouter::clock::Timestamp;
use vrouter::config::Config;
use vrouter::dhcp::{Action, Decision, Engine, Reply, Sent, Snapshot};
use vrouter::plan::facts::{Device, Link};
use vrouter::store::leases::Lease;

pub(crate) const DEVICE: u32 = 3;
const CLIENTS: u8 = 6;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A client looks for a server, perhaps with an address in mind.
    Discover(u8, Option<u8>),
    /// A client takes what it was offered last.
    Select(u8),
    /// A client wants an address that it says it was offered, had, or has.
    Request(u8, u8, State),
    Release(u8, u8),
    Decline(u8, u8),
    Pass(u16),
    /// The disk has everything that was handed to it, and what waited for it leaves.
    Sync,
    /// The disk refuses everything that was handed to it.
    Refuse,
    /// The file is written anew.
    Rewrite,
    /// The power goes, with what was not on disk; the router starts again.
    Crash,
    /// A client becomes a host with this address, or is none any more.
    Bind(u8, Option<u8>),
    /// Which addresses are for strangers.
    Ranges(u8),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    Selecting,
    InitReboot,
    Renewing,
}

/// The last octets of addresses: hosts' own, those of both ranges, and the router's.
fn address() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 100u8..106, 1 => 1u8..3]
}

fn event() -> impl Strategy<Value = Event> {
    let client = || 0..CLIENTS;
    let state = prop_oneof![Just(State::Selecting), Just(State::InitReboot), Just(State::Renewing)];
    prop_oneof![
        6 => (client(), prop::option::of(address())).prop_map(|(client, wanted)| Event::Discover(client, wanted)),
        6 => client().prop_map(Event::Select),
        4 => (client(), address(), state).prop_map(|(client, address, state)| Event::Request(client, address, state)),
        1 => (client(), address()).prop_map(|(client, address)| Event::Release(client, address)),
        1 => (client(), address()).prop_map(|(client, address)| Event::Decline(client, address)),
        3 => prop_oneof![0u16..30, 200u16..700].prop_map(Event::Pass),
        6 => Just(Event::Sync),
        1 => Just(Event::Refuse),
        1 => Just(Event::Rewrite),
        1 => Just(Event::Crash),
        2 => (client(), prop::option::of(address())).prop_map(|(client, address)| Event::Bind(client, address)),
        1 => (0u8..4).prop_map(Event::Ranges),
    ]
}

/// What a client was told it has.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Promise {
    client: u8,
    until: Timestamp,
    /// Whether that would be known after a crash.
    stored: bool,
}

/// What was handed to the disk together.
#[derive(Debug, Default)]
struct Waiting {
    leases: Vec<Lease>,
    /// A lease that was granted, and to whom the answer goes.
    granted: Option<(Lease, Reply, u8)>,
}

/// A router with its disk, and what its clients believe.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) snapshot: Snapshot,
    hosts: BTreeMap<u8, u8>,
    ranges: u8,
    pub(crate) now: Timestamp,
    disk: Vec<Lease>,
    /// What was handed to the disk, and the answers that wait for it.
    waiting: Vec<Waiting>,
    offers: BTreeMap<u8, Ipv4Addr>,
    promises: BTreeMap<Ipv4Addr, Promise>,
    /// Decides which addresses something else answers for.
    chance: u64,
}

impl World {
    pub(crate) fn new(chance: u64) -> Self {
        let mut world = Self {
            engine: Engine::default(),
            snapshot: Snapshot::default(),
            hosts: BTreeMap::new(),
            ranges: 0,
            now: Timestamp::from_seconds(1_000_000),
            disk: Vec::new(),
            waiting: Vec::new(),
            offers: BTreeMap::new(),
            promises: BTreeMap::new(),
            chance,
        };
        world.serve();
        world
    }

    fn serve(&mut self) {
        let hosts: Map<String, Value> = self
            .hosts
            .iter()
            .map(|(client, address)| {
                let host =
                    json!({"mac": format!("fa:aa:00:00:00:{client:02x}"), "ip": format!("10.1.1.{address}")});
                (format!("host-{client}"), host)
            })
            .collect();
        let ranges = [
            vec!["10.1.1.100-10.1.1.103"],
            vec!["10.1.1.102-10.1.1.105"],
            vec!["10.1.1.1-10.1.1.104"],
            vec![],
        ];
        let mut network = json!({"interface": "guest", "lease_seconds": 600, "hosts": hosts});
        network["ranges"] = json!(ranges[usize::from(self.ranges)]);
        let config = Config::default().replace(json!({
            "version": 1,
            "interfaces": {"guest": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
            "dhcp": {"guest": network}
        }));
        // Two hosts with one address, or a host with the router's, cannot be configured: then nothing changes.
        let Ok(config) = config else { return };
        let link = Link {
            mac: Some([2, 0, 0, 0, 0, 1]),
            ..Link::ethernet(Device { index: DEVICE, name: "eth1".into() })
        };
        let next = Snapshot::new(&config, &BTreeMap::from([("guest".parse().unwrap(), link)]));
        self.engine.changed(&self.snapshot, &next, self.now);
        self.snapshot = next;
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Discover(client, wanted) => {
                let mut message = message(client, MessageType::Discover);
                if let Some(wanted) = wanted {
                    message.opts_mut().insert(DhcpOption::RequestedIpAddress(ip(wanted)));
                }
                self.say(client, &message);
            }
            Event::Select(client) => {
                if let Some(offer) = self.offers.get(&client) {
                    self.say(client, &request(client, *offer, State::Selecting));
                }
            }
            Event::Request(client, address, state) => self.say(client, &request(client, ip(address), state)),
            Event::Release(client, address) => {
                let mut message = message(client, MessageType::Release);
                message.set_ciaddr(ip(address));
                self.withdraw(client, ip(address), &message);
            }
            Event::Decline(client, address) => {
                let mut message = message(client, MessageType::Decline);
                message.opts_mut().insert(DhcpOption::RequestedIpAddress(ip(address)));
                self.withdraw(client, ip(address), &message);
            }
            Event::Pass(seconds) => self.now = self.now.after(seconds.into()),
            Event::Sync => self.sync(),
            Event::Refuse => self.waiting.clear(),
            Event::Rewrite => {
                self.disk = self.engine.leases(self.now).cloned().collect();
                for lease in &self.disk {
                    if let Some(promise) = self.promises.get_mut(&lease.address)
                        && lease.hardware.0.last() == Some(&promise.client)
                    {
                        promise.stored = true;
                    }
                }
            }
            Event::Crash => {
                self.waiting.clear();
                self.promises.retain(|_, promise| promise.stored);
                self.engine = Engine::restored(self.disk.clone(), self.now);
            }
            Event::Bind(client, address) => {
                let before = self.hosts.clone();
                self.hosts.remove(&client);
                self.hosts.retain(|_, other| Some(*other) != address);
                self.hosts.extend(address.filter(|address| *address != 1).map(|address| (client, address)));
                if before != self.hosts {
                    self.serve();
                }
            }
            Event::Ranges(ranges) => {
                self.ranges = ranges;
                self.serve();
            }
        }
    }

    /// A client says something; addresses are looked for on the network where the engine wants that.
    fn say(&mut self, client: u8, message: &Message) {
        let octets = message.to_vec().unwrap();
        for _ in 0..20 {
            let Decision { leases, action, .. } =
                self.engine.handle(&self.snapshot, DEVICE, &octets, self.now);
            match action {
                Action::Probe(probe) => {
                    let squatter = self.draw().is_multiple_of(8).then_some([2, 0, 0, 0, 0, 9]);
                    let found = self.engine.probed(probe.address, squatter, self.now);
                    self.waiting.push(Waiting { leases: found.into_iter().collect(), granted: None });
                }
                Action::Answer(reply) => {
                    self.waiting.push(Waiting { leases, granted: None });
                    self.hear(client, &reply, self.now);
                    self.check_host(client, message, Some(&reply));
                    return;
                }
                Action::Grant(lease, reply) => {
                    assert!(!self.hosts.contains_key(&client), "a host waits for nothing");
                    let is_hosts = self.hosts.values().any(|address| ip(*address) == lease.address);
                    assert!(!is_hosts, "a stranger gets the address of a host");
                    self.waiting.push(Waiting { leases, granted: Some((lease, reply, client)) });
                    return;
                }
                Action::Done | Action::Ignore(_) => {
                    self.waiting.push(Waiting { leases, granted: None });
                    self.check_host(client, message, None);
                    return;
                }
            }
        }
        panic!("no end of probing");
    }

    /// A configured host is offered and given its address, at once and whatever else is the case.
    fn check_host(&self, client: u8, message: &Message, reply: Option<&Reply>) {
        let Some(own) = self.hosts.get(&client).map(|address| ip(*address)) else { return };
        let kind = reply.map(|reply| (reply.kind, Message::from_bytes(&reply.message).unwrap().yiaddr()));
        let wanted = match message.opts().get(dhcproto::v4::OptionCode::RequestedIpAddress) {
            Some(DhcpOption::RequestedIpAddress(address)) => *address,
            _ => message.ciaddr(),
        };
        match message.opts().msg_type() {
            Some(MessageType::Discover) => assert_eq!(kind, Some((Sent::Offer, own))),
            Some(MessageType::Request) if wanted == own => assert_eq!(kind, Some((Sent::Ack, own))),
            Some(MessageType::Request) => assert_eq!(kind, Some((Sent::Nak, Ipv4Addr::UNSPECIFIED))),
            _ => {}
        }
    }

    fn withdraw(&mut self, client: u8, address: Ipv4Addr, message: &Message) {
        self.say(client, message);
        // Whatever became of it, the client does not believe in the address any more.
        if self.promises.get(&address).is_some_and(|promise| promise.client == client) {
            self.promises.remove(&address);
        }
    }

    fn sync(&mut self) {
        for Waiting { leases, granted } in std::mem::take(&mut self.waiting) {
            for lease in leases {
                if let Some(promise) = self.promises.get_mut(&lease.address)
                    && lease.hardware.0.last() == Some(&promise.client)
                {
                    promise.stored = true;
                }
                self.disk.push(lease);
            }
            let Some((lease, reply, client)) = granted else { continue };
            self.disk.push(lease.clone());
            if self.engine.is_current(&lease) {
                // The lease ends as many seconds after it was asked for as it lasts.
                self.hear(client, &reply, Timestamp::from_seconds(lease.expires.seconds() - 600));
                self.promises.entry(lease.address).and_modify(|promise| promise.stored = true);
            }
        }
    }

    /// A client hears a reply, and believes it from when it asked.
    fn hear(&mut self, client: u8, reply: &Reply, asked: Timestamp) {
        let message = Message::from_bytes(&reply.message).unwrap();
        let address = message.yiaddr();
        match reply.kind {
            Sent::Offer => {
                self.offers.insert(client, address);
            }
            Sent::Nak => {}
            Sent::Ack => {
                assert_ne!(address, SERVER);
                // A binding is the authority: it ends what others believe, which their next message tells them.
                let is_bound = self.hosts.get(&client).is_some_and(|own| ip(*own) == address);
                if let Some(promise) = self.promises.get(&address)
                    && promise.client != client
                    && promise.until > self.now
                    && !is_bound
                {
                    panic!("{address} is given to {client} while it is {promise:?}");
                }
                self.promises.retain(|_, promise| promise.client != client);
                let promise = Promise { client, until: asked.after(600), stored: false };
                self.promises.insert(address, promise);
            }
        }
    }

    fn draw(&mut self) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.chance >> 33
    }
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, last)
}

fn message(client: u8, kind: MessageType) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message =
        Message::new_with_id(client.into(), none, none, none, none, &[0xfa, 0xaa, 0, 0, 0, client]);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message
}

fn request(client: u8, address: Ipv4Addr, state: State) -> Message {
    let mut message = message(client, MessageType::Request);
    match state {
        State::Selecting => {
            message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
            message.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
        }
        State::InitReboot => {
            message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
        }
        State::Renewing => {
            message.set_ciaddr(address);
        }
    }
    message
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One address never has two live leases, and a configured host always gets its address.
    #[test]
    fn one_address_never_has_two_live_leases(
        chance in any::<u64>(),
        events in prop::collection::vec(event(), 1..150),
    ) {
        let mut world = World::new(chance);
        for event in events {
            world.happen(event);
        }
    }
}
