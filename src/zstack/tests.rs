//! Life cycles that management nodes rely on, by their names.

use serde_json::{Value, json};

use super::{Facts, Manner, Nic, Refusal, command, first_document, manner, uuid};
use crate::config::{Config, MacAddress};

/// A router that is given commands: what it runs after each.
struct Router {
    config: Config,
    facts: Facts,
}

fn mac(number: u8) -> MacAddress {
    MacAddress::from_octets([0xfa, 0, 0, 0, 0, number]).unwrap()
}

fn nic(number: u8, category: &str, ip: &str, gateway: &str, is_main: bool) -> Value {
    json!({"mac": mac(number).to_string(), "ip": ip, "netmask": "255.255.255.0", "gateway": gateway,
           "category": category, "isDefaultRoute": is_main})
}

impl Router {
    /// A router with a management, a public and a private NIC.
    fn new() -> Self {
        Self::booted(&json!({
            "managementNic": nic(0, "System", "192.168.0.188", "192.168.0.1", false),
            "additionalNics": [nic(1, "Public", "198.51.100.5", "198.51.100.1", true), nic(2, "Private", "10.1.1.1", "10.1.1.1", false)]
        }))
    }

    fn booted(bootstrap: &Value) -> Self {
        let nics = (0..8).map(|number| Nic { mac: mac(number), device: format!("eth{number}") }).collect();
        let facts = Facts { nics, ..Facts::default() };
        let config = Config::default().replace(first_document(bootstrap).unwrap());
        Self { config: config.unwrap_or_else(|faults| panic!("{faults}")), facts }
    }

    fn document(&self) -> Value {
        serde_json::to_value(self.config.document()).unwrap()
    }

    fn try_post(&mut self, path: &str, body: &Value) -> Result<Value, String> {
        let done =
            command(path, body, &self.document(), &self.facts).map_err(|refusal| refusal.to_string())?;
        if let Some(document) = done.document {
            self.config = self.config.replace(document).map_err(|faults| faults.to_string())?;
        }
        Ok(Value::Object(done.reply))
    }

