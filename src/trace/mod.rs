//! Trace: what becomes of a packet, who of the configuration decides it, and whether the kernel is such that it does.
//!
//! ```text
//!                 ┌─ wanted:   facts of the configuration ──▶ path ─┐
//! question ──▶ packet                                               ├─▶ told, and compared ──▶ Trace
//!                 └─ observed: what the kernel shows ───────▶ path ─┘
//! ```
//!
//! A path is the packet led through the very facts that the planner makes and the kernel has: chains of rules, sets,
//! policy rules and routes. No rule's meaning is written twice: `evaluate` reads the statements that the kernel room
//! encodes. Pure; what only the kernel knows is asked of a [`Witness`]. Called by the loop.

mod compare;
mod evaluate;
mod explain;
mod fib;
mod judge;
mod lookup;
mod packet;
mod path;
mod places;
mod question;
mod report;
#[cfg(test)]
mod tests;
mod translate;
mod view;
mod way;

use std::net::Ipv4Addr;

pub use packet::Packet;
pub use question::{Question, Request};
pub use report::{Action, Candidate, Decision, Difference, Endpoints, Route, Service, Stage, Trace, Verdict};

use self::compare::{Compared, compare};
use self::evaluate::{Action as Judged, Assumed, Memory};
use self::explain::Teller;
use self::fib::Tables;
use self::path::{End, Path, Side};
use self::view::View;
use self::way::Ways;
use crate::config::{Faults, Pointer, Rule};
use crate::plan::Target;
use crate::plan::facts::{Device, Facts, Name, Observed, WayAnswer, WayQuestion};
use crate::plan::origin::Origin;

/// How many candidates of a balancer are followed to their end; each costs as much as the packet.
const MOST_FOLLOWED: usize = 32;

/// Who knows of the kernel what is not among the facts.
pub trait Witness {
    /// The way that the kernel itself chooses; nothing where there is no kernel to be asked.
    fn way(&mut self, question: &WayQuestion) -> Option<WayAnswer>;

    /// The backend that a map of a balancer remembers for a source.
    fn remembered(&mut self, map: &Name, source: Ipv4Addr) -> Option<(Ipv4Addr, u16)>;
}

/// What a packet is traced through.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The generation that runs.
    pub generation: u64,
    /// The configuration, and what is there to carry it out with.
    pub target: &'a Target,
    /// What the kernel should be.
    pub wanted: &'a Facts,
    /// What it is, as far as it is ours.
    pub observed: &'a Observed,
}

impl Scene<'_> {
    /// Traces a packet; the witness is asked what nobody else knows.
    ///
    /// # Errors
    /// The interface is not in the configuration.
    pub fn trace(&self, question: &Question, witness: &mut impl Witness) -> Result<Trace, Faults> {
        let Question { interface, packet } = question;
        if self.target.config.interfaces().get(interface).is_none() {
            let mut faults = Faults::default();
            let detail = format!("there is no interface `{interface}`");
            faults.add(Pointer::root().key("interface"), Rule::DanglingReference, detail);
            return Err(faults);
        }
        let Some(link) = self.target.surroundings.links.get(interface) else {
            return Ok(self.without_device(question));
        };
        let input = &link.device;
        let memory = self.memory(packet, input, witness);
        let (wanted, observed) = (self.wanted_side(&memory), self.observed_side(&memory));
        let path = wanted.follow(*packet, input, 0);
        let others = others(&wanted, *packet, input, &path);
        let teller = Teller { target: self.target, input: interface, packet: *packet, others: &others };
        let told = teller.tell(&path);
        let seen = observed.follow(*packet, input, 0);
        let seen_told = teller.tell(&seen);
        // Where the addresses alone decide, the kernel has no way to tell.
        let asked = path.way.as_ref().filter(|(question, way)| {
            let decided = matches!(way, way::Way::Nowhere(why) if why.is_about_addresses());
            !decided && !question.destination.is_broadcast() && !question.source.is_unspecified()
        });
        let answer = asked.and_then(|(question, _)| witness.way(question));
        let differences = compare(Compared {
            target: self.target,
            observed: self.observed,
            input,
            paths: (&path, &seen),
            told: (&told, &seen_told),
            answer: answer.as_ref(),
        });
        Ok(Trace {
            generation: self.generation,
            verdict: told.verdict,
            service: told.service,
            reason: told.reason,
            pointer: told.pointer,
            packet: (*packet).into(),
            translated: path.packet.into(),
            route: told.route,
            decisions: told.decisions,
            assumptions: told.assumptions,
            agrees: differences.is_empty(),
            differences,
        })
    }

    /// What is remembered of the packet's source by the balancers that it meets.
    fn memory(&self, packet: &Packet, input: &Device, witness: &mut impl Witness) -> Memory {
        let nothing = Memory::new();
        let path = self.wanted_side(&nothing).follow(*packet, input, 0);
        let maps = path.assumed.iter().filter_map(|assumed| match assumed {
            Assumed::NotRemembered(_, map) => Some(map),
            _ => None,
        });
        maps.map(|map| (map.clone(), witness.remembered(map, packet.source))).collect()
    }

    fn wanted_side<'b>(&'b self, memory: &'b Memory) -> Side<'b> {
        let Facts { addresses, routes, rules, sysctls, ruleset, .. } = self.wanted;
        let tables = Tables { addresses, routes, rules };
        Side { view: View::wanted(ruleset.as_ref()), ways: Ways { tables, sysctls }, memory }
    }

    fn observed_side<'b>(&'b self, memory: &'b Memory) -> Side<'b> {
        let Observed { addresses, routes, rules, sysctls, table, .. } = self.observed;
        let tables = Tables { addresses, routes, rules };
        let view = View::seen(table.as_ref(), self.wanted.ruleset.as_ref());
        Side { view, ways: Ways { tables, sysctls }, memory }
    }

    /// What is said of an interface whose device is not there.
    fn without_device(&self, question: &Question) -> Trace {
        let Question { interface, packet } = question;
        let pointer = Origin::Interface(interface.clone()).pointer();
        Trace {
            generation: self.generation,
            verdict: Verdict::Dropped,
            service: None,
            reason: format!("the device of `{interface}` is not there"),
            pointer: Some(pointer),
            packet: (*packet).into(),
            translated: (*packet).into(),
            route: None,
            decisions: Vec::new(),
            assumptions: Vec::new(),
            agrees: false,
            differences: vec![Difference {
                what: format!("interface {interface}"),
                wanted: "a device".to_owned(),
                observed: "none".to_owned(),
            }],
        }
    }
}

/// How the packet ends at each of the candidates of a balancer, the first of which was followed.
fn others(side: &Side<'_>, packet: Packet, input: &Device, path: &Path<'_>) -> Vec<End> {
    let count = path.judged.iter().find_map(|judged| match &judged.action {
        Judged::Destination { candidates, .. } => Some(candidates.len()),
        _ => None,
    });
    let more = 1..count.unwrap_or(1).min(MOST_FOLLOWED);
    let ends = more.map(|choice| side.follow(packet, input, choice).end);
    std::iter::once(path.end).chain(ends).collect()
}
