//! The header of a reply (RFC 2131 table 3), and where the reply goes. Called by the reply.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{CLIENT_PORT, MAGIC, SERVER_PORT};

use super::decision::{Destination, Sent};
use super::message::Message;
use super::reply::Content;
use super::scope::{Scope, Via};

/// The header and the magic cookie behind it.
pub(super) const HEADER: usize = 240;
/// `op` of a message from a server.
const BOOT_REPLY: u8 = 2;
/// The broadcast flag.
const BROADCAST: u16 = 0x8000;
/// An Ethernet broadcast.
const EVERYBODY: [u8; 6] = [0xff; 6];

/// The fields of the header that say what to boot, or that options are put into.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// `siaddr`.
    pub(super) server: Option<Ipv4Addr>,
    /// `sname`, at most 64 octets.
    pub(super) server_name: Vec<u8>,
    /// `file`, at most 128 octets.
    pub(super) file: Vec<u8>,
}

/// The header of a reply.
pub(super) fn header(message: &Message<'_>, content: Content<'_>, fields: &Fields) -> [u8; HEADER] {
    let (hardware_type, chaddr) = message.hardware().split_first().unwrap_or((&0, &[]));
    // A relay can only reach a client whose address is refused by a broadcast (RFC 2131 section 4.3.2).
    let by_broadcast = content.kind == Sent::Nak && message.giaddr().is_some();
    let flags = message.flags() | if by_broadcast { BROADCAST } else { 0 };
    let ciaddr = message.ciaddr().filter(|_| content.kind == Sent::Ack);
    let mut header = [0; HEADER];
    let mut place = 0;
    let mut put = |value: &[u8], size: usize| {
        // A value never exceeds its field; if it did, it would be cut.
        header.iter_mut().skip(place).take(size).zip(value).for_each(|(octet, value)| *octet = *value);
        place += size;
    };
    put(&[BOOT_REPLY, *hardware_type, u8::try_from(chaddr.len()).unwrap_or(0), 0], 4);
    put(&message.xid().to_be_bytes(), 4);
    put(&[0, 0], 2);
    put(&flags.to_be_bytes(), 2);
    for address in [ciaddr, content.address, fields.server, message.giaddr()] {
        put(&address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(), 4);
    }
    put(chaddr, 16);
    put(&fields.server_name, 64);
    put(&fields.file, 128);
    put(&MAGIC, 4);
    header
}

/// Where a reply goes (RFC 2131 section 4.1). Who is on the link gets a frame: that needs no neighbour entry, of which
/// the kernel keeps fewer than there may be clients.
pub(super) fn destination(message: &Message<'_>, scope: &Scope<'_>, content: Content<'_>) -> Destination {
    let everybody = Destination::Frame(EVERYBODY, Ipv4Addr::BROADCAST);
    let socket = |address, port| Destination::Socket(SocketAddrV4::new(address, port));
    match scope.via {
        Via::Relay(relay) => socket(relay, SERVER_PORT),
        Via::Routed(client) => socket(client, CLIENT_PORT),
        Via::Link if content.kind == Sent::Nak => everybody,
        Via::Link => match (message.ciaddr().or(content.address), message.ethernet()) {
            (Some(address), Some(mac)) if message.ciaddr().is_some() || !message.wants_broadcast() => {
                Destination::Frame(mac, address)
            }
            _ => everybody,
        },
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::DhcpOption;
    use serde_json::json;

    use super::*;
    use crate::dhcp::testing::{
        SERVER, World, broadcasting, discover, init_reboot, ip, renewing, selecting, with,
    };

    #[test]
    fn replies_go_where_they_can_be_heard() {
        let mut world = World::new();
        let mac = [0xfa, 0xaa, 0, 0, 0, 0x20];
        let everybody = Destination::Frame(EVERYBODY, Ipv4Addr::BROADCAST);
        assert_eq!(world.answer(&discover(0x20)).reply.to, Destination::Frame(mac, ip(20)));
        let broadcast = world.answer(&broadcasting(discover(0x20)));
        assert_eq!((broadcast.reply.to, broadcast.message.flags().broadcast()), (everybody, true));
        // Who has the address is reached there, whatever the flag.
        let renewed = world.answer(&broadcasting(renewing(0x20, ip(20))));
        assert_eq!((renewed.reply.to, renewed.message.ciaddr()), (Destination::Frame(mac, ip(20)), ip(20)));
        assert_eq!(world.answer(&init_reboot(0x20, ip(9))).reply.to, everybody);
    }

    #[test]
    fn relays_choose_the_network_and_may_stand_for_the_server() {
        let mut world = World::with(json!({"dhcp": {"far": {
            "interface": "guest", "subnet": "10.9.1.0/24", "gateway": "10.9.1.1", "ranges": ["10.9.1.10-10.9.1.20"]}}}));
        let relay = Ipv4Addr::new(10, 9, 1, 1);
        let mut ask = discover(1);
        ask.set_giaddr(relay);
        let offer = world.answer(&ask);
        assert_eq!(offer.address().octets()[..3], [10, 9, 1]);
        assert_eq!((offer.reply.source, offer.routers()), (SERVER, Some(vec![relay])));
        // The same by link selection (RFC 3527), through a relay with an address elsewhere.
        let agent = [5, 4, 10, 9, 1, 0, 11, 4, 10, 9, 1, 1];
        let mut ask = with(discover(2), 82, &agent);
        ask.set_giaddr(ip(254));
        let offer = world.answer(&ask);
        assert_eq!(offer.address().octets()[..3], [10, 9, 1]);
        assert_eq!(offer.option(54), Some(&DhcpOption::ServerIdentifier(relay)));
        let mut ask = with(with(selecting(2, offer.address()), 82, &agent), 54, &relay.octets());
        ask.set_giaddr(ip(254));
        assert_eq!(world.answer(&ask).kind(), Sent::Ack);
        // It renews by itself, through routers.
        let renewed = world.answer(&renewing(2, offer.address()));
        assert_eq!(renewed.reply.to, Destination::Socket(SocketAddrV4::new(offer.address(), 68)));
        // Nobody is served behind a relay that no network is configured for.
        let mut ask = discover(3);
        ask.set_giaddr(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(world.ignored(&ask), crate::dhcp::Reason::NotServed);
        // A client on the link is not given an address of the network behind it.
        assert_eq!(world.answer(&discover(4)).address().octets()[..3], [10, 1, 1]);
    }
}
