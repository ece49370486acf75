//! Management, public and guest networks on three NICs, on two and on one: told at boot, or learnt from commands, and then
//! proven by packets.

use serde_json::{Value, json};

use super::node::{Node, UUID};
use super::scene::padded;
use crate::appliance::balancing::web::Web;
use crate::appliance::house::DEVICES;
use crate::appliance::router::Router;
use crate::dhcp::clients::udhcpc;
use crate::lab::{Lab, until};

const MANAGEMENT: usize = 0;
const PUBLIC: usize = 1;
const GUEST: usize = 2;
/// What leads a network that is several: it is of this kind, and has its addresses.
const LEADS: [usize; 3] = [PUBLIC, GUEST, MANAGEMENT];
/// By kind of network: how its addresses begin, the router's last octet, its category and its bit in a NIC's mask.
const KINDS: [(&str, u8, &str, u8); 3] =
    [("192.168.0", 188, "System", 2), ("198.51.100", 5, "Public", 1), ("10.1.1", 1, "Private", 4)];

/// Which NIC each of the three networks is on.
#[derive(Debug, Clone, Copy)]
struct Merge {
    nics: [usize; 3],
    /// Whether networks that share a NIC are networks of their own all the same.
    apart: bool,
    /// Whether the host says at boot what each NIC is for.
    masked: bool,
}

impl Merge {
    const fn of(nics: [usize; 3]) -> Self {
        Self { nics, apart: false, masked: true }
    }

    /// The kind that leads the network of this one.
    fn lead(self, kind: usize) -> usize {
        let shares = |other: &usize| self.nics[*other] == self.nics[kind];
        if self.apart { kind } else { LEADS.into_iter().find(shares).unwrap() }
    }

