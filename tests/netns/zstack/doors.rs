//! The port itself: its paths and headers, who may speak, tasks that come twice, answers that nobody takes, bursts, and
//! what a kill leaves.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::node::{CALLBACK, Node, ROUTER, UUID, request};
use super::scene::{Scene, bootstrap, dhcp, eip, padded, vip};
use crate::appliance::house::grounds;
use crate::appliance::router::Router;
use crate::dhcp::wire::noise;
use crate::lab::until;

#[test]
fn the_port_speaks_as_agents_do() {
    let Scene { router, node, lab } = &Scene::booted();
    let post =
        |path: &str, headers: &[(&str, &str)], body: &str| node.post(lab, path, headers, body).unwrap();
    for path in ["/echo", "/echo/", "/appliancevm/echo", "/ECHO"] {
        assert_eq!(post(path, &[], "").status, 200, "{path}");
    }
    let kind: serde_json::Value = serde_json::from_str(&post("/type", &[], "{}").body).unwrap();
    assert_eq!((&kind["success"], &kind["isVyos"]), (&json!(true), &json!(false)));
    let unknown = post("/nothing", &[], "{}");
    assert!(unknown.status == 404 && unknown.body.contains("/nothing"), "{unknown:?}");
    let (uuid, callback) = (("taskuuid", "1"), ("callbackurl", CALLBACK));
    for (headers, named) in [(&[uuid][..], "callbackurl"), (&[callback][..], "taskuuid"), (&[], "taskuuid")] {
        let refused = post("/init", headers, "{}");
        assert!(refused.status == 400 && refused.body.contains(named), "{refused:?}");
    }
    for elsewhere in ["http://192.0.2.53:8080/x", "https://192.168.0.10/x", "nowhere"] {
        let refused = post("/init", &[uuid, ("callbackurl", elsewhere)], "{}");
        assert!(refused.status == 400 && refused.body.contains("callback"), "{refused:?}");
    }
    assert_eq!(request(lab, ("admin", ROUTER), "GET", "/init", &[uuid, callback], "").unwrap().status, 405);
    assert_eq!(post("/init", &[uuid, callback], &" ".repeat((16 << 20) + 1)).status, 413);

    // What cannot be done is said by the callback, and never with success.
    for (path, body) in [("/init", json!("x")), ("/createeip", json!({"eip": {"vipIp": "x"}}))] {
        node.fails(lab, path, &body);
    }
    let headers = [("taskuuid", "broken"), callback];
    assert_eq!(post("/createeip", &headers, "{").status, 200);
    assert!(node.wait("broken")["error"].as_str().unwrap().contains("not JSON"));
    for path in
        ["/enableVyosha", "/vyos/createipsecconnection", "/routerprotocol/ospf/refresh", "/zsn/status"]
    {
        let wanted = json!({"infos": [{"uuid": "v"}], "networkInfos": [{"network": "10.1.1.0/24"}]});
        assert!(node.fails(lab, path, &wanted).contains("not supported"), "{path}");
    }
    assert_eq!(router.get("/v1/generations").body["current"], 1, "nothing of that changed anything");
    assert!(node.metric(lab, "zstack_requests_refused_total") >= 9.0);
    assert!(node.metric(lab, "zstack_commands_total{outcome=\"failed\"}") >= 6.0);
}

#[test]
fn only_the_management_network_may_speak() {
    let Scene { router, node, lab } = &Scene::connected();
    // Guests and the internet do not even reach the port; on this machine, somebody may.
    lab.connects_in_vain("web1", "10.1.1.1:7272");
    lab.connects_in_vain("web1", ROUTER);
    lab.connects_in_vain("internet", "198.51.100.5:7272");
    assert!(lab.connect("router", "127.0.0.1:7272", Duration::from_secs(5)).is_ok());
    // Somebody with another network's address on the management wire passes the firewall and is hung up on.
    lab.ok("admin", "ip address add 192.0.2.200/32 dev lo");
    lab.ok("router", "ip route add 192.0.2.200/32 via 192.168.0.10 dev eth0");
    let said = lab.run("admin", &format!("curl -s -m 5 --interface 192.0.2.200 http://{ROUTER}/echo"));
    assert!(!said.success && said.stdout.is_empty(), "{said:?}");
    until("it is counted", || (node.metric(lab, "zstack_connections_refused_total") >= 1.0).then_some(()));
    assert_eq!(node.ping(lab)["uuid"], UUID, "{}", router.log());
}

