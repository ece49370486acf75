//! What is not ours stays, what a predecessor left goes, and what somebody does to ours is undone.

use std::fs;

use serde_json::json;

use super::house::House;
use super::picture::Picture;
use crate::lab::{Lab, until};

/// Things of somebody else's, of every kind that we make ourselves.
fn settle(lab: &Lab) {
    for line in [
        "nft add table inet alien",
        "nft add chain inet alien watch { type filter hook forward priority -10 ; policy accept ; }",
        "nft add rule inet alien watch counter comment \"theirs\"",
        "nft add table ip vrouter",
        "ip address add 10.66.0.1/24 dev lo",
        "ip route add 10.77.0.0/16 via 10.1.1.254",
        "ip route add blackhole 10.78.0.0/16 table 4242 proto 99",
        "ip rule add from 10.66.0.0/24 lookup 4242 priority 500",
        "ip rule add from 10.67.0.0/24 lookup 4242 priority 20000",
    ] {
        lab.ok("router", line);
    }
}

fn are_there(lab: &Lab) -> [String; 6] {
    [
        lab.ok("router", "nft list table inet alien").replace(char::is_numeric, ""),
        lab.ok("router", "nft list table ip vrouter"),
        lab.ok("router", "ip -4 address show to 10.66.0.0/24"),
        lab.ok("router", "ip route show 10.77.0.0/16"),
        lab.ok("router", "ip route show table 4242"),
        format!(
            "{}{}",
            lab.ok("router", "ip rule list priority 500"),
            lab.ok("router", "ip rule list priority 20000")
        ),
    ]
}

#[test]
fn what_others_made_stays() {
    let House { mut router, lab } = House::with(json!({}));
    settle(&lab);
    let theirs = are_there(&lab);
    assert!(theirs.iter().all(|text| !text.is_empty()), "{theirs:#?}");
    router.change(json!({"snat": {"guest2": null}, "interfaces": {"public2": null}}));
    assert_eq!(are_there(&lab), theirs, "through a change");
    router.kill();
    router.relaunch();
    assert_eq!(are_there(&lab), theirs, "through a kill and a restart");
    assert_eq!(router.get("/v1/generations").body["current"], 2);
    router.configure(&json!({"version": 1}));
    // The next hop of that route went with the router's own address.
    let [table, other, address, _, route, rules] = are_there(&lab);
    let [table_before, other_before, address_before, _, route_before, rules_before] = theirs;
    assert_eq!(
        (table, other, address, route, rules),
        (table_before, other_before, address_before, route_before, rules_before)
    );
    assert!(!lab.run("router", "nft list table inet vrouter").success, "nothing of ours is left");
}

#[test]
fn what_a_predecessor_left_is_cleaned_at_start() {
    let House { mut router, lab } = House::with(json!({
        "eips": {"web": {"address": "198.51.100.7", "interface": "public2", "target": "10.1.1.20"}}
    }));
    let ours = Picture::of(&lab);
    let remembered = router.document();
    assert!(lab.ok("router", "ip rule").contains("fwmark"));
    // A predecessor whose memory is lost.
    router.kill();
    fs::remove_dir_all(router.state()).unwrap();
    router.relaunch();
    assert!(!lab.run("router", "nft list table inet vrouter").success, "its table is gone");
    let rules = lab.ok("router", "ip rule");
    assert_eq!(rules.lines().count(), 3, "its rules are gone:\n{rules}");
    let routes = lab.ok("router", "ip route show table all");
    assert!(
        !routes.contains("default") && !routes.contains("198.51.100.7"),
        "its routes are gone:\n{routes}"
    );
    let own = lab.ok("router", "ip -o -4 address show");
    assert_eq!(own.lines().count(), 1, "its addresses are gone:\n{own}");
    router.configure(&remembered);
    ours.is(&lab, "when it is told again");
    // Leftovers beside what is remembered: an element, a route, a rule and an address of a generation that nobody knows.
    router.kill();
    for line in [
        "nft add element inet vrouter eips { 198.51.100.99 : 10.1.1.21 }",
        "nft add rule inet vrouter forward accept",
        "ip route add 10.55.0.0/16 via 10.1.1.254 proto 118",
        "ip rule add from 10.55.0.0/16 lookup 118003 priority 11840 proto 118",
    ] {
        lab.ok("router", line);
    }
    router.relaunch();
    ours.is(&lab, "without leftovers");
}

#[test]
fn what_somebody_does_to_ours_is_undone() {
    let House { router, lab } = House::with(json!({
        "interfaces": {"guest": {"mtu": 1450}},
        "routes": {"branch": {"destination": "10.9.0.0/16", "via": "10.1.1.254"}},
        "eips": {"web": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"}}
    }));
    let ours = Picture::of(&lab);
    for line in [
        "nft delete table inet vrouter",
        "nft flush chain inet vrouter forward",
        "nft insert rule inet vrouter input accept",
        "nft delete element inet vrouter eips { 198.51.100.7 : 10.1.1.20 }",
        "ip address delete 10.2.2.1/24 dev eth4",
        "ip address delete 198.51.100.5/24 dev eth1",
        "ip route delete 10.9.0.0/16",
        "ip route delete default",
        "ip route delete local 198.51.100.7 table local",
        "ip link set eth2 down",
        "ip link set eth2 mtu 1400",
        "ip rule delete priority 11820",
        "sysctl -qw net.ipv4.ip_forward=0",
    ] {
        lab.ok("router", line);
        ours.comes_back(&lab, line);
    }
    let forwarding = || lab.ok("router", "sysctl -n net.ipv4.ip_forward").trim() == "1";
    until("the router forwards again", || forwarding().then_some(()));
    assert!(lab.pings("client", "192.0.2.53"));
    assert_eq!(router.get("/v1/generations").body["current"], 2, "none of it is a generation");
}
