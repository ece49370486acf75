//! DISCOVER: which address a client is offered (RFC 2131 section 4.3.1).

use std::net::Ipv4Addr;

use super::decision::{Action, Probe, Reason, Sent};
use super::engine::{Engine, Exchange, OFFER_SECONDS, Outcome};
use super::reply::{Content, reply};
use super::scope::Via;
use super::snapshot::Served;
use super::table::{Entry, Offer};

impl Engine {
    /// A host is offered its own address; any other client what it has already, else a free address that is first
    /// looked for on the network.
    pub(super) fn discover(&mut self, exchange: Exchange<'_, '_>) -> Outcome {
        let Exchange { scope, message, now, .. } = exchange;
        if let Some((network, host)) = scope.binding(message, message.requested()) {
            let address = Some(host.ip.get());
            let content = Content { kind: Sent::Offer, network, host: Some(host), address };
            return (Vec::new(), Action::Answer(reply(message, &scope, content)));
        }
        if scope.open().next().is_none() {
            return (Vec::new(), Action::Ignore(Reason::Stranger));
        }
        if let Some((address, network)) = self.known(exchange) {
            let offer = match self.table.last(address) {
                Some(Entry::Offer(Offer { probed: false, .. })) => {
                    return (Vec::new(), Action::Ignore(Reason::Probing));
                }
                Some(Entry::Lease(lease)) if lease.is_live(now) => None,
                _ => Some(Offer {
                    client: message.client().into(),
                    until: now.after(OFFER_SECONDS),
                    probed: true,
                }),
            };
            if let Some(offer) = offer {
                self.table.insert(address, Entry::Offer(offer));
            }
            let content = Content { kind: Sent::Offer, network, host: None, address: Some(address) };
            return (Vec::new(), Action::Answer(reply(message, &scope, content)));
        }
        match self.search(exchange) {
            Some((address, network)) => (Vec::new(), self.probe(exchange, network, address)),
            None => (Vec::new(), Action::Ignore(Reason::NoFreeAddress)),
        }
    }

