//! REQUEST in its four states (RFC 2131 section 4.3.2) and INFORM (section 4.3.5).

use std::net::Ipv4Addr;

use super::decision::{Action, Reason, Sent};
use super::engine::{Engine, Exchange, Outcome};
use super::reply::{Content, reply};
use super::scope::Via;
use super::snapshot::Served;
use super::table::{Entry, Offer};
use crate::config::dhcp::Host;
use crate::store::leases::{Lease, LeaseState, Octets};

impl Engine {
    /// Grants or refuses the address that a client wants. SELECTING names this server; INIT-REBOOT names an address and
    /// no server; RENEWING and REBINDING have the address already.
    pub(super) fn request(&mut self, exchange: Exchange<'_, '_>) -> Outcome {
        let Exchange { snapshot, scope, message, now } = exchange;
        if let Some(server) = message.server()
            && !scope.is_own(server, message)
        {
            self.forget_offers(exchange);
            return (Vec::new(), Action::Ignore(Reason::OtherServer));
        }
        let has = message.ciaddr().filter(|_| message.server().is_none());
        let Some(wanted) = has.or(message.requested()).or(message.ciaddr()) else {
            return (Vec::new(), Action::Ignore(Reason::Malformed));
        };
        if let Some((network, host)) = scope.binding(message, Some(wanted)) {
            return if host.ip.get() == wanted {
                self.grant(exchange, network, Some(host), wanted)
            } else {
                exchange.refuse(network)
            };
        }
        let Some(network) = scope.network_of(wanted) else {
            // The client is on another network than it thinks. Where strangers are not served, it may be another
            // server's client whose network shares the link.
            return match scope.open().next() {
                Some(network) => exchange.refuse(network),
                None => (Vec::new(), Action::Ignore(Reason::Stranger)),
            };
        };
        if network.settings.known_only() || !snapshot.is_dynamic(network, wanted) {
            return exchange.refuse(network);
        }
        match self.table.live(wanted, now) {
            Some(entry) if entry.client() != Some(message.client()) => exchange.refuse(network),
            Some(Entry::Offer(Offer { probed: false, .. })) => (Vec::new(), Action::Ignore(Reason::Probing)),
            Some(_) => self.grant(exchange, network, None, wanted),
            None => self.adopt(exchange, network, wanted, has.is_some()),
        }
    }

    /// Decides on a free address that a client wants without having been offered it: the leases are lost, or it is a
    /// lease that has just ended.
    fn adopt(
        &mut self,
        exchange: Exchange<'_, '_>,
        network: &Served,
        wanted: Ipv4Addr,
        in_use: bool,
    ) -> Outcome {
        let Exchange { scope, message, now, .. } = exchange;
        let was_its_own = matches!(self.table.last(wanted), Some(entry @ Entry::Lease(_))
            if entry.client() == Some(message.client()));
        let has_another = self.table.of(message.client()).iter().any(|address| {
            *address != wanted
                && network.around.subnet.contains(address)
                && exchange.snapshot.is_dynamic(network, *address)
                && matches!(self.table.live(*address, now), Some(Entry::Lease(_)))
        });
        if has_another {
            return exchange.refuse(network);
        }
        // Behind routers only an echo request finds a station, and the client itself would answer it.
        if was_its_own || (in_use && scope.via != Via::Link) {
            return self.grant(exchange, network, None, wanted);
        }
        (Vec::new(), self.probe(exchange, network, wanted))
    }

