//! What goes to and comes from public addresses, counted: before destinations are translated and after sources are, by
//! whomever it is served.
//!
//! Only addresses that a management node wants counted have this: the VIPs of `owner`. An address leads to a chain of its
//! own, so a packet costs one look-up whatever their number. Flows that a flowtable carries pass no hook, so there is none
//! where anything is counted (see `forward.rs`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::facts::counters::counting_chain;
use super::facts::statement::Statement;
use super::facts::{Hook, HookPoint, Key, Policy, Rule, Ruleset, Set, SetKind, Target as Element, Way};
use super::lower::priority;
use super::names;
use crate::config::Config;

/// The addresses that are counted.
pub(super) fn counted(config: &Config) -> BTreeSet<Ipv4Addr> {
    let zstack = config.owner().and_then(|owner| owner.zstack.as_ref());
    zstack.into_iter().flat_map(|zstack| zstack.vips.iter()).map(|(_, vip)| vip.address.address()).collect()
}

/// Adds the chains, where anything is counted.
pub(super) fn lower(config: &Config, ruleset: &mut Ruleset) {
    let addresses = counted(config);
    if addresses.is_empty() {
        return;
    }
    let places = [
        (Way::In, names::TRAFFIC_IN, HookPoint::Prerouting, priority::BEHIND_BOUNDS_IN),
        (Way::Out, names::TRAFFIC_OUT, HookPoint::Postrouting, priority::BEHIND_BOUNDS_OUT),
    ];
    for (way, name, point, priority) in places {
        let mut map = Set::empty(SetKind::AddressToChain);
        for address in &addresses {
            let chain = counting_chain(way, *address);
            ruleset.chain(chain.clone(), vec![Rule::new(vec![Statement::Counter])]);
            map.elements.insert(Key::Address(*address), Element::Chain(chain));
        }
        let addresses = names::traffic_addresses(name);
        ruleset.sets.insert(addresses.clone(), std::sync::Arc::new(map));
        let judge = match way {
            Way::In => Statement::JudgeByDestination(addresses),
            Way::Out => Statement::JudgeBySource(addresses),
        };
        ruleset.base(name, Hook::Filter, point, priority, Policy::Accept, vec![Rule::new(vec![judge])]);
    }
}