    fn post(&mut self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn at(&self, pointer: &str) -> Value {
        self.document().pointer(pointer).cloned().unwrap_or_default()
    }

    fn ids(&self, pointer: &str) -> Vec<String> {
        self.at(pointer).as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }
}

fn listener(uuid: &str, servers: &[&str], algorithm: &str) -> Value {
    json!({"lbUuid": "lb", "listenerUuid": uuid, "vip": "198.51.100.8", "publicNic": mac(1).to_string(),
           "nicIps": servers, "instancePort": 8080, "loadBalancerPort": 80, "mode": "tcp",
           "parameters": [format!("balancerAlgorithm::{algorithm}")]})
}

fn forward(uuid: &str, port: u16) -> Value {
    json!({"uuid": uuid, "vipIp": "198.51.100.7", "vipPortStart": port, "vipPortEnd": port, "privateIp": "10.1.1.20",
           "privatePortStart": 22, "privatePortEnd": 22, "protocolType": "TCP", "publicMac": mac(1).to_string()})
}

fn vips(addresses: &[&str]) -> Value {
    let vip =
        |ip: &&str| json!({"ip": ip, "netmask": "255.255.255.0", "ownerEthernetMac": mac(1).to_string()});
    json!({"vips": addresses.iter().map(vip).collect::<Vec<_>>()})
}

fn rule(nic: u8, forward: &str, rules: &Value) -> Value {
    json!({"ref": {"mac": mac(nic).to_string(), "forward": forward, "ruleSetInfo": {"rules": rules}}})
}

#[test]
fn an_egress_rule_is_created_and_deleted() {
    let mut router = Router::new();
    let smtp = json!([{"ruleNumber": 1001, "action": "reject", "protocol": "tcp", "destPort": "25", "state": "enable"}]);
    router.post("/fw/create/rule", rule(2, "in", &smtp));
    let set = router.at("/firewall/rule_sets/fa-00-00-00-00-02.in");
    assert_eq!((&set["passage"], &set["default"]), (&json!("in"), &json!("accept")));
    assert_eq!(set["rules"]["1001"]["destination_ports"], json!(["25"]));
    router.post("/fw/delete/rule", rule(2, "in", &smtp));
    // Whatever the default of a private network, what is not named may go out, until that is switched off.
    assert_eq!(router.ids("/firewall/rule_sets/fa-00-00-00-00-02.in/rules"), ["4000"]);
    router.post("/fw/delete/rule", rule(2, "in", &smtp));
}

#[test]
fn an_ingress_rule_is_created_and_deleted() {
    let mut router = Router::new();
    let web = json!([{"ruleNumber": 1001, "action": "accept", "protocol": "tcp", "destPort": "80", "destIp": "10.1.1.20"}]);
    router.post("/fw/create/rule", rule(1, "in", &web));
    let set = router.at("/firewall/rule_sets/fa-00-00-00-00-01.in");
    assert_eq!((&set["default"], &set["rules"]["1001"]["action"]), (&json!("reject"), &json!("accept")));
    // What the rule set lets pass, the rules of the direction let pass too.
    let behind = router.at("/firewall/rules/default-fa-00-00-00-00-01");
    assert_eq!((&behind["direction"], &behind["action"]), (&json!("ingress"), &json!("accept")));
    router.post("/fw/delete/rule", rule(1, "in", &web));
    router.post("/fw/delete/firewall", json!({"nicInfos": []}));
    assert_eq!(router.at("/firewall/rule_sets"), Value::Null);
    assert_eq!(router.at("/firewall/rules/default-fa-00-00-00-00-01"), Value::Null);
}

#[test]
fn a_port_forward_is_created_and_deleted() {
    let mut router = Router::new();
    router.post("/createvip", vips(&["198.51.100.7"]));
    router.post("/createportforwarding", json!({"rules": [forward("a", 8022), forward("b", 8023)]}));
    router.post("/createportforwarding", json!({"rules": [forward("a", 8022)]}));
    assert_eq!(router.ids("/port_forwards"), ["a", "b"]);
    router.post("/revokeportforwarding", json!({"rules": [forward("a", 8022)]}));
    router.post("/revokeportforwarding", json!({"rules": [forward("a", 8022)]}));
    assert_eq!(router.ids("/port_forwards"), ["b"]);
    // One that moves leaves its place to others; a revocation that comes late takes nobody else's.
    router.post("/createportforwarding", json!({"rules": [forward("b", 8030), forward("d", 8023)]}));
    router.post("/revokeportforwarding", json!({"rules": [forward("a", 8023)]}));
    assert_eq!(router.ids("/port_forwards"), ["b", "d"]);
    router.post("/syncportforwarding", json!({"rules": [forward("c", 8024)]}));
    assert_eq!(router.ids("/port_forwards"), ["c"]);
}

#[test]
fn a_balancer_is_created_assigned_removed_from_updated_and_deleted() {
    let mut router = Router::new();
    router.post("/createvip", vips(&["198.51.100.8"]));
    let refresh = |servers: &[&str], algorithm| json!({"lbs": [listener("s1", servers, algorithm)]});
    let backends = "/load_balancers/s1/pools/default/backends";
    router.post("/lb/refresh", refresh(&["10.1.1.20"], "roundrobin"));
    assert_eq!(router.ids(backends), ["10.1.1.20"]);
    router.post("/lb/refresh", refresh(&["10.1.1.20", "10.1.1.21"], "roundrobin"));
    assert_eq!(router.ids(backends), ["10.1.1.20", "10.1.1.21"]);
    router.post("/lb/refresh", refresh(&["10.1.1.21"], "leastconn"));
    assert_eq!(router.ids(backends), ["10.1.1.21"]);
    assert_eq!(router.at("/load_balancers/s1/algorithm"), "least_connections");
    // Others are let alone by a refresh that does not list them.
    let mut other = listener("s2", &["10.1.1.30"], "source");
    other["loadBalancerPort"] = json!(81);
    router.post("/lb/refresh", json!({"lbs": [other]}));
    assert_eq!(router.ids("/load_balancers"), ["s1", "s2"]);
    // The last server gone, the listener stops.
    router.post("/lb/refresh", refresh(&[], "roundrobin"));
    assert_eq!(router.ids("/load_balancers"), ["s2"]);
    router.post("/lb/delete", json!({"lbs": [{"listenerUuid": "s2"}, {"listenerUuid": "s1"}]}));
    assert_eq!(router.ids("/load_balancers"), Vec::<String>::new());
}

#[test]
fn a_reconnect_says_everything_again_and_changes_nothing() {
    let mut router = Router::new();
    let everything = [
        ("/init", json!({"uuid": "9a01", "mgtCidr": "172.20.0.0/16"})),
        (
            "/configurenicdefaultaction",
            json!({"nics": [{"mac": mac(2).to_string(), "firewallDefaultAction": "reject"}]}),
        ),
        ("/createvip", vips(&["198.51.100.7", "198.51.100.8", "198.51.100.9"])),
        ("/setdns", json!({"dns": [{"dnsAddress": "192.0.2.53", "nicMac": mac(2).to_string()}]})),
        (
            "/refreshDhcpServer",
            json!({"dhcpServers": [{"nicMac": mac(2).to_string(), "gateway": "10.1.1.1", "dnsServer": "10.1.1.1", "dhcpInfos": [
                {"ip": "10.1.1.20", "mac": "fa:aa:00:00:00:20", "hostname": "web1", "isDefaultL3Network": true},
                {"ip": "10.1.1.21", "mac": "fa:aa:00:00:00:21", "hostname": "web1", "isDefaultL3Network": true}
            ]}]}),
        ),
        (
            "/syncsnat",
            json!({"enable": true, "snats": [{"publicNicMac": mac(1).to_string(), "publicIp": "198.51.100.5",
                "privateNicMac": mac(2).to_string(), "privateNicIp": "10.1.1.1", "snatNetmask": "255.255.255.0", "state": true}]}),
        ),
        ("/syncportforwarding", json!({"rules": [forward("a", 8022)]})),
        (
            "/synceip",
            json!({"eips": [{"vipIp": "198.51.100.9", "guestIp": "10.1.1.21", "publicMac": mac(1).to_string()}]}),
        ),
        ("/lb/refresh", json!({"lbs": [listener("s1", &["10.1.1.20"], "roundrobin")]})),
    ];
    let replay = |router: &mut Router| {
        for (path, body) in &everything {
            router.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    };
    replay(&mut router);
    let once = router.document();
    assert_eq!(uuid(&once), Some("9a01"));
    assert_eq!(once["port_forwards"]["a"]["ports"], "8022");
    replay(&mut router);
    assert_eq!(router.document(), once);
}

#[test]
fn an_eip_takes_its_vip_off_the_interface_and_gives_it_back() {
    let mut router = Router::new();
    router.post("/createvip", vips(&["198.51.100.7", "198.51.100.8"]));
    let addresses = "/interfaces/fa-00-00-00-00-01/addresses";
    assert_eq!(router.at(addresses), json!(["198.51.100.5/24", "198.51.100.7/24", "198.51.100.8/24"]));
    let eip =
        json!({"eip": {"vipIp": "198.51.100.7", "guestIp": "10.1.1.20", "publicMac": mac(1).to_string()}});
    router.post("/createeip", eip.clone());
    assert_eq!(router.at(addresses), json!(["198.51.100.5/24", "198.51.100.8/24"]));
    assert_eq!(router.at("/firewall/rules/eip-198.51.100.7/action"), "accept");
    router.post("/removeeip", eip.clone());
    assert_eq!(router.at(addresses), json!(["198.51.100.5/24", "198.51.100.7/24", "198.51.100.8/24"]));
    router.post("/removeeip", eip);
    router.post("/removevip", vips(&["198.51.100.7", "198.51.100.8"]));
    assert_eq!(router.at(addresses), json!(["198.51.100.5/24"]));
}

/// The masks and categories of NICs, and which of them each of the three networks is on.
type Merge = (&'static [(u8, &'static str)], [u8; 3]);