    /// Leases an address. What else a host had on the link is free at once: its answer leaves at once. What another
    /// client had is its own until that ends, for the disk may yet refuse what it is to have instead.
    fn grant(
        &mut self,
        exchange: Exchange<'_, '_>,
        network: &Served,
        host: Option<&Host>,
        address: Ipv4Addr,
    ) -> Outcome {
        let Exchange { scope, message, now, .. } = exchange;
        if host.is_none() && self.table.last(address).is_none() && self.table.is_full() {
            return (Vec::new(), Action::Ignore(Reason::TooManyLeases));
        }
        let state = if host.is_some() { LeaseState::Static } else { LeaseState::Dynamic };
        let since = match self.table.live(address, now) {
            Some(Entry::Lease(lease)) if lease.state == state && lease.client() == message.client() => {
                lease.since
            }
            _ => now,
        };
        let configured = host.and_then(|host| host.hostname.as_ref()).map(|name| name.as_str());
        let lease = Lease {
            address,
            hardware: Octets(message.hardware().into()),
            client_id: message.client_id().map(|id| Octets(id.into())),
            hostname: configured.or_else(|| message.hostname()).map(Into::into),
            state,
            since,
            expires: now.after(network.settings.lease_seconds.into()),
        };
        self.table.insert(address, Entry::Lease(lease.clone()));
        let content = Content { kind: Sent::Ack, network, host, address: Some(address) };
        let answer = reply(message, &scope, content);
        if host.is_none() {
            return (Vec::new(), Action::Grant(lease, answer));
        }
        // The binding of a host is on disk already: it is the configuration.
        let mut leases = self.take_back(exchange, address);
        leases.push(lease);
        (leases, Action::Answer(answer))
    }

    /// Frees what a client has on the link besides one address: it has just moved there.
    fn take_back(&mut self, exchange: Exchange<'_, '_>, kept: Ipv4Addr) -> Vec<Lease> {
        let Exchange { scope, message, now, .. } = exchange;
        let others: Vec<Ipv4Addr> = self
            .table
            .of(message.client())
            .iter()
            .copied()
            .filter(|address| *address != kept && scope.network_of(*address).is_some())
            // Two network cards that share an identifier are still two.
            .filter(|address| match self.table.last(*address) {
                Some(Entry::Lease(lease)) => *lease.hardware.0 == *message.hardware(),
                _ => true,
            })
            .collect();
        let taken = others.into_iter().filter_map(|address| self.table.remove(address));
        taken
            .filter_map(|entry| match entry {
                Entry::Lease(lease) => {
                    Some(Lease { state: LeaseState::Free, since: now, expires: now, ..lease })
                }
                Entry::Offer(_) => None,
            })
            .collect()
    }

    /// Forgets what was offered to a client that has chosen another server.
    fn forget_offers(&mut self, exchange: Exchange<'_, '_>) {
        let Exchange { scope, message, .. } = exchange;
        let addresses = self.table.of(message.client()).to_vec();
        for address in addresses.into_iter().filter(|address| scope.network_of(*address).is_some()) {
            if let Some(Entry::Offer(_)) = self.table.last(address) {
                self.table.remove(address);
            }
        }
    }
}

impl Exchange<'_, '_> {
    /// Refuses what the client wants, so that it starts again.
    fn refuse(self, network: &Served) -> Outcome {
        let content = Content { kind: Sent::Nak, network, host: None, address: None };
        (Vec::new(), Action::Answer(reply(self.message, &self.scope, content)))
    }