#[test]
fn a_task_runs_once_however_often_it_comes() {
    let Scene { mut router, node, lab } = Scene::connected();
    let create = json!({"vips": [vip(100)]});
    node.call(&lab, "/createvip", &create);
    let body = json!({"eip": eip(100, 20)});
    node.send_as(&lab, "twice", "/createeip", &body);
    assert_eq!(node.wait("twice")["success"], true);
    node.call(&lab, "/removeeip", &body);
    let before = router.get("/v1/generations").body["current"].clone();
    node.send_as(&lab, "twice", "/createeip", &body);
    until("it is answered as it was", || (node.answers("twice").len() == 2).then_some(()));
    assert_eq!(node.answers("twice")[1]["success"], true);
    router.kill();
    router.relaunch();
    node.send_as(&lab, "twice", "/createeip", &body);
    until("also after a restart", || (node.answers("twice").len() == 3).then_some(()));
    assert_eq!(router.get("/v1/generations").body["current"], before, "it was carried out once");
    assert_eq!(router.document()["eips"], json!(null));
}

#[test]
fn answers_are_told_again_until_they_arrive_or_nobody_wants_them() {
    let Scene { mut router, node, lab } = Scene::connected();
    let body = json!({"vips": [vip(100)]});
    node.refuse(2, "503 Service Unavailable");
    node.call(&lab, "/createvip", &body);
    assert_eq!(node.refused(), 2);
    // 404 ends it.
    node.refuse(1, "404 Not Found");
    let gone = node.send(&lab, "/createvip", &json!({"vips": [vip(101)]}));
    until("it is refused", || (node.refused() == 1).then_some(()));
    until("and is over", || (node.metric(&lab, "zstack_tasks{state=\"open\"}") == 0.0).then_some(()));
    assert!(node.answers(&gone).is_empty());
    // What did not arrive before a kill arrives after it, and says what was done.
    node.refuse(usize::MAX, "500 Internal Server Error");
    let done = node.send(&lab, "/createvip", &json!({"vips": [vip(102)]}));
    let refused = node.send(&lab, "/createeip", &json!({"eip": {"vipIp": "x"}}));
    until("both were tried", || (node.refused() >= 2).then_some(()));
    router.kill();
    node.refuse(0, "");
    assert!(node.answers(&done).is_empty() && node.answers(&refused).is_empty());
    router.relaunch();
    assert_eq!(
        (&node.wait(&done)["success"], &node.wait(&refused)["success"]),
        (&json!(true), &json!(false))
    );
}

/// A service that is told to end does so, though nobody takes its answers; they are delivered by the next one.
#[test]
fn it_ends_in_order_with_answers_under_way() {
    let Scene { mut router, node, lab } = Scene::connected();
    node.refuse(usize::MAX, "503 Service Unavailable");
    let created = node.send(&lab, "/createvip", &json!({"vips": [vip(100)]}));
    let pinged = node.send(&lab, "/ping", &json!({"uuid": UUID}));
    until("both were tried", || (node.refused() >= 2).then_some(()));
    assert!(router.terminate().success(), "{}", router.log());
    assert!(!router.log().contains("WARN"), "{}", router.log());
    node.refuse(0, "");
    router.launch();
    assert_eq!(node.wait(&created)["success"], true);
    assert!(node.answers(&pinged).is_empty(), "a ping of before is nobody's any more");
}

