//! RELEASE and DECLINE: clients that do not want an address any more (RFC 2131 sections 4.3.3 and 4.3.4).

use std::net::Ipv4Addr;

use super::decision::{Action, Reason};
use super::engine::{Engine, Exchange, Outcome, QUARANTINE_SECONDS};
use super::table::{Entry, quarantined};
use crate::store::leases::{Lease, LeaseState};

impl Engine {
    /// The client is done with its address.
    pub(super) fn release(&mut self, exchange: Exchange<'_, '_>) -> Outcome {
        let address = match self.withdrawn(exchange, exchange.message.ciaddr()) {
            Ok(address) => address,
            Err(reason) => return (Vec::new(), Action::Ignore(reason)),
        };
        let now = exchange.now;
        let freed = match self.table.remove(address) {
            Some(Entry::Lease(lease)) => {
                vec![Lease { state: LeaseState::Free, since: now, expires: now, ..lease }]
            }
            _ => Vec::new(),
        };
        (freed, Action::Done)
    }

    /// The client found somebody else with its address. A dynamic address is given to nobody for a while; a host's is
    /// the host's still, and who uses it is for people to find out.
    pub(super) fn decline(&mut self, exchange: Exchange<'_, '_>) -> Outcome {
        let Exchange { scope, message, now, .. } = exchange;
        let binding = scope.binding(message, message.requested());
        if let Some((network, host)) = binding.filter(|(_, host)| Some(host.ip.get()) == message.requested())
        {
            if self.may_warn(now) {
                tracing::warn!(network = %network.id, mac = %host.mac, address = %host.ip,
                    "a configured host declined its address: another station on its network uses it");
            }
            return (Vec::new(), Action::Ignore(Reason::DeclinedBinding));
        }
        let address = match self.withdrawn(exchange, message.requested()) {
            Ok(address) => address,
            Err(reason) => return (Vec::new(), Action::Ignore(reason)),
        };
        let lease = quarantined(address, &[], now, now.after(QUARANTINE_SECONDS));
        self.table.insert(address, Entry::Lease(lease.clone()));
        (vec![lease], Action::Done)
    }

    /// The address, if it is the client's to withdraw from.
    fn withdrawn(&self, exchange: Exchange<'_, '_>, address: Option<Ipv4Addr>) -> Result<Ipv4Addr, Reason> {
        let Exchange { scope, message, now, .. } = exchange;
        if message.server().is_some_and(|server| !scope.is_own(server, message)) {
            return Err(Reason::OtherServer);
        }
        let address = address.ok_or(Reason::Malformed)?;
        let its_own =
            self.table.live(address, now).is_some_and(|entry| entry.client() == Some(message.client()));
        if its_own && scope.network_of(address).is_some() { Ok(address) } else { Err(Reason::NotHeld) }
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, Message, MessageType};

    use super::*;
    use crate::dhcp::decision::Sent;
    use crate::dhcp::testing::{SERVER, World, discover, ip, message, renewing, with};

    fn release(client: u8, address: Ipv4Addr) -> Message {
        let mut message = message(client, MessageType::Release);
        message.set_ciaddr(address);
        message.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
        message
    }

    fn decline(client: u8, address: Ipv4Addr) -> Message {
        let mut message = message(client, MessageType::Decline);
        message.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
        message
    }

    #[test]
    fn a_released_address_is_free() {
        let mut world = World::new();
        let address = world.lease(1);
        assert_eq!(world.ignored(&release(2, address)), Reason::NotHeld);
        assert_eq!(world.ignored(&with(release(1, address), 54, &[10, 1, 1, 2])), Reason::OtherServer);
        let decision = world.decide(&release(1, address));
        assert_eq!(decision.action, Action::Done);
        assert_eq!(decision.leases[0].state, LeaseState::Free);
        assert_eq!(world.answer(&with(discover(2), 50, &address.octets())).address(), address);
    }

    #[test]
    fn a_declined_address_is_nobodys_for_a_while() {
        let mut world = World::new();
        let address = world.lease(1);
        assert_eq!(world.ignored(&decline(2, address)), Reason::NotHeld);
        let decision = world.decide(&decline(1, address));
        assert_eq!(decision.leases[0].state, LeaseState::Quarantined);
        let wanted = with(discover(2), 50, &address.octets());
        assert_ne!(world.answer(&wanted).address(), address);
        assert_ne!(world.answer(&discover(1)).address(), address);
        assert_eq!(world.answer(&renewing(1, address)).kind(), Sent::Nak);
        world.pass(QUARANTINE_SECONDS);
        assert_eq!(world.answer(&wanted).address(), address);
    }

    #[test]
    fn a_host_keeps_the_address_that_it_declines() {
        let mut world = World::new();
        world.answer(&renewing(0x20, ip(20)));
        assert_eq!(world.ignored(&decline(0x20, ip(20))), Reason::DeclinedBinding);
        assert_eq!(world.answer(&discover(0x20)).address(), ip(20));
        assert_eq!(world.decide(&release(0x20, ip(20))).action, Action::Done);
        assert_eq!(world.engine.leases(world.now).count(), 0);
        assert_eq!(world.answer(&renewing(0x20, ip(20))).kind(), Sent::Ack);
    }
}
