//! Whatever a management node sends, the router answers: it is carried out, or refused with a reason.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vrouter::config::Config;
use vrouter::zstack::{Facts, Nic, command, first_document, manner};

/// Paths, each with the list or the object that it reads, and what is within that.
const COMMANDS: [(&str, &str, &str); 50] = [
    ("/echo", "", ""),
    ("/type", "", ""),
    ("/ping", "", ""),
    ("/init", "", ""),
    ("/getroutes", "", ""),
    ("/fw/delete/firewall", "nicInfos", ""),
    ("/fw/getConfig", "nicInfos", ""),
    ("/appliancevm/refreshfirewall", "rules", ""),
    ("/configurenic", "nics", ""),
    ("/removenic", "nics", ""),
    ("/configurenicdefaultaction", "nics", ""),
    ("/changeDefaultNic", "newNic", ""),
    ("/createvip", "vips", ""),
    ("/createvip", "nicIps", ""),
    ("/removevip", "vips", ""),
    ("/adddhcp", "dhcpEntries", ""),
    ("/removedhcp", "dhcpEntries", ""),
    ("/refreshDhcpServer", "dhcpServers", "dhcpInfos"),
    ("/startDhcpServer", "dhcpServers", "dhcpInfos"),
    ("/stopDhcpServer", "dhcpServers", ""),
    ("/setdns", "dns", ""),
    ("/removedns", "dns", ""),
    ("/setvpcdns", "", ""),
    ("/setsnat", "snat", ""),
    ("/removesnat", "natInfo", ""),
    ("/syncsnat", "snats", ""),
    ("/setsnatservicestate", "snats", ""),
    ("/createeip", "eip", ""),
    ("/removeeip", "eip", ""),
    ("/synceip", "eips", ""),
    ("/createportforwarding", "rules", ""),
    ("/revokeportforwarding", "rules", ""),
    ("/syncportforwarding", "rules", ""),
    ("/syncroutes", "routes", ""),
    ("/lb/refresh", "lbs", "serverGroups"),
    ("/lb/refresh", "lbs", "redirectRules"),
    ("/lb/delete", "lbs", ""),
    ("/certificate/create", "", ""),
    ("/certificate/delete", "", ""),
    ("/setvipqos", "vipQosSettings", ""),
    ("/syncvipqos", "vipQosSettings", ""),
    ("/deletevipqos", "vipQosSettings", ""),
    ("/fw/apply/rule", "refs", "ruleSetInfo"),
    ("/fw/create/rule", "ref", "ruleSetInfo"),
    ("/fw/delete/rule", "ref", "ruleSetInfo"),
    ("/fw/attach/ruleSet", "ref", "ruleSetInfo"),
    ("/fw/detach/ruleSet", "ref", ""),
    ("/fw/changeState/rule", "rule", ""),
    ("/fw/update/ruleSet", "", ""),
    ("/fw/apply/ruleSet/changes", "newRules", ""),
];
/// Those of the above that are one object; the rest are lists.
const OBJECTS: [&str; 6] = ["snat", "eip", "ref", "rule", "newNic", "ruleSetInfo"];
/// Members with what they may be, sense or not.
const MEMBERS: [(&str, &[&str]); 40] = [
    ("mac", &["fa:00:00:00:00:02", "FA:00:00:00:00:01", "fa:00:00:00:00:03", "no mac", ""]),
    ("ownerEthernetMac", &["fa:00:00:00:00:01", "fa:00:00:00:00:02"]),
    ("publicMac", &["fa:00:00:00:00:01"]),
    ("publicNicMac", &["fa:00:00:00:00:01"]),
    ("privateNicMac", &["fa:00:00:00:00:02", "fa:00:00:00:00:03"]),
    ("vrNicMac", &["fa:00:00:00:00:02", "fa:00:00:00:00:01"]),
    ("nicMac", &["fa:00:00:00:00:02", "x"]),
    ("publicNic", &["fa:00:00:00:00:01"]),
    ("ip", &["198.51.100.7", "10.1.1.20", "10.1.1.21", "10.3.3.1", "2001:db8::1", "0.0.0.0"]),
    ("netmask", &["255.255.255.0", "255.255.255.255", "24", "1.2.3.4"]),
    ("gateway", &["10.1.1.1", "198.51.100.1", "10.3.3.254", ""]),
    ("category", &["Public", "private", "System", "Other"]),
    ("vipIp", &["198.51.100.7", "198.51.100.8", "198.51.100.5"]),
    ("vip", &["198.51.100.8", "198.51.100.5", "10.1.1.1"]),
    ("guestIp", &["10.1.1.20", "10.1.1.21", "192.0.2.1"]),
    ("privateIp", &["10.1.1.20"]),
    ("publicIp", &["198.51.100.5", "198.51.100.7"]),
    ("privateNicIp", &["10.1.1.1", "10.3.3.1"]),
    ("snatNetmask", &["255.255.255.0"]),
    ("protocolType", &["TCP", "udp", "sctp"]),
    ("uuid", &["9a01", "a b", ""]),
    ("listenerUuid", &["s1", "s2"]),
    ("mode", &["tcp", "udp", "http", "https", "ftp"]),
    ("certificateUuid", &["c1"]),
    ("certificate", &["-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", "-----BEGIN "]),
    ("hostname", &["web1", "web1.demo.local", "-", ".", "a..b"]),
    ("dnsDomain", &["demo.local", "a b"]),
    ("dnsAddress", &["192.0.2.53", "::1"]),
    ("destination", &["10.9.0.0/16", "0.0.0.0/0", "x"]),
    ("target", &["10.1.1.250", ""]),
    ("forward", &["in", "out", "local", "IN"]),
    ("action", &["accept", "drop", "reject", "x"]),
    ("actionType", &["accept", "reject"]),
    ("firewallDefaultAction", &["accept", "reject"]),
    ("protocol", &["TCP", "all", "icmp", "tcp_udp", "gre", "9999"]),
    ("destPort", &["80", "80:90", "1,2", "x"]),
    ("sourceIp", &["10.1.1.0/24", "10.1.1.1-10.1.1.9,10.1.1.30", "eip-group"]),
    ("redirectRule", &["path_beg -i /x", "hdr_reg(host) -i .*\\.demo\\.local", "base_reg -i a\\.b/(", "?"]),
    ("serverGroupUuid", &["g1", "g2"]),
    ("state", &["enable", "disable"]),
];
const NUMBERS: [&str; 11] = [
    "inboundBandwidth",
    "port",
    "vipPortStart",
    "vipPortEnd",
    "privatePortStart",
    "privatePortEnd",
    "loadBalancerPort",
    "instancePort",
    "ruleNumber",
    "distance",
    "mtu",
];
const FLAGS: [&str; 8] = [
    "rebuild",
    "enable",
    "enabled",
    "syncVip",
    "isDefaultRoute",
    "isDefaultL3Network",
    "isDefault",
    "snatInboundTraffic",
];

