//! Bandwidths of public addresses as facts: what is beyond them is dropped, before destinations are translated and after
//! sources are.
//!
//! An address leads to a chain of its own, so that a packet costs the same whatever the number of addresses. Flows that
//! a flowtable carries pass no hook, so there is none where anything is bounded (see `forward.rs`).

use std::collections::BTreeMap;

use super::facts::statement::{Statement, Verdict};
use super::facts::{Hook, HookPoint, Key, Name, Policy, Rule, Ruleset, SetKind, Target as Element};
use super::lower::priority;
use super::names;
use super::target::Target;
use crate::config::qos::{Qos, Rate};

/// What may come at once besides one second's worth, which the kernel always allows (`nft_limit.c`: the bucket holds rate
/// and burst): the largest packet that a device hands over, whatever the rate.
const BURST: u32 = 64 * 1024;
/// TCP and UDP.
const TRANSPORTS: [u8; 2] = [6, 17];

/// Adds the chains, where anything is bounded.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset) {
    let qos = target.config.qos();
    if qos.is_empty() {
        return;
    }
    let ingress = (
        Statement::JudgeByDestination as fn(Name) -> Statement,
        Statement::DestinationPort as fn(u16) -> Statement,
    );
    let egress =
        (Statement::JudgeBySource as fn(Name) -> Statement, Statement::SourcePort as fn(u16) -> Statement);
    for (name, point, priority, (judge, port), rate) in [
        (
            names::QOS_INGRESS,
            HookPoint::Prerouting,
            priority::BEFORE_MANGLE,
            ingress,
            (|qos: &Qos| qos.ingress) as fn(&Qos) -> Option<Rate>,
        ),
        (names::QOS_EGRESS, HookPoint::Postrouting, priority::AFTER_SRCNAT, egress, |qos: &Qos| qos.egress),
    ] {
        let mut chains: BTreeMap<_, Vec<Rule>> = BTreeMap::new();
        let mut whole: BTreeMap<_, Rule> = BTreeMap::new();
        let mut map = super::facts::Set::empty(SetKind::AddressToChain);
        for (id, entry) in qos {
            let Some(rate) = rate(entry) else { continue };
            let of = format!("qos {id}");
            let bound = vec![over(rate), Statement::Verdict(Verdict::Drop)];
            let address = entry.address.get();
            let rules = chains.entry(address).or_default();
            match entry.port {
                Some(number) => {
                    let chain = names::qos(name, id);
                    for transport in TRANSPORTS {
                        let jump = Statement::Verdict(Verdict::Jump(chain.clone()));
                        rules.push(Rule::of(&*of, vec![Statement::Protocol(transport), port(number), jump]));
                    }
                    ruleset.chain(chain, vec![Rule::of(&*of, bound)]);
                }
                None => {
                    whole.insert(address, Rule::of(&*of, bound));
                }
            }
        }
        for (address, mut rules) in chains {
            // A port's packets are the address's too.
            rules.extend(whole.remove(&address));
            let chain: Name = format!("{name}_{address}").into();
            ruleset.chain(chain.clone(), rules);
            map.elements.insert(Key::Address(address), Element::Chain(chain));
        }
        ruleset.sets.insert(names::qos_addresses(name), std::sync::Arc::new(map));
        let rules = vec![Rule::new(vec![judge(names::qos_addresses(name))])];
        ruleset.base(name, Hook::Filter, point, priority, Policy::Accept, rules);
    }
}

const fn over(rate: Rate) -> Statement {
    Statement::RateOver { octets_per_second: rate.octets(), burst: BURST }
}
