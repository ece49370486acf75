//! One transaction: what rustables writes and what we write ourselves, in one batch that the kernel takes whole.
//!
//! This is the seam between the two. Each change becomes messages in the order in which the kernel has to take them;
//! rules are placed by the handles of those that are there. Only the last message asks to be acknowledged, and the
//! kernel tells of every message that it refuses.

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetElementList, SetElementMessage, SetMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use rustables::MsgType;

use super::rule::{self, RuleMessageBytes};
use super::set;
use super::simple;
use crate::kernel::attribute::{nested, text, u32_be};
use crate::kernel::netlink::Netlink;
use crate::plan::facts::{Flowtable, Key, Name, Rule, TABLE, Target};
use crate::plan::step::TableChange;

/// The subsystem that a batch is for (`linux/netfilter/nfnetlink.h`: NFNL_SUBSYS_NFTABLES).
pub(super) const NFTABLES: u16 = 10;
/// The attribute that says which generation a batch was made for (NFNL_BATCH_GENID).
const BATCH_GENERATION: u16 = 1;
/// How many elements go in one message: their list is counted in 16 bits, and none is longer than 100 octets.
const ELEMENTS: usize = 600;
/// Where the flags and the sequence number are in a message's header.
const FLAGS: std::ops::Range<usize> = 6..8;
const SEQUENCE: std::ops::Range<usize> = 8..12;

/// A transaction that is being written.
pub(super) struct Batch<'a> {
    netlink: &'a mut Netlink,
    /// The bytes, from the message that opens the batch on.
    pub(super) bytes: Vec<u8>,
    /// Which sequence numbers belong to which change.
    pub(super) sequences: Vec<(u32, usize)>,
    last: usize,
    sets: u32,
    handles: &'a BTreeMap<Name, Vec<u64>>,
    /// The rules of the chains that were touched.
    chains: BTreeMap<Name, Vec<Slot>>,
    /// Whether nothing of what was there is there any more.
    is_rebuilt: bool,
}

/// A rule in a chain while the transaction is written: there already, or to come.
#[derive(Debug, Clone, Copy)]
enum Slot {
    There(u64),
    Coming,
}

impl<'a> Batch<'a> {
    /// Writes a transaction against this generation of the kernel's ruleset. `handles` are the rules that are there.
    pub(super) fn write(
        netlink: &'a mut Netlink,
        generation: u32,
        changes: &[TableChange],
        handles: &'a BTreeMap<Name, Vec<u64>>,
    ) -> Self {
        let mut batch = Self {
            netlink,
            bytes: Vec::new(),
            sequences: Vec::new(),
            last: 0,
            sets: 0,
            handles,
            chains: BTreeMap::new(),
            is_rebuilt: false,
        };
        batch.frame(
            |generation| {
                NetfilterMessageInner::None(ControlMessage::Other {
                    message_type: 16,
                    attributes: vec![u32_be(BATCH_GENERATION, generation)],
                })
            },
            generation,
        );
        for (number, change) in changes.iter().enumerate() {
            batch.change(change, number);
        }
        batch.acknowledge_last();
        batch.frame(|_| NetfilterMessageInner::None(ControlMessage::BatchEnd), generation);
        batch
    }

    fn frame(&mut self, inner: impl Fn(u32) -> NetfilterMessageInner, generation: u32) {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        self.netlink.pack(&mut self.bytes, NetfilterMessage::new(header, inner(generation)), 0);
    }

    fn change(&mut self, change: &TableChange, number: usize) {
        let create = NLM_F_CREATE | NLM_F_EXCL;
        match change {
            TableChange::AddTable => self.ready(simple::table(MsgType::Add), create, number),
            TableChange::DeleteTable => {
                self.ready(simple::table(MsgType::Del), 0, number);
                self.chains.clear();
                self.is_rebuilt = true;
            }
            TableChange::AddChain(name, base) => {
                self.ready(simple::chain(name.as_str(), base.as_ref(), MsgType::Add), create, number);
            }
            TableChange::DeleteChain(name) => {
                self.ready(simple::chain(name.as_str(), None, MsgType::Del), 0, number);
            }
            TableChange::AddSet(name, kind) => {
                self.sets += 1;
                let attributes = set::declaration(name, *kind, self.sets);
                self.message(NfTablesMessage::NewSet(SetMessage { attributes }), create, number);
            }
            TableChange::DeleteSet(name) => {
                let attributes =
                    vec![SetAttribute::Table(TABLE.to_owned()), SetAttribute::Name(name.to_string())];
                self.message(NfTablesMessage::DeleteSet(SetMessage { attributes }), 0, number);
            }
            TableChange::AddElements(name, _, elements) => {
                for message in element_messages(name, elements) {
                    self.message(NfTablesMessage::NewSetElement(message), create, number);
                }
            }
            TableChange::DeleteElements(name, _, elements) => {
                for message in element_messages(name, elements) {
                    self.message(NfTablesMessage::DeleteSetElement(message), 0, number);
                }
            }
            TableChange::InsertRules(chain, index, rules) => self.insert_rules(chain, *index, rules, number),
            TableChange::DeleteRules(chain, index, count) => self.delete_rules(chain, *index, *count, number),
            TableChange::AddFlowtable(flowtable) => {
                self.message(
                    NfTablesMessage::NewFlowTable(flowtable_attributes(flowtable)),
                    NLM_F_CREATE,
                    number,
                );
            }
            TableChange::ShrinkFlowtable(flowtable) => {
                self.message(NfTablesMessage::DeleteFlowTable(flowtable_attributes(flowtable)), 0, number);
            }
            TableChange::DeleteFlowtable(name) => {
                let attributes = vec![text(1, TABLE), text(2, name.as_str())];
                self.message(NfTablesMessage::DeleteFlowTable(attributes), 0, number);
            }
        }
    }