/// The three networks on as many NICs as a management node gives the router, with the masks that it gives them, or without:
/// the commands tell then.
#[test]
fn every_merge_of_the_three_networks_boots_and_serves() {
    let merges: [Merge; 5] = [
        (&[(2, "System"), (1, "Public"), (4, "Private")], [0, 1, 2]),
        (&[(3, "Public"), (4, "Private")], [0, 0, 1]),
        (&[(2, "System"), (5, "Public")], [0, 1, 1]),
        (&[(6, "Private"), (1, "Public")], [0, 1, 0]),
        (&[(7, "Public")], [0, 0, 0]),
    ];
    for (masks, [management, public, guest]) in merges {
        for masked in [true, false] {
            let nics: Vec<Value> = (0..)
                .zip(masks)
                .map(|(number, (mask, category))| {
                    let (net, is_main) = (format!("198.51.{number}"), mask & 1 == 1);
                    let mut one = nic(number, category, &format!("{net}.5"), &format!("{net}.1"), is_main);
                    if masked {
                        one["metaData"] = json!(mask.to_string());
                    }
                    one
                })
                .collect();
            let mut router = Router::booted(&json!({"managementNic": nics[0], "additionalNics": nics[1..]}));
            let wanted = |number: u8| {
                let of = [(management, "management"), (public, "public"), (guest, "guest")];
                of.into_iter().filter(|(on, _)| *on == number).map(|(_, role)| role).collect::<Vec<_>>()
            };
            let roles = |router: &Router| {
                let of = |number: u8| router.at(&format!("/interfaces/fa-00-00-00-00-{number:02x}/roles"));
                (0..).zip(masks).all(|(number, _)| of(number) == json!(wanted(number)))
            };
            assert!(!masked || roles(&router), "{masks:?}: {:#}", router.document());
            let (own, eip) = (format!("198.51.{guest}.5"), format!("198.51.{guest}.21"));
            router.post("/init", json!({"uuid": "9a01"}));
            router.post(
                "/adddhcp",
                json!({"dhcpEntries": [{"ip": format!("198.51.{guest}.20"), "mac": "fa:aa:00:00:00:20",
                                        "vrNicMac": mac(guest).to_string(), "isDefaultL3Network": true}]}),
            );
            router.post(
                "/syncsnat",
                json!({"snats": [{"publicNicMac": mac(public).to_string(), "publicIp": format!("198.51.{public}.5"),
                    "privateNicMac": mac(guest).to_string(), "privateNicIp": own, "snatNetmask": "255.255.255.0"}]}),
            );
            router.post(
                "/synceip",
                json!({"eips": [{"vipIp": format!("198.51.{public}.7"), "guestIp": eip,
                "privateMac": mac(guest).to_string(), "publicMac": mac(public).to_string()}]}),
            );
            assert!(roles(&router), "{masks:?}: {:#}", router.document());
            // What was learnt stays when a NIC is said to be as it was.
            router.post("/configurenic", json!({ "nics": nics }));
            assert!(roles(&router), "{masks:?}: {:#}", router.document());
        }
    }
}