/// An object with most of the members that any command has, the first of their values most often.
fn object() -> impl Strategy<Value = Value> {
    let texts: Vec<_> = MEMBERS
        .iter()
        .map(|(name, values)| {
            let first = values[0];
            let value = prop_oneof![
                12 => Just(Some(json!(first))),
                4 => prop::sample::select(values.to_vec()).prop_map(|value| Some(json!(value))),
                1 => Just(None),
            ];
            value.prop_map(move |value| ((*name).to_owned(), value))
        })
        .collect();
    let numbers: Vec<_> = NUMBERS
        .iter()
        .map(|name| {
            let value =
                prop_oneof![8 => 1000u64..1010, 2 => 0u64..70_000].prop_map(|value| Some(json!(value)));
            value.prop_map(move |value| ((*name).to_owned(), value))
        })
        .collect();
    let flags: Vec<_> = FLAGS
        .iter()
        .map(|name| {
            let value =
                prop_oneof![3 => Just(Some(json!(false))), 1 => Just(Some(json!(true))), 1 => Just(None)];
            value.prop_map(move |value| ((*name).to_owned(), value))
        })
        .collect();
    let odd = prop::option::weighted(0.1, (prop::sample::select(MEMBERS.to_vec()), odd()));
    (texts, numbers, flags, parameters(), odd).prop_map(|(texts, numbers, flags, parameters, odd)| {
        let members = texts.into_iter().chain(numbers).chain(flags);
        let mut object: Map<String, Value> =
            members.filter_map(|(name, value)| Some((name, value?))).collect();
        object.insert("nicIps".to_owned(), json!(["10.1.1.20"]));
        object.insert("parameters".to_owned(), json!(parameters));
        if let Some(((name, _), value)) = odd {
            object.insert(name.to_owned(), value);
        }
        Value::Object(object)
    })
}

