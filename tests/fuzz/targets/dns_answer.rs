//! Messages of DNS forwarders: what is taken for an answer is one to another library too, is kept as it came, and only
//! its TTLs count down.
#![no_main]

use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;
use vrouter::fuzzing::dns::forwarded;

/// What was asked: `www.example.com`, A.
const QUERY: &[u8] =
    b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01";

fuzz_target!(|data: &[u8]| {
    let Some((age, message)) = data.split_first() else { return };
    let Some([written, aged]) = forwarded(message, QUERY, u32::from(*age) * 1000) else { return };
    assert_eq!(written.len(), aged.len());
    assert_eq!(written[12..QUERY.len()], QUERY[12..]);
    assert!(written.len() <= message.len().max(QUERY.len()));
    // What is kept is not read here, but handed on as it came; so it is no worse than what came.
    if let (Ok(came), Ok(kept)) = (Message::from_vec(message), Message::from_vec(&written)) {
        assert!(kept.answers.len() <= came.answers.len() && kept.authorities.len() <= came.authorities.len());
        // Names in data may lead anywhere, into a TTL too; addresses are the same to everybody.
        let same = |came: &RData, kept: &RData| match (came, kept) {
            (RData::A(_) | RData::AAAA(_), _) => came == kept,
            _ => came.record_type() == kept.record_type(),
        };
        assert!(came.answers.iter().zip(&kept.answers).all(|(came, kept)| same(&came.data, &kept.data)));
    }
});
