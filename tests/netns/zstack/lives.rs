//! Lives of EIPs, port forwards, DHCP entries, balancers and rules, as the management node leads them, with real packets.

use std::thread;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::scene::{GUEST, PUBLIC, Scene, dhcp, eip, forward, listener, vip};
use crate::appliance::balancing::web::Web;
use crate::appliance::traffic::Outcome;
use crate::dhcp::clients::udhcpc;
use crate::dhcp::wire::{Wire, message};
use crate::lab::until;

#[test]
fn an_eip_is_created_and_deleted() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    for station in ["web1", "web2", "internet"] {
        lab.serve(station, 80);
    }
    scene.call("/createvip", json!({"vips": [vip(100), vip(101)]}));
    scene.call("/createeip", json!({"eip": eip(100, 20)}));
    lab.reaches("internet", "198.51.100.100:80", "192.0.2.53");
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.100");
    lab.reaches("client", "198.51.100.100:80", "10.1.1.1");
    let stream = lab.stream("internet", "198.51.100.100:80");
    // Removed: connections of it end with it, and the guest goes out as anybody.
    scene.call("/removeeip", json!({"eip": eip(100, 20)}));
    stream.stops();
    lab.connects_in_vain("internet", "198.51.100.100:80");
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.5");
    // What is not there any more is gone already.
    scene.call("/removeeip", json!({"eip": eip(100, 20)}));
    // Another guest's; then the whole list is another one.
    scene.call("/createeip", json!({"eip": eip(100, 21)}));
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.100");
    scene.call("/synceip", json!({"eips": [eip(101, 20)]}));
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.101");
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.5");
    scene.call("/removevip", json!({"vips": [vip(100)]}));
    scene.call("/removevip", json!({"vips": [vip(100)]}));
    lab.reaches("internet", "198.51.100.101:80", "192.0.2.53");
}

#[test]
fn a_port_forward_is_created_and_deleted() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    for port in [80, 8080] {
        lab.serve("web1", port);
        lab.serve("web2", port);
    }
    scene.call("/createvip", json!({"vips": [vip(100)]}));
    let at = "198.51.100.100:8000";
    scene.call("/createportforwarding", json!({"rules": [forward(1, (100, 8000), (20, 80))]}));
    lab.reaches("internet", at, "192.0.2.53");
    lab.reaches("neighbour", at, "198.51.100.9");
    let mut narrow = forward(1, (100, 8000), (20, 80));
    narrow["allowedCidr"] = json!("198.51.100.0/24");
    scene.call("/syncportforwarding", json!({"rules": [narrow]}));
    lab.reaches("neighbour", at, "198.51.100.9");
    lab.connects_in_vain("internet", at);
    // Two of UDP and TCP side by side; the list replaces what was.
    let mut datagrams = forward(3, (100, 8000), (21, 8080));
    datagrams["protocolType"] = json!("UDP");
    let rules = json!({"rules": [forward(2, (100, 8000), (20, 80)), datagrams]});
    scene.call("/syncportforwarding", rules);
    lab.reaches("internet", at, "192.0.2.53");
    lab.reaches_by_udp("internet", at, "192.0.2.53");
    let stream = lab.stream("internet", at);
    scene.call("/revokeportforwarding", json!({"rules": [forward(2, (100, 8000), (20, 80))]}));
    stream.stops();
    lab.connects_in_vain("internet", at);
    lab.reaches_by_udp("internet", at, "192.0.2.53");
    scene.call("/revokeportforwarding", json!({"rules": [forward(2, (100, 8000), (20, 80))]}));
}

