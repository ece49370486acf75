//! The whole way of a packet: marked, translated, routed, judged, and given its source, in the kernel's order.

use std::collections::BTreeSet;

use super::evaluate::{Action, Assumed, Judged, Marked, Memory, Walk};
use super::packet::{Flight, Packet};
use super::view::View;
use super::way::{Way, Ways};
use crate::plan::facts::{Device, HookPoint, Name, WayQuestion};

/// What decides about packets: as it should be, or as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) view: View<'a>,
    pub(super) ways: Ways<'a>,
    pub(super) memory: &'a Memory,
}

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path<'a> {
    /// What the chains decided, in order.
    pub(super) judged: Vec<Judged<'a>>,
    /// What gave the packet another way out than others have.
    pub(super) steered: Option<Marked<'a>>,
    /// Where it was routed to, and what was asked to know; absent where it did not come so far.
    pub(super) way: Option<(WayQuestion, Way)>,
    /// The packet behind all translation.
    pub(super) packet: Packet,
    pub(super) end: End,
    pub(super) assumed: BTreeSet<Assumed>,
    /// Rules that nobody knows the meaning of, by chain and index.
    pub(super) unknown: BTreeSet<(Name, usize)>,
}

/// How a way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The packet leaves.
    Accepted,
    /// The router itself takes it.
    Local,
    Dropped,
    Rejected,
}

impl<'a> Side<'a> {
    /// Follows a packet that comes in by a device. `choice` is the candidate that is followed where a balancer has several.
    pub(super) fn follow(&self, packet: Packet, input: &Device, choice: usize) -> Path<'a> {
        let flight = Flight::new(packet, input.name.clone().into());
        let mut walk = Walk::new(self.view, self.memory, flight, choice);
        let mut judged = walk.pass(HookPoint::Prerouting);
        let mut way = None;
        let end = if passes(&judged) {
            let Flight { packet, mark, .. } = &walk.flight;
            let question = WayQuestion {
                input: input.index,
                source: packet.source,
                destination: packet.destination,
                mark: *mark,
            };
            let found = self.ways.of(packet, *mark, input);
            let end = self.beyond(&found, &mut walk, &mut judged);
            way = Some((question, found));
            end
        } else {
            stopped(&judged)
        };
        let steered = walk.marked.take().filter(|_| walk.flight.mark != 0);
        let Walk { flight, assumed, unknown, .. } = walk;
        Path { judged, steered, way, packet: flight.packet, end, assumed, unknown }
    }

    /// What becomes of a packet behind routing.
    fn beyond(&self, way: &Way, walk: &mut Walk<'a>, judged: &mut Vec<Judged<'a>>) -> End {
        let out = match way {
            Way::Nowhere(_) => return End::Dropped,
            Way::Local(_) => {
                judged.extend(walk.pass(HookPoint::Input));
                return if passes(judged) { End::Local } else { stopped(judged) };
            }
            Way::Out(out) => out,
        };
        walk.flight.output = Some(out.device.name.clone().into());
        let next_hop = out.via.unwrap_or(walk.flight.packet.destination);
        walk.own = self.ways.tables.own_address(&out.device, next_hop);
        for point in [HookPoint::Forward, HookPoint::Postrouting] {
            judged.extend(walk.pass(point));
            if !passes(judged) {
                return stopped(judged);
            }
        }
        End::Accepted
    }
}

fn passes(judged: &[Judged<'_>]) -> bool {
    judged.last().is_none_or(|last| last.action.passes())
}

fn stopped(judged: &[Judged<'_>]) -> End {
    match judged.last().map(|last| &last.action) {
        Some(Action::Reject { .. }) => End::Rejected,
        _ => End::Dropped,
    }
}
