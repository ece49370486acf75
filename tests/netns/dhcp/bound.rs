//! DHCP with real clients: what they are told, renewing, rebinding, booting again, and moving.

use serde_json::json;
use vrouter::config::MacAddress;
use vrouter::store::leases::LeaseState;

use super::clients::Dhclient;
use super::house::{House, document, ip};

#[test]
fn udhcpc_is_told_all_that_belongs_to_its_address() {
    let house = House::with_guests(&[0x20, 0x21]);
    let server = house.serve(&document(json!({
        "static_routes": [{"destination": "10.9.0.0/16", "via": "10.1.1.254"}],
        "options": {"42": {"addresses": ["10.1.1.1"]}, "66": {"text": "10.1.1.9"}, "67": {"text": "pxelinux.0"},
                    "43": {"hex": "0102ff"}, "60": {"text": "PXEClient"}}
    })));
    let wishes =
        "-O mtu -O staticroutes -O msstaticroutes -O ntpsrv -O tftp -O bootfile -O broadcast -O 43 -O 60";
    for flag in ["", "-B"] {
        let told = house.udhcpc(0x20, &format!("{wishes} {flag}")).unwrap();
        let expected = [
            ("ip", "10.1.1.20"),
            ("subnet", "255.255.255.0"),
            ("router", "10.1.1.1"),
            ("dns", "10.1.1.1"),
            ("domain", "demo.local"),
            ("hostname", "web1"),
            ("mtu", "1450"),
            ("broadcast", "10.1.1.255"),
            ("lease", "3600"),
            ("serverid", "10.1.1.1"),
            ("staticroutes", "10.9.0.0/16 10.1.1.254 0.0.0.0/0 10.1.1.1"),
            ("msstaticroutes", "10.9.0.0/16 10.1.1.254 0.0.0.0/0 10.1.1.1"),
            ("ntpsrv", "10.1.1.1"),
            ("tftp", "10.1.1.9"),
            ("bootfile", "pxelinux.0"),
            ("siaddr", "10.1.1.9"),
            ("boot_file", "pxelinux.0"),
            ("opt43", "0102ff"),
            ("vendor", "PXEClient"),
        ];
        for (variable, value) in expected {
            assert_eq!(told.get(variable).map(String::as_str), Some(value), "{variable} in {told:?}");
        }
    }
    let second = house.udhcpc(0x21, wishes).unwrap();
    assert_eq!((second["ip"].as_str(), second.get("router"), second.get("dns")), ("10.1.1.21", None, None));
    assert_eq!(second["staticroutes"], "10.9.0.0/16 10.1.1.254");
    let leases = server.leases();
    let seen: Vec<_> =
        leases.iter().map(|lease| (lease.address, lease.state, lease.hostname.as_deref())).collect();
    let host = |last, name| (ip(last), LeaseState::Static, Some(name));
    assert_eq!(seen, [host(20, "web1"), host(21, "web2")]);
    assert_eq!(leases[0].network.as_ref().map(|id| id.as_str()), Some("guest"));
    assert_eq!(leases[0].mac, MacAddress::from_octets([0xfa, 0xaa, 0, 0, 0, 0x20]));
}

#[test]
fn dhclient_boots_renews_and_boots_again() {
    let house = House::with_guests(&[0x20]);
    let server = house.serve(&document(
        json!({"lease_seconds": 6, "options": {"119": {"hex": "0464656d6f056c6f63616c00"}}}),
    ));
    let folder = tempfile::tempdir().unwrap();
    let leases = folder.path().join("leases");
    let asks = "request subnet-mask, routers, domain-name, interface-mtu, domain-search; \
                send dhcp-client-identifier \"a client\"; timeout 20; retry 1; initial-interval 1;";
    let client = Dhclient::start(&house.lab, "guest32", &leases, asks);
    let (place, bound) = client.event("BOUND", 0);
    assert_eq!(bound["new_ip_address"], "10.1.1.20");
    assert_eq!(bound["new_routers"], "10.1.1.1");
    assert_eq!(bound["new_domain_search"], "demo.local.");
    assert_eq!(bound["new_dhcp_renewal_time"], "3");
    assert_eq!(bound["new_dhcp_rebinding_time"], "6");
    let (_, renewed) = client.event("RENEW", place + 1);
    assert_eq!(
        (renewed["new_ip_address"].as_str(), renewed["new_interface_mtu"].as_str()),
        ("10.1.1.20", "1450")
    );
    let lease = &server.leases()[0];
    assert_eq!(lease.client_id.as_ref().map(|id| id.0.as_ref()), Some(b"a client".as_slice()));
    drop(client);
    // Booting again, it asks for the address that it had, without a server's name.
    house.lab.ok("guest32", "ip address flush dev eth0");
    let client = Dhclient::start(&house.lab, "guest32", &leases, asks);
    let (_, booted) = client.event("REBOOT", 0);
    assert_eq!(booted["new_ip_address"], "10.1.1.20");
    assert!(!client.log().contains("DHCPDISCOVER"), "{}", client.log());
}

#[test]
fn dhclient_rebinds_where_it_cannot_renew() {
    let house = House::with_guests(&[0x20]);
    let _server = house.serve(&document(json!({"lease_seconds": 16})));
    // The server cannot be reached by its address, so the client asks everybody in the end.
    house.lab.ok("guest32", "ip route add blackhole 10.1.1.1/32");
    let folder = tempfile::tempdir().unwrap();
    // Its pauses must not grow past the two seconds between rebinding and the end of the lease.
    let asks = "initial-interval 1; backoff-cutoff 1;";
    let client = Dhclient::start(&house.lab, "guest32", &folder.path().join("leases"), asks);
    let (place, _) = client.event("BOUND", 0);
    // It calls this a renewal too.
    let (_, rebound) = client.event("RENEW", place + 1);
    assert_eq!(rebound["new_ip_address"], "10.1.1.20");
    let log = client.log();
    let asked = |whom: &str| log.matches(&format!("DHCPREQUEST for 10.1.1.20 on eth0 to {whom} ")).count();
    assert!(asked("10.1.1.1") > 0 && asked("255.255.255.255") > 1, "{log}");
}

#[test]
fn a_host_moves_at_its_next_message() {
    let house = House::with_guests(&[0x20]);
    let server = house.serve(&document(json!({"lease_seconds": 4})));
    let folder = tempfile::tempdir().unwrap();
    let client = Dhclient::start(&house.lab, "guest32", &folder.path().join("leases"), "initial-interval 1;");
    let (place, bound) = client.event("BOUND", 0);
    assert_eq!(bound["new_ip_address"], "10.1.1.20");
    let moved = json!({"web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.60", "hostname": "web1"}});
    server.apply(&document(json!({"lease_seconds": 4, "hosts": moved}))).unwrap();
    let (place, _) = client.event("EXPIRE", place + 1);
    let (place, bound) = client.event("BOUND", place + 1);
    assert_eq!(bound["new_ip_address"], "10.1.1.60");
    // Without a host it is a stranger, and gets an address of the range.
    server.apply(&document(json!({"lease_seconds": 4, "hosts": {}}))).unwrap();
    let (_, bound) = client.event("BOUND", place + 1);
    assert!(bound["new_ip_address"].starts_with("10.1.1.1"), "{bound:?}");
}
