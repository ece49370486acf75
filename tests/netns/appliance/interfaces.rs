//! Devices: found by MAC or by name whenever they are there, and roles on them in every combination.

use serde_json::{Value, json};

use super::house::{DEVICES, House, document, grounds};
use super::router::{Router, WITH_TOKEN};
use super::traffic::Capture;
use crate::dhcp::clients::udhcpc;
use crate::lab::{Lab, until};

/// What an operator asks for to see that the API answers.
fn generations() -> String {
    format!("curl -s {WITH_TOKEN} --max-time 10 http://192.168.0.188:7270/v1/generations")
}

fn addresses(lab: &Lab, device: &str) -> Vec<String> {
    let said = lab.run("router", &format!("ip -o -4 address show dev {device}")).stdout;
    let mut own: Vec<String> =
        said.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect();
    own.sort();
    own
}

#[test]
fn devices_are_configured_whenever_they_are_there() {
    let mut lab = grounds();
    // Where the API answers is an address that no device has yet.
    let mut router = Router::listening(&lab, "router", "192.168.0.188:7270");
    for station in ["internet", "other"] {
        lab.serve(station, 80);
    }
    lab.ok("router", "ip link delete eth4");
    let mut wanted = document();
    // One by its name; one with several addresses and a size.
    wanted["interfaces"]["mgmt"] =
        json!({"device": "eth0", "roles": ["management"], "addresses": ["192.168.0.188/24"]});
    wanted["interfaces"]["guest2"] = json!({"mac": DEVICES[4].1, "roles": ["guest"], "mtu": 1400,
        "addresses": ["10.2.2.1/24", "10.2.2.2/24", "10.2.3.1/24"]});
    wanted["eips"] =
        json!({"other": {"address": "198.51.100.8", "interface": "public", "target": "10.2.2.20"}});
    wanted["dhcp"] = json!({"guest2": {"interface": "guest2", "domain": "demo.local",
        "hosts": {"other": {"mac": "fa:aa:00:00:03:20", "ip": "10.2.2.20", "hostname": "other"}}}});
    wanted["dns"] = json!({"interfaces": ["guest2"]});
    wanted["firewall"]["rules"]["web"] = json!({"priority": 1, "direction": "ingress", "protocol": "tcp",
        "destination_ports": ["80"], "action": "accept"});
    assert_eq!(router.configure(&wanted), 1);
    assert_eq!(addresses(&lab, "eth0"), ["192.168.0.188/24"]);
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    let api = lab.ok("admin", &generations());
    assert!(api.contains("\"current\":1"), "{api}");

    // It appears under a name that nobody said, is configured and announced by itself, goes, and comes back.
    for name in ["eth4", "lan7"] {
        let mut announcements = Capture::start(&lab, "other", "eth0", "arp and ether dst ff:ff:ff:ff:ff:ff");
        lab.plug("router", name, DEVICES[4].1, "guest2");
        let own = ["10.2.2.1/24", "10.2.2.2/24", "10.2.3.1/24"];
        until("the device is configured", || (addresses(&lab, name) == own).then_some(()));
        for address in ["10.2.2.1", "10.2.2.2", "10.2.3.1"] {
            announcements.line(&format!("who-has {address} tell {address}"));
        }
        assert!(lab.ok("router", &format!("ip link show {name}")).contains("mtu 1400"));
        lab.reaches("other", "192.0.2.53:80", "198.51.100.8");
        lab.reaches("internet", "198.51.100.8:80", "192.0.2.53");
        is_served(&lab);
        lab.reaches("client", "198.51.100.8:80", "10.1.1.50");
        lab.ok("router", &format!("ip link delete {name}"));
        lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
        until("the rules name it no more", || {
            (!lab.ok("router", "nft list table inet vrouter").contains(name)).then_some(())
        });
    }
    // A change while it is away counts when it is back, and so does a restart.
    router.change(json!({"interfaces": {"guest2": {"addresses": ["10.2.2.1/24"], "mtu": null}}}));
    router.kill();
    router.relaunch();
    lab.plug("router", "eth4", DEVICES[4].1, "guest2");
    until("the device is configured", || (addresses(&lab, "eth4") == ["10.2.2.1/24"]).then_some(()));
    lab.reaches("other", "192.0.2.53:80", "198.51.100.8");
    is_served(&lab);
    assert_eq!(router.get("/v1/generations").body["current"], 2, "none of it is a generation");

    // A subnet's first address goes, and its others stay; then a device is given another role.
    router.change(
        json!({"interfaces": {"guest2": {"addresses": ["10.2.2.1/24", "10.2.2.2/24", "10.2.3.1/24"]}}}),
    );
    let stream = lab.stream("client", "192.0.2.53:80");
    router.change(json!({"interfaces": {"guest2": {"addresses": ["10.2.2.2/24", "10.2.3.1/24"]}}}));
    assert_eq!(addresses(&lab, "eth4"), ["10.2.2.2/24", "10.2.3.1/24"]);
    lab.ok("other", "ip route replace default via 10.2.2.2");
    lab.reaches("other", "192.0.2.53:80", "198.51.100.8");
    // Renamed under the router's feet.
    lab.ok("router", "ip link set eth4 down");
    lab.ok("router", "ip link set eth4 name wan9");
    until("the device is configured", || {
        let up = lab.ok("router", "ip link show wan9").contains("LOWER_UP");
        (up && addresses(&lab, "wan9").len() == 2).then_some(())
    });
    lab.reaches("other", "192.0.2.53:80", "198.51.100.8");
    assert!(stream.end() > 0);
}