/// A hundred commands at once are answered one by one, and become few changes; one that is wrong fails alone.
#[test]
fn a_burst_becomes_few_changes_and_each_command_has_its_own_answer() {
    let Scene { router, node, lab } = &Scene::connected();
    let before = router.get("/v1/generations").body["current"].as_u64().unwrap();
    let uuids: Vec<String> = (0..100).map(|_| node.fresh()).collect();
    std::thread::scope(|scope| {
        for (number, uuid) in uuids.iter().enumerate() {
            scope.spawn(move || {
                let entry = match number {
                    // Outside of the network: the change is refused as a whole, and this one has to be found.
                    50 => json!({"ip": "10.9.9.9", "mac": "fa:aa:00:00:09:09", "netmask": "255.255.255.0",
                                 "gateway": "10.9.9.1", "vrNicMac": super::scene::GUEST}),
                    number => dhcp(u8::try_from(number).unwrap() + 20),
                };
                node.send_as(lab, uuid, "/adddhcp", &json!({"rebuild": false, "dhcpEntries": [entry]}));
            });
        }
    });
    let failed: Vec<usize> =
        (0..100).filter(|number| node.wait(&uuids[*number])["success"] == json!(false)).collect();
    assert_eq!(failed, [50]);
    let hosts: usize = router.document()["dhcp"]
        .as_object()
        .unwrap()
        .values()
        .map(|network| network["hosts"].as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert_eq!(hosts, 99);
    // Without the wrong one, the same burst is a handful of changes.
    let removed: Vec<String> = (0..100).map(|_| node.fresh()).collect();
    let between = router.get("/v1/generations").body["current"].as_u64().unwrap();
    std::thread::scope(|scope| {
        for (number, uuid) in removed.iter().enumerate().filter(|(number, _)| *number != 50) {
            scope.spawn(move || {
                let entry = dhcp(u8::try_from(number).unwrap() + 20);
                node.send_as(lab, uuid, "/removedhcp", &json!({"dhcpEntries": [entry]}));
            });
        }
    });
    for (number, uuid) in removed.iter().enumerate().filter(|(number, _)| *number != 50) {
        assert_eq!(node.wait(uuid)["success"], true, "{number}");
    }
    let after = router.get("/v1/generations").body["current"].as_u64().unwrap();
    let (with, without) = (between - before, after - between);
    eprintln!("99 commands and a wrong one became {with} changes, 99 commands {without}");
    assert!(with < 50 && without < 25, "{with}, {without}");
}

/// A process that is killed while commands wait tells the management node which were carried out, and which were not.
#[test]
fn what_a_kill_cuts_short_is_answered_truly() {
    let Scene { mut router, node, lab } = Scene::connected();
    for round in 0..4_u8 {
        let (first, count) = (20 + round * 48, 48_u8);
        let uuids: Vec<String> = (0..count).map(|_| node.fresh()).collect();
        let (node_ref, lab_ref, uuids_ref) = (&node, &lab, &uuids);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                scope.spawn(move || {
                    for (number, uuid) in uuids_ref.iter().enumerate().skip(worker).step_by(4) {
                        let entry = dhcp(first + u8::try_from(number).unwrap());
                        let body = json!({"rebuild": false, "dhcpEntries": [entry]}).to_string();
                        let headers = [("taskuuid", uuid.as_str()), ("callbackurl", CALLBACK)];
                        // It may be killed before it takes this one.
                        let _ = node_ref.post(lab_ref, "/adddhcp", &headers, &body);
                    }
                });
            }
            let enough = 1 + 8 * usize::from(round);
            until("some are answered", || {
                let answered = uuids.iter().filter(|uuid| !node.answers(uuid).is_empty()).count();
                (answered >= enough).then_some(())
            });
            router.kill();
        });
        router.relaunch();
        until("every task that was taken is answered", || {
            (node.metric(&lab, "zstack_tasks{state=\"open\"}") == 0.0).then_some(())
        });
        let document = router.document();
        let hosts: Vec<String> = document["dhcp"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, network)| network["hosts"].as_object().cloned().unwrap_or_default())
            .filter_map(|(_, host)| Some(host["ip"].as_str()?.to_owned()))
            .collect();
        let mut told = [0, 0, 0];
        for (number, uuid) in uuids.iter().enumerate() {
            let ip = format!("10.1.1.{}", usize::from(first) + number);
            told[node
                .answers(uuid)
                .first()
                .map_or(2, |answer| usize::from(answer["success"] == json!(true)))] += 1;
            if let Some(answer) = node.answers(uuid).first() {
                let there = hosts.contains(&ip);
                assert_eq!(answer["success"], json!(there), "{ip} in round {round}: {answer}");
            }
        }
        eprintln!("round {round}: {} cut short, {} done, {} never taken", told[0], told[1], told[2]);
    }
    assert_eq!(node.ping(&lab)["uuid"], UUID);
}