/// What no command means.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!(null)), Just(json!(-7)), Just(json!([1])), Just(json!({})), Just(json!(""))]
}

fn parameters() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(
        prop::sample::select(vec![
            "balancerAlgorithm::source",
            "balancerAlgorithm::weightroundrobin",
            "healthCheckTarget::http:8080",
            "healthCheckParameter::GET:/:http_2xx,http_4xx",
            "balancerWeight::10.1.1.20::5",
            "aclEntry::1.2.3.4,1.2.3.5-1.2.3.9",
            "accessControlStatus::enable",
            "maxConnection::1000",
            "sessionPersistence::insert",
            "httpRedirectHttps::enable",
            "connectionIdleTimeout::60",
            "httpVersions::h2",
            "::",
        ]),
        0..4,
    )
}

/// A path with a body that it reads.
fn posted() -> impl Strategy<Value = (&'static str, Value)> {
    let within = prop::collection::vec(object(), 0..3);
    (prop::sample::select(COMMANDS.to_vec()), object(), prop::collection::vec((object(), within), 0..3))
        .prop_map(|((path, holder, inner), mut body, held)| {
            let mut held: Vec<Value> = held
                .into_iter()
                .map(|(mut object, within)| {
                    match inner {
                        "" => {}
                        "ruleSetInfo" => object[inner] = json!({"actionType": "accept", "rules": within}),
                        _ => object[inner] = json!(within),
                    }
                    object
                })
                .collect();
            match holder {
                "" => {}
                _ if OBJECTS.contains(&holder) => body[holder] = held.pop().unwrap_or_default(),
                _ => body[holder] = json!(held),
            }
            if path == "/fw/apply/ruleSet/changes" {
                body["refs"] = json!([{"mac": "fa:00:00:00:00:02", "forward": "in"}]);
            }
            (path, body)
        })
}

fn nic(number: u8, category: &str, ip: &str, gateway: &str) -> Value {
    json!({"mac": format!("fa:00:00:00:00:0{number}"), "ip": ip, "netmask": "255.255.255.0", "gateway": gateway,
           "category": category, "isDefaultRoute": category == "Public"})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Commands in a row, each on what the one before it left: no answer is missing, what is refused changes nothing, and a
    /// document that passes is ZStack's still.
    #[test]
    fn every_command_is_carried_out_or_refused(
        commands in prop::collection::vec(posted(), 1..8)
    ) {
        let bootstrap = json!({
            "managementNic": nic(0, "System", "192.168.0.188", "192.168.0.1"),
            "additionalNics": [nic(1, "Public", "198.51.100.5", "198.51.100.1"), nic(2, "Private", "10.1.1.1", "10.1.1.1")]
        });
        let facts = Facts {
            nics: (0..4).map(|number| Nic { mac: format!("fa:00:00:00:00:0{number}").parse().unwrap(), device: format!("eth{number}") }).collect(),
            ..Facts::default()
        };
        let mut config = Config::default().replace(first_document(&bootstrap).unwrap()).unwrap();
        for (path, body) in commands {
            prop_assert!(manner(path).is_some());
            let document = serde_json::to_value(config.document()).unwrap();
            match command(path, &body, &document, &facts) {
                Ok(done) => {
                    let Some(next) = done.document else { continue };
                    if let Ok(next) = config.replace(next) {
                        prop_assert!(next.owner().is_some());
                        // Given again, it changes nothing.
                        let settled = serde_json::to_value(next.document()).unwrap();
                        if let Ok(again) = command(path, &body, &settled, &facts)
                            && let Some(document) = again.document
                        {
                            prop_assert_eq!(next.replace(document).unwrap(), next.clone(), "{} {}", path, body);
                        }
                        config = next;
                    }
                }
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
        }
    }

    /// So is whatever comes by the virtio-serial port.
    #[test]
    fn every_bootstrap_is_taken_or_refused(bootstrap in object(), management in object(), additional in object()) {
        let mut bootstrap = bootstrap;
        bootstrap["managementNic"] = management;
        bootstrap["additionalNics"] = json!([additional]);
        if let Ok(document) = first_document(&bootstrap) {
            let _ = Config::default().replace(document);
        }
    }
}