#[test]
fn a_dhcp_entry_lives_and_dies_in_both_generations_of_commands() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    lab.ok("client", "ip address flush dev eth0");
    let offered = |last: u8| {
        let wire = Wire::client(lab, "client");
        let offer = wire.ask(&message(MessageType::Discover, last, u32::from(last)));
        offer.address().octets()[3]
    };
    scene.call("/adddhcp", json!({"rebuild": true, "dhcpEntries": [dhcp(80), dhcp(81)]}));
    let told = udhcpc(lab, "client", "-O mtu", true).unwrap();
    assert_eq!((told["ip"].as_str(), told["router"].as_str()), ("10.1.1.80", "10.1.1.1"));
    assert_eq!((told["domain"].as_str(), told["mtu"].as_str()), ("demo.local", "1450"));
    // One more beside them, and one that gets another address.
    scene.call("/adddhcp", json!({"rebuild": false, "dhcpEntries": [dhcp(82)]}));
    assert_eq!((offered(81), offered(82)), (81, 82));
    let mut moved = dhcp(81);
    moved["ip"] = json!("10.1.1.91");
    scene.call("/adddhcp", json!({"rebuild": false, "dhcpEntries": [moved]}));
    assert_eq!(offered(81), 91);
    // Removed with its lease: somebody else may have the address at once.
    scene.call("/removedhcp", json!({"dhcpEntries": [dhcp(80)]}));
    scene.call("/removedhcp", json!({"dhcpEntries": [dhcp(80)]}));
    let leases = scene.router.get("/v1/leases").body;
    let left = leases["leases"].as_array().unwrap().iter().any(|lease| lease["ip"] == "10.1.1.80");
    assert!(!left, "{leases:#}");
    assert!(udhcpc(lab, "client", "-t 2 -T 1", false).is_none(), "nobody knows the client any more");
    let mut heir = dhcp(83);
    heir["ip"] = json!("10.1.1.80");
    scene.call("/adddhcp", json!({"rebuild": false, "dhcpEntries": [heir]}));
    assert_eq!(offered(83), 80);
    // The newer generation of commands: all there is, of one network.
    let server = |entries: Vec<Value>| {
        json!({"dhcpServers": [{
            "nicMac": GUEST, "subnet": "10.1.1.0/24", "netmask": "255.255.255.0", "gateway": "10.1.1.1",
            "dnsServer": "10.1.1.1", "dnsDomain": "demo.local", "mtu": 1450, "dhcpInfos": entries
        }]})
    };
    scene.call("/refreshDhcpServer", server(vec![dhcp(80)]));
    let told = udhcpc(lab, "client", "", true).unwrap();
    assert_eq!(told["ip"], "10.1.1.80");
    scene.call("/stopDhcpServer", server(vec![]));
    assert!(udhcpc(lab, "client", "-t 2 -T 1", false).is_none(), "nothing is served");
    scene.call("/startDhcpServer", server(vec![dhcp(80)]));
    assert_eq!(udhcpc(lab, "client", "", false).unwrap()["ip"], "10.1.1.80");
}

#[test]
fn a_balancer_is_created_assigned_to_removed_from_updated_and_deleted() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    let webs = ["web1", "web2"].map(|station| Web::start(lab, station, 8080));
    let get = || lab.run("internet", "curl -s -m 5 http://198.51.100.100/").stdout.trim().to_owned();
    let refresh = |body: Value| scene.call("/lb/refresh", json!({"lbs": [body], "enableHaproxyLog": true}));
    let all = |names: &[&str]| {
        until(&format!("{names:?} answer and nobody else"), || {
            let mut seen: Vec<String> = (0..6).map(|_| get()).collect();
            seen.sort();
            seen.dedup();
            (seen == names).then_some(())
        });
    };
    scene.call("/createvip", json!({"vips": [vip(100)]}));
    for mode in ["tcp", "http"] {
        // Created with one backend; another is assigned; the first is removed.
        refresh(listener(1, mode, 100, &[20]));
        all(&["web1"]);
        refresh(listener(1, mode, 100, &[20, 21]));
        all(&["web1", "web2"]);
        refresh(listener(1, mode, 100, &[21]));
        all(&["web2"]);
        // The algorithm: one client stays with one backend.
        let mut source = listener(1, mode, 100, &[20, 21]);
        source["parameters"][0] = json!("balancerAlgorithm::source");
        refresh(source);
        until("one client has one backend", || {
            let first = get();
            (!first.is_empty() && (0..10).all(|_| get() == first)).then_some(())
        });
        refresh(listener(1, mode, 100, &[20, 21]));
        all(&["web1", "web2"]);
        // A backend that dies gets nothing more, and comes back.
        webs[0].kill();
        all(&["web2"]);
        webs[0].revive(lab);
        all(&["web1", "web2"]);
        if mode == "http" {
            let of = |name: &str| {
                let labels = "ListenerUuid=\"d0000000000000000000000000000001\",NicIpAddress=\"10.1.1.20\",LbUuid=\"b0000000000000000000000000000001\"";
                scene.node.metric(lab, &format!("zstack_lb_{name}{{{labels}}}"))
            };
            assert!(of("hrsp2xx") > 0.0 && of("hrsp5xx") == 0.0);
            assert!(of("hrspOther") <= of("total_session_num") + of("refused_session_num"));
        }
        // Without backends it stops; deleted, it is gone, and deleting it again does no harm.
        refresh(listener(1, mode, 100, &[]));
        until("it is stopped", || {
            (lab.tcp("internet", "198.51.100.100:80") != Outcome::Connected).then_some(())
        });
        refresh(listener(1, mode, 100, &[20]));
        all(&["web1"]);
        for _ in 0..2 {
            scene.call("/lb/delete", json!({"lbs": [listener(1, mode, 100, &[20])]}));
        }
        assert_eq!(get(), "");
    }
}

