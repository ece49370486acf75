//! Two ways out: what came in by one is answered by it, each network leaves by its own, and each tells its own address.

use serde_json::json;

use super::house::House;
use crate::lab::Lab;

/// How many packets of IPv4 a device of the router has sent to somebody whose address starts like this: a counter in a table
/// of ours, so that nothing is lost that tcpdump would have been too late for.
struct Meter;

impl Meter {
    fn set(lab: &Lab) -> Self {
        for line in [
            "nft add table netdev watch",
            "nft add chain netdev watch one { type filter hook egress device eth1 priority 0 ; }",
            "nft add chain netdev watch two { type filter hook egress device eth3 priority 0 ; }",
            "nft add rule netdev watch one ip version 4 counter",
            "nft add rule netdev watch two ip version 4 counter",
        ] {
            lab.ok("router", line);
        }
        Self
    }

    /// How many packets left by either way while something was done.
    fn of(&self, lab: &Lab, work: impl FnOnce()) -> (u64, u64) {
        let count = |chain: &str| -> u64 {
            let said = lab.ok("router", &format!("nft list chain netdev watch {chain}"));
            said.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
        };
        let before = (count("one"), count("two"));
        work();
        (count("one") - before.0, count("two") - before.1)
    }
}

#[test]
fn replies_leave_where_the_connection_came_in() {
    let House { router, lab } = House::with(json!({
        "eips": {
            "one": {"address": "198.51.100.7", "interface": "public", "target": "10.1.1.20"},
            "two": {"address": "203.0.113.7", "interface": "public2", "target": "10.1.1.21"},
            "both": {"address": "203.0.113.8", "interface": "public2", "target": "10.1.1.20"}
        },
        "port_forwards": {
            "one": {"protocol": "tcp", "address": "198.51.100.5", "ports": "8080",
                    "target": "10.1.1.50", "target_ports": "80"},
            "two": {"protocol": "tcp", "address": "203.0.113.5", "ports": "8080",
                    "target": "10.1.1.50", "target_ports": "80"},
            "beside": {"protocol": "udp", "address": "203.0.113.9", "ports": "8080",
                       "target": "10.1.1.50", "target_ports": "80"}
        },
        "firewall": {"rules": {"web-in": {"priority": 1, "direction": "ingress", "protocol": "tcp",
            "destination_ports": ["80"], "action": "accept"}}}
    }));
    for station in ["web1", "web2", "client", "internet", "upstream", "upstream2"] {
        lab.serve(station, 80);
    }
    // Neighbours are asked for before the packets are counted.
    for to in ["198.51.100.7", "203.0.113.7"] {
        assert!(lab.pings("internet", to));
    }
    let meter = Meter::set(&lab);
    let by_one = |what: &str, work: &dyn Fn()| {
        let (one, two) = meter.of(&lab, work);
        assert!(one > 0 && two == 0, "{what}: {one} packets by the first way, {two} by the second");
    };
    let by_two = |what: &str, work: &dyn Fn()| {
        let (one, two) = meter.of(&lab, work);
        assert!(two > 0 && one == 0, "{what}: {one} packets by the first way, {two} by the second");
    };
    by_one("EIP", &|| lab.reaches("internet", "198.51.100.7:80", "192.0.2.53"));
    by_two("EIP", &|| lab.reaches("internet", "203.0.113.7:80", "192.0.2.53"));
    by_two("EIP of a guest with two", &|| lab.reaches("internet", "203.0.113.8:80", "192.0.2.53"));
    by_one("port forward", &|| lab.reaches("internet", "198.51.100.5:8080", "192.0.2.53"));
    by_two("port forward", &|| lab.reaches("internet", "203.0.113.5:8080", "192.0.2.53"));
    by_two("port forward", &|| lab.reaches_by_udp("internet", "203.0.113.9:8080", "192.0.2.53"));
    by_one("ping", &|| assert!(lab.pings("internet", "198.51.100.5")));
    by_two("ping", &|| assert!(lab.pings("internet", "203.0.113.5")));
    // The address of the one, by the way of the other.
    lab.ok("upstream2", "ip route replace 198.51.100.0/24 via 203.0.113.5");
    lab.ok("internet", "ip route replace 198.51.100.5/32 via 192.0.2.2");
    lab.ok("upstream2", "sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0");
    by_two("ping by the other way", &|| assert!(lab.pings("internet", "198.51.100.5")));
    lab.ok("internet", "ip route delete 198.51.100.5/32");
    lab.ok("upstream2", "ip route replace 198.51.100.0/24 via 192.0.2.1");

    // Out: an EIP's guest by the EIP's way, networks by theirs, what is on link by its link.
    by_one("EIP out", &|| lab.reaches("web1", "192.0.2.53:80", "198.51.100.7"));
    by_two("EIP out", &|| lab.reaches("web2", "192.0.2.53:80", "203.0.113.7"));
    by_one("network out", &|| lab.reaches("client", "192.0.2.53:80", "198.51.100.5"));
    router.change(json!({"snat": {"guest2": {"interface": "public2", "address": "203.0.113.77"},
                                  "on-two": {"source": "10.1.1.0/24", "interface": "public2"}}}));
    by_two("other network out", &|| lab.reaches("other", "192.0.2.53:80", "203.0.113.77"));
    by_one("network on both ways", &|| lab.reaches("client", "192.0.2.53:80", "198.51.100.5"));
    by_two("on link", &|| lab.reaches("client", "203.0.113.1:80", "203.0.113.5"));
    lab.reaches("other", "198.51.100.7:80", "10.2.2.20");
    // Replies to what came in by the second stay there while the first way is gone.
    let stream = lab.stream("internet", "203.0.113.8:80");
    router.change(json!({"interfaces": {"public": {"gateway": null}}}));
    stream.goes_on();
    let (one, two) = meter.of(&lab, || stream.goes_on());
    assert!(two > 0 && one == 0, "{one} packets by the first way, {two} by the second");
    assert!(stream.end() > 0);
    let routes = lab.ok("router", "ip route show table all");
    assert!(
        routes.lines().any(|line| line.starts_with("default via 203.0.113.1 dev eth3 proto")),
        "{routes}"
    );
}