    /// Rules go in front of the next one that is there already, or at the end of the chain.
    fn insert_rules(&mut self, chain: &Name, index: usize, rules: &[Rule], number: usize) {
        let slots = self.slots(chain);
        let index = index.min(slots.len());
        let before = slots.get(index..).unwrap_or_default().iter().find_map(|slot| match slot {
            Slot::There(handle) => Some(*handle),
            Slot::Coming => None,
        });
        slots.splice(index..index, rules.iter().map(|_| Slot::Coming));
        let flags = if before.is_some() { NLM_F_CREATE } else { NLM_F_CREATE | NLM_F_APPEND };
        for rule in rules {
            match rule::add(chain.as_str(), rule, before) {
                RuleMessageBytes::Ready(bytes) => self.ready(bytes, flags, number),
                RuleMessageBytes::Message(message) => self.message(message, flags, number),
            }
        }
    }

    /// The rules of a chain as they are by now in this transaction.
    fn slots(&mut self, chain: &Name) -> &mut Vec<Slot> {
        let there = self.handles.get(chain).filter(|_| !self.is_rebuilt);
        self.chains
            .entry(chain.clone())
            .or_insert_with(|| there.into_iter().flatten().copied().map(Slot::There).collect())
    }

    /// Indices of rules that go are those before the transaction.
    fn delete_rules(&mut self, chain: &Name, index: usize, count: usize, number: usize) {
        let there = self.handles.get(chain).and_then(|handles| handles.get(index..index + count));
        for handle in there.unwrap_or_default() {
            self.slots(chain).retain(|slot| !matches!(slot, Slot::There(there) if there == handle));
            if let Some(bytes) = simple::delete_rule(chain.as_str(), *handle) {
                self.ready(bytes, 0, number);
            }
        }
    }

    /// Takes over a message that rustables wrote: its flags and its number are ours to say.
    fn ready(&mut self, mut bytes: Vec<u8>, flags: u16, number: usize) {
        let sequence = self.netlink.next_sequence();
        let flags = rtnetlink::packet_core::NLM_F_REQUEST | flags;
        if let Some(place) = bytes.get_mut(FLAGS) {
            place.copy_from_slice(&flags.to_ne_bytes());
        }
        if let Some(place) = bytes.get_mut(SEQUENCE) {
            place.copy_from_slice(&sequence.to_ne_bytes());
        }
        self.last = self.bytes.len();
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.sequences.push((sequence, number));
    }

    fn message(&mut self, message: NfTablesMessage, flags: u16, number: usize) {
        self.last = self.bytes.len();
        let sequence = self.netlink.pack(&mut self.bytes, netfilter(message), flags);
        self.sequences.push((sequence, number));
    }

    fn acknowledge_last(&mut self) {
        let place = self.bytes.get_mut(self.last..).and_then(|message| message.get_mut(FLAGS));
        if let Some([low, high]) = place {
            let flags = u16::from_ne_bytes([*low, *high]) | NLM_F_ACK;
            [*low, *high] = flags.to_ne_bytes();
        }
    }
}

/// A message about our table's family.
pub(super) fn netfilter(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn element_messages(name: &Name, elements: &[(Key, Target)]) -> Vec<SetElementMessage> {
    let message = |chunk: &[(Key, Target)]| {
        let elements = chunk.iter().flat_map(|(key, target)| set::encode(key, target)).collect();
        let attributes = vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(name.to_string()),
            SetElementList::Elements(elements),
        ];
        SetElementMessage { attributes }
    };
    elements.chunks(ELEMENTS).map(message).collect()
}

/// NFTA_FLOWTABLE_TABLE, _NAME, _HOOK with number, priority and devices.
fn flowtable_attributes(flowtable: &Flowtable) -> Vec<DefaultNla> {
    let devices: Vec<DefaultNla> = flowtable.devices.iter().map(|device| text(1, device.as_str())).collect();
    let hook = [u32_be(1, 0), u32_be(2, 0), nested(3, &devices)];
    vec![text(1, TABLE), text(2, flowtable.name.as_str()), nested(3, &hook)]
}
