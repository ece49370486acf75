//! From a configuration to facts: every noun adds what it means to the kernel.
//!
//! What is few is stated anew each time: interfaces, routes, chains. What may be many, EIPs, port forwards and
//! balancers, is carried over from the facts before and takes only the differences, wherever nothing that they stand in has changed.
//! Both ways end in the same facts, and a test holds that.

use std::sync::Arc;

use super::availability::Availability;
use super::facts::{Chain, Facts, Hook, HookPoint, Name, Policy, Rule, Ruleset, Set, SetKind};
use super::load_balancer::Stated;
use super::target::Target;
use super::{
    eip, firewall, forward, input, interface, load_balancer, mark, mss, names, port_forward, qos, route,
    snat, traffic,
};
use crate::config::Config;

/// The facts of a target. With the target and the facts before, the cost is that of the difference.
#[must_use]
pub fn lower(target: &Target, before: Option<(&Target, &Facts)>) -> Facts {
    match before {
        Some((earlier, facts)) if stands_where(earlier, target) => {
            let mut facts = facts.clone();
            if earlier.config.firewall() != target.config.firewall() {
                firewall::replace(target, &mut facts);
            }
            many(&earlier.config, &earlier.availability, target, &mut facts);
            facts
        }
        _ => {
            let mut facts = few(target);
            many(&Config::default(), &Availability::default(), target, &mut facts);
            facts
        }
    }
}

/// Whether everything but the firewall's rules and the many is the same.
fn stands_where(earlier: &Target, target: &Target) -> bool {
    let (old, new) = (&earlier.config, &target.config);
    let same_dhcp = old.dhcp().len() == new.dhcp().len()
        && old.dhcp().iter().zip(new.dhcp()).all(|((old_id, old), (new_id, new))| {
            old_id == new_id && old.settings.interface == new.settings.interface
        });
    let interfaces = |config: &Config| config.dns().map(|dns| dns.settings.interfaces.clone());
    let ssh = |config: &Config| config.ssh().map(|ssh| ssh.port);
    // The way to rule sets is there where there are any.
    let leads = |config: &Config| !config.firewall().rule_sets.is_empty();
    old.shares_layout(new)
        && leads(old) == leads(new)
        && same_dhcp
        && old.interfaces() == new.interfaces()
        && old.routes() == new.routes()
        && old.snat() == new.snat()
        && old.qos() == new.qos()
        && traffic::counted(old) == traffic::counted(new)
        && interfaces(old) == interfaces(new)
        && ssh(old) == ssh(new)
        && earlier.surroundings == target.surroundings
}

/// The facts of everything but EIPs, port forwards and balancers.
fn few(target: &Target) -> Facts {
    let mut facts = Facts::default();
    if target.config.interfaces().is_empty() {
        return facts;
    }
    interface::lower(target, &mut facts);
    route::lower(target, &mut facts);
    let mut ruleset = Ruleset::default();
    eip::declare(target, &mut ruleset);
    port_forward::declare(&mut ruleset);
    load_balancer::declare(&mut ruleset);
    mark::lower(target, &mut ruleset);
    snat::lower(target, &mut ruleset, &mut facts);
    mss::lower(target, &mut ruleset);
    qos::lower(target, &mut ruleset);
    traffic::lower(&target.config, &mut ruleset);
    forward::lower(target, &mut ruleset);
    input::lower(target, &mut ruleset);
    facts.ruleset = Some(ruleset);
    firewall::replace(target, &mut facts);
    facts
}

/// Takes what differs among the many from one configuration to the next.
fn many(before: &Config, available: &Availability, target: &Target, facts: &mut Facts) {
    let Facts { ruleset: Some(ruleset), routes, sysctls, .. } = facts else { return };
    eip::update(before, target, ruleset, routes);
    port_forward::update(before, target, ruleset, routes);
    load_balancer::update(before, available, target, Stated { ruleset, routes, sysctls });
}

impl Ruleset {
    /// Adds a chain that packets come into by themselves.
    pub(super) fn base(
        &mut self,
        name: &str,
        hook: Hook,
        point: HookPoint,
        priority: i32,
        policy: Policy,
        rules: Vec<Rule>,
    ) {
        let base = super::facts::BaseChain { hook, point, priority, policy };
        self.chains.insert(name.into(), Arc::new(Chain { base: Some(base), rules }));
    }

    /// Adds a chain that others call.
    pub(super) fn chain(&mut self, name: impl Into<Name>, rules: Vec<Rule>) {
        self.chains.insert(name.into(), Arc::new(Chain { base: None, rules }));
    }

    /// Adds a set with nothing in it.
    pub(super) fn declare(&mut self, name: impl Into<Name>, kind: SetKind) {
        self.sets.insert(name.into(), Arc::new(Set::empty(kind)));
    }

    /// The set of this name, to be changed.
    pub(super) fn set_mut(&mut self, name: &str) -> Option<&mut Set> {
        self.sets.get_mut(name).map(Arc::make_mut)
    }
}

/// Priorities of base chains (`linux/netfilter_ipv4.h`: NF_IP_PRI_*).
pub(super) mod priority {
    /// Where packets are marked.
    pub(in crate::plan) const MANGLE: i32 = -150;
    /// Before anything looks at them.
    pub(in crate::plan) const BEFORE_MANGLE: i32 = MANGLE - 10;
    /// Behind what bounds what comes in.
    pub(in crate::plan) const BEHIND_BOUNDS_IN: i32 = BEFORE_MANGLE + 5;
    /// Where destinations are translated.
    pub(in crate::plan) const DSTNAT: i32 = -100;
    /// Where packets are judged.
    pub(in crate::plan) const FILTER: i32 = 0;
    /// Where sources are translated.
    pub(in crate::plan) const SRCNAT: i32 = 100;
    /// Where they are.
    pub(in crate::plan) const AFTER_SRCNAT: i32 = SRCNAT + 10;
    /// Behind what bounds what goes out.
    pub(in crate::plan) const BEHIND_BOUNDS_OUT: i32 = AFTER_SRCNAT + 5;
}

/// Adds the chain that translates destinations: balancers, EIPs, then forwarded ports.
pub(super) fn destinations() -> Vec<(Name, Vec<Rule>)> {
    use super::facts::Statement::{
        DestinationEndpointIn, DnatByAddress, DnatByEndpoint, DnatByEndpointRange,
        JudgeByDestinationEndpoint, SourcedDestinationEndpointIn, Verdict,
    };
    use super::facts::Verdict::Goto;
    let name = Name::from;
    vec![
        (
            name(names::DNAT_FORWARD),
            vec![
                Rule::new(vec![DnatByEndpoint(name(names::FORWARDS))]),
                Rule::new(vec![DnatByEndpointRange(name(names::FORWARD_RANGES))]),
            ],
        ),
        (
            name(names::DNAT_LIMITED),
            vec![Rule::new(vec![
                SourcedDestinationEndpointIn(name(names::FORWARDS_ALLOWED)),
                Verdict(Goto(name(names::DNAT_FORWARD))),
            ])],
        ),
        (
            name(names::DNAT),
            vec![
                Rule::new(vec![JudgeByDestinationEndpoint(name(names::BALANCERS))]),
                Rule::new(vec![DnatByAddress(name(names::EIPS))]),
                Rule::new(vec![
                    DestinationEndpointIn(name(names::FORWARDS_LIMITED)),
                    Verdict(Goto(name(names::DNAT_LIMITED))),
                ]),
                Rule::new(vec![Verdict(Goto(name(names::DNAT_FORWARD)))]),
            ],
        ),
    ]
}
