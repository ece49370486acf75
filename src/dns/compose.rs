//! The answer to a name of ours that is another name of somebody else's: our part, then what forwarders said.
//!
//! The second part moves to another place in the message, so its compression pointers have to be taken apart; this is
//! rare, and left to the library. Called by `answer.rs`.

use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::answer::Known;
use super::reply::{Reply, Section};
use super::wire::Rcode;

/// Appends what forwarders answered about a name. Returns the code of the whole.
pub(super) fn append(reply: &mut Reply<'_>, known: &Known, name: &[u8], kind: u16) -> Rcode {
    let parsed = Message::from_vec(&known.received.message(name, kind, known.age));
    let sections = parsed
        .ok()
        .and_then(|message| Some((encode(&message.answers)?, encode(&message.authorities)?, message)));
    let Some((answers, authorities, message)) = sections else { return Rcode::SERVFAIL };
    reply.encoded(Section::Answer, &answers, message.answers.len());
    // What stands beside an answer is left out; who says that there is none belongs to it.
    if message.answers.is_empty() || known.received.rcode == Rcode::NXDOMAIN {
        reply.encoded(Section::Authority, &authorities, message.authorities.len());
    }
    known.received.rcode
}

fn encode(records: &[Record]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    records.iter().try_for_each(|record| record.emit(&mut encoder)).ok()?;
    Some(octets)
}
