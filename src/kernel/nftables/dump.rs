//! What nf_tables shows of our table: chains, rules, sets, elements, the flowtable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, GenAttribute, GenMessage, Hook, HookNumber, InetHookNumber,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList, SetElementMessage, SetMessage,
    TableAttribute, TableMessage,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use rtnetlink::packet_core::{DefaultNla, Nla as _, NlasIterator};

use super::batch::netfilter;
use super::rule::fingerprint;
use super::{element, set};
use crate::kernel::KernelError;
use crate::kernel::attribute::text;
use crate::kernel::netlink::Netlink;
use crate::plan::facts::{
    BaseChain, ChainSeen, Flowtable, Hook as ChainHook, HookPoint, Key, Name, Policy, Set, SetKind, TABLE,
    TableSeen, Target,
};

/// NF_DROP (`linux/netfilter.h`).
const NF_DROP: u32 = 0;

/// The generation of the kernel's ruleset: it counts every transaction of everybody.
pub(super) fn generation(netlink: &mut Netlink) -> Result<u32, KernelError> {
    let request = netfilter(NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() }));
    let answer = netlink.get(request)?.map(|message| message.inner);
    if let Some(NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(message))) = answer {
        for attribute in message.attributes {
            if let GenAttribute::Id(generation) = attribute {
                return Ok(generation);
            }
        }
    }
    Err(KernelError::Unreadable { what: "nftables", reason: "it tells no generation".to_owned() })
}

/// Our table, if it is there, with the handles of its rules.
pub(super) fn table(
    netlink: &mut Netlink,
    handles: &mut BTreeMap<Name, Vec<u64>>,
) -> Result<Option<TableSeen>, KernelError> {
    let request = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    if netlink.get(netfilter(NfTablesMessage::GetTable(request)))?.is_none() {
        return Ok(None);
    }
    let mut table = TableSeen { flowtable: flowtable(netlink)?, ..TableSeen::default() };
    for chain in chains(netlink)? {
        let (name, base) = match chain {
            Some(chain) => chain,
            None => {
                table.alien = true;
                continue;
            }
        };
        table.chains.insert(name, ChainSeen { base, rules: Vec::new() });
    }
    for (chain, handle, fingerprint) in rules(netlink, None)? {
        if let Some(seen) = table.chains.get_mut(&chain) {
            seen.rules.push(fingerprint);
            handles.entry(chain).or_default().push(handle);
        }
    }
    for (name, kind) in sets(netlink)? {
        let set = match kind {
            Some(kind) => set(netlink, &name, kind)?,
            None => None,
        };
        match set {
            Some(set) => {
                table.sets.insert(name, Arc::new(set));
            }
            None => table.alien = true,
        }
    }
    Ok(Some(table))
}

/// One chain with the handles of its rules.
pub(super) fn chain(
    netlink: &mut Netlink,
    name: &Name,
) -> Result<(Option<ChainSeen>, Vec<u64>), KernelError> {
    let attributes = vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(name.to_string())];
    let answer = netlink.get(netfilter(NfTablesMessage::GetChain(ChainMessage { attributes })))?;
    let Some(NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(message))) =
        answer.map(|answer| answer.inner)
    else {
        return Ok((None, Vec::new()));
    };
    let Some((_, base)) = chain_of(&message.attributes) else { return Ok((None, Vec::new())) };
    let rules = rules(netlink, Some(name))?;
    let handles = rules.iter().map(|(_, handle, _)| *handle).collect();
    let rules = rules.into_iter().map(|(_, _, fingerprint)| fingerprint).collect();
    Ok((Some(ChainSeen { base, rules }), handles))
}

type ChainFound = Option<(Name, Option<BaseChain>)>;

/// The chains of our table; nothing in place of one that cannot be ours.
fn chains(netlink: &mut Netlink) -> Result<Vec<ChainFound>, KernelError> {
    let request = netfilter(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }));
    let ours =
        |attribute: &ChainAttribute| matches!(attribute, ChainAttribute::Table(table) if table == TABLE);
    Ok(netlink
        .dump(&request)?
        .into_iter()
        .filter_map(|message: NetfilterMessage| match message.inner {
            NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) => Some(chain.attributes),
            _ => None,
        })
        .filter(|attributes| attributes.iter().any(ours))
        .map(|attributes| chain_of(&attributes))
        .collect())
}

/// Name and base of a chain; nothing where the base is of a kind that is not ours.
fn chain_of(attributes: &[ChainAttribute]) -> ChainFound {
    let (mut name, mut policy, mut kind, mut hook) = (None, Policy::Accept, None, None);
    for attribute in attributes {
        match attribute {
            ChainAttribute::Name(text) => name = Some(Name::from(text.as_str())),
            ChainAttribute::Policy(NF_DROP) => policy = Policy::Drop,
            ChainAttribute::Type(text) => kind = Some(text.as_str()),
            ChainAttribute::Hook(attributes) => hook = Some(attributes),
            _ => {}
        }
    }
    let Some(attributes) = hook else { return Some((name?, None)) };
    let (mut point, mut priority) = (None, 0);
    for attribute in attributes {
        match attribute {
            Hook::Number(HookNumber::Inet(number)) => point = hook_point(*number),
            Hook::Priority(number) => priority = number.cast_signed(),
            _ => {}
        }
    }
    let hook = match kind? {
        "filter" => ChainHook::Filter,
        "nat" => ChainHook::Nat,
        "route" => ChainHook::Route,
        _ => return None,
    };
    Some((name?, Some(BaseChain { hook, point: point?, priority, policy })))
}