/// A network joins the management's on its NIC, and each is one of its own; a mask that makes no sense is none.
#[test]
fn networks_that_share_a_nic_keep_their_addresses() {
    let shared = [
        nic(0, "System", "192.168.0.188", "192.168.0.1", false),
        nic(0, "Public", "198.51.100.5", "198.51.100.1", true),
        nic(0, "Private", "10.1.1.1", "10.1.1.1", false),
    ];
    let far =
        json!({"managementNic": shared[0], "additionalNics": shared[1..], "managementNodeIp": "172.20.0.2"});
    let mut router = Router::booted(&far);
    let interface = "/interfaces/fa-00-00-00-00-00";
    let is_whole = |router: &Router| {
        let addresses = json!(["192.168.0.188/24", "198.51.100.5/24", "10.1.1.1/24"]);
        assert_eq!(router.at(&format!("{interface}/addresses")), addresses);
        assert_eq!(router.at(&format!("{interface}/roles")), json!(["management", "public", "guest"]));
        assert_eq!(router.at(&format!("{interface}/gateway")), "198.51.100.1");
        assert_eq!(router.at("/routes/zstack-node/via"), "192.168.0.1");
    };
    is_whole(&router);
    router.facts.node = Some("172.20.0.2".parse().unwrap());
    router.post("/init", json!({"uuid": "9a01"}));
    router.post("/configurenic", json!({ "nics": shared }));
    router.post("/configurenic", json!({ "nics": [shared[2]] }));
    is_whole(&router);
    let mut odd = nic(1, "Private", "10.1.1.1", "10.1.1.1", false);
    odd["metaData"] = json!("2");
    let router = Router::booted(&json!({"managementNic": shared[0], "additionalNics": [odd]}));
    assert_eq!(router.at("/interfaces/fa-00-00-00-00-01/roles"), json!(["guest"]));
}

