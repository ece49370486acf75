//! Operations as nf_tables messages, by `netlink-packet-netfilter`: everything, and so also what rustables cannot say.
//!
//! Called by `rule.rs`. Attribute numbers are those of `linux/netfilter/nf_tables.h`.

use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey as Key, Operator, Payload, Register as Reg, Verdict as Code, VerdictAttribute,
};
use rtnetlink::packet_core::DefaultNla;

use super::operation::{Base, ConntrackKey, LookupResult, MetaKey, Operation, Register, Remember};
use crate::kernel::attribute::{text, u32_be, u64_be};
use crate::plan::facts::Verdict;

/// NFT_PAYLOAD_NETWORK_HEADER and NFT_PAYLOAD_TRANSPORT_HEADER.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// NF_DROP and NF_ACCEPT (`linux/netfilter.h`).
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// NFPROTO_IPV4.
const FAMILY_IPV4: u32 = 2;
/// NF_NAT_RANGE_PROTO_SPECIFIED (`linux/netfilter/nf_nat.h`).
const PROTO_SPECIFIED: u32 = 2;
/// NFT_LOOKUP_F_INV.
const LOOKUP_INVERTED: u32 = 1;
/// NFT_REJECT_ICMPX_ADMIN_PROHIBITED.
const ICMPX_PROHIBITED: u8 = 3;
/// The TCP option of the largest segment, and where its value is in it (RFC 9293 section 3.2).
const TCP_OPTION_MSS: u8 = 2;
const TCP_OPTION_MSS_OFFSET: u32 = 2;

/// An expression of a rule's list.
pub(super) fn expression(operation: &Operation<'_>) -> ListAttribute<ExpressionAttribute> {
    let first = Reg::Reg32_00;
    match operation {
        Operation::Meta(key, to) => {
            Expressions::Meta(vec![Meta::Key(meta(*key)), Meta::DestinationRegister(register(*to))])
        }
        Operation::SetMark(from) => {
            Expressions::Meta(vec![Meta::Key(Key::Mark), Meta::SourceRegister(register(*from))])
        }
        Operation::Payload { base, offset, length, register: to } => Expressions::Payload(vec![
            Payload::DestinationRegister(register(*to)),
            Payload::Base(match base {
                Base::Network => NETWORK_HEADER,
                Base::Transport => TRANSPORT_HEADER,
            }),
            Payload::Offset(*offset),
            Payload::Len(*length),
        ]),
        Operation::Mask(mask) => Expressions::Bitwise(vec![
            Bitwise::SourceRegister(first),
            Bitwise::DestinationRegister(first),
            Bitwise::Length(length(mask)),
            Bitwise::Mask(DataAttribute::Value(mask.clone())),
            Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
        ]),
        Operation::Compare { equal, data } => Expressions::Cmp(vec![
            Cmp::SourceRegister(first),
            Cmp::Op(if *equal { Operator::Equal } else { Operator::NotEqual }),
            Cmp::Data(DataAttribute::Value(data.clone())),
        ]),
        Operation::Load(data) => Expressions::Immediate(vec![
            Immediate::DestinationRegister(first),
            Immediate::Data(DataAttribute::Value(data.clone())),
        ]),
        Operation::Lookup { set, result } => {
            let mut attributes = vec![Lookup::Set((*set).to_owned()), Lookup::SourceRegister(first)];
            attributes.extend(result.map(|result| {
                Lookup::DestinationRegister(match result {
                    LookupResult::Data => first,
                    LookupResult::Verdict => Reg::Verdict,
                })
            }));
            Expressions::Lookup(attributes)
        }
        Operation::NotIn(set) => Expressions::Lookup(vec![
            Lookup::Set((*set).to_owned()),
            Lookup::SourceRegister(first),
            Lookup::Flags(LOOKUP_INVERTED),
        ]),
        Operation::LookupInto { set, from, to } => Expressions::Lookup(vec![
            Lookup::Set((*set).to_owned()),
            Lookup::SourceRegister(register(*from)),
            Lookup::DestinationRegister(register(*to)),
        ]),
        Operation::Verdict(verdict) => Expressions::Immediate(vec![
            Immediate::DestinationRegister(Reg::Verdict),
            Immediate::Data(DataAttribute::Verdict(verdict_attributes(verdict))),
        ]),
        other => other_expression(other),
    }
    .into()
}