const fn hook_point(number: InetHookNumber) -> Option<HookPoint> {
    match number {
        InetHookNumber::PreRouting => Some(HookPoint::Prerouting),
        InetHookNumber::LocalIn => Some(HookPoint::Input),
        InetHookNumber::Forward => Some(HookPoint::Forward),
        InetHookNumber::LocalOut => Some(HookPoint::Output),
        InetHookNumber::PostRouting => Some(HookPoint::Postrouting),
        _ => None,
    }
}

type RuleFound = (Name, u64, Option<crate::plan::facts::ruleset::Fingerprint>);

/// The rules of our table, or of one chain, in order: chain, handle, fingerprint.
fn rules(netlink: &mut Netlink, chain: Option<&Name>) -> Result<Vec<RuleFound>, KernelError> {
    let mut attributes = vec![RuleAttribute::Table(TABLE.to_owned())];
    attributes.extend(chain.map(|chain| RuleAttribute::Chain(chain.to_string())));
    let request = netfilter(NfTablesMessage::GetRule(RuleMessage { attributes }));
    let mut found = Vec::new();
    for message in netlink.dump(&request)? {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = message.inner else { continue };
        let (mut chain, mut handle, mut tag, mut ours) = (None, None, None, false);
        for attribute in &rule.attributes {
            match attribute {
                RuleAttribute::Table(table) => ours = table == TABLE,
                RuleAttribute::Chain(name) => chain = Some(Name::from(name.as_str())),
                RuleAttribute::Handle(number) => handle = Some(*number),
                RuleAttribute::UserData(data) => tag = fingerprint(data),
                _ => {}
            }
        }
        if let (Some(chain), Some(handle), true) = (chain, handle, ours) {
            found.push((chain, handle, tag));
        }
    }
    Ok(found)
}

/// The sets of our table by name, with their kind where it is one of ours.
fn sets(netlink: &mut Netlink) -> Result<Vec<(Name, Option<SetKind>)>, KernelError> {
    let attributes = vec![SetAttribute::Table(TABLE.to_owned())];
    let request = netfilter(NfTablesMessage::GetSet(SetMessage { attributes }));
    let mut found = Vec::new();
    for message in netlink.dump(&request)? {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(set)) = message.inner else { continue };
        let name = set.attributes.iter().find_map(|attribute| match attribute {
            SetAttribute::Name(name) => Some(Name::from(name.as_str())),
            _ => None,
        });
        if let Some(name) = name {
            found.push((name, set::kind_of(&set.attributes)));
        }
    }
    Ok(found)
}

fn element_request(name: &Name, elements: Option<Vec<set::Element>>) -> NetfilterMessage {
    let mut attributes = vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(name.to_string())];
    attributes.extend(elements.map(SetElementList::Elements));
    netfilter(NfTablesMessage::GetSetElement(SetElementMessage { attributes }))
}

/// One set with its elements; nothing where one of them cannot be ours.
pub(super) fn set(netlink: &mut Netlink, name: &Name, kind: SetKind) -> Result<Option<Set>, KernelError> {
    if kind.is_dynamic() {
        return Ok(Some(Set::empty(kind)));
    }
    let request = element_request(name, None);
    let messages = netlink.dump_with(&request, |_, payload| Ok(element::read(kind, payload)))?;
    let elements = messages
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .and_then(|messages| element::collect(kind, messages.into_iter().flatten()));
    Ok(elements.map(|elements| Set { kind, elements }))
}

/// Whether the elements of a kind of set cannot be asked for one by one.
pub(super) const fn only_whole(kind: SetKind) -> bool {
    matches!(kind, SetKind::AddressRanges | SetKind::PortRanges)
}

/// What one key leads to, if it is there.
pub(super) fn element(
    netlink: &mut Netlink,
    name: &Name,
    kind: SetKind,
    key: &Key,
) -> Result<Option<Target>, KernelError> {
    // Only the key is asked for; what it leads to is the answer.
    let request = set::encode(key, &Target::Member);
    let request = element_request(name, Some(request));
    let answer = netlink.get_with(request, |_, payload| Ok(element::read(kind, payload)))?;
    let found = answer.flatten().and_then(|found| element::collect(kind, found.into_iter()));
    Ok(found.and_then(|found| found.get(key).cloned()))
}

/// The flowtable of our table, if it is there.
pub(super) fn flowtable(netlink: &mut Netlink) -> Result<Option<Flowtable>, KernelError> {
    let request = netfilter(NfTablesMessage::GetFlowTable(vec![text(1, TABLE)]));
    // A kernel without flowtables does not know the question.
    let Ok(messages) = netlink.dump(&request) else { return Ok(None) };
    for message in messages {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewFlowTable(attributes)) = message.inner else {
            continue;
        };
        let (mut ours, mut name, mut devices) = (false, None, BTreeSet::new());
        for attribute in &attributes {
            let octets = value(attribute);
            match attribute.kind() {
                1 => ours = string(&octets) == TABLE,
                2 => name = Some(Name::from(string(&octets))),
                3 => devices = hook_devices(&octets),
                _ => {}
            }
        }
        if let (true, Some(name)) = (ours, name) {
            return Ok(Some(Flowtable { name, devices }));
        }
    }
    Ok(None)
}

/// NFTA_FLOWTABLE_HOOK_DEVS, a list of names.
fn hook_devices(hook: &[u8]) -> BTreeSet<Name> {
    NlasIterator::new(hook)
        .flatten()
        .filter(|attribute| attribute.kind() == 3)
        .flat_map(|devices| {
            let names: Vec<Name> = NlasIterator::new(devices.value())
                .flatten()
                .map(|name| Name::from(string(name.value())))
                .collect();
            names
        })
        .collect()
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut octets = vec![0; attribute.value_len()];
    attribute.emit_value(&mut octets);
    octets
}

fn string(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim_end_matches('\0').to_owned()
}
