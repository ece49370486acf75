//! A machine under ZStack in the house of these tests, from its first boot on, and the bodies of commands.

use serde_json::{Value, json};

use super::node::{Node, UUID};
use crate::appliance::house::{DEVICES, grounds};
use crate::appliance::router::Router;
use crate::lab::{Lab, until};

/// The router's devices as the management node knows them.
pub(crate) const MANAGEMENT: &str = DEVICES[0].1;
pub(crate) const PUBLIC: &str = DEVICES[1].1;
pub(crate) const GUEST: &str = DEVICES[2].1;

/// A machine, its management node and the stations. The machine ends first.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) router: Router,
    pub(crate) node: Node,
    pub(crate) lab: Lab,
}

impl Scene {
    /// A machine whose host has told it what it is, and nobody has commanded yet.
    pub(crate) fn booted() -> Self {
        let (router, lab) = Self::machine(&bootstrap());
        let node = Node::start(&lab);
        Self { router, node, lab }
    }

    /// A machine that its host has told this, in a house without a management node.
    pub(crate) fn machine(bootstrap: &Value) -> (Router, Lab) {
        let lab = grounds();
        let mut router = Router::for_zstack(&lab, "router");
        std::fs::write(router.vport(), padded(bootstrap)).unwrap();
        router.launch();
        until("the machine is what its host says", || {
            (router.get("/v1/config").head.contains("etag: \"1\"")).then_some(())
        });
        (router, lab)
    }

    /// A machine that is connected, with source translation for its guests.
    pub(crate) fn connected() -> Self {
        let scene = Self::booted();
        scene.connect();
        scene
    }

    /// What the management node does before anything else, and again when it reconnects.
    pub(crate) fn connect(&self) {
        let Self { node, lab, .. } = self;
        node.until_there(lab);
        let init = json!({
            "uuid": UUID, "restartDnsmasqAfterNumberOfSIGUSER1": 500, "mgtCidr": "192.168.0.0/24",
            "logLevel": "INFO", "timeServers": [], "parms": {"ipv4LocalPortRange": "32768-60999"}
        });
        assert_eq!(node.call(lab, "/init", &init)["uuid"], UUID);
        let nics = json!({"nics": [public_nic(), guest_nic()]});
        node.call(lab, "/configurenicdefaultaction", &nics);
        node.call(lab, "/createvip", &json!({"syncVip": false, "vips": [], "nicIps": []}));
        node.call(lab, "/setdns", &json!({"dns": [{"dnsAddress": "192.0.2.53", "nicMac": GUEST}]}));
        node.call(lab, "/syncsnat", &snat(true));
    }

    /// Calls that have to succeed.
    pub(crate) fn call(&self, path: &str, body: Value) -> Value {
        self.node.call(&self.lab, path, &body)
    }
}

/// What a host writes: blanks up to a multiple of its socket's buffer.
pub(crate) fn padded(bootstrap: &Value) -> String {
    let text = bootstrap.to_string();
    let whole = text.len().next_multiple_of(4096);
    format!("{text:<whole$}")
}

pub(crate) fn bootstrap() -> Value {
    json!({
        "applianceVmSubType": "VirtualRouter",
        "managementNic": {
            "ip": "192.168.0.188", "netmask": "255.255.255.0", "gateway": "192.168.0.1", "mac": MANAGEMENT,
            "deviceName": "eth0", "metaData": "2", "isDefaultRoute": false, "category": "System",
            "l2type": "L2NoVlanNetwork", "physicalInterface": "eth0", "mtu": 1500
        },
        "additionalNics": [public_nic(), guest_nic()],
        "publicKey": "ssh-rsa AAAA test", "sshPort": 22, "uuid": UUID, "haStatus": "NoHa",
        "managementNodeIp": "192.168.0.10", "managementNodeCidr": "192.168.0.0/24"
    })
}

pub(crate) fn public_nic() -> Value {
    json!({
        "ip": "198.51.100.5", "netmask": "255.255.255.0", "gateway": "198.51.100.1", "mac": PUBLIC,
        "deviceName": "eth1", "metaData": "1", "isDefaultRoute": true, "category": "Public",
        "l2type": "L2NoVlanNetwork", "physicalInterface": "eth1", "mtu": 1500, "firewallDefaultAction": "reject",
        "state": "enable"
    })
}