#[test]
fn native_and_zstack_are_not_mixed() {
    let Scene { router, node, lab } = &Scene::connected();
    // The native API reads, and may not change what ZStack commands.
    let refused = router.patch(&json!({"hostname": "mine"}));
    assert_eq!(refused.status, 409, "{refused:#?}");
    // It may take the router over, and then ZStack's commands are refused.
    router.change(json!({"owner": null}));
    router.change(json!({"hostname": "mine"}));
    let why = node.fails(lab, "/createvip", &json!({"vips": [vip(100)]}));
    assert!(why.contains("native"), "{why}");
    assert_eq!(node.ping(lab)["uuid"], "", "it asks to be told everything, and says no more");
}

/// Whatever comes to the port, the router runs what it ran, and answers on.
#[test]
fn noise_at_the_port_changes_nothing() {
    let Scene { router, node, lab } = &Scene::connected();
    let before = (router.get("/v1/generations").body["current"].clone(), router.document());
    let paths = [
        "/createeip",
        "/synceip",
        "/lb/refresh",
        "/adddhcp",
        "/init",
        "/certificate/create",
        "/%00",
        "/fw/getConfig",
    ];
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    for round in 0..300_u64 {
        let octets = noise(seed.wrapping_mul(1000) + round, 400);
        let text = String::from_utf8_lossy(&octets).into_owned();
        let path = paths[usize::try_from(round).unwrap() % paths.len()];
        let headers = [("taskuuid", "noise"), ("callbackurl", CALLBACK)];
        let uuid = format!("noise-{round}");
        match round % 3 {
            // No HTTP at all.
            0 => {
                let mut stream = lab.connect("admin", ROUTER, Duration::from_secs(5)).unwrap();
                let _ = stream.write_all(&octets);
            }
            // HTTP with a body that means nothing.
            1 => drop(node.post(lab, path, &[("taskuuid", &uuid), headers[1]], &text)),
            // JSON of a shape that no command has.
            _ => {
                let body = json!({"eip": text, "eips": [text, 1, null, {"vipIp": text}], "lbs": {"a": [text]},
                                  "uuid": [text], "dhcpEntries": [[]], "refs": text});
                drop(node.post(lab, path, &[("taskuuid", &uuid), headers[1]], &body.to_string()));
            }
        }
    }
    assert_eq!(node.ping(lab)["uuid"], UUID);
    until("all is answered", || (node.metric(lab, "zstack_tasks{state=\"open\"}") == 0.0).then_some(()));
    assert_eq!((router.get("/v1/generations").body["current"].clone(), router.document()), before);
}

#[test]
fn a_machine_that_remembers_asks_no_host() {
    let mut scene = Scene::connected();
    scene.router.kill();
    let mut other = bootstrap();
    other["managementNic"]["ip"] = json!("192.168.0.99");
    std::fs::write(scene.router.vport(), padded(&other)).unwrap();
    scene.router.relaunch();
    assert_eq!(scene.node.ping(&scene.lab)["uuid"], UUID);
    // One without a host waits for nobody.
    let lab = grounds();
    let mut router = Router::for_zstack(&lab, "router");
    router.launch();
    assert!(router.get("/v1/config").head.contains("etag: \"0\""));
    // What is no configuration is told and waited out; what is one counts then.
    std::fs::write(router.vport(), "nonsense {").unwrap();
    until("it is told", || router.log().contains("no configuration").then_some(()));
    let mut port = std::fs::File::options().append(true).open(router.vport()).unwrap();
    let told = padded(&bootstrap());
    for piece in told.as_bytes().chunks(100) {
        port.write_all(piece).unwrap();
    }
    let node = Node::start(&lab);
    node.until_there(&lab);
}
