//! The site of the DNS tests: a router with two guest networks and a public one, clients, and servers outside.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use vrouter::config::{Config, Id};
use vrouter::dns::{DnsError, Service, Snapshot, Status};
use vrouter::merge_patch;
use vrouter::plan::facts::{Device, Link};

use crate::lab::{Lab, Said, until};

/// The router's address on the first guest network.
pub(crate) const ROUTER: &str = "10.1.1.1";
/// Its address on the second.
pub(crate) const OTHER: &str = "10.1.2.1";

/// A lab with the site in it, addresses set as the router's kernel room would set them.
pub(crate) fn site() -> Lab {
    let mut lab = Lab::new();
    for network in ["one", "two", "out"] {
        lab.network(network);
    }
    lab.namespace("router");
    for (device, mac, network, address) in [
        ("eth0", "fa:00:00:00:00:01", "one", "10.1.1.1/24"),
        ("eth1", "fa:00:00:00:00:02", "two", "10.1.2.1/24"),
        ("eth2", "fa:00:00:00:00:03", "out", "192.0.2.1/24"),
    ] {
        lab.plug("router", device, mac, network);
        lab.ok("router", &format!("ip address add {address} dev {device}"));
        lab.ok("router", &format!("ip link set {device} up"));
    }
    // A guest, which has a network behind it.
    lab.station("guest", "one", "fa:aa:00:00:00:20", Some("10.1.1.20/24"));
    lab.ok("guest", "ip address add 10.9.0.5/32 dev lo");
    lab.ok("guest", "ip route add default via 10.1.1.1");
    lab.ok("router", "ip route add 10.9.0.0/16 via 10.1.1.20");
    lab.station("guest2", "two", "fa:aa:00:00:00:21", Some("10.1.2.20/24"));
    // Somebody outside who knows the way in.
    lab.station("stranger", "out", "fa:aa:00:00:00:99", Some("192.0.2.99/24"));
    lab.ok("stranger", "ip route add 10.1.0.0/16 via 192.0.2.1");
    lab.station("upstream", "out", "fa:aa:00:00:00:53", Some("192.0.2.53/24"));
    lab.ok("upstream", "ip address add 192.0.2.54/24 dev eth0");
    lab
}

/// The configuration of the site, with changes in the form of a merge patch.
pub(crate) fn document(patch: Value) -> Value {
    let mut document = json!({
        "version": 1,
        "hostname": "vr-1",
        "interfaces": {
            "one": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]},
            "two": {"device": "eth1", "roles": ["guest"], "addresses": ["10.1.2.1/24"]},
            "out": {"device": "eth2", "roles": ["public"], "addresses": ["192.0.2.1/24"]},
        },
        "routes": {"behind": {"destination": "10.9.0.0/16", "via": "10.1.1.20"}},
        "dhcp": {
            "one": {"interface": "one", "domain": "demo.local", "hosts": {
                "web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"},
                "web2": {"mac": "fa:aa:00:00:00:22", "ip": "10.1.1.22", "hostname": "Web2"},
                "nameless": {"mac": "fa:aa:00:00:00:23", "ip": "10.1.1.23"},
            }},
            "two": {"interface": "two", "domain": "lab.demo.local", "hosts": {
                "db": {"mac": "fa:aa:00:00:00:21", "ip": "10.1.2.20", "hostname": "db"},
            }},
        },
        "dns": {"forwarders": ["192.0.2.53", "192.0.2.54"]},
    });
    merge_patch::merge(&mut document, patch);
    document
}

/// DNS running in the router's namespace. The one place that says how it is started.
pub(crate) struct Server<'a> {
    lab: &'a Lab,
    runtime: Runtime,
    service: Service,
}