/// What the management node's dashboards show of a VIP is what the kernel counted of it, to the packet.
#[test]
fn packets_and_octets_of_vips_are_counted() {
    let mut scene = Scene::connected();
    scene.call("/createvip", json!({"vips": [vip(100), vip(101)]}));
    scene.call("/createeip", json!({"eip": eip(100, 20)}));
    let counted = |scene: &Scene, last: usize| {
        let names = ["in_packages", "in_bytes", "out_packages", "out_bytes"];
        names.map(|name| {
            scene.node.metric(&scene.lab, &format!("zstack_vip_{name}{{VipUUID=\"{last:032x}\"}}"))
        })
    };
    assert_eq!(counted(&scene, 100), [0.0; 4]);
    // To the EIP from outside, and from its guest; one packet each way, of 1,000 octets behind its headers.
    for (station, to) in [("internet", "198.51.100.100"), ("web1", "192.0.2.53")] {
        let before = counted(&scene, 100);
        scene.lab.ok(station, &format!("ping -c 4 -i 0.2 -s 1000 {to}"));
        let more = [4.0, 4.0 * 1028.0, 4.0, 4.0 * 1028.0];
        let wanted: Vec<f64> = before.iter().zip(more).map(|(before, more)| before + more).collect();
        assert_eq!(counted(&scene, 100).to_vec(), wanted, "{station}");
    }
    // What the router itself answers for is counted too, and one VIP's packets are not another's.
    let before = counted(&scene, 100);
    scene.lab.ok("internet", "ping -c 2 -i 0.2 -s 1000 198.51.100.101");
    assert_eq!(counted(&scene, 101), [2.0, 2056.0, 2.0, 2056.0]);
    assert_eq!(counted(&scene, 100), before);
    // A service that starts anew goes on where the kernel is, and a change elsewhere begins nothing anew.
    scene.router.kill();
    scene.router.relaunch();
    scene.call("/createvip", json!({"vips": [vip(102)]}));
    assert_eq!(counted(&scene, 100), before);
    assert_eq!(counted(&scene, 102), [0.0; 4]);
}

fn rule(number: u32, port: &str, action: &str) -> Value {
    json!({
        "action": action, "protocol": "TCP", "destPort": port, "ruleNumber": number, "state": "enable",
        "enableLog": false, "isDefault": false, "allowStates": "new,established,related"
    })
}

/// A rule of a NIC's rule set for what comes in there.
fn with_rule(mac: &str, rule: Value) -> Value {
    json!({"ref": {"mac": mac, "forward": "in", "ruleSetInfo": {
        "name": "set", "actionType": "accept", "enableDefaultLog": false, "rules": [rule]
    }}})
}

/// In, from the internet: the EIP's port 8080 is shut.
#[test]
fn an_ingress_rule_is_created_and_deleted() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    for port in [80, 8080] {
        lab.serve("web1", port);
    }
    scene.call("/createvip", json!({"vips": [vip(100)]}));
    scene.call("/createeip", json!({"eip": eip(100, 20)}));
    let shut = || with_rule(PUBLIC, rule(1001, "8080", "drop"));
    scene.call("/fw/create/rule", shut());
    lab.reaches("internet", "198.51.100.100:80", "192.0.2.53");
    lab.connects_in_vain("internet", "198.51.100.100:8080");
    for _ in 0..2 {
        scene.call("/fw/delete/rule", shut());
        lab.reaches("internet", "198.51.100.100:8080", "192.0.2.53");
    }
    // By where it comes from: a rule for source ports is one for clients, and says nothing of others.
    let mut from = rule(1002, "8080", "drop");
    from["sourcePort"] = json!("40000-40009,40020");
    scene.call("/fw/create/rule", with_rule(PUBLIC, from));
    let connects = |port: u16| {
        lab.run("internet", &format!("timeout 2 nc -N -p {port} 198.51.100.100 8080"))
            .stdout
            .contains("192.0.2.53")
    };
    assert!(!connects(40005) && !connects(40020));
    assert!(connects(40010) && connects(40021));
}

