//! Messages of DNS clients: an answer is one to what was asked, fits, can be read by another library, and is never longer
//! than the query where the client is a stranger. The first octet of the input chooses who asks, and how.
#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use vrouter::config::Config;
use vrouter::dns::Snapshot;
use vrouter::fuzzing::dns::respond;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let document = json!({
        "version": 1,
        "hostname": "vr",
        "interfaces": {"one": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
        "dhcp": {"one": {"interface": "one", "domain": "demo.local", "hosts": {
            "a": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"}}}},
        "dns": {"forwarders": ["192.0.2.53"], "records": {
            "alias": {"name": "www.demo.local", "type": "CNAME", "values": ["web1.demo.local"]},
            "loop": {"name": "loop.demo.local", "type": "CNAME", "values": ["pool.demo.local"]},
            "pool": {"name": "pool.demo.local", "type": "CNAME", "values": ["loop.demo.local"]},
            "far": {"name": "far.demo.local", "type": "CNAME", "values": ["far.example"]},
            "many": {"name": "*.a", "type": "A", "values": (1..200).map(|last| format!("10.1.1.{last}")).collect::<Vec<_>>()},
            "srv": {"name": "_sip._udp.demo.local", "type": "SRV", "values": ["10 60 5060 web1.demo.local."]},
            "txt": {"name": "demo.local", "type": "TXT", "values": ["v=vrouter"]}}}
    });
    let config = Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"));
    Snapshot::new(&config, &BTreeMap::new())
});

fuzz_target!(|data: &[u8]| {
    let Some((how, message)) = data.split_first() else { return };
    let (stranger, udp) = (how & 1 != 0, how & 2 == 0);
    let from = if stranger { Ipv4Addr::new(192, 0, 2, 8) } else { Ipv4Addr::new(10, 1, 1, 77) };
    let Some((rcode, octets)) = respond(message, from, udp, &SNAPSHOT) else { return };
    let answer = Message::from_vec(&octets).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
    assert_eq!(octets[..2], message[..2]);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert_eq!(u16::from(answer.response_code), rcode);
    if octets.len() > 12 {
        let question =
            message[12..].iter().position(|octet| *octet == 0).map(|end| 12..12 + end + 5).expect("a name");
        assert_eq!(octets[question.clone()], message[question]);
    }
    assert!(octets.len() <= 65_535);
    if udp {
        assert!(octets.len() <= if answer.edns.is_some() { 1232 } else { 512 });
    }
    if stranger {
        assert!(
            rcode == 5 && octets.len() <= message.len(),
            "{rcode}: {} octets for {}",
            octets.len(),
            message.len()
        );
    }
});