impl Server<'_> {
    /// Runs a test while DNS is served as a document says.
    pub(crate) fn run(lab: &Lab, document: Value, test: impl FnOnce(&Server<'_>) + Send) {
        lab.inside("router", || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let server = Server { lab, runtime, service: Service::new().unwrap() };
            server.apply(document).unwrap();
            test(&server);
            let Server { runtime, service, .. } = server;
            runtime.block_on(service.close());
            // What was closed is free again, as soon as no child of another test holds a copy on its way to its own program.
            until("the port is free", || UdpSocket::bind((ROUTER, 53)).ok());
        });
    }

    /// Puts another configuration under it.
    pub(crate) fn apply(&self, document: Value) -> Result<(), DnsError> {
        let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
        let snapshot = Arc::new(Snapshot::new(&config, &present()));
        self.runtime.block_on(self.service.apply(snapshot))
    }

    pub(crate) fn status(&self) -> Status {
        self.service.status()
    }

    /// Waits until nobody listens on an address, as a station sees it.
    pub(crate) fn is_closed(&self, station: &str, address: &str) {
        let refused =
            || self.dig_from(station, address, "+timeout=1 web1.demo.local A").text.contains("refused");
        until("the port is closed", || refused().then_some(()));
    }

    /// Asks the router from the first guest.
    pub(crate) fn dig(&self, question: &str) -> Dig {
        self.dig_from("guest", ROUTER, question)
    }

    /// Asks from any station.
    pub(crate) fn dig_from(&self, station: &str, server: &str, question: &str) -> Dig {
        let begun = Instant::now();
        let said = self.lab.run(station, &format!("dig +tries=1 +timeout=8 @{server} {question}"));
        Dig::new(said, begun.elapsed())
    }
}

fn present() -> BTreeMap<Id, Link> {
    let link = |(index, id): (u32, &str)| {
        let device = Device { index: index + 1, name: format!("eth{index}").into() };
        let link = Link::ethernet(device);
        (id.parse().unwrap(), link)
    };
    [(0, "one"), (1, "two"), (2, "out")].into_iter().map(link).collect()
}

/// What `dig` said.
#[derive(Debug)]
pub(crate) struct Dig {
    pub(crate) text: String,
    pub(crate) took: Duration,
}

impl Dig {
    fn new(said: Said, took: Duration) -> Self {
        Self { text: said.stdout + &said.stderr, took }
    }

    /// The response code; empty where no answer came.
    pub(crate) fn status(&self) -> &str {
        self.text.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default()
    }

    /// Whether the header has a flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        let flags =
            self.text.split(";; flags: ").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
        flags.split(' ').any(|own| own == flag)
    }

    /// The records of a section as `owner ttl type data`.
    pub(crate) fn section(&self, name: &str) -> Vec<String> {
        let lines = self.text.lines().skip_while(|line| !line.starts_with(&format!(";; {name} SECTION")));
        let records = lines.skip(1).take_while(|line| !line.is_empty());
        records
            .map(|line| line.split_whitespace().filter(|word| *word != "IN").collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// The answers without their TTLs, in order of their text.
    pub(crate) fn answers(&self) -> Vec<String> {
        let without_ttl = |line: String| {
            let words: Vec<&str> = line.split(' ').collect();
            [&words[..1], &words[2..]].concat().join(" ")
        };
        let mut answers: Vec<String> = self.section("ANSWER").into_iter().map(without_ttl).collect();
        answers.sort();
        answers
    }

    /// The TTL of the first answer, or of the SOA record where there is none.
    pub(crate) fn ttl(&self) -> u32 {
        let lines = [self.section("ANSWER"), self.section("AUTHORITY")].concat();
        lines[0].split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Asserts code and answers.
    #[track_caller]
    pub(crate) fn is(&self, status: &str, answers: &[&str]) -> &Self {
        assert_eq!(
            (self.status(), self.answers()),
            (status, answers.iter().map(ToString::to_string).collect()),
            "{}",
            self.text
        );
        self
    }

    /// Asserts that something is not there, and that a SOA record of this zone says so.
    #[track_caller]
    pub(crate) fn is_not_there(&self, status: &str, zone: &str) -> &Self {
        self.is(status, &[]);
        assert!(self.section("AUTHORITY")[0].starts_with(&format!("{zone} ")), "{}", self.text);
        self
    }
}

/// A datagram socket of a station, connected to the router.
pub(crate) fn socket(lab: &Lab, station: &str) -> UdpSocket {
    let socket = lab.inside(station, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    socket.connect((ROUTER, 53)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _: SocketAddr = socket.peer_addr().unwrap();
    socket
}

/// A query for the address of a name, with recursion.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}
