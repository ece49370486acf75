//! With several public interfaces: connections are marked by where they came in, and replies leave there.
//!
//! The mark of a connection is the index of the public device by which it came in. A guest whose EIP or whose source
//! translation is not on the main way out gets the same index with one more bit: its packets leave there too, unless
//! the main table knows a better way than its default route.

use super::facts::statement::{ConntrackState, Direction, Statement, Verdict};
use super::facts::{Hook, HookPoint, Name, Policy, Rule, Ruleset, SetKind};
use super::lower::priority;
use super::names;
use super::sides::{guest_input, is_guest_source};
use super::target::{Place, Target};

/// The bits of a mark that are ours; the others are left to whoever uses them.
pub(super) const MASK: u32 = 0xffff;
/// The bit of a guest that leaves by another way than the main one.
const STEERED: u32 = 0x8000;

/// The mark of connections that came in here.
pub(super) const fn came_in(place: Place<'_>) -> u32 {
    place.link.device.index & (MASK ^ STEERED)
}

/// The mark of guests that go out here although it is not the main way.
pub(super) const fn steered(place: Place<'_>) -> u32 {
    came_in(place) | STEERED
}

/// Adds the chains that mark, where there is more than one way out.
pub(super) fn lower(target: &Target, ruleset: &mut Ruleset) {
    if !target.has_several_public() {
        return;
    }
    ruleset.declare(names::STEERED, SetKind::AddressToMark);
    let guest = Statement::Verdict(Verdict::Goto(names::MARK_GUEST.into()));
    let mut rules = Vec::new();
    for place in target.places() {
        for side in guest_input(place) {
            rules.push(Rule::new([side, vec![guest.clone()]].concat()));
        }
    }
    for place in target.public_places() {
        rules.push(Rule::new(vec![
            Statement::InputDevice(place.device()),
            Statement::ConntrackState(ConntrackState::NEW),
            Statement::SetConntrackMark(came_in(place)),
        ]));
    }
    ruleset.base(names::MARK, Hook::Filter, HookPoint::Prerouting, priority::MANGLE, Policy::Accept, rules);
    ruleset.chain(names::MARK_GUEST, guest_rules(target));
    let replies = Rule::new(vec![
        Statement::Direction(Direction::Reply),
        Statement::ConntrackMarkAny(MASK),
        Statement::RestoreMark,
    ]);
    ruleset.base(
        names::MARK_OUTPUT,
        Hook::Route,
        HookPoint::Output,
        priority::MANGLE,
        Policy::Accept,
        vec![replies],
    );
}

fn guest_rules(target: &Target) -> Vec<Rule> {
    let new = || Statement::ConntrackState(ConntrackState::NEW);
    let mut rules = vec![
        Rule::new(vec![
            Statement::Direction(Direction::Reply),
            Statement::ConntrackMark { mask: STEERED, value: 0 },
            Statement::RestoreMark,
        ]),
        Rule::new(vec![new(), Statement::SetConntrackMarkBySource(Name::from(names::STEERED))]),
    ];
    let main = target.config.layout().public().first();
    let snat = target.config.snat();
    let on_main =
        |source| snat.values().any(|entry| Some(&entry.interface) == main && entry.source == source);
    for place in target.public_places().filter(|place| Some(place.id) != main) {
        for (id, entry) in
            snat.iter().filter(|(_, entry)| entry.interface == *place.id && !on_main(entry.source))
        {
            let mut statements = vec![new(), Statement::ConntrackMark { mask: MASK, value: 0 }];
            statements.extend(is_guest_source(entry.source.net()));
            statements.push(Statement::SetConntrackMark(steered(place)));
            rules.push(Rule::of(format!("snat {id}"), statements));
        }
    }
    rules.push(Rule::new(vec![
        Statement::Direction(Direction::Original),
        Statement::ConntrackMarkAny(STEERED),
        Statement::RestoreMark,
    ]));
    rules
}
