//! A packet led through chains as nf_tables leads it: rule by rule, until one decides or the chain's policy does.
//!
//! Nothing of the kernel is asked. What depends on what was before, such as whose turn a backend's is, is assumed, and the
//! assumption is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::lookup::{Asked, Candidate, find};
use super::packet::{Connection, Flight, TCP};
use super::view::View;
use crate::plan::facts::statement::Direction;
use crate::plan::facts::{BaseChain, Hook, HookPoint, Key, Name, Policy, Rule, Statement, Target, Verdict};

/// The most rules that one packet is asked by: more than the largest configuration has. The kernel lets no chains lead
/// in a circle, and a table that is read wrong must not either.
const MAX_RULES: usize = 1 << 20;

/// Where a source went before, by the map that remembers it; nothing in place of one that it does not know.
pub(super) type Memory = BTreeMap<Name, Option<(Ipv4Addr, u16)>>;

/// An element that was found, by its set.
pub(super) type Found = (Name, Key);

/// What a base chain made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged<'a> {
    pub(super) point: HookPoint,
    /// The chain in which it was decided.
    pub(super) chain: Name,
    /// The rule that decided; none where no rule did.
    pub(super) rule: Option<&'a Rule>,
    /// The elements that were found on the way, the deciding one last.
    pub(super) trail: Vec<Found>,
    pub(super) action: Action,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Drop,
    Reject {
        reset: bool,
    },
    /// It goes elsewhere. Where there are candidates, it goes to one of them.
    Destination {
        address: Ipv4Addr,
        port: Option<u16>,
        candidates: Vec<Candidate>,
        /// Whether it went there before.
        remembered: bool,
    },
    /// It comes from elsewhere.
    Source(Ipv4Addr),
    /// It comes from the router's address on the device that it leaves by.
    Masquerade(Ipv4Addr),
}

impl Action {
    /// Whether the packet goes on.
    pub(super) const fn passes(&self) -> bool {
        !matches!(self, Self::Drop | Self::Reject { .. })
    }
}

/// A mark that a connection was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked<'a> {
    pub(super) chain: Name,
    pub(super) rule: &'a Rule,
    pub(super) element: Option<Found>,
    pub(super) mark: u32,
}

/// What is taken for granted because it depends on what was before. A rule's comment says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Assumed {
    /// Fewer connections than the most are there.
    FewConnections(Option<String>, u32),
    /// Less goes by than may.
    WithinRate(Option<String>),
    /// The source is not remembered in this map.
    NotRemembered(Option<String>, Name),
    /// The source port is none of those that are asked for.
    OtherPort(Option<String>),
    /// Any of several backends.
    AnyOf(Option<String>),
}

/// A packet being led through a table.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) view: View<'a>,
    pub(super) memory: &'a Memory,
    /// The router's address on the device that the packet leaves by, once that is known.
    pub(super) own: Option<Ipv4Addr>,
    pub(super) flight: Flight,
    /// Which candidate is followed, where there are several.
    pub(super) choice: usize,
    pub(super) marked: Option<Marked<'a>>,
    pub(super) assumed: BTreeSet<Assumed>,
    /// Rules that nobody knows the meaning of, by chain and index. They are passed over.
    pub(super) unknown: BTreeSet<(Name, usize)>,
    trail: Vec<Found>,
}

/// What follows a rule.
enum Next {
    Rule,
    Decided(Action),
    Return,
    Goto(Name),
    Jump(Name),
}

/// What follows a statement.
enum Then {
    Fits,
    Fails,
    Ends(Next),
}

