//! The statements and sets of balancers on a real kernel: read back as they were sent, and shown by nft(8) as the same
//! words make it show them.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use vrouter::plan::facts::statement::{DRAINING, LIVE};
use vrouter::plan::facts::{
    Balanced, BaseChain, Chain, Elements, Facts, Hook, HookPoint, Key, Name, Pick, Policy, Rule, Ruleset,
    Set, SetKind, Statement, Sticky, Target, Verdict,
};

use crate::kernel::{Hands, runtime, table};
use crate::lab::Lab;

const TCP: u8 = 6;
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

fn backend(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, last)
}

fn set(ruleset: &mut Ruleset, name: &str, kind: SetKind, elements: impl IntoIterator<Item = (Key, Target)>) {
    let elements: Elements = elements.into_iter().collect();
    ruleset.sets.insert(name.into(), Arc::new(Set { kind, elements }));
}

fn chain(ruleset: &mut Ruleset, name: &str, base: Option<BaseChain>, rules: Vec<Rule>) {
    ruleset.chains.insert(name.into(), Arc::new(Chain { base, rules }));
}

fn sticky() -> Sticky {
    Sticky { map: "sticky".into(), seconds: 600 }
}

fn by_slot(pick: Pick, sticky: Option<Sticky>) -> Rule {
    let dnat = Statement::DnatBySlot { pick, slots: 3, map: "slots".into(), sticky };
    Rule::of("load balancer x", vec![Statement::Protocol(TCP), dnat])
}

/// A table with everything that balancers are made of; `remembering` adds what nft has no words for.
fn ruleset(remembering: bool) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let slots = [(0, 30), (1, 31), (2, 30)];
    set(
        &mut ruleset,
        "slots",
        SetKind::SlotToEndpoint,
        slots.map(|(slot, last)| (Key::Slot(slot), Target::Endpoint(backend(last), 5432))),
    );
    let balanced = |last| Balanced {
        address: VIP,
        protocol: TCP,
        port: 5432,
        backend: backend(last),
        backend_port: 5432,
    };
    let marks = [(30, LIVE), (31, DRAINING)];
    set(
        &mut ruleset,
        "backends",
        SetKind::BalancedToMark,
        marks.map(|(last, mark)| (Key::Balanced(balanced(last)), Target::Mark(mark))),
    );
    let allowed = [(Key::AddressRange(backend(1), backend(9)), Target::Member)];
    set(&mut ruleset, "allowed", SetKind::AddressRanges, allowed);
    set(
        &mut ruleset,
        "balancers",
        SetKind::EndpointToChain,
        [(Key::Endpoint(VIP, TCP, 5432), Target::Chain("balancer_x".into()))],
    );
    let drop = || Statement::Verdict(Verdict::Drop);
    let mut rules = vec![
        Rule::new(vec![Statement::SourceNotIn("allowed".into()), drop()]),
        Rule::new(vec![Statement::ConnectionsOver(1000), drop()]),
        by_slot(Pick::Next, None),
        by_slot(Pick::Random, None),
        by_slot(Pick::Source(7), None),
        Rule::new(vec![drop()]),
    ];
    set(&mut ruleset, "sticky", SetKind::StickyToEndpoint, []);
    if remembering {
        let known = Statement::DnatBySticky { sticky: sticky(), backends: "backends".into() };
        rules.insert(2, Rule::new(vec![Statement::Protocol(TCP), known]));
        for (index, pick) in [Pick::Next, Pick::Random, Pick::Source(7)].into_iter().enumerate() {
            rules.insert(3 + index, by_slot(pick, Some(sticky())));
        }
    }
    chain(&mut ruleset, "balancer_x", None, rules);
    let base =
        BaseChain { hook: Hook::Nat, point: HookPoint::Prerouting, priority: -100, policy: Policy::Accept };
    let judge = Statement::JudgeByDestinationEndpoint("balancers".into());
    chain(&mut ruleset, "destination_nat", Some(base), vec![Rule::new(vec![judge])]);
    ruleset
}

fn facts(ruleset: Ruleset) -> Facts {
    Facts { ruleset: Some(ruleset), ..Facts::default() }
}

#[test]
fn what_balancers_are_made_of_is_read_back_as_it_was_sent() {
    let mut lab = Lab::new();
    lab.namespace("router");
    lab.namespace("nft");
    for remembering in [false, true] {
        let ruleset = ruleset(remembering);
        lab.inside("router", || {
            runtime().block_on(async {
                let mut hands = Hands::new();
                let capabilities = hands.capabilities;
                assert!(
                    capabilities.balancing && capabilities.connection_limit && capabilities.stickiness,
                    "{capabilities:?}"
                );
                hands.carry_out(&facts(ruleset.clone())).await;
                assert!(hands.carry_out(&facts(ruleset.clone())).await.is_empty(), "nothing is left to do");
            });
        });
        if remembering {
            // nft(8) has no words for a rule that goes on with what it looked up, and 1.0.6 ends where it meets one.
            continue;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), ruleset.to_string()).unwrap();
        lab.ok("nft", &format!("nft -f {}", file.path().display()));
        assert_eq!(table(&lab, "router"), table(&lab, "nft"));
    }
}

/// What packets put into a map is not looked at, and does not disturb.
#[test]
fn what_packets_remember_is_theirs() {
    let mut lab = Lab::new();
    lab.namespace("router");
    let names: BTreeSet<Name> = lab.inside("router", || {
        runtime().block_on(async {
            let mut hands = Hands::new();
            let facts = facts(ruleset(true));
            hands.carry_out(&facts).await;
            lab.ok(
                "router",
                "nft add element inet vrouter sticky { 10.9.9.9 timeout 600s : 10.1.1.30 . 5432 }",
            );
            assert!(hands.carry_out(&facts).await.is_empty(), "it is not compared");
            let mut others = ruleset(true);
            set(&mut others, "slots", SetKind::SlotToEndpoint, []);
            chain(&mut others, "balancer_x", None, Vec::new());
            let others = Facts { ruleset: Some(others), ..Facts::default() };
            hands.carry_out(&others).await;
            let shown = lab.ok("router", "nft list map inet vrouter sticky");
            assert!(shown.contains("10.9.9.9"), "a change beside it leaves it alone: {shown}");
            let mut without = ruleset(false);
            without.sets.remove("sticky");
            hands.carry_out(&Facts { ruleset: Some(without.clone()), ..Facts::default() }).await;
            without.sets.keys().cloned().collect()
        })
    });
    assert!(!names.contains("sticky"));
    assert!(!lab.run("router", "nft list map inet vrouter sticky").success);
}