/// The station of the second guest network gets its address and an answer to its name.
fn is_served(lab: &Lab) {
    let told = udhcpc(lab, "other", "", false).expect("a lease");
    assert_eq!((told["ip"].as_str(), told["dns"].as_str()), ("10.2.2.20", "10.2.2.1"));
    let said = lab.run("other", "dig +short +tries=5 +time=2 @10.2.2.1 other.demo.local").stdout;
    assert_eq!(said.trim(), "10.2.2.20");
}

/// The roles of each device, for all ways of having all three on so many.
fn arrangements() -> [&'static [&'static [&'static str]]; 7] {
    [
        &[&["management"], &["public"], &["guest"]],
        &[&["management", "public"], &["guest"]],
        &[&["management"], &["public", "guest"]],
        &[&["management", "guest"], &["public"]],
        &[&["management", "public", "guest"]],
        &[&["management", "public", "guest"], &["guest"]],
        &[&["management", "guest"], &["public", "guest"]],
    ]
}

/// The address of the router in a role.
fn address(role: &str, device: usize) -> String {
    match role {
        "management" => "192.168.0.188/24".to_owned(),
        "public" => "198.51.100.5/24".to_owned(),
        _ => format!("10.1.{}.1/24", device + 1),
    }
}

/// A site whose networks carry the roles of one device each, with stations for each role.
fn site(arrangement: &[&[&str]]) -> (Lab, Value) {
    let mut lab = Lab::new();
    lab.namespace("router");
    let mut interfaces = json!({});
    let mut snat = json!({});
    for (device, roles) in arrangement.iter().enumerate() {
        let network = format!("net{device}");
        lab.network(&network);
        lab.plug("router", &format!("eth{device}"), DEVICES[device].1, &network);
        let own: Vec<String> = roles.iter().map(|role| address(role, device)).collect();
        let id = roles.join("-") + &device.to_string();
        interfaces[&id] = json!({"mac": DEVICES[device].1, "roles": roles, "addresses": own});
        for role in *roles {
            match *role {
                "management" => lab.station("admin", &network, "fa:aa:00:00:01:10", Some("192.168.0.10/24")),
                "public" => {
                    interfaces[&id]["gateway"] = json!("198.51.100.1");
                    for (name, last) in [("outside", 9), ("gateway", 1)] {
                        let (mac, own) = (format!("fa:aa:00:00:02:0{last}"), format!("198.51.100.{last}/24"));
                        lab.station(name, &network, &mac, Some(&own));
                        lab.serve(name, 80);
                    }
                    // Somebody whom only the next hop knows.
                    lab.ok("gateway", "ip address add 192.0.2.53/32 dev lo");
                }
                _ => {
                    let (name, mac) = (format!("guest{device}"), format!("fa:aa:00:00:03:0{device}"));
                    for (name, mac, last) in [
                        (name.clone(), mac, 20),
                        (format!("{name}b"), format!("fa:aa:00:00:04:0{device}"), 21),
                    ] {
                        lab.station(&name, &network, &mac, Some(&format!("10.1.{}.{last}/24", device + 1)));
                        lab.ok(&name, &format!("ip route add default via 10.1.{}.1", device + 1));
                        lab.serve(&name, 80);
                    }
                    snat[format!("s{device}")] = json!({"source": format!("10.1.{}.0/24", device + 1)});
                }
            }
        }
    }
    let public = interfaces.as_object().unwrap().keys().find(|id| id.contains("public")).unwrap().clone();
    let (mut eips, mut dhcp) = (json!({}), json!({}));
    for (device, roles) in arrangement.iter().enumerate().filter(|(_, roles)| roles.contains(&"guest")) {
        snat[format!("s{device}")]["interface"] = json!(public);
        snat[format!("s{device}")]["address"] = json!("198.51.100.5");
        eips[format!("e{device}")] = json!({"address": format!("198.51.100.{}", 70 + device), "interface": public,
                                            "target": format!("10.1.{}.20", device + 1)});
        dhcp[format!("d{device}")] = json!({"interface": roles.join("-") + &device.to_string(),
            "ranges": [format!("10.1.{0}.100-10.1.{0}.110", device + 1)]});
    }
    let document = json!({
        "version": 1, "interfaces": interfaces, "snat": snat, "eips": eips, "dhcp": dhcp,
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "tcp",
            "destination_ports": ["80"], "action": "accept"}}}
    });
    (lab, document)
}

