//! The whole bring-up of a router that has much to do, proven by packets; steady state, reconnect, and a kill that nobody
//! has to make up for.

use std::thread;
use std::time::Instant;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::node::UUID;
use super::scene::{GUEST, Scene, eip, forward, listener, snat, vip};
use crate::appliance::balancing::web::Web;
use crate::appliance::picture::Picture;
use crate::dhcp::wire::{Wire, message};
use crate::dns::upstream::Upstream;
use crate::lab::{Lab, until};

/// Guests that have an EIP each: their last octets, and those of the VIPs.
const EIPS: usize = 20;
const EIP_GUEST: usize = 60;
const EIP_VIP: usize = 100;
/// Port forwards, five at each VIP, to ports of `web1`.
const FORWARDS: usize = 50;
const FORWARD_VIP: usize = 120;
const FORWARD_PORT: usize = 8000;
const GUEST_PORT: usize = 9000;
/// Balancers, half of connections and half of requests, one at each VIP.
const BALANCERS: usize = 10;
const BALANCER_VIP: usize = 130;
/// DHCP entries: the last octets of MAC and address.
const HOSTS: std::ops::Range<u8> = 20..220;

/// The commands of a bring-up behind [`Scene::connect`], in the management node's order.
fn commands() -> Vec<(&'static str, Value)> {
    let hosts: Vec<Value> = HOSTS.map(super::scene::dhcp).collect();
    let vips: Vec<Value> = (EIP_VIP..EIP_VIP + EIPS)
        .chain(FORWARD_VIP..FORWARD_VIP + FORWARDS / 5)
        .chain(BALANCER_VIP..BALANCER_VIP + BALANCERS)
        .map(vip)
        .collect();
    let forwards: Vec<Value> = (0..FORWARDS)
        .map(|number| {
            forward(number, (FORWARD_VIP + number / 5, FORWARD_PORT + number), (20, GUEST_PORT + number))
        })
        .collect();
    let eips: Vec<Value> = (0..EIPS).map(|number| eip(EIP_VIP + number, EIP_GUEST + number)).collect();
    let balancers: Vec<Value> = (0..BALANCERS)
        .map(|number| {
            listener(number, if number % 2 == 0 { "tcp" } else { "http" }, BALANCER_VIP + number, &[20, 21])
        })
        .collect();
    vec![
        (
            "/refreshDhcpServer",
            json!({"dhcpServers": [{
                "nicMac": GUEST, "subnet": "10.1.1.0/24", "netmask": "255.255.255.0", "gateway": "10.1.1.1",
                "dnsServer": "10.1.1.1", "dnsDomain": "demo.local", "mtu": 1450, "dhcpInfos": hosts
            }]}),
        ),
        ("/syncsnat", snat(true)),
        ("/createvip", json!({"syncVip": true, "vips": vips, "nicIps": []})),
        ("/syncportforwarding", json!({"rules": forwards})),
        ("/synceip", json!({"eips": eips})),
        ("/certificates/create", json!({"certs": {}})),
        ("/lb/refresh", json!({"lbs": balancers, "enableHaproxyLog": true})),
    ]
}

/// Servers that guests and the internet offer; they serve for as long as the lab lives.
fn servers(lab: &Lab) -> (Upstream, [Web; 2]) {
    for number in 0..EIPS {
        lab.ok("web1", &format!("ip address add 10.1.1.{}/24 dev eth0", EIP_GUEST + number));
    }
    lab.serve("web1", 80);
    lab.serve("internet", 80);
    for number in 0..FORWARDS {
        lab.serve("web1", u16::try_from(GUEST_PORT + number).unwrap());
    }
    let webs = [Web::start(lab, "web1", 8080), Web::start(lab, "web2", 8080)];
    (Upstream::start(lab, "internet", "192.0.2.53", [192, 0, 2, 80]), webs)
}

