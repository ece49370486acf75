//! What rustables says: the table, its chains, and every rule whose operations it knows.
//!
//! Each function returns one message as rustables writes it; `batch.rs` puts it in its place. A rule that needs more than
//! rustables has, such as maps or several registers, is nothing here and goes by `expression.rs`.

use rustables::expr::{
    Bitwise, Cmp, CmpOp, Conntrack, ConntrackKey as CtKey, Counter, IcmpCode, Immediate, Log, Lookup,
    Masquerade, Meta, MetaType, Payload, RawExpression, Register as Reg, Reject, RejectType, VerdictKind,
};
use rustables::{
    Batch, Chain, ChainPolicy, ChainType, Hook, HookClass, MsgType, ProtocolFamily, Rule, Table,
};

use super::operation::{Base, ConntrackKey, MetaKey, Operation, Register};
use crate::plan::facts::{self, BaseChain, HookPoint, Policy, TABLE, Verdict};

/// The messages that open and close each batch of rustables: a header and nothing else.
const FRAME: usize = 20;

/// The message that makes or removes the table.
pub(super) fn table(action: MsgType) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.add(&our_table(), action);
    message(batch)
}

/// The message that makes or removes a chain.
pub(super) fn chain(name: &str, base: Option<&BaseChain>, action: MsgType) -> Vec<u8> {
    let mut chain = our_chain(name);
    if let Some(base) = base {
        chain.set_hook(Hook::new(point(base.point), base.priority));
        chain.set_type(match base.hook {
            facts::Hook::Filter => ChainType::Filter,
            facts::Hook::Nat => ChainType::Nat,
            facts::Hook::Route => ChainType::Route,
        });
        chain.set_policy(match base.policy {
            Policy::Accept => ChainPolicy::Accept,
            Policy::Drop => ChainPolicy::Drop,
        });
    }
    let mut batch = Batch::new();
    batch.add(&chain, action);
    message(batch)
}

/// The message that adds a rule in front of the one with the handle `before`, or at the end; nothing where rustables
/// lacks an operation.
pub(super) fn rule(
    chain: &str,
    operations: &[Operation<'_>],
    userdata: &[u8],
    before: Option<u64>,
) -> Option<Vec<u8>> {
    let mut rule = Rule::new(&our_chain(chain)).ok()?.with_userdata(userdata.to_vec());
    for operation in operations {
        rule.add_expr(expression(operation)?);
    }
    if let Some(handle) = before {
        rule.set_position(handle);
    }
    let mut batch = Batch::new();
    batch.add(&rule, MsgType::Add);
    Some(message(batch))
}

/// The message that removes the rule with this handle.
pub(super) fn delete_rule(chain: &str, handle: u64) -> Option<Vec<u8>> {
    let rule = Rule::new(&our_chain(chain)).ok()?.with_handle(handle);
    let mut batch = Batch::new();
    batch.add(&rule, MsgType::Del);
    Some(message(batch))
}

fn our_table() -> Table {
    Table::new(ProtocolFamily::Inet).with_name(TABLE)
}

fn our_chain(name: &str) -> Chain {
    Chain::new(&our_table()).with_name(name)
}

const fn point(point: HookPoint) -> HookClass {
    match point {
        HookPoint::Prerouting => HookClass::PreRouting,
        HookPoint::Input => HookClass::In,
        HookPoint::Forward => HookClass::Forward,
        HookPoint::Output => HookClass::Out,
        HookPoint::Postrouting => HookClass::PostRouting,
    }
}

/// The one message of a batch, without what opens and closes it.
fn message(batch: Batch) -> Vec<u8> {
    let bytes = batch.finalize();
    bytes.get(FRAME..bytes.len().saturating_sub(FRAME)).unwrap_or_default().to_vec()
}

fn expression(operation: &Operation<'_>) -> Option<RawExpression> {
    Some(match operation {
        Operation::Meta(key, Register::First) => Meta::new(match key {
            MetaKey::InputName => MetaType::IifName,
            MetaKey::OutputName => MetaType::OifName,
            MetaKey::NetworkProtocol => MetaType::NfProto,
            MetaKey::TransportProtocol => MetaType::L4Proto,
        })
        .into(),
        Operation::SetMark(Register::First) => {
            Meta::default().with_key(MetaType::Mark).with_sreg(Reg::Reg1).into()
        }
        Operation::Payload { base, offset, length, register: Register::First } => Payload::default()
            .with_dreg(Reg::Reg1)
            .with_base(match base {
                Base::Network => rustables::sys::NFT_PAYLOAD_NETWORK_HEADER,
                Base::Transport => rustables::sys::NFT_PAYLOAD_TRANSPORT_HEADER,
            })
            .with_offset(*offset)
            .with_len(*length)
            .into(),
        Operation::Mask(mask) => Bitwise::new(mask.clone(), vec![0; mask.len()]).ok()?.into(),
        Operation::Compare { equal, data } => {
            Cmp::new(if *equal { CmpOp::Eq } else { CmpOp::Neq }, data.clone()).into()
        }
        Operation::Load(data) => Immediate::new_data(data.clone(), Reg::Reg1).into(),
        Operation::Lookup { set, result: None } => {
            Lookup::default().with_set(*set).with_sreg(Reg::Reg1).into()
        }
        Operation::Conntrack(ConntrackKey::State) => Conntrack::new(CtKey::State).into(),
        Operation::Conntrack(ConntrackKey::Mark) => Conntrack::new(CtKey::Mark).into(),
        Operation::SetConntrackMark => Conntrack::default().with_mark_value(Reg::Reg1).into(),
        Operation::Masquerade => Masquerade::default().into(),
        Operation::Reject { reset: true } => Reject::default().with_type(RejectType::TcpRst).into(),
        Operation::Reject { reset: false } => Reject::default()
            .with_type(RejectType::IcmpxUnreach)
            .with_icmp_code(IcmpCode::AdminProhibited)
            .into(),
        Operation::Log { group, prefix } => Log::new(Some(*group), Some(*prefix)).ok()?.into(),
        Operation::Counter => Counter::default().with_nb_bytes(0u64).with_nb_packets(0u64).into(),
        Operation::Verdict(verdict) => Immediate::new_verdict(match verdict {
            Verdict::Accept => VerdictKind::Accept,
            Verdict::Drop => VerdictKind::Drop,
            Verdict::Return => VerdictKind::Return,
            Verdict::Goto(chain) => VerdictKind::Goto { chain: chain.to_string() },
            Verdict::Jump(chain) => VerdictKind::Jump { chain: chain.to_string() },
        })
        .into(),
        _ => return None,
    })
}