    /// Tells a client that has an address of its own what else it should know.
    pub(super) fn inform(self) -> Outcome {
        let Self { scope, message, .. } = self;
        let Some(address) = message.ciaddr() else { return (Vec::new(), Action::Ignore(Reason::Malformed)) };
        let Some(network) = scope.network_of(address) else {
            return (Vec::new(), Action::Ignore(Reason::NotServed));
        };
        let host =
            scope.binding(message, Some(address)).filter(|(of, _)| of.id == network.id).map(|(_, host)| host);
        if host.is_none() && network.settings.known_only() {
            return (Vec::new(), Action::Ignore(Reason::Stranger));
        }
        let content = Content { kind: Sent::Ack, network, host, address: None };
        (Vec::new(), Action::Answer(reply(message, &scope, content)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dhcp::decision::{Destination, Probe};
    use crate::dhcp::testing::{World, discover, init_reboot, ip, message, renewing, selecting, with};
    use dhcproto::v4::{DhcpOption, MessageType};

    #[test]
    fn a_host_is_acknowledged_in_every_state_without_a_lease() {
        let asks = [selecting(0x20, ip(20)), init_reboot(0x20, ip(20)), renewing(0x20, ip(20))];
        for ask in asks {
            let mut world = World::new();
            let decision = world.decide(&ask);
            assert!(
                matches!(&decision.action, Action::Answer(reply) if reply.kind == Sent::Ack),
                "{decision:?}"
            );
            assert_eq!(decision.leases.len(), 1);
            assert_eq!(decision.leases[0].state, LeaseState::Static);
            assert_eq!(decision.leases[0].hostname.as_deref(), Some("web1"));
        }
    }

    #[test]
    fn a_host_that_wants_another_address_is_refused() {
        let mut world = World::new();
        for wanted in [ip(21), ip(100), Ipv4Addr::new(192, 0, 2, 1)] {
            for ask in [selecting(0x20, wanted), init_reboot(0x20, wanted), renewing(0x20, wanted)] {
                let nak = world.answer(&ask);
                assert_eq!((nak.kind(), nak.address()), (Sent::Nak, Ipv4Addr::UNSPECIFIED));
                assert!(nak.option(51).is_none() && nak.option(54).is_some());
                assert_eq!(nak.reply.to, Destination::Frame([0xff; 6], Ipv4Addr::BROADCAST));
            }
        }
    }

    #[test]
    fn a_range_client_waits_for_the_disk_and_keeps_its_address() {
        let mut world = World::new();
        let address = world.lease(1);
        for ask in [selecting(1, address), init_reboot(1, address), renewing(1, address)] {
            world.pass(100);
            let action = world.decide(&ask).action;
            let Action::Grant(lease, reply) = action else { panic!("{action:?}") };
            assert_eq!((reply.kind, lease.address), (Sent::Ack, address));
            assert_eq!((lease.since.since(world.now), lease.expires), (0, world.now.after(600)));
            assert!(lease.since < world.now);
        }
    }

    #[test]
    fn nobody_gets_what_is_another_clients() {
        let mut world = World::new();
        let address = world.lease(1);
        for ask in [selecting(2, address), init_reboot(2, address), renewing(2, address)] {
            assert_eq!(world.answer(&ask).kind(), Sent::Nak);
        }
        // Neither while it is offered to another.
        let offered = world.answer(&discover(3)).address();
        assert_eq!(world.answer(&init_reboot(2, offered)).kind(), Sent::Nak);
    }

    #[test]
    fn a_message_to_another_server_is_left_to_it() {
        let mut world = World::new();
        let offered = world.answer(&discover(1)).address();
        let mut ask = selecting(1, ip(99));
        ask.opts_mut().insert(DhcpOption::ServerIdentifier(ip(2)));
        assert_eq!(world.ignored(&ask), Reason::OtherServer);
        assert!(world.table_of(1).is_empty(), "{offered} is free again");
        assert_eq!(world.ignored(&with(selecting(0x20, ip(20)), 54, &ip(2).octets())), Reason::OtherServer);
    }

    #[test]
    fn a_client_that_was_forgotten_keeps_its_free_address() {
        let mut world = World::new();
        let decision = world.decide(&init_reboot(1, ip(101)));
        assert!(
            matches!(decision.action, Action::Probe(Probe { address, .. }) if address == ip(101)),
            "{decision:?}"
        );
        world.engine.probed(ip(101), None, world.now);
        assert_eq!(world.answer(&init_reboot(1, ip(101))).kind(), Sent::Ack);
        // But not one that something else answers for.
        world.decide(&renewing(2, ip(102)));
        world.engine.probed(ip(102), Some([2; 6]), world.now);
        assert_eq!(world.answer(&renewing(2, ip(102))).kind(), Sent::Nak);
        // And not a second one.
        assert_eq!(world.answer(&renewing(1, ip(103))).kind(), Sent::Nak);
    }

    #[test]
    fn changes_take_effect_at_the_next_message() {
        let mut world = World::new();
        let address = world.lease(1);
        // The client becomes a host with another address: the binding wins, and the old address is free when it moved.
        let mac = "fa:aa:00:00:00:01";
        world.patch(json!({"dhcp": {"guest": {"hosts": {"new": {"mac": mac, "ip": "10.1.1.50"}}}}}));
        assert_eq!(world.answer(&renewing(1, address)).kind(), Sent::Nak);
        assert_eq!(world.answer(&discover(1)).address(), ip(50));
        assert_eq!(world.answer(&selecting(1, ip(50))).kind(), Sent::Ack);
        assert!(world.table_of(1).iter().all(|held| *held == ip(50)));
        // It is no host any more: its address is not one of the ranges.
        world.patch(json!({"dhcp": {"guest": {"hosts": {"new": null}}}}));
        assert_eq!(world.answer(&renewing(1, ip(50))).kind(), Sent::Nak);
        assert_eq!(world.answer(&discover(1)).address(), address);
    }

    #[test]
    fn a_host_takes_over_an_address_that_is_leased_to_another() {
        let mut world = World::new();
        let address = world.lease(1);
        let host = json!({"mac": "fa:aa:00:00:00:02", "ip": address.to_string()});
        world.patch(json!({"dhcp": {"guest": {"hosts": {"new": host}}}}));
        assert_eq!(world.answer(&selecting(2, address)).kind(), Sent::Ack);
        assert_eq!(world.answer(&renewing(1, address)).kind(), Sent::Nak);
        assert_ne!(world.answer(&discover(1)).address(), address);
    }

    #[test]
    fn clients_move_out_of_a_range_that_shrinks() {
        let mut world = World::new();
        let address = world.lease(1);
        world.patch(json!({"dhcp": {"guest": {"ranges": ["10.1.1.200-10.1.1.210"]}}}));
        assert_eq!(world.answer(&renewing(1, address)).kind(), Sent::Nak);
        assert!((200..=210).contains(&world.lease(1).octets()[3]));
    }

    #[test]
    fn the_wrong_network_is_refused_only_where_strangers_are_served() {
        let elsewhere = Ipv4Addr::new(192, 168, 7, 7);
        let mut world = World::new();
        assert_eq!(world.answer(&init_reboot(1, elsewhere)).kind(), Sent::Nak);
        let mut world = World::with(json!({"dhcp": {"guest": {"known_only": true}}}));
        assert_eq!(world.ignored(&init_reboot(1, elsewhere)), Reason::Stranger);
        assert_eq!(world.answer(&init_reboot(1, ip(100))).kind(), Sent::Nak);
    }

    #[test]
    fn who_informs_is_told_everything_but_a_lease() {
        let mut world = World::new();
        let mut ask = message(1, MessageType::Inform);
        assert_eq!(world.ignored(&ask), Reason::Malformed);
        ask.set_ciaddr(ip(77));
        let ack = world.answer(&ask);
        assert_eq!(
            (ack.kind(), ack.address(), ack.message.ciaddr()),
            (Sent::Ack, Ipv4Addr::UNSPECIFIED, ip(77))
        );
        assert!(ack.option(51).is_none() && ack.option(58).is_none());
        assert_eq!(ack.routers(), Some(vec![ip(1)]));
        assert_eq!(ack.reply.to, Destination::Frame([0xfa, 0xaa, 0, 0, 0, 1], ip(77)));
        ask.set_ciaddr(Ipv4Addr::new(192, 0, 2, 9));
        assert_eq!(world.ignored(&ask), Reason::NotServed);
    }

    impl World {
        fn table_of(&self, client: u8) -> Vec<Ipv4Addr> {
            self.engine.table.of(&[1, 0xfa, 0xaa, 0, 0, 0, client]).to_vec()
        }
    }
}