    /// The address that a client has, or had and nobody got since, if it can still have it.
    fn known<'s>(&self, exchange: Exchange<'s, '_>) -> Option<(Ipv4Addr, &'s Served)> {
        let Exchange { snapshot, scope, message, now } = exchange;
        let addresses = self.table.of(message.client()).iter().copied();
        addresses
            .filter_map(|address| Some((address, scope.network_of(address)?)))
            .filter(|(address, network)| {
                !network.settings.known_only() && snapshot.is_dynamic(network, *address)
            })
            // An offer that is over was not taken; whether the address is still free has to be looked for again.
            .find(|(address, _)| match self.table.last(*address) {
                Some(Entry::Offer(offer)) => offer.until > now,
                Some(Entry::Lease(_)) => true,
                None => false,
            })
    }

    /// A free address: in the network that the client asks for one of, else in the first that has any.
    fn search<'s>(&mut self, exchange: Exchange<'s, '_>) -> Option<(Ipv4Addr, &'s Served)> {
        let Exchange { snapshot, scope, message, now } = exchange;
        let wanted = message.requested();
        let asked =
            wanted.and_then(|wanted| scope.network_of(wanted)).filter(|asked| !asked.settings.known_only());
        let others = scope.open().filter(|network| asked.is_none_or(|asked| asked.id != network.id));
        for network in asked.into_iter().chain(others) {
            let cursor = self.cursors.entry(network.id.clone()).or_default();
            let address = cursor.search(snapshot, network, &self.table, message.client(), wanted, now);
            if let Some(address) = address {
                return Some((address, network));
            }
        }
        None
    }

    /// Keeps an address for a client while it is looked for on the network.
    pub(super) fn probe(
        &mut self,
        exchange: Exchange<'_, '_>,
        network: &Served,
        address: Ipv4Addr,
    ) -> Action {
        let Exchange { scope, message, now, .. } = exchange;
        if self.table.is_full() {
            return Action::Ignore(Reason::TooManyLeases);
        }
        let offer = Offer { client: message.client().into(), until: now.after(OFFER_SECONDS), probed: false };
        self.table.insert(address, Entry::Offer(offer));
        let on_link = network.around.on_link && scope.via == Via::Link;
        Action::Probe(Probe { address, client: message.ethernet(), on_link })
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::MessageType;
    use serde_json::json;

    use super::*;
    use crate::dhcp::testing::{World, discover, ip, message, selecting, with};
    use crate::store::leases::LeaseState;

    #[test]
    fn a_host_is_offered_its_address_and_nothing_is_looked_for() {
        let mut world = World::new();
        let decision = world.decide(&with(discover(0x20), 50, &[10, 1, 1, 100]));
        assert!(matches!(&decision.action, Action::Answer(reply) if reply.kind == Sent::Offer));
        assert!(decision.leases.is_empty());
        assert_eq!(world.answer(&discover(0x20)).address(), ip(20));
    }

    #[test]
    fn a_stranger_is_offered_what_nothing_answers_for() {
        let mut world = World::new();
        let first = world.decide(&discover(1)).action;
        let Action::Probe(Probe { address, client, on_link }) = first else { panic!("{first:?}") };
        assert_eq!((client, on_link), (Some([0xfa, 0xaa, 0, 0, 0, 1]), true));
        // It asks again while the address is looked for.
        assert_eq!(world.decide(&discover(1)).action, Action::Ignore(Reason::Probing));
        let lease = world.engine.probed(address, Some([2, 0, 0, 0, 0, 9]), world.now).unwrap();
        assert_eq!((lease.address, lease.state), (address, LeaseState::Quarantined));
        let second = world.decide(&discover(1)).action;
        let Action::Probe(Probe { address: other, .. }) = second else { panic!("{second:?}") };
        assert_ne!(other, address);
        world.engine.probed(other, None, world.now);
        assert_eq!(world.answer(&discover(1)).address(), other);
    }

    #[test]
    fn the_same_client_gets_the_same_address_again() {
        let mut world = World::new();
        let address = world.lease(1);
        assert_eq!(world.answer(&discover(1)).address(), address);
        // Long after its lease is over, and forgotten.
        world.pass(10_000);
        assert_eq!(world.answer(&discover(1)).address(), address);
    }

    #[test]
    fn a_wanted_address_is_offered_if_it_is_free() {
        let mut world = World::new();
        assert_eq!(world.answer(&with(discover(1), 50, &[10, 1, 1, 102])).address(), ip(102));
        let other = world.answer(&with(discover(2), 50, &[10, 1, 1, 102])).address();
        assert_ne!(other, ip(102));
        // Not one of a range, not the router's, and a host's.
        for wanted in [50, 1, 20] {
            let offered = world.answer(&with(discover(3), 50, &[10, 1, 1, wanted])).address();
            assert!((100..=103).contains(&offered.octets()[3]), "{offered}");
        }
    }

    #[test]
    fn an_offer_that_is_not_taken_is_free_again() {
        let mut world = World::new();
        for client in 1..=4 {
            world.answer(&discover(client));
        }
        assert_eq!(world.ignored(&discover(5)), Reason::NoFreeAddress);
        world.pass(OFFER_SECONDS);
        world.answer(&discover(5));
    }

    #[test]
    fn hosts_and_the_routers_own_addresses_are_left_out_of_the_ranges() {
        let mut world = World::with(json!({"dhcp": {"guest": {
            "ranges": ["10.1.1.1-10.1.1.4", "10.1.1.254"], "dns_servers": ["10.1.1.2"],
            "hosts": {"db": {"mac": "fa:aa:00:00:00:30", "ip": "10.1.1.3"}}}}}));
        assert_eq!(world.lease(1), ip(4));
        assert_eq!(world.ignored(&discover(2)), Reason::NoFreeAddress);
    }

    #[test]
    fn strangers_get_nothing_where_only_hosts_are_served() {
        let mut world = World::with(json!({"dhcp": {"guest": {"known_only": true}}}));
        assert_eq!(world.ignored(&discover(1)), Reason::Stranger);
        assert_eq!(world.answer(&discover(0x20)).address(), ip(20));
    }

    #[test]
    fn a_full_network_leaves_its_clients_to_the_next_on_the_link() {
        let mut world = World::with(json!({
            "interfaces": {"guest": {"addresses": ["10.1.1.1/24", "10.2.2.1/24"]}},
            "dhcp": {
                "guest": {"ranges": ["10.1.1.100"]},
                "more": {"interface": "guest", "subnet": "10.2.2.0/24", "ranges": ["10.2.2.50-10.2.2.60"],
                         "hosts": {"web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.2.2.20"}}}
            }
        }));
        assert_eq!(world.lease(1), ip(100));
        let offer = world.answer(&discover(2));
        assert_eq!(offer.address().octets()[..3], [10, 2, 2]);
        assert_eq!(offer.reply.source, Ipv4Addr::new(10, 2, 2, 1));
        // A host of both networks is served in the first, or in the one that it asks for.
        assert_eq!(world.answer(&discover(0x20)).address(), ip(20));
        let other = Ipv4Addr::new(10, 2, 2, 20);
        assert_eq!(world.answer(&with(discover(0x20), 50, &other.octets())).address(), other);
        assert_eq!(world.answer(&selecting(0x20, other)).address(), other);
    }

    #[test]
    fn a_full_range_is_looked_at_again() {
        let mut world = World::new();
        let addresses: Vec<Ipv4Addr> = (1..=4).map(|client| world.lease(client)).collect();
        assert_eq!(world.ignored(&discover(5)), Reason::NoFreeAddress);
        assert_eq!(world.ignored(&discover(6)), Reason::NoFreeAddress);
        let mut release = message(1, MessageType::Release);
        release.set_ciaddr(addresses[0]);
        world.decide(&release);
        world.pass(1);
        assert_eq!(world.answer(&discover(6)).address(), addresses[0]);
    }

    #[test]
    fn many_clients_get_as_many_addresses() {
        let mut world = World::with(json!({
            "interfaces": {"guest": {"addresses": ["10.1.1.1/16"]}},
            "dhcp": {"guest": {"ranges": ["10.1.1.100-10.1.4.0", "10.1.5.1-10.1.13.0"]}}
        }));
        // All but the next hop of a route, 10.1.1.254.
        let size = 157 + 2 * 256 + 8 * 256 - 1;
        let mut offers = std::collections::BTreeSet::new();
        for client in 0..size {
            let [high, low] = u16::to_be_bytes(client);
            let offer = world.answer(&with(discover(1), 61, &[0, high, low])).address();
            assert!(offers.insert(offer), "{offer} twice");
        }
        assert_eq!(world.ignored(&with(discover(1), 61, &[1, 0, 0])), Reason::NoFreeAddress);
    }
}