/// What each arrangement has to carry.
fn carries(arrangement: &[&[&str]]) {
    let (lab, document) = site(arrangement);
    let router = Router::listening(&lab, "router", "0.0.0.0:7270");
    router.configure(&document);
    let api = lab.run("admin", &generations());
    assert!(api.stdout.contains("\"current\":1"), "management reaches the API");
    assert!(lab.pings("admin", "192.168.0.188"));
    for (device, _) in arrangement.iter().enumerate().filter(|(_, roles)| roles.contains(&"guest")) {
        let (guest, neighbour) = (format!("guest{device}"), format!("guest{device}b"));
        let (own, eip) = (format!("10.1.{}.1", device + 1), format!("198.51.100.{}", 70 + device));
        for to in ["192.0.2.53:80", "198.51.100.9:80"] {
            lab.reaches(&neighbour, to, "198.51.100.5");
            lab.reaches(&guest, to, &eip);
        }
        lab.reaches("outside", &format!("{eip}:80"), "198.51.100.9");
        lab.reaches(&neighbour, &format!("{eip}:80"), &own);
        lab.reaches(&guest, &format!("{eip}:80"), &own);
        assert!(lab.pings(&guest, &own));
        let told = udhcpc(&lab, &neighbour, "", false).expect("a lease");
        assert_eq!(told["router"], own);
        let doors = ["192.168.0.188", &own, "198.51.100.5"].map(|host| format!("{host}:7270"));
        lab.silent(&guest, &doors.each_ref().map(String::as_str));
    }
    lab.silent("outside", &["198.51.100.5:80", "198.51.100.5:7270"]);
    lab.ok("outside", "ip route add 10.0.0.0/8 via 198.51.100.5");
    lab.ok("outside", "ip route add 192.168.0.0/24 via 198.51.100.5");
    lab.silent("outside", &["192.168.0.10:80"]);
}

#[test]
fn roles_on_a_device_each() {
    carries(arrangements()[0]);
}

#[test]
fn management_and_public_on_one_device() {
    carries(arrangements()[1]);
}

#[test]
fn public_and_guests_on_one_device() {
    carries(arrangements()[2]);
}

#[test]
fn management_and_guests_on_one_device() {
    carries(arrangements()[3]);
}

#[test]
fn all_roles_on_one_device() {
    carries(arrangements()[4]);
}

#[test]
fn all_roles_on_one_device_and_guests_on_another() {
    carries(arrangements()[5]);
}

#[test]
fn guests_on_both_of_two_merged_devices() {
    carries(arrangements()[6]);
}

/// Every set of roles on each of one, two and three devices is taken, whether or not all roles are there.
#[test]
fn every_combination_is_accepted() {
    let House { router, lab } = House::new();
    let names = ["management", "public", "guest"];
    let roles = |set: usize| (0..3).filter(move |bit| set >> bit & 1 == 1).map(move |bit| names[bit]);
    let mut accepted = 0;
    for count in 1..=3_u32 {
        for number in 0..7_usize.pow(count) {
            let mut document = json!({"version": 1, "interfaces": {}});
            for device in 0..count as usize {
                let set = number / 7_usize.pow(u32::try_from(device).unwrap()) % 7 + 1;
                let own: Vec<String> = roles(set)
                    .map(|role| match role {
                        "management" => format!("192.168.{device}.188/24"),
                        "public" => format!("198.51.{}.5/24", 100 + device),
                        _ => format!("10.1.{device}.1/24"),
                    })
                    .collect();
                document["interfaces"][format!("i{device}")] = json!({
                    "mac": DEVICES[device].1, "roles": roles(set).collect::<Vec<_>>(), "addresses": own});
            }
            let answer = router.ask("POST", "/v1/plan", document.to_string().as_bytes());
            assert!(
                answer.status == 200 && answer.body["step_count"].as_u64().unwrap() > 0,
                "{document}: {answer:#?}"
            );
            accepted += 1;
            // A few of them for real, so that each is also where another was before.
            if number % 29 == 3 {
                router.configure(&document);
            }
        }
    }
    assert_eq!(accepted, 7 + 49 + 343);
    router.configure(&document());
    assert!(lab.pings("client", "192.0.2.53"));
}
