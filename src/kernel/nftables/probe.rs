//! What nf_tables can do, found out by asking for it in a table of its own that is never there: the transaction ends with
//! what cannot be, so the kernel says of each message whether it could be and does nothing, of which nobody hears. Called
//! when the kernel room is opened.

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetMessage,
    TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE};

use super::batch::{NFTABLES, netfilter};
use super::expression::expression;
use super::operation::{Operation, Register, Remember};
use super::set;
use crate::kernel::KernelError;
use crate::kernel::attribute::{nested, text, u32_be};
use crate::kernel::netlink::Netlink;
use crate::plan::facts::SetKind;

/// A table that is not there and cannot be removed.
const NOWHERE: &str = "vrouter-nowhere";
/// The table that is asked for, and what would be in it.
const SCRATCH: &str = "vrouter-probe";
const CHAIN: &str = "probe";
const MAP: &str = "probe";

/// Whether there are flowtables.
pub(super) fn flowtable(netlink: &mut Netlink) -> Result<bool, KernelError> {
    let hook = [u32_be(1, 0), u32_be(2, 0)];
    let flowtable = vec![text(1, SCRATCH), text(2, MAP), nested(3, &hook)];
    takes(netlink, vec![NfTablesMessage::NewFlowTable(flowtable)])
}

/// Whether a slot can be picked: one after the other, at random, and by a hash.
pub(super) fn balancing(netlink: &mut Netlink) -> Result<bool, KernelError> {
    let operations = [
        Operation::Number { random: false, modulus: 2 },
        Operation::Number { random: true, modulus: 2 },
        super::operation::address(super::operation::SOURCE, Register::Second),
        Operation::Hash { modulus: 2, seed: 1 },
    ];
    takes(netlink, vec![rule(&operations)])
}

/// Whether connections can be counted.
pub(super) fn connection_limit(netlink: &mut Netlink) -> Result<bool, KernelError> {
    takes(netlink, vec![rule(&[Operation::ConnectionsOver(1)])])
}

/// Whether packets can put elements into a map and take them out.
pub(super) fn stickiness(netlink: &mut Netlink) -> Result<bool, KernelError> {
    let mut attributes = set::declaration(&MAP.into(), SetKind::StickyToEndpoint, 1);
    for attribute in &mut attributes {
        if let SetAttribute::Table(table) = attribute {
            SCRATCH.clone_into(table);
        }
    }
    let remember =
        |action| Operation::Remember { action, map: MAP, key: Register::Third, data: Register::First };
    let operations = [
        super::operation::address(super::operation::SOURCE, Register::First),
        super::operation::address(super::operation::SOURCE, Register::Second),
        super::operation::address(super::operation::SOURCE, Register::Third),
        remember(Remember::Forget),
        remember(Remember::Put { seconds: 1 }),
    ];
    takes(netlink, vec![NfTablesMessage::NewSet(SetMessage { attributes }), rule(&operations)])
}

fn rule(operations: &[Operation<'_>]) -> NfTablesMessage {
    let attributes = vec![
        RuleAttribute::Table(SCRATCH.to_owned()),
        RuleAttribute::Chain(CHAIN.to_owned()),
        RuleAttribute::Expressions(operations.iter().map(expression).collect()),
    ];
    NfTablesMessage::NewRule(RuleMessage { attributes })
}

/// Whether the kernel takes these in a table of their own.
fn takes(netlink: &mut Netlink, messages: Vec<NfTablesMessage>) -> Result<bool, KernelError> {
    let mut bytes = Vec::new();
    let control = |inner: ControlMessage| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        NetfilterMessage::new(header, NetfilterMessageInner::None(inner))
    };
    let table = TableMessage { attributes: vec![TableAttribute::Name(SCRATCH.to_owned())] };
    let chain = ChainMessage {
        attributes: vec![ChainAttribute::Table(SCRATCH.to_owned()), ChainAttribute::Name(CHAIN.to_owned())],
    };
    netlink.pack(&mut bytes, control(ControlMessage::BatchBegin), 0);
    let before = [NfTablesMessage::NewTable(table), NfTablesMessage::NewChain(chain)];
    for message in before.into_iter().chain(messages) {
        netlink.pack(&mut bytes, netfilter(message), NLM_F_CREATE);
    }
    let impossible = TableMessage { attributes: vec![TableAttribute::Name(NOWHERE.to_owned())] };
    let last = netlink.pack(&mut bytes, netfilter(NfTablesMessage::DeleteTable(impossible)), NLM_F_ACK);
    netlink.pack(&mut bytes, control(ControlMessage::BatchEnd), 0);
    let refusals = netlink.send(&bytes)?;
    // Without the right to ask, nothing is known of any message; the first change says so.
    Ok(!refusals.is_empty() && refusals.iter().all(|refusal| refusal.sequence == last))
}