pub(crate) fn guest_nic() -> Value {
    json!({
        "ip": "10.1.1.1", "netmask": "255.255.255.0", "gateway": "10.1.1.1", "mac": GUEST,
        "deviceName": "eth2", "metaData": "4", "isDefaultRoute": false, "category": "Private",
        "l2type": "L2VlanNetwork", "physicalInterface": "eth2", "mtu": 1500, "firewallDefaultAction": "accept",
        "state": "enable"
    })
}

pub(crate) fn snat(enable: bool) -> Value {
    json!({"enable": enable, "snats": [{
        "publicNicMac": PUBLIC, "publicIp": "198.51.100.5", "privateNicMac": GUEST, "privateNicIp": "10.1.1.1",
        "privateGatewayIp": "10.1.1.1", "snatNetmask": "255.255.255.0", "state": true
    }]})
}

/// A VIP with this last octet.
pub(crate) fn vip(last: usize) -> Value {
    json!({
        "ip": format!("198.51.100.{last}"), "netmask": "255.255.255.0", "gateway": "198.51.100.1",
        "ownerEthernetMac": PUBLIC, "vipUuid": format!("{last:032x}"), "isSystem": false
    })
}

/// An EIP at a VIP for a guest, by their last octets.
pub(crate) fn eip(vip: usize, guest: usize) -> Value {
    json!({
        "vipIp": format!("198.51.100.{vip}"), "guestIp": format!("10.1.1.{guest}"),
        "privateMac": GUEST, "publicMac": PUBLIC, "snatInboundTraffic": false
    })
}

/// A port forward, by the last octets of VIP and guest.
pub(crate) fn forward(number: usize, (vip, port): (usize, usize), (guest, private): (usize, usize)) -> Value {
    json!({
        "uuid": format!("f{number:031x}"), "vipIp": format!("198.51.100.{vip}"),
        "vipPortStart": port, "vipPortEnd": port, "privateIp": format!("10.1.1.{guest}"),
        "privatePortStart": private, "privatePortEnd": private, "protocolType": "TCP",
        "privateMac": GUEST, "publicMac": PUBLIC, "allowedCidr": "", "snatInboundTraffic": false
    })
}

/// A DHCP entry for the client whose MAC and address have this last octet.
pub(crate) fn dhcp(last: u8) -> Value {
    json!({
        "ip": format!("10.1.1.{last}"), "mac": format!("fa:aa:00:00:00:{last:02x}"),
        "netmask": "255.255.255.0", "gateway": "10.1.1.1", "dns": ["10.1.1.1"],
        "hostname": format!("host-{last}"), "dnsDomain": "demo.local", "vrNicMac": GUEST,
        "isDefaultL3Network": true, "mtu": 1450
    })
}

/// A balancer of port 8080 of guests, by their last octets.
pub(crate) fn listener(number: usize, mode: &str, vip: usize, guests: &[usize]) -> Value {
    let ips: Vec<String> = guests.iter().map(|last| format!("10.1.1.{last}")).collect();
    let servers: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip, "weight": 100})).collect();
    json!({
        "lbUuid": format!("b{number:031x}"), "listenerUuid": format!("d{number:031x}"),
        "vip": format!("198.51.100.{vip}"), "publicNic": PUBLIC, "nicIps": ips, "instancePort": 8080,
        "loadBalancerPort": 80, "mode": mode,
        "serverGroups": [{"name": "g", "serverGroupUuid": format!("c{number:031x}"), "isDefault": true,
                          "backendServers": servers}],
        "redirectRules": [],
        "parameters": [
            "balancerAlgorithm::roundrobin", "healthCheckTarget::tcp:default", "healthCheckInterval::1",
            "healthCheckTimeout::1", "healthyThreshold::1", "unhealthyThreshold::2",
            "connectionIdleTimeout::60", "maxConnection::200000", "httpMode::http-server-close",
            "accessControlStatus::enable", "aclEntry::"
        ]
    })
}