/// Out, from the guests: port 8080 of the internet is shut.
#[test]
fn an_egress_rule_is_created_and_deleted() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    for port in [80, 8080] {
        lab.serve("internet", port);
    }
    let shut = || with_rule(GUEST, rule(2001, "8080", "reject"));
    scene.call("/fw/create/rule", shut());
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    assert_eq!(lab.tcp("client", "192.0.2.53:8080"), Outcome::Refused);
    for _ in 0..2 {
        scene.call("/fw/delete/rule", shut());
        lab.reaches("client", "192.0.2.53:8080", "198.51.100.5");
    }
}

/// A reconnect states everything anew: what the management node does not list any more is gone, what moved has moved.
#[test]
fn a_reconnect_applies_everything_again() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    for station in ["web1", "web2"] {
        lab.serve(station, 80);
    }
    let state = |vips: Vec<Value>, eips: Vec<Value>, rules: Vec<Value>, hosts: Vec<Value>| {
        scene.connect();
        scene.call("/adddhcp", json!({"rebuild": true, "dhcpEntries": hosts}));
        scene.call("/createvip", json!({"syncVip": true, "vips": vips, "nicIps": []}));
        scene.call("/syncportforwarding", json!({"rules": rules}));
        scene.call("/synceip", json!({"eips": eips}));
    };
    let rule = forward(1, (101, 8000), (20, 80));
    state(vec![vip(100), vip(101)], vec![eip(100, 20)], vec![rule.clone()], vec![dhcp(20)]);
    lab.reaches("internet", "198.51.100.100:80", "192.0.2.53");
    lab.reaches("internet", "198.51.100.101:8000", "192.0.2.53");
    // Meanwhile the EIP moved, the port forward and its VIP went, and one entry took the other's place.
    state(vec![vip(100)], vec![eip(100, 21)], vec![], vec![dhcp(21)]);
    lab.serve("internet", 80);
    lab.reaches("web2", "192.0.2.53:80", "198.51.100.100");
    lab.reaches("web1", "192.0.2.53:80", "198.51.100.5");
    lab.connects_in_vain("internet", "198.51.100.101:8000");
    let document = scene.router.document();
    let hosts: Vec<&Value> =
        document["dhcp"].as_object().unwrap().values().map(|one| &one["hosts"]).collect();
    assert!(hosts.len() == 1 && hosts[0].as_object().unwrap().len() == 1, "{hosts:?}");
    assert_eq!(document["port_forwards"], Value::Null);
}

/// Clients of all kinds at once do not disturb each other: what one thread does to its EIP, another's does not feel.
#[test]
fn lives_of_many_run_side_by_side() {
    let scene = Scene::connected();
    let lab = &scene.lab;
    lab.serve("web1", 80);
    lab.serve("web2", 80);
    scene.call("/createvip", json!({"vips": (100..110).map(vip).collect::<Vec<_>>()}));
    scene.call("/createeip", json!({"eip": eip(109, 21)}));
    let stream = lab.stream("internet", "198.51.100.109:80");
    thread::scope(|scope| {
        for last in 100..104 {
            let scene = &scene;
            scope.spawn(move || {
                for _ in 0..5 {
                    let number = last - 100;
                    let rule = json!({"rules": [forward(number, (last, 8000), (20, 80))]});
                    scene.call("/createportforwarding", rule.clone());
                    scene.lab.reaches("internet", &format!("198.51.100.{last}:8000"), "192.0.2.53");
                    scene.call("/revokeportforwarding", rule);
                }
            });
        }
    });
    stream.goes_on();
    assert!(stream.end() > 0);
}
