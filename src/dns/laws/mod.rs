//! Laws of the decision, over generated configurations and queries. Only for tests.
//!
//! Answers are read by another library than the one that wrote them, and compared with a second opinion.

mod generate;
mod oracle;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use proptest::prelude::*;

use self::generate::{config, document, present, question};
use self::oracle::{Expected, Line, Oracle};
use super::answer::{Client, Known, Verdict, respond};
use super::received::Received;
use super::reply::Transport;
use super::snapshot::Snapshot;
use super::wire::{Rcode, kind};

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 77);

fn ask(message: &[u8], transport: Transport, snapshot: &Snapshot) -> (Verdict, Vec<u8>) {
    let mut out = Vec::new();
    let verdict = respond(message, Client { address: GUEST, transport }, snapshot, |_| None, &mut out);
    (verdict, out)
}

fn line(record: &Record) -> Line {
    let data = match &record.data {
        RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).unwrap(),
        RData::HINFO(_) => "RFC8482".to_owned(),
        RData::SOA(_) => String::new(),
        other => other.to_string(),
    };
    let owner = record.name.to_string().to_ascii_lowercase();
    (owner.trim_end_matches('.').to_owned(), record.record_type().into(), record.ttl, data)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Going from one configuration to another ends where starting there ends.
    #[test]
    fn the_way_there_does_not_matter(steps in prop::collection::vec((document(), 0u8..6), 1..6)) {
        let mut way = config(serde_json::json!({"version": 1}));
        let mut snapshot = Snapshot::new(&way, &present());
        let mut at = steps[0].0.clone();
        for (mut to, part) in steps {
            // All of it changes, or one part, or DNS comes and goes.
            match part {
                0 => at = to,
                1 => at["dhcp"] = to["dhcp"].take(),
                2 => at["dns"]["records"] = to["dns"]["records"].take(),
                3 => at["dns"]["conditional_forwarders"] = to["dns"]["conditional_forwarders"].take(),
                4 => at["hostname"] = to["hostname"].take(),
                _ => { at.as_object_mut().unwrap().remove("dns"); }
            }
            let mut document = at.clone();
            document.as_object_mut().unwrap().retain(|_, member| !member.is_null());
            let Ok(next) = way.replace(document.clone()) else { continue };
            way = next;
            snapshot = snapshot.next(&way, &present());
            let direct = Snapshot::new(&config(document), &present());
            prop_assert_eq!(snapshot.zones(), direct.zones());
            prop_assert_eq!(snapshot.listeners(), direct.listeners());
        }
    }

    /// Every name is answered, or asked for, as the second opinion says.
    #[test]
    fn answers_are_those_of_the_second_opinion(
        document in document(),
        questions in prop::collection::vec(question(), 1..40),
    ) {
        let config = config(document);
        let snapshot = Snapshot::new(&config, &present());
        let oracle = Oracle::new(&config);
        for (name, kind, octets) in questions {
            let expected = oracle.answer(&name, kind);
            let (verdict, out) = ask(&octets, Transport::Tcp, &snapshot);
            match verdict {
                Verdict::Answer(outcome) => {
                    let message = Message::from_vec(&out).unwrap();
                    let answers: BTreeSet<Line> = message.answers.iter().map(line).collect();
                    prop_assert_eq!(answers.len(), message.answers.len(), "a record stands twice");
                    let soa = message.authorities.first().map(|record| line(record).0);
                    prop_assert_eq!(Expected::Answer(outcome.rcode.0, answers, soa), expected, "{} {}", name, kind);
                    prop_assert_eq!(u16::from(message.response_code), outcome.rcode.0);
                    prop_assert!(message.authorities.len() <= 1);
                    // The question comes back as it was asked.
                    let asked = 12..octets.iter().skip(12).position(|octet| *octet == 0).unwrap() + 17;
                    prop_assert_eq!(&out[asked.clone()], &octets[asked]);
                }
                Verdict::Ask(ask) => {
                    let group = &snapshot.groups()[usize::from(ask.group)];
                    let mut wire = Vec::new();
                    super::name::write_name(&ask.name, &mut wire);
                    let asked = hickory_proto::rr::Name::from_labels(labels(&wire)).unwrap().to_string();
                    let to = group[0].ip().to_string();
                    match expected {
                        Expected::Ask(expected_to, expected_name, _) => {
                            prop_assert_eq!((to, asked), (expected_to, format!("{expected_name}.")));
                        }
                        other => prop_assert!(false, "{} {}: asked {}, expected {:?}", name, kind, to, other),
                    }
                }
                Verdict::Silence => prop_assert!(false, "no answer to {}", name),
            }
        }
    }

    /// Whatever the octets, an answer fits, can be read, and is one to what was asked.
    #[test]
    fn no_damage_makes_an_answer_that_is_none(
        document in document(),
        question in question(),
        damage in prop::collection::vec((0usize..90, any::<u8>()), 0..5),
        cut in 0usize..200,
        stranger in any::<bool>(),
    ) {
        let snapshot = Snapshot::new(&config(document), &present());
        let mut octets = question.2;
        for (at, octet) in damage {
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        octets.truncate(cut);
        let address = if stranger { Ipv4Addr::new(8, 8, 8, 8) } else { GUEST };
        let mut out = Vec::new();
        let client = Client { address, transport: Transport::Udp };
        if let Verdict::Answer(outcome) = respond(&octets, client, &snapshot, |_| None, &mut out) {
            let message = Message::from_vec(&out).unwrap();
            prop_assert_eq!(&out[..2], &octets[..2]);
            prop_assert!(out.len() <= 1232);
            prop_assert!(message.metadata.message_type == hickory_proto::op::MessageType::Response);
            if stranger {
                prop_assert_eq!(outcome.rcode, Rcode::REFUSED);
                prop_assert!(out.len() <= octets.len(), "{} octets for {}", out.len(), octets.len());
            }
            if message.edns.is_none() {
                prop_assert!(out.len() <= 512);
            }
        }
    }

    /// A name of ours that is another name of somebody else's comes with what forwarders said of that one.
    #[test]
    fn what_forwarders_said_is_appended(rcode in prop_oneof![Just(0u16), Just(3), Just(2)], age in 0u32..50) {
        let record = serde_json::json!({"name": "www.demo.local", "type": "CNAME", "values": ["Far.upstream.example"], "ttl_seconds": 20});
        let document = serde_json::json!({
            "version": 1,
            "interfaces": {"one": {"device": "eth0", "roles": ["guest"], "addresses": ["10.1.1.1/24"]}},
            "dns": {"forwarders": ["198.51.100.53"], "records": {"www": record}},
        });
        let snapshot = Snapshot::new(&config(document), &present());
        let octets = super::query::tests::query("wWw.demo.local", kind::A, 0x100, None);
        let Verdict::Ask(question) = ask(&octets, Transport::Udp, &snapshot).0 else { panic!("answered") };
        let (query, answer) = upstream("far.upstream.example", rcode);
        let received = Arc::new(Received::read(&answer, &query).unwrap());
        let mut out = Vec::new();
        let client = Client { address: GUEST, transport: Transport::Udp };
        let known = |asked: super::answer::Question<'_>| {
            (asked == question.question()).then(|| Known { received: received.clone(), age })
        };
        prop_assert!(matches!(respond(&octets, client, &snapshot, known, &mut out), Verdict::Answer(_)));
        let message = Message::from_vec(&out).unwrap();
        prop_assert_eq!(u16::from(message.response_code), rcode);
        let lines: Vec<Line> = message.answers.iter().map(line).collect();
        let alias = ("www.demo.local".to_owned(), kind::CNAME, 20, "far.upstream.example.".to_owned());
        prop_assert_eq!(&lines[0], &alias);
        match rcode {
            0 => {
                let more = ("far.upstream.example".to_owned(), kind::CNAME, 300 - age, "web.upstream.example.".to_owned());
                let last = ("web.upstream.example".to_owned(), kind::A, 60 - age, "203.0.113.80".to_owned());
                prop_assert_eq!(&lines[1..], &[more, last]);
            }
            3 => prop_assert_eq!(line(&message.authorities[0]).0, "upstream.example"),
            _ => prop_assert_eq!(lines.len(), 1),
        }
    }
}

