//! Laws of the planner, on a kernel made of facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use vrouter::config::Config;
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::{Balanced, Capabilities, ConntrackMatch, Facts, Key, KnownChains, Link, Observed};
use vrouter::plan::{Availability, BackendName, Plan, Step, Surroundings, Target, diff, find_links, lower};

use crate::generate::{document, down, edit};
use crate::surroundings::{ALL, capabilities, links};

fn target(config: Config, links: &[Link], flowtable: bool) -> Target {
    let capabilities = Capabilities { flowtable, ..capabilities() };
    let surroundings = Surroundings {
        links: find_links(config.interfaces(), links.iter()),
        capabilities,
        management_ports: BTreeSet::from([7270]),
        conntrack_max: 65_536,
        just_started: false,
    };
    Target { config, surroundings: Arc::new(surroundings), availability: Arc::default() }
}

fn read(document: Value) -> Config {
    Config::default().replace(document).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What the engine says of backends: these are down, and perhaps nothing drains any more.
fn told(before: &Availability, down: &[[String; 3]], drained: bool) -> Arc<Availability> {
    let name = |[balancer, pool, backend]: &[String; 3]| BackendName {
        balancer: balancer.parse().unwrap(),
        pool: pool.parse().unwrap(),
        backend: backend.parse().unwrap(),
    };
    let mut next = Availability { down: down.iter().map(name).collect(), ..before.clone() };
    if drained {
        (next.draining, next.held) = Default::default();
    }
    Arc::new(next)
}

/// What a kernel with these facts shows; values that nobody wants any more stay as they were.
fn shown(facts: &Facts, kernel: &FakeKernel) -> Observed {
    Observed {
        links: kernel.state.links.clone(),
        sysctls: kernel.state.sysctls.clone(),
        ..Observed::from(facts)
    }
}

fn carry_out(kernel: &mut FakeKernel, facts: &Facts) -> Plan {
    for sysctl in facts.sysctls.keys() {
        kernel.state.sysctls.entry(sysctl.clone()).or_insert_with(|| "0".to_owned());
    }
    let plan = diff(facts, &kernel.state);
    for step in &plan.steps {
        kernel.take(step).unwrap_or_else(|error| panic!("{error}\n{plan}"));
    }
    plan
}

/// The backends of balancers that keep connections.
fn backends(facts: &Facts) -> BTreeSet<Balanced> {
    let set = facts.ruleset.as_ref().and_then(|ruleset| ruleset.sets.get("balancer_backends"));
    let keys = set.into_iter().flat_map(|set| set.elements.keys());
    keys.filter_map(|key| if let Key::Balanced(balanced) = key { Some(*balanced) } else { None }).collect()
}

/// Connections of exactly those backends are ended that have no part any more.
fn flushes_what_is_lost(plan: &Plan, before: &Facts, after: &Facts) -> Result<(), TestCaseError> {
    let flushed: BTreeSet<Balanced> = plan
        .steps
        .iter()
        .flat_map(|step| if let Step::FlushConntrack(matches) = step { matches.as_slice() } else { &[] })
        .filter_map(|one| if let ConntrackMatch::Balanced(balanced) = one { Some(*balanced) } else { None })
        .collect();
    let lost: BTreeSet<Balanced> = backends(before).difference(&backends(after)).copied().collect();
    prop_assert_eq!(flushed, lost);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What the steps make of a kernel is what was wanted, and then nothing is left to do.
    #[test]
    fn the_difference_applied_is_what_was_wanted(
        first in document(), second in document(), present in any::<u8>(), flowtable in any::<bool>(),
    ) {
        let links = links(present);
        let mut kernel = FakeKernel::with_links(links.clone());
        for document in [first, second] {
            let facts = lower(&target(read(document), &links, flowtable), None);
            carry_out(&mut kernel, &facts);
            prop_assert_eq!(&kernel.state, &shown(&facts, &kernel));
            prop_assert!(diff(&facts, &kernel.state).is_empty());
        }
        carry_out(&mut kernel, &Facts::default());
        prop_assert_eq!(&kernel.state, &shown(&Facts::default(), &kernel), "nothing of ours is left behind");
    }

    /// Facts that are carried over and changed are the facts that are stated anew.
    #[test]
    fn carried_over_or_stated_anew_facts_are_the_same(
        document in document(), edits in prop::collection::vec((edit(), down(), any::<bool>()), 1..6),
        present in any::<u8>(),
    ) {
        let links = links(present | 7);
        let mut config = read(document);
        let mut before = target(config.clone(), &links, false);
        let mut facts = lower(&before, None);
        let mut kernel = FakeKernel::with_links(links.clone());
        carry_out(&mut kernel, &facts);
        for (edit, down, drained) in edits {
            let availability = told(&before.availability, &down, drained);
            let Ok(next) = config.patch(edit) else { continue };
            let availability = availability.following(&config, &next);
            config = next;
            let after = Target { availability, ..target(config.clone(), &links, false) };
            let carried = lower(&after, Some((&before, &facts)));
            prop_assert_eq!(&carried, &lower(&after, None));
            // A kernel that is believed to be what was wanted is compared where something differs.
            let mut believed = kernel.state.clone();
            if let (Some(table), Some(ruleset)) = (&mut believed.table, &facts.ruleset) {
                let wanted = ruleset.chains.clone();
                table.known = Some(KnownChains { wanted, touched: BTreeSet::new() });
            }
            for sysctl in carried.sysctls.keys() {
                believed.sysctls.entry(sysctl.clone()).or_insert_with(|| "0".to_owned());
            }
            let from_belief = diff(&carried, &believed);
            let plan = carry_out(&mut kernel, &carried);
            prop_assert_eq!(&from_belief, &plan);
            prop_assert!(diff(&carried, &kernel.state).is_empty());
            flushes_what_is_lost(&plan, &facts, &carried)?;
            (before, facts) = (after, carried);
        }
    }

    /// Two changes one after the other end where both at once end.
    #[test]
    fn two_changes_end_where_both_at_once_end(document in document(), one in edit(), two in edit()) {
        let links = links(ALL);
        let config = read(document);
        let Ok(middle) = config.patch(one) else { return Ok(()) };
        let Ok(end) = middle.patch(two) else { return Ok(()) };
        let mut stepwise = FakeKernel::with_links(links.clone());
        for config in [config.clone(), middle, end.clone()] {
            carry_out(&mut stepwise, &lower(&target(config, &links, true), None));
        }
        let mut at_once = FakeKernel::with_links(links.clone());
        for config in [config, end.clone()] {
            carry_out(&mut at_once, &lower(&target(config, &links, true), None));
        }
        // A value of the kernel that nobody wants any more stays as it was left.
        let wanted = lower(&target(end, &links, true), None).sysctls;
        for kernel in [&mut stepwise, &mut at_once] {
            kernel.state.sysctls.retain(|sysctl, _| wanted.contains_key(sysctl));
        }
        prop_assert_eq!(stepwise.state, at_once.state);
    }
}

/// Connections of before a start are taken up right after it; later a connection behind a shared address begins with a SYN.
#[test]
fn a_machine_that_comes_of_age_changes_its_source_translation_alone() {
    let old = target(
        read(serde_json::from_str(include_str!("../examples/router.json")).unwrap()),
        &links(ALL),
        false,
    );
    let young = Target {
        surroundings: Arc::new(Surroundings { just_started: true, ..(*old.surroundings).clone() }),
        ..old.clone()
    };
    let mut kernel = FakeKernel::with_links(links(ALL));
    let facts = lower(&young, None);
    carry_out(&mut kernel, &facts);
    let plan = carry_out(&mut kernel, &lower(&old, Some((&young, &facts))));
    let lines: Vec<String> = plan.steps.iter().flat_map(|step| step.lines(10)).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("source_nat")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("drop")), "{lines:#?}");
}