/// Every one of the services does what it was told, for every one of the objects.
fn proven(lab: &Lab) {
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..EIPS {
                let (vip, guest) = (EIP_VIP + number, EIP_GUEST + number);
                lab.reaches("internet", &format!("198.51.100.{vip}:80"), "192.0.2.53");
                let line = format!("timeout 10 nc -N -s 10.1.1.{guest} 192.0.2.53 80");
                let seen = lab.run("web1", &line).stdout;
                assert!(seen.starts_with(&format!("198.51.100.{vip}:")), "{guest} is seen as {seen}");
            }
        });
        scope.spawn(|| {
            for number in 0..FORWARDS {
                let (vip, port) = (FORWARD_VIP + number / 5, FORWARD_PORT + number);
                lab.reaches("internet", &format!("198.51.100.{vip}:{port}"), "192.0.2.53");
            }
        });
        scope.spawn(|| {
            for number in 0..BALANCERS {
                shared(lab, &format!("http://198.51.100.{}/", BALANCER_VIP + number));
            }
        });
        scope.spawn(|| {
            let wire = Wire::client(lab, "client");
            for last in HOSTS {
                let offer = wire.ask(&message(MessageType::Discover, last, u32::from(last)));
                assert_eq!(offer.address().octets(), [10, 1, 1, last]);
            }
        });
        scope.spawn(|| {
            let dig = |name: &str| {
                lab.run("client", &format!("dig +short +tries=3 +time=3 @10.1.1.1 {name}")).stdout
            };
            assert_eq!(dig("host-20.demo.local").trim(), "10.1.1.20");
            assert_eq!(dig("www.example.net").trim(), "192.0.2.80");
        });
    });
    // Whoever has no EIP goes out by source translation, and what nobody opened stays shut.
    lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
    lab.silent("internet", &["198.51.100.5:22", "198.51.100.120:22"]);
}

/// Both web servers answer at a balancer.
fn shared(lab: &Lab, url: &str) {
    let mut seen = [false; 2];
    until(&format!("both answer at {url}"), || {
        let said = lab.run("internet", &format!("curl -s -m 5 {url}")).stdout;
        for (seen, name) in seen.iter_mut().zip(["web1", "web2"]) {
            *seen |= said.trim() == name;
        }
        (seen == [true; 2]).then_some(())
    });
}

/// Must show: bring-up of a router with 20 EIPs, 50 port forwards, 10 balancers, their 40 VIPs and 200 DHCP entries in
/// under 2 seconds of router time; every one of them at work; and again after a kill, with no command replayed.
#[test]
fn a_router_is_brought_up_and_outlives_a_kill() {
    let scene = Scene::booted();
    let _servers = servers(&scene.lab);
    let begin = Instant::now();
    scene.connect();
    for (path, body) in commands() {
        scene.call(path, body);
    }
    let wall = begin.elapsed();
    let Scene { router, node, lab } = scene;
    let router_time = node.metric(&lab, "zstack_work_seconds_total");
    eprintln!(
        "bring-up: {router_time:.3} s of router time, {:.3} s at the management node",
        wall.as_secs_f64()
    );
    assert!(router_time < 2.0, "{router_time} s");
    proven(&lab);

    // Steady state: pings say that nothing has to be sent again; a reconnect sends it all the same, and changes nothing.
    let ping = node.ping(&lab);
    assert_eq!(
        (&ping["uuid"], &ping["haStatus"], &ping["healthy"]),
        (&json!(UUID), &json!("NoHa"), &json!(true))
    );
    let generation = router.get("/v1/generations").body["current"].clone();
    let stream = lab.stream("internet", &format!("198.51.100.{EIP_VIP}:80"));
    let before = Picture::with_handles(&lab);
    let scene = Scene { router, node, lab };
    scene.connect();
    for (path, body) in commands() {
        scene.call(path, body);
    }
    let Scene { mut router, node, lab } = scene;
    assert_eq!(router.get("/v1/generations").body["current"], generation, "a reconnect changes nothing");
    before.is(&lab, "after a reconnect");
    stream.goes_on();

    router.kill();
    stream.goes_on();
    router.relaunch();
    assert_eq!(node.ping(&lab)["uuid"], UUID, "nothing has to be sent again");
    proven(&lab);
    stream.goes_on();
    assert!(stream.end() > 0);
    assert_eq!(node.metric(&lab, "zstack_commands_total{outcome=\"taken\"}"), 0.0, "and nothing was");
    let status =
        "zstack_lb_status{ListenerUuid=\"d0000000000000000000000000000001\",NicIpAddress=\"10.1.1.20\"";
    assert_eq!(node.metric(&lab, &format!("{status},LbUuid=\"b0000000000000000000000000000001\"}}")), 1.0);
}

/// A machine that has lost its disk is told everything anew, because its pings do not know the uuid.
#[test]
fn a_machine_without_a_memory_asks_for_everything() {
    let scene = Scene::connected();
    assert_eq!(scene.node.ping(&scene.lab)["uuid"], UUID);
    let Scene { mut router, node, lab } = scene;
    router.kill();
    std::fs::remove_dir_all(router.state()).unwrap();
    router.launch();
    node.until_there(&lab);
    assert_eq!(node.ping(&lab)["uuid"], "");
    let scene = Scene { router, node, lab };
    scene.connect();
    assert_eq!(scene.node.ping(&scene.lab)["uuid"], UUID);
    scene.lab.serve("internet", 80);
    scene.lab.reaches("client", "192.0.2.53:80", "198.51.100.5");
}