/// A query to a forwarder and its answer, with names compressed as servers do.
fn upstream(name: &str, rcode: u16) -> (Vec<u8>, Vec<u8>) {
    let query = super::query::tests::query(name, kind::A, 0x100, None);
    let mut message = Message::from_vec(&query).unwrap();
    message.metadata.message_type = hickory_proto::op::MessageType::Response;
    message.metadata.response_code = hickory_proto::op::ResponseCode::from(0, u8::try_from(rcode).unwrap());
    let record = |text: &str, ttl: u32, data: RData| Record::from_rdata(text.parse().unwrap(), ttl, data);
    match rcode {
        0 => {
            let target: hickory_proto::rr::Name = "web.upstream.example.".parse().unwrap();
            message.add_answer(record(
                &format!("{name}."),
                300,
                RData::CNAME(hickory_proto::rr::rdata::CNAME(target)),
            ));
            message.add_answer(record(
                "web.upstream.example.",
                60,
                RData::A(Ipv4Addr::new(203, 0, 113, 80).into()),
            ));
        }
        3 => {
            let server: hickory_proto::rr::Name = "ns.upstream.example.".parse().unwrap();
            let soa = hickory_proto::rr::rdata::SOA::new(server.clone(), server, 1, 2, 3, 4, 60);
            message.add_authority(record("upstream.example.", 600, RData::SOA(soa)));
        }
        _ => {}
    }
    (query, message.to_vec().unwrap())
}

fn labels(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut labels = Vec::new();
    while let Some((length, rest)) = wire.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at(usize::from(*length));
        labels.push(label);
        wire = rest;
    }
    labels
}