struct Frame<'a> {
    chain: Name,
    rules: std::vec::IntoIter<Option<&'a Rule>>,
    index: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(view: View<'a>, memory: &'a Memory, flight: Flight, choice: usize) -> Self {
        Self {
            view,
            memory,
            own: None,
            flight,
            choice,
            marked: None,
            assumed: BTreeSet::new(),
            unknown: BTreeSet::new(),
            trail: Vec::new(),
        }
    }

    /// Leads the packet through the chains of a point, up to the first that stops it.
    pub(super) fn pass(&mut self, point: HookPoint) -> Vec<Judged<'a>> {
        let mut judged = Vec::new();
        for (name, base) in self.view.base_chains(point) {
            // What belongs to no connection is not translated.
            if base.hook == Hook::Nat && self.flight.connection.is_none() {
                continue;
            }
            let one = self.judge(name, base);
            let passes = one.action.passes();
            judged.push(one);
            if !passes {
                break;
            }
        }
        judged
    }

    fn judge(&mut self, name: Name, base: BaseChain) -> Judged<'a> {
        self.trail.clear();
        let point = base.point;
        let mut frames = vec![self.frame(name.clone())];
        let mut last = name;
        for _ in 0..MAX_RULES {
            let Some(frame) = frames.last_mut() else { break };
            let next = frame.rules.next();
            let index = frame.index;
            frame.index += 1;
            let chain = frame.chain.clone();
            let followed = match next {
                None => Next::Return,
                Some(None) => {
                    self.unknown.insert((chain.clone(), index));
                    Next::Rule
                }
                Some(Some(rule)) => match self.rule(&chain, rule) {
                    Next::Decided(action) => {
                        let trail = std::mem::take(&mut self.trail);
                        return Judged { point, chain, rule: Some(rule), trail, action };
                    }
                    other => other,
                },
            };
            match followed {
                Next::Rule | Next::Decided(_) => {}
                Next::Return => {
                    frames.pop();
                    last = chain;
                }
                Next::Goto(to) => {
                    frames.pop();
                    frames.push(self.frame(to));
                }
                Next::Jump(to) => frames.push(self.frame(to)),
            }
        }
        let action = match base.policy {
            Policy::Accept => Action::Accept,
            Policy::Drop => Action::Drop,
        };
        Judged { point, chain: last, rule: None, trail: std::mem::take(&mut self.trail), action }
    }

    fn frame(&self, chain: Name) -> Frame<'a> {
        Frame { rules: self.view.rules(&chain).into_iter(), chain, index: 0 }
    }

    fn rule(&mut self, chain: &Name, rule: &'a Rule) -> Next {
        for statement in rule.statements() {
            match self.statement(chain, rule, statement) {
                Then::Fits => {}
                Then::Fails => return Next::Rule,
                Then::Ends(next) => return next,
            }
        }
        Next::Rule
    }

    fn statement(&mut self, chain: &Name, rule: &'a Rule, statement: &Statement) -> Then {
        let Flight { packet, input, output, connection, .. } = &self.flight;
        let fits = |fits: bool| if fits { Then::Fits } else { Then::Fails };
        match statement {
            Statement::InputDevice(device) => fits(input == device),
            Statement::OutputDevice(device) => fits(output.as_ref() == Some(device)),
            Statement::NotLoopbackOutput => {
                fits(output.as_ref().is_none_or(|device| device.as_str() != "lo"))
            }
            Statement::Ipv6 => Then::Fails,
            Statement::Protocol(number) => fits(packet.protocol == *number),
            Statement::SourceNet(net) => fits(net.contains(&packet.source)),
            Statement::DestinationNet(net) => fits(net.contains(&packet.destination)),
            Statement::DestinationPort(port) => fits(packet.destination_port == Some(*port)),
            Statement::SourcePort(_) | Statement::SourcePortIn(_) => self.source_port(rule, statement),
            Statement::IcmpType(number) => fits(packet.icmp.is_some_and(|(kind, _)| kind == *number)),
            Statement::IcmpCode(number) => fits(packet.icmp.is_some_and(|(_, code)| code == *number)),
            Statement::TcpSyn => fits(packet.protocol == TCP),
            Statement::ConntrackState(state) => fits(self.flight.state().bits() & state.bits() != 0),
            Statement::Translated
            | Statement::Direction(_)
            | Statement::OriginalDestination(_)
            | Statement::ConntrackMark { .. }
            | Statement::ConntrackMarkAny(_) => {
                fits(connection.as_ref().is_some_and(|own| is_so(own, statement)))
            }
            Statement::SourceIn(set) => fits(self.found(set, Asked::Source).is_some()),
            Statement::SourceNotIn(set) => fits(self.found(set, Asked::Source).is_none()),
            Statement::DestinationIn(set) => fits(self.found(set, Asked::Destination).is_some()),
            Statement::DestinationPortIn(set) => fits(self.found(set, Asked::DestinationPort).is_some()),
            Statement::DestinationEndpointIn(set) => {
                fits(self.found(set, Asked::DestinationEndpoint).is_some())
            }
            Statement::SourcedDestinationEndpointIn(set) => {
                fits(self.found(set, Asked::SourcedDestinationEndpoint).is_some())
            }
            Statement::Counter
            | Statement::Limit { .. }
            | Statement::Log { .. }
            | Statement::ClampMss
            | Statement::Offload(_) => Then::Fits,
            Statement::SetConntrackMark(mark) => {
                self.mark(Marked { chain: chain.clone(), rule, element: None, mark: *mark });
                Then::Fits
            }
            Statement::SetConntrackMarkBySource(map) => match self.found(map, Asked::Source) {
                Some(Target::Mark(mark)) => {
                    let element = self.trail.last().cloned();
                    self.mark(Marked { chain: chain.clone(), rule, element, mark: *mark });
                    Then::Fits
                }
                _ => Then::Fails,
            },
            Statement::RestoreMark => {
                let mark = connection.as_ref().map(|own| own.mark);
                self.flight.mark = mark.unwrap_or(self.flight.mark);
                fits(mark.is_some())
            }
            Statement::RejectReset => Then::Ends(Next::Decided(Action::Reject { reset: true })),
            Statement::RejectProhibited => Then::Ends(Next::Decided(Action::Reject { reset: false })),
            Statement::Verdict(verdict) => Then::Ends(match verdict {
                Verdict::Accept => Next::Decided(Action::Accept),
                Verdict::Drop => Next::Decided(Action::Drop),
                Verdict::Return => Next::Return,
                Verdict::Goto(chain) => Next::Goto(chain.clone()),
                Verdict::Jump(chain) => Next::Jump(chain.clone()),
            }),
            Statement::JudgeByOriginalDestination(map) => self.judged_by_original(map),
            Statement::JudgeByDestination(map) => self.judged_by(map, Asked::Destination),
            Statement::JudgeBySource(map) => self.judged_by(map, Asked::Source),
            Statement::JudgeByDestinationEndpoint(map) => self.judged_by(map, Asked::DestinationEndpoint),
            Statement::RateOver { .. } => {
                self.assumed.insert(Assumed::WithinRate(rule.comment().map(str::to_owned)));
                Then::Fails
            }
            Statement::ConnectionsOver(most) => {
                self.assumed.insert(Assumed::FewConnections(rule.comment().map(str::to_owned), *most));
                Then::Fails
            }
            Statement::DnatByAddress(_)
            | Statement::DnatByEndpoint(_)
            | Statement::DnatByEndpointRange(_)
            | Statement::DnatBySlot { .. }
            | Statement::DnatBySticky { .. }
            | Statement::SnatBySource(_)
            | Statement::SnatTo(_)
            | Statement::Masquerade => match self.translation(rule, statement) {
                Some(action) => Then::Ends(Next::Decided(action)),
                None => Then::Fails,
            },
        }
    }

    /// Whether the packet comes from a port that a rule asks for. One whose port nobody said is taken to come from another.
    fn source_port(&mut self, rule: &Rule, statement: &Statement) -> Then {
        let Some(port) = self.flight.packet.source_port else {
            self.assumed.insert(Assumed::OtherPort(rule.comment().map(str::to_owned)));
            return Then::Fails;
        };
        let fits = match statement {
            Statement::SourcePortIn(set) => self.found(set, Asked::SourcePort).is_some(),
            Statement::SourcePort(asked) => *asked == port,
            _ => false,
        };
        if fits { Then::Fits } else { Then::Fails }
    }

    fn judged_by(&mut self, map: &Name, asked: Asked) -> Then {
        match self.found(map, asked) {
            Some(Target::Chain(chain)) => Then::Ends(Next::Goto(chain.clone())),
            _ => Then::Fails,
        }
    }

    fn judged_by_original(&mut self, map: &Name) -> Then {
        let original = self.flight.connection.as_ref().map(|own| Key::Address(own.original_destination));
        let set = self.view.set(map);
        match original.and_then(|key| Some((key, set?.elements.get(&key)?))) {
            Some((key, Target::Chain(chain))) => {
                self.trail.push((map.clone(), key));
                Then::Ends(Next::Goto(chain.clone()))
            }
            _ => Then::Fails,
        }
    }

    pub(super) fn found(&mut self, set: &Name, asked: Asked) -> Option<&'a Target> {
        let (key, target) = find(self.view.set(set)?, asked, &self.flight.packet)?;
        self.trail.push((set.clone(), *key));
        Some(target)
    }

    fn mark(&mut self, marked: Marked<'a>) {
        if let Some(connection) = &mut self.flight.connection {
            connection.mark = marked.mark;
            self.marked = Some(marked);
        }
    }
}

/// Whether a connection's first packet is what a statement asks of the connection.
fn is_so(connection: &Connection, statement: &Statement) -> bool {
    match statement {
        Statement::Translated => connection.translated,
        Statement::Direction(direction) => *direction == Direction::Original,
        Statement::OriginalDestination(address) => connection.original_destination == *address,
        Statement::ConntrackMark { mask, value } => connection.mark & mask == *value,
        Statement::ConntrackMarkAny(mask) => connection.mark & mask != 0,
        _ => false,
    }
}
