//! A packet's addresses translated as nf_tables translates them: by maps, by turns of a balancer, and by what it remembers.

use super::evaluate::{Action, Assumed, Walk};
use super::lookup::{Asked, Candidate, candidates};
use super::packet::Packet;
use crate::plan::facts::statement::LIVE;
use crate::plan::facts::{Balanced, Key, Name, Pick, Rule, Statement, Target};

impl Walk<'_> {
    /// What a statement that translates makes of the packet; nothing where it does not fit.
    pub(super) fn translation(&mut self, rule: &Rule, statement: &Statement) -> Option<Action> {
        let of = || rule.comment().map(str::to_owned);
        let action = match statement {
            Statement::DnatByAddress(map) => self.leads(map, Asked::Destination),
            Statement::DnatByEndpoint(map) | Statement::DnatByEndpointRange(map) => {
                self.leads(map, Asked::DestinationEndpoint)
            }
            Statement::SnatBySource(map) => match self.found(map, Asked::Source) {
                Some(Target::Address { address, .. }) => Some(Action::Source(*address)),
                _ => None,
            },
            Statement::SnatTo(address) => Some(Action::Source(*address)),
            // Without an address there is nothing to come from.
            Statement::Masquerade => Some(self.own.map_or(Action::Drop, Action::Masquerade)),
            Statement::DnatBySticky { sticky, backends } => self.remembered(&sticky.map, backends, of()),
            Statement::DnatBySlot { pick, slots, map, .. } => self.balanced(*pick, *slots, map, of()),
            _ => None,
        };
        match &action {
            Some(Action::Source(address) | Action::Masquerade(address)) => {
                self.flight.packet.source = *address
            }
            Some(Action::Destination { address, port, .. }) => self.flight.lead_to(*address, *port),
            _ => {}
        }
        action
    }

    /// Where a map of destinations leads.
    fn leads(&mut self, map: &Name, asked: Asked) -> Option<Action> {
        let (address, port) = match self.found(map, asked)? {
            Target::Address { address, .. } => (*address, None),
            Target::Endpoint(address, port) => (*address, Some(*port)),
            _ => return None,
        };
        Some(Action::Destination { address, port, candidates: Vec::new(), remembered: false })
    }

    /// Where a source went before, if that takes connections.
    fn remembered(&mut self, map: &Name, backends: &Name, of: Option<String>) -> Option<Action> {
        let Some(remembered) = self.memory.get(map) else {
            self.assumed.insert(Assumed::NotRemembered(of, map.clone()));
            return None;
        };
        let (address, port) = (*remembered)?;
        let Packet { destination, protocol, destination_port, .. } = self.flight.packet;
        let key = Key::Balanced(Balanced {
            address: destination,
            protocol,
            port: destination_port?,
            backend: address,
            backend_port: port,
        });
        let live = self.view.set(backends)?.elements.get(&key) == Some(&Target::Mark(LIVE));
        let candidates = vec![Candidate { address, port, slots: 1 }];
        live.then_some(Action::Destination { address, port: Some(port), candidates, remembered: true })
    }

    fn balanced(&mut self, pick: Pick, slots: u32, map: &Name, of: Option<String>) -> Option<Action> {
        let candidates = candidates(self.view.set(map)?, pick, slots, self.flight.packet.source);
        let Candidate { address, port, .. } = *candidates.get(self.choice).or(candidates.first())?;
        if candidates.len() > 1 {
            self.assumed.insert(Assumed::AnyOf(of));
        }
        Some(Action::Destination { address, port: Some(port), candidates, remembered: false })
    }
}
