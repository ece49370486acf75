//! What our table has counted of single addresses. Reads each rule in place, and remembers those that count.

use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};

use super::batch::netfilter;
use crate::kernel::KernelError;
use crate::kernel::attribute::{NFGENMSG, attributes};
use crate::kernel::netlink::{NETLINK_NETFILTER, Netlink};
use crate::plan::facts::counters::counted_by;
use crate::plan::facts::{AddressTraffic, Counted, TABLE};

/// Attributes of a rule (`linux/netfilter/nf_tables.h`: enum nft_rule_attributes), of an element of its list of
/// expressions, and of a counter.
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// What went to and came from each address that is counted, since its counters are there.
///
/// # Errors
/// The kernel does not answer.
pub(in crate::kernel) fn address_traffic() -> Result<AddressTraffic, KernelError> {
    let mut netlink = Netlink::open(NETLINK_NETFILTER)?;
    let table = RuleMessage { attributes: vec![RuleAttribute::Table(TABLE.to_owned())] };
    let mut traffic = AddressTraffic::new();
    netlink.dump_each(netfilter(NfTablesMessage::GetRule(table)), |payload| {
        let rule = payload.get(NFGENMSG..).unwrap_or_default();
        let value = |wanted| attributes(rule).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let place = value(NFTA_RULE_CHAIN).and_then(|name| counted_by(text(name)));
        if let (Some((way, address)), Some(expressions)) = (place, value(NFTA_RULE_EXPRESSIONS)) {
            let counted = attributes(expressions).find_map(|(_, expression)| counter(expression));
            traffic.entry(address).or_default().add(way, counted.unwrap_or_default());
        }
    })?;
    Ok(traffic)
}

/// What an expression has counted, if it is one that counts.
fn counter(expression: &[u8]) -> Option<Counted> {
    let value = |wanted| attributes(expression).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if text(value(NFTA_EXPR_NAME)?) != "counter" {
        return None;
    }
    let data = value(NFTA_EXPR_DATA)?;
    let number = |wanted| {
        let (_, octets) = attributes(data).find(|(kind, _)| *kind == wanted)?;
        Some(u64::from_be_bytes(octets.try_into().ok()?))
    };
    Some(Counted { bytes: number(NFTA_COUNTER_BYTES)?, packets: number(NFTA_COUNTER_PACKETS)? })
}

/// A text, without its final zero.
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default().trim_end_matches('\0')
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::{DefaultNla, Emitable as _};

    use super::*;
    use crate::kernel::attribute::{nested, text as name, u64_be};

    #[test]
    fn counters_are_read_and_other_expressions_are_not() {
        let bytes = |attributes: &[DefaultNla]| {
            let mut buffer = vec![0; attributes.buffer_len()];
            attributes.emit(&mut buffer);
            buffer
        };
        let data =
            nested(NFTA_EXPR_DATA, &[u64_be(NFTA_COUNTER_BYTES, 1500), u64_be(NFTA_COUNTER_PACKETS, 3)]);
        let counts = bytes(&[name(NFTA_EXPR_NAME, "counter"), data.clone()]);
        assert_eq!(counter(&counts), Some(Counted { bytes: 1500, packets: 3 }));
        assert_eq!(counter(&bytes(&[name(NFTA_EXPR_NAME, "quota"), data])), None);
        for cut in 0..counts.len() {
            let _ = counter(&counts[..cut]);
        }
    }
}