/// The attributes of a verdict, in a rule or in a map.
pub(super) fn verdict_attributes(verdict: &Verdict) -> Vec<VerdictAttribute> {
    let code = |code| vec![VerdictAttribute::Code(code)];
    let to =
        |code, chain: &str| vec![VerdictAttribute::Code(code), VerdictAttribute::Chain(chain.to_owned())];
    match verdict {
        Verdict::Accept => code(Code::Other(NF_ACCEPT)),
        Verdict::Drop => code(Code::Other(NF_DROP)),
        Verdict::Return => code(Code::Return),
        Verdict::Goto(chain) => to(Code::Goto, chain.as_str()),
        Verdict::Jump(chain) => to(Code::Jump, chain.as_str()),
    }
}

/// Expressions that the crate has no types for: name and numbered attributes.
fn other_expression(operation: &Operation<'_>) -> Expressions {
    let first = u32::from(Reg::Reg32_00);
    let second = u32::from(Reg::Reg32_01);
    match operation {
        Operation::Conntrack(key) => {
            let (number, direction) = conntrack(*key);
            // NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_DIRECTION
            let mut attributes = vec![u32_be(1, first), u32_be(2, number)];
            attributes.extend(direction.map(|direction| DefaultNla::new(3, vec![direction])));
            other("ct", attributes)
        }
        // NFTA_CT_KEY, NFTA_CT_SREG
        Operation::SetConntrackMark => {
            other("ct", vec![u32_be(2, conntrack(ConntrackKey::Mark).0), u32_be(4, first)])
        }
        // NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_TYPE (NFT_NG_INCREMENTAL, NFT_NG_RANDOM)
        Operation::Number { random, modulus } => {
            other("numgen", vec![u32_be(1, first), u32_be(2, *modulus), u32_be(3, u32::from(*random))])
        }
        // NFTA_HASH_SREG, _DREG, _LEN, _MODULUS, _SEED, _TYPE (NFT_HASH_JENKINS)
        Operation::Hash { modulus, seed } => other(
            "hash",
            vec![
                u32_be(1, second),
                u32_be(2, first),
                u32_be(3, 4),
                u32_be(4, *modulus),
                u32_be(5, *seed),
                u32_be(7, 0),
            ],
        ),
        // NFTA_DYNSET_SET_NAME, _OP (NFT_DYNSET_OP_UPDATE, _DELETE), _SREG_KEY, _SREG_DATA, _TIMEOUT in milliseconds
        Operation::Remember { action, map, key, data } => {
            let (number, timeout) = match action {
                Remember::Put { seconds } => (1, Some(u64::from(*seconds) * 1000)),
                Remember::Forget => (2, None),
            };
            let (key, data) = (u32::from(register(*key)), u32::from(register(*data)));
            let mut attributes = vec![text(1, map), u32_be(3, number), u32_be(4, key), u32_be(5, data)];
            attributes.extend(timeout.map(|timeout| u64_be(6, timeout)));
            other("dynset", attributes)
        }
        // NFTA_CONNLIMIT_COUNT, NFTA_CONNLIMIT_FLAGS (NFT_CONNLIMIT_F_INV)
        Operation::ConnectionsOver(count) => other("connlimit", vec![u32_be(1, *count), u32_be(2, 1)]),
        Operation::Dnat { address, port } => {
            // NFTA_NAT_TYPE, NFTA_NAT_FAMILY, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_FLAGS
            let address = u32::from(register(*address));
            let mut attributes = vec![u32_be(1, 1), u32_be(2, FAMILY_IPV4), u32_be(3, address)];
            if *port {
                // Registers of four octets follow one another.
                attributes.extend([u32_be(5, address + 1), u32_be(7, PROTO_SPECIFIED)]);
            }
            other("nat", attributes)
        }
        Operation::Snat => other("nat", vec![u32_be(1, 0), u32_be(2, FAMILY_IPV4), u32_be(3, first)]),
        Operation::Masquerade => other("masq", vec![]),
        // NFTA_REJECT_TYPE (NFT_REJECT_TCP_RST, NFT_REJECT_ICMPX_UNREACH), NFTA_REJECT_ICMP_CODE
        Operation::Reject { reset: true } => other("reject", vec![u32_be(1, 1), DefaultNla::new(2, vec![0])]),
        Operation::Reject { reset: false } => {
            other("reject", vec![u32_be(1, 2), DefaultNla::new(2, vec![ICMPX_PROHIBITED])])
        }
        // NFTA_LOG_GROUP, NFTA_LOG_PREFIX
        Operation::Log { group, prefix } => {
            other("log", vec![DefaultNla::new(1, group.to_be_bytes().to_vec()), text(2, prefix)])
        }
        // NFTA_LIMIT_RATE, NFTA_LIMIT_UNIT (seconds), NFTA_LIMIT_BURST, NFTA_LIMIT_TYPE (packets), NFTA_LIMIT_FLAGS
        Operation::Limit { per_second, burst } => other(
            "limit",
            vec![
                u64_be(1, u64::from(*per_second)),
                u64_be(2, 1),
                u32_be(3, *burst),
                u32_be(4, 0),
                u32_be(5, 0),
            ],
        ),
        // The same with NFT_LIMIT_PKT_BYTES and NFT_LIMIT_F_INV
        Operation::RateOver { octets_per_second, burst } => other(
            "limit",
            vec![u64_be(1, *octets_per_second), u64_be(2, 1), u32_be(3, *burst), u32_be(4, 1), u32_be(5, 1)],
        ),
        // NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS
        Operation::Counter => other("counter", vec![u64_be(1, 0), u64_be(2, 0)]),
        // NFTA_RT_DREG, NFTA_RT_KEY (NFT_RT_TCPMSS)
        Operation::RouteMss => other("rt", vec![u32_be(1, first), u32_be(2, 3)]),
        // NFTA_BYTEORDER_SREG, _DREG, _OP (NFT_BYTEORDER_HTON), _LEN, _SIZE
        Operation::ToNetworkOrder => other(
            "byteorder",
            vec![u32_be(1, first), u32_be(2, first), u32_be(3, 1), u32_be(4, 2), u32_be(5, 2)],
        ),
        // NFTA_EXTHDR_TYPE, _OFFSET, _LEN, _OP (NFT_EXTHDR_OP_TCPOPT), _SREG
        Operation::SetTcpMss => other(
            "exthdr",
            vec![
                DefaultNla::new(2, vec![TCP_OPTION_MSS]),
                u32_be(3, TCP_OPTION_MSS_OFFSET),
                u32_be(4, 2),
                u32_be(6, 1),
                u32_be(7, first),
            ],
        ),
        // NFTA_FLOW_TABLE_NAME
        Operation::Offload(flowtable) => other("flow_offload", vec![text(1, flowtable)]),
        _ => Expressions::Unknown(Vec::new()),
    }
}

fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other { expression_type: name.to_owned(), attributes }
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

const fn meta(key: MetaKey) -> Key {
    match key {
        MetaKey::InputName => Key::Iifname,
        MetaKey::OutputName => Key::Oifname,
        MetaKey::NetworkProtocol => Key::Nfproto,
        MetaKey::TransportProtocol => Key::L4Proto,
    }
}

const fn register(register: Register) -> Reg {
    match register {
        Register::First => Reg::Reg32_00,
        Register::Second => Reg::Reg32_01,
        Register::Third => Reg::Reg32_02,
        Register::Fourth => Reg::Reg32_03,
    }
}

/// NFT_CT_* and, where it is asked of one direction, which (IP_CT_DIR_ORIGINAL).
const fn conntrack(key: ConntrackKey) -> (u32, Option<u8>) {
    match key {
        ConntrackKey::State => (0, None),
        ConntrackKey::Direction => (1, None),
        ConntrackKey::Status => (2, None),
        ConntrackKey::Mark => (3, None),
        ConntrackKey::OriginalDestination => (20, Some(0)),
    }
}