#[test]
fn a_router_with_a_configuration_of_its_own_is_not_commanded() {
    let native = json!({"version": 1, "interfaces": {"public": {"device": "eth1", "roles": ["public"]}}});
    let refused =
        |path: &str, document: &Value| command(path, &json!({"uuid": "9a01"}), document, &Facts::default());
    assert_eq!(refused("/init", &native), Err(Refusal::Owned));
    assert!(refused("/ping", &native).is_ok());
    // A router that nobody has configured is taken, and one that is given away.
    let empty = json!({"version": 1});
    let taken = refused("/init", &empty).unwrap().document.unwrap();
    assert_eq!(uuid(&taken), Some("9a01"));
    let mut given = native;
    given["owner"] = json!({"zstack": {}});
    assert_eq!(uuid(&refused("/init", &given).unwrap().document.unwrap()), Some("9a01"));
}

#[test]
fn paths_are_known_without_regard_to_case_and_a_final_slash() {
    for path in ["/echo", "/echo/", "/ECHO", "/type", "/test", "/appliancevm/echo"] {
        assert_eq!(manner(path), Some(Manner::AtOnce), "{path}");
    }
    for path in
        ["/refreshDhcpServer", "/refreshdhcpserver/", "/lb/refresh", "/vyos/createipsecconnection", "/ping"]
    {
        assert_eq!(manner(path), Some(Manner::Queued), "{path}");
    }
    for path in ["", "/", "/echo/x", "/v1/config", "/lb"] {
        assert_eq!(manner(path), None, "{path}");
    }
}

/// A command costs what it says, not what it says times what is there.
#[test]
fn ten_thousand_of_everything_are_one_command_each() {
    let mut router = Router::booted(&json!({
        "managementNic": nic(0, "System", "192.168.0.188", "192.168.0.1", false),
        "additionalNics": [nic(1, "Public", "198.51.100.5", "198.51.100.1", true),
            {"mac": mac(2).to_string(), "ip": "10.1.0.1", "netmask": "255.255.0.0", "category": "Private"}]
    }));
    let guest = |number: u32| format!("10.1.{}.{}", 1 + number / 250, 1 + number % 250);
    let entries: Vec<Value> = (0..10_000u32)
        .map(|number| {
            let [.., a, b] = number.to_be_bytes();
            json!({"ip": guest(number), "mac": format!("fa:aa:00:00:{a:02x}:{b:02x}"), "hostname": format!("h{number}"),
                   "vrNicMac": mac(2).to_string(), "isDefaultL3Network": true})
        })
        .collect();
    let forwards: Vec<Value> = (0..10_000u32)
        .map(|number| {
            let port = 10_000 + number;
            json!({"uuid": format!("pf{number}"), "vipIp": "198.51.100.5", "vipPortStart": port, "privateIp": guest(number),
                   "privatePortStart": 22, "protocolType": "TCP", "publicMac": mac(1).to_string()})
        })
        .collect();
    for rebuild in [true, false] {
        router.post("/adddhcp", json!({"rebuild": rebuild, "dhcpEntries": entries}));
        router.post("/createportforwarding", json!({"rules": forwards}));
    }
    assert_eq!(router.ids("/dhcp/fa-00-00-00-00-02/hosts").len(), 10_000);
    assert_eq!(router.ids("/port_forwards").len(), 10_000);
}