/// A backend that goes down is the business of its balancer alone: everything else is the same in memory.
#[test]
fn what_is_not_touched_is_shared() {
    let mut document: Value = serde_json::from_str(include_str!("../examples/router.json")).unwrap();
    let balancer = |port: u16| {
        serde_json::json!({"address": "198.51.100.8", "port": port, "protocol": "tcp",
            "stickiness": {"type": "source", "seconds": 60}, "allowed_sources": ["192.0.2.0/24"],
            "pools": {"main": {"backends": {"a": {"address": "10.1.1.30", "port": 80},
                                            "b": {"address": "10.1.1.31", "port": 80}}}}})
    };
    document["load_balancers"] = (1..200).map(|port| (format!("b{port}"), balancer(port))).collect();
    let before = target(read(document), &links(ALL), false);
    let facts = lower(&before, None);
    let availability =
        told(&before.availability, &[["b7".to_owned(), "main".to_owned(), "a".to_owned()]], false);
    let after = Target { availability, ..before.clone() };
    let next = lower(&after, Some((&before, &facts)));
    let (old, new) = (facts.ruleset.unwrap(), next.ruleset.unwrap());
    let differ = |name: &vrouter::plan::facts::Name| {
        let set = old.sets.get(name).zip(new.sets.get(name)).is_some_and(|(old, new)| !Arc::ptr_eq(old, new));
        let chain =
            old.chains.get(name).zip(new.chains.get(name)).is_some_and(|(old, new)| !Arc::ptr_eq(old, new));
        set || chain
    };
    let names: BTreeSet<_> = old.sets.keys().chain(old.chains.keys()).filter(|name| differ(name)).collect();
    let of_others: Vec<_> = names
        .iter()
        .filter(|name| {
            !name.as_str().ends_with("_b7") && !["balancers", "balancer_backends"].contains(&name.as_str())
        })
        .collect();
    assert!(of_others.is_empty(), "{of_others:?}");
    assert!(names.iter().any(|name| name.as_str() == "balancer_slots_b7"));
}