    fn mac(self, kind: usize) -> &'static str {
        DEVICES[self.nics[kind]].1
    }

    /// An address of a network by its last octet.
    fn at(self, kind: usize, last: u8) -> String {
        format!("{}.{last}", KINDS[self.lead(kind)].0)
    }

    /// The router's address in a network.
    fn router(self, kind: usize) -> String {
        self.at(kind, KINDS[self.lead(kind)].1)
    }

    /// A NIC as its host describes it, or one network on it.
    fn nic(self, kind: usize) -> Value {
        let gateway = if self.lead(kind) == GUEST { self.router(kind) } else { self.at(kind, 1) };
        let mut nic = json!({
            "ip": self.router(kind), "netmask": "255.255.255.0", "gateway": gateway, "mac": self.mac(kind),
            "deviceName": DEVICES[self.nics[kind]].0, "isDefaultRoute": self.lead(kind) == PUBLIC,
            "category": KINDS[self.lead(kind)].2, "l2type": "L2NoVlanNetwork", "mtu": 1500
        });
        if self.masked {
            let same = |other: &usize| self.lead(*other) == self.lead(kind);
            let mask: u8 = (0..3).filter(same).map(|other| KINDS[other].3).sum();
            nic["metaData"] = json!(mask.to_string());
        }
        nic
    }

    fn bootstrap(self) -> Value {
        let others = [PUBLIC, GUEST].into_iter().filter(|kind| self.lead(*kind) != self.lead(MANAGEMENT));
        let mut others: Vec<Value> =
            others.filter(|kind| self.lead(*kind) == *kind).map(|kind| self.nic(kind)).collect();
        others.dedup();
        json!({
            "applianceVmSubType": "VirtualRouter", "managementNic": self.nic(MANAGEMENT), "additionalNics": others,
            "uuid": UUID, "managementNodeIp": self.at(MANAGEMENT, 10),
            "managementNodeCidr": self.at(MANAGEMENT, 0) + "/24"
        })
    }

    /// The stations around a router that nobody has told anything.
    fn lab(self) -> Lab {
        let mut lab = Lab::new();
        lab.namespace("router");
        for (number, (device, mac, _)) in DEVICES.into_iter().enumerate().take(3) {
            if self.nics.contains(&number) {
                lab.network(&format!("net{number}"));
                lab.plug("router", device, mac, &format!("net{number}"));
            }
        }
        let stations = [
            ("admin", MANAGEMENT, 10),
            ("upstream", PUBLIC, 1),
            ("web1", GUEST, 20),
            ("web2", GUEST, 21),
            ("client", GUEST, 50),
        ];
        for (name, kind, last) in stations {
            let own = self.at(kind, last) + "/24";
            lab.station(
                name,
                &format!("net{}", self.nics[kind]),
                &format!("fa:aa:00:00:00:{last:02}"),
                Some(&own),
            );
            if kind == GUEST {
                lab.ok(name, &format!("ip route add default via {}", self.router(GUEST)));
            }
        }
        lab.station("newcomer", &format!("net{}", self.nics[GUEST]), "fa:aa:00:00:00:60", None);
        lab.network("transit");
        lab.station("internet", "transit", "fa:aa:00:00:04:53", Some("192.0.2.53/24"));
        lab.plug("upstream", "eth1", "fa:aa:00:00:05:00", "transit");
        lab.ok("upstream", "ip link set eth1 up");
        lab.ok("upstream", "ip address add 192.0.2.1/24 dev eth1");
        lab.ok("upstream", "sysctl -qw net.ipv4.ip_forward=1");
        lab.ok("internet", &format!("ip route add {}/24 via 192.0.2.1", self.at(PUBLIC, 0)));
        lab
    }

    /// What the management node commands when it connects.
    fn commands(self) -> Vec<(&'static str, Value)> {
        let vip = |last| {
            json!({"ip": self.at(PUBLIC, last), "netmask": "255.255.255.0", "gateway": self.at(PUBLIC, 1),
                                "ownerEthernetMac": self.mac(PUBLIC), "vipUuid": format!("{last:032x}")})
        };
        let entry = json!({
            "ip": self.at(GUEST, 60), "mac": "fa:aa:00:00:00:60", "netmask": "255.255.255.0",
            "gateway": self.router(GUEST), "dns": [self.router(GUEST)], "hostname": "newcomer",
            "dnsDomain": "demo.local", "vrNicMac": self.mac(GUEST), "isDefaultL3Network": true, "mtu": 1450
        });
        let snat = json!({
            "publicNicMac": self.mac(PUBLIC), "publicIp": self.router(PUBLIC), "privateNicMac": self.mac(GUEST),
            "privateNicIp": self.router(GUEST), "privateGatewayIp": self.router(GUEST),
            "snatNetmask": "255.255.255.0", "state": true
        });
        let eip = json!({"vipIp": self.at(PUBLIC, 100), "guestIp": self.at(GUEST, 20), "privateMac": self.mac(GUEST),
                         "publicMac": self.mac(PUBLIC), "snatInboundTraffic": false});
        let forward = json!({
            "uuid": "f1", "vipIp": self.at(PUBLIC, 101), "vipPortStart": 8000, "vipPortEnd": 8000,
            "privateIp": self.at(GUEST, 20), "privatePortStart": 80, "privatePortEnd": 80, "protocolType": "TCP",
            "privateMac": self.mac(GUEST), "publicMac": self.mac(PUBLIC), "allowedCidr": ""
        });
        let listener = |uuid: &str, mode: &str, port: u16| {
            json!({
                "lbUuid": "b1", "listenerUuid": uuid, "vip": self.at(PUBLIC, 102), "publicNic": self.mac(PUBLIC),
                "nicIps": [self.at(GUEST, 20), self.at(GUEST, 21)], "instancePort": 8080, "loadBalancerPort": port,
                "mode": mode, "parameters": ["balancerAlgorithm::roundrobin", "healthCheckTarget::tcp:default",
                    "healthCheckInterval::1", "healthCheckTimeout::1", "healthyThreshold::1"]
            })
        };
        vec![
            ("/init", json!({"uuid": UUID, "mgtCidr": self.at(MANAGEMENT, 0) + "/24"})),
            (
                "/configurenicdefaultaction",
                json!({"nics": [{"mac": self.mac(PUBLIC), "firewallDefaultAction": "reject"}]}),
            ),
            ("/setdns", json!({"dns": [{"dnsAddress": "192.0.2.53", "nicMac": self.mac(GUEST)}]})),
            ("/adddhcp", json!({"rebuild": true, "dhcpEntries": [entry]})),
            ("/syncsnat", json!({"enable": true, "snats": [snat]})),
            (
                "/createvip",
                json!({"syncVip": true, "vips": [vip(100), vip(101), vip(102)], "nicIps": [
                    {"ip": self.router(PUBLIC), "netmask": "255.255.255.0", "ownerEthernetMac": self.mac(PUBLIC)}]}),
            ),
            ("/syncportforwarding", json!({"rules": [forward]})),
            ("/synceip", json!({"eips": [eip]})),
            ("/lb/refresh", json!({"lbs": [listener("l1", "tcp", 80), listener("l2", "http", 81)]})),
        ]
    }

    /// What the router has to carry for everybody.
    fn proven(self, lab: &Lab) {
        let told = udhcpc(lab, "newcomer", "", false).expect("a lease");
        assert_eq!((&told["ip"], &told["router"]), (&self.at(GUEST, 60), &self.router(GUEST)), "{self:?}");
        let name = format!("dig +short +tries=5 +time=2 @{} newcomer.demo.local", self.router(GUEST));
        assert_eq!(lab.run("client", &name).stdout.trim(), self.at(GUEST, 60), "{self:?}");
        // Out by source translation, and by the EIP for the one who has it.
        lab.reaches("client", "192.0.2.53:80", &self.router(PUBLIC));
        lab.reaches("web1", "192.0.2.53:80", &self.at(PUBLIC, 100));
        // In by the EIP, by the port forward and by the balancers.
        lab.reaches("internet", &format!("{}:80", self.at(PUBLIC, 100)), "192.0.2.53");
        lab.reaches("internet", &format!("{}:8000", self.at(PUBLIC, 101)), "192.0.2.53");
        for port in [80, 81] {
            let line = format!("curl -s -m 5 http://{}:{port}/", self.at(PUBLIC, 102));
            for name in ["web1", "web2"] {
                until(&format!("{name} answers at port {port}, {self:?}"), || {
                    (lab.run("internet", &line).stdout.trim() == name).then_some(())
                });
            }
        }
        // Guests reach public addresses too, and are answered.
        lab.reaches("client", &format!("{}:80", self.at(PUBLIC, 100)), &self.router(GUEST));
        // Nothing else is open.
        let (own, forwarded) = (self.router(PUBLIC), self.at(PUBLIC, 101));
        lab.connects_in_vain("internet", &format!("{own}:22"));
        lab.connects_in_vain("internet", &format!("{forwarded}:22"));
        lab.connects_in_vain("internet", &format!("{own}:7270"));
        let said = lab.run("internet", &format!("curl -s -m 5 http://{own}:7272/echo"));
        assert!(!said.success && said.stdout.is_empty(), "{self:?}: {said:?}");
        if self.lead(GUEST) != self.lead(MANAGEMENT) {
            lab.connects_in_vain("client", &format!("{}:7272", self.router(MANAGEMENT)));
        }
    }

    /// Boots a router this way, commands it, and has a look at everything; then again after a reconnect and a kill.
    fn serves(self) {
        let lab = self.lab();
        for (station, port) in [("web1", 80), ("internet", 80)] {
            lab.serve(station, port);
        }
        let _webs = ["web1", "web2"].map(|station| Web::start(&lab, station, 8080));
        let mut router = Router::for_zstack(&lab, "router");
        std::fs::write(router.vport(), padded(&self.bootstrap())).unwrap();
        router.launch();
        until("the machine is what its host says", || {
            (router.get("/v1/config").head.contains("etag: \"1\"")).then_some(())
        });
        let node = Node::at(&lab, "admin", &self.at(MANAGEMENT, 10), &self.router(MANAGEMENT));
        node.until_there(&lab);
        let connect = || {
            for (path, body) in self.commands() {
                node.call(&lab, path, &body);
            }
        };
        connect();
        self.proven(&lab);
        // A rule of the public NIC's set is about what comes in there, and keeps guests who share the NIC from nothing else.
        let shut = json!({"ref": {"mac": self.mac(PUBLIC), "forward": "in", "ruleSetInfo": {"actionType": "reject", "rules": [
            {"ruleNumber": 1001, "action": "drop", "protocol": "tcp", "destIp": self.at(GUEST, 20), "destPort": "80",
             "sourceIp": "192.0.2.0/24", "state": "enable"}]}}});
        node.call(&lab, "/fw/create/rule", &shut);
        lab.connects_in_vain("internet", &format!("{}:8000", self.at(PUBLIC, 101)));
        lab.reaches("client", "192.0.2.53:80", &self.router(PUBLIC));
        node.call(&lab, "/fw/delete/rule", &shut);
        lab.reaches("internet", &format!("{}:8000", self.at(PUBLIC, 101)), "192.0.2.53");
        node.call(&lab, "/fw/delete/firewall", &json!({"nicInfos": []}));
        let generation = router.get("/v1/generations").body["current"].clone();
        connect();
        let after = router.get("/v1/generations").body["current"].clone();
        assert_eq!(after, generation, "a reconnect changes nothing, {self:?}");
        router.kill();
        router.relaunch();
        assert_eq!(node.ping(&lab)["uuid"], UUID);
        self.proven(&lab);
    }

    /// The same, where the host does not say what NICs are for: the commands have to tell.
    fn serves_also_unmasked(self) {
        self.serves();
        Self { masked: false, ..self }.serves();
    }
}

#[test]
fn the_three_networks_on_three_nics() {
    Merge::of([0, 1, 2]).serves_also_unmasked();
}

#[test]
fn management_and_public_network_on_one_nic() {
    Merge::of([0, 0, 1]).serves_also_unmasked();
}

#[test]
fn public_and_guest_network_on_one_nic() {
    Merge::of([0, 1, 1]).serves_also_unmasked();
}

#[test]
fn management_and_guest_network_on_one_nic() {
    Merge::of([0, 1, 0]).serves_also_unmasked();
}

#[test]
fn all_three_networks_on_one_nic() {
    Merge::of([0, 0, 0]).serves_also_unmasked();
}

/// One MAC with three addresses: networks of their own that share a wire.
#[test]
fn three_networks_of_their_own_on_one_nic() {
    Merge { apart: true, ..Merge::of([0, 0, 0]) }.serves_also_unmasked();
}

#[test]
fn public_and_guest_networks_of_their_own_on_one_nic() {
    Merge { apart: true, ..Merge::of([0, 1, 1]) }.serves_also_unmasked();
}
