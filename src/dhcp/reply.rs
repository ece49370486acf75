//! What the server says: the octets of a reply. Called by the engine.
//!
//! A reply is laid out by RFC 2131 section 4.3.1: what every reply has, then what the client asked for in its order,
//! then what is given back to it and its relay. Where that does not fit what the client takes, the fields `file` and
//! `sname` are used too (option 52), and what does not fit even there is left out, last wishes first.

use std::net::Ipv4Addr;

use dhcproto::v4::MIN_PACKET_SIZE;

use super::decision::{Reply, Sent};
use super::header::{Fields, HEADER, destination, header};
use super::message::Message;
use super::options::{BOOT_FILE, HOSTNAME, OptionSet, TFTP_SERVER, encode, encoded_length};
use super::scope::Scope;
use super::snapshot::Served;
use crate::config::dhcp::Host;

/// What every client takes (RFC 2131 section 2), with its IP and UDP headers.
const MIN_MAX_SIZE: u16 = 576;
/// The IP and UDP headers.
const PACKET_HEADERS: usize = 28;
/// Room for most replies.
const CAPACITY: usize = 400;
/// A lease without end (RFC 2131 section 3.3); it is never renewed.
const FOREVER: u32 = u32::MAX;
/// Options that every reply says by itself, whether or not they are asked for.
const PLACED: [u8; 9] = [1, 51, 52, 53, 54, 58, 59, 61, 82];

/// What a reply is to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'s> {
    pub(super) kind: Sent,
    pub(super) network: &'s Served,
    /// The host's configuration, where the client is one.
    pub(super) host: Option<&'s Host>,
    /// The address that the client gets.
    pub(super) address: Option<Ipv4Addr>,
}

/// The reply to a message.
pub(super) fn reply(message: &Message<'_>, scope: &Scope<'_>, content: Content<'_>) -> Reply {
    let own;
    let set: &OptionSet = match content.host {
        Some(host) if !host.options.is_empty() => {
            let network = content.network;
            own = OptionSet::new(&network.settings, &network.around, host.gateway, &host.options);
            &own
        }
        host => content.network.options(host.is_none_or(|host| host.gateway)),
    };
    let source = content.network.around.server;
    let server = message.server_override().filter(|_| message.giaddr().is_some()).unwrap_or(source);
    // The header comes when it is known what its fields are used for.
    let mut octets = Vec::with_capacity(CAPACITY);
    octets.resize(HEADER, 0);
    octets.extend([53, 1, code(content.kind), 54, 4]);
    octets.extend(server.octets());
    let boot = set.boot.as_ref().filter(|_| content.kind != Sent::Nak);
    let mut fields = Fields { server: boot.map(|boot| boot.server), ..Fields::default() };
    if content.kind != Sent::Nak {
        fixed(&mut octets, content);
        let limit = limit(message, scope).saturating_sub(length_given_back(message));
        let start = octets.len();
        wished(message, content.host, set).for_each(|wish| wish.write(&mut octets));
        if octets.len() <= limit {
            if let Some(boot) = boot {
                (fields.server_name, fields.file) = (boot.server_name.to_vec(), boot.file.to_vec());
            }
        } else {
            octets.truncate(start);
            let mut wishes: Vec<Wish<'_>> = wished(message, content.host, set).collect();
            // The header's fields are needed, so what they would say goes first among the options.
            if boot.is_some() {
                let forced =
                    [BOOT_FILE, TFTP_SERVER].iter().filter_map(|code| set.get(*code).map(Wish::Option));
                wishes.retain(|wish| !matches!(wish, Wish::Option([BOOT_FILE | TFTP_SERVER, ..])));
                wishes = forced.chain(wishes).collect();
            }
            overload(&mut octets, &mut fields, &wishes, limit);
        }
    }
    give_back(message, &mut octets);
    if octets.len() < MIN_PACKET_SIZE {
        octets.resize(MIN_PACKET_SIZE, 0);
    }
    if let Some(place) = octets.first_chunk_mut::<HEADER>() {
        *place = header(message, content, &fields);
    }
    Reply {
        kind: content.kind,
        network: content.network.id.clone(),
        source,
        to: destination(message, scope, content),
        message: octets,
    }
}

/// How long the message may be: what the client takes, and what passes the device in one piece.
fn limit(message: &Message<'_>, scope: &Scope<'_>) -> usize {
    let takes = message.max_size().unwrap_or(MIN_MAX_SIZE).max(MIN_MAX_SIZE);
    let passes = u16::try_from(scope.listener.mtu).unwrap_or(u16::MAX).max(MIN_MAX_SIZE);
    usize::from(takes.min(passes)) - PACKET_HEADERS
}

/// The subnet mask, and how long the lease is good for where there is one.
fn fixed(octets: &mut Vec<u8>, content: Content<'_>) {
    octets.extend([1, 4]);
    octets.extend(content.network.around.subnet.netmask().octets());
    if content.address.is_none() {
        return;
    }
    let seconds = content.network.settings.lease_seconds;
    let mut time = |code: u8, seconds: u32| {
        octets.extend([code, 4]);
        octets.extend(seconds.to_be_bytes());
    };
    time(51, seconds);
    if seconds != FOREVER {
        time(58, seconds / 2);
        time(59, seconds - seconds / 8);
    }
}

/// Something that the client wants to know.
#[derive(Clone, Copy)]
enum Wish<'s> {
    /// An option as it travels.
    Option(&'s [u8]),
    /// Its name.
    Hostname(&'s str),
}

impl Wish<'_> {
    fn write(&self, octets: &mut Vec<u8>) {
        match self {
            Self::Option(option) => octets.extend_from_slice(option),
            Self::Hostname(name) => encode(HOSTNAME, name.as_bytes(), octets),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Option(option) => option.len(),
            Self::Hostname(name) => encoded_length(name.as_bytes()),
        }
    }
}

/// What the client wants to know and can be told, in its order; everything where it does not say.
fn wished<'s>(
    message: &'s Message<'_>,
    host: Option<&'s Host>,
    set: &'s OptionSet,
) -> impl Iterator<Item = Wish<'s>> {
    let mut said = [false; 256];
    for code in PLACED {
        if let Some(said) = said.get_mut(usize::from(code)) {
            *said = true;
        }
    }
    let own_name = host.filter(|host| !host.options.contains_key(&HOSTNAME));
    let name = own_name.and_then(|host| host.hostname.as_ref());
    let asked = message.parameters().map(|codes| codes.iter().copied());
    let everything = asked.is_none().then(|| set.codes().chain([HOSTNAME]));
    let codes = asked.into_iter().flatten().chain(everything.into_iter().flatten());
    codes.filter_map(move |code| {
        if std::mem::replace(said.get_mut(usize::from(code))?, true) {
            return None;
        }
        match name {
            Some(name) if code == HOSTNAME => Some(Wish::Hostname(name.as_str())),
            _ => set.get(code).map(Wish::Option),
        }
    })
}

/// What a client and its relay said and is given back: the client's identifier (RFC 6842), and as the last option what
/// the relay added (RFC 3046); behind it the end.
fn give_back(message: &Message<'_>, octets: &mut Vec<u8>) {
    if let Some(id) = message.client_id() {
        encode(61, id, octets);
    }
    if let Some(agent) = message.relay_agent() {
        encode(82, agent, octets);
    }
    octets.push(255);
}

fn length_given_back(message: &Message<'_>) -> usize {
    message.client_id().map_or(0, encoded_length) + message.relay_agent().map_or(0, encoded_length) + 1
}

/// Puts as many wishes as fit into the options, then into `file`, then into `sname`; never one into two of them.
fn overload(octets: &mut Vec<u8>, fields: &mut Fields, wishes: &[Wish<'_>], limit: usize) {
    let option = 3;
    let mut rest = Vec::new();
    for wish in wishes {
        if octets.len() + wish.length() + option <= limit {
            wish.write(octets);
        } else {
            rest.push(wish);
        }
    }
    for (field, size) in [(&mut fields.file, 128), (&mut fields.server_name, 64)] {
        rest.retain(|wish| {
            let fits = field.len() + wish.length() < size;
            if fits {
                wish.write(field);
            }
            !fits
        });
        if !field.is_empty() {
            field.push(255);
        }
    }
    let used = u8::from(!fields.file.is_empty()) | u8::from(!fields.server_name.is_empty()) << 1;
    if used != 0 {
        octets.extend([52, 1, used]);
    }
    if !rest.is_empty() {
        tracing::debug!(options = rest.len(), "left options out that the client has no room for");
    }
}

const fn code(kind: Sent) -> u8 {
    match kind {
        Sent::Offer => 2,
        Sent::Ack => 5,
        Sent::Nak => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use dhcproto::v4::DhcpOption;
    use dhcproto::v4::borrowed::DhcpOptionIterator;
    use dhcproto::v4::relay::RelayAgentInformation;
    use serde_json::json;

    use super::*;
    use crate::dhcp::decision::Destination;
    use crate::dhcp::testing::{SERVER, World, asking, discover, init_reboot, ip, selecting, with};

    #[test]
    fn what_every_client_needs_is_always_there() {
        let mut world = World::new();
        let offer = world.answer(&asking(discover(0x20), &[2]));
        let expected = [
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::AddressLeaseTime(600),
            DhcpOption::MessageType(dhcproto::v4::MessageType::Offer),
            DhcpOption::ServerIdentifier(SERVER),
            DhcpOption::Renewal(300),
            DhcpOption::Rebinding(525),
        ];
        assert_eq!(
            offer.message.opts().iter().map(|(_, option)| option.clone()).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(offer.reply.message.len(), MIN_PACKET_SIZE);
        assert_eq!(offer.message.xid(), 0xabcd_0020);
        assert_eq!(offer.message.chaddr(), [0xfa, 0xaa, 0, 0, 0, 0x20]);
    }

    #[test]
    fn a_client_gets_what_it_asks_for_in_its_order() {
        let mut world = World::new();
        let ack = world.answer(&asking(selecting(0x20, ip(20)), &[12, 15, 6, 3, 28, 42, 12]));
        let codes: Vec<u8> = DhcpOptionIterator::new(&ack.reply.message[HEADER..])
            .map(|option| option.code().into())
            .collect();
        assert_eq!(codes, [53, 54, 1, 51, 58, 59, 12, 15, 6, 3, 28]);
        assert_eq!(ack.option(12), Some(&DhcpOption::Hostname("web1".into())));
        assert_eq!(ack.option(15), Some(&DhcpOption::DomainName("demo.local".into())));
        assert_eq!(ack.option(6), Some(&DhcpOption::DomainNameServer(vec![SERVER])));
        assert_eq!(ack.option(28), Some(&DhcpOption::BroadcastAddr(ip(255))));
    }

    #[test]
    fn who_asks_for_nothing_gets_everything() {
        let mut world =
            World::with(json!({"dhcp": {"guest": {"options": {"42": {"addresses": ["10.1.1.9"]}}}}}));
        let ack = world.answer(&selecting(0x20, ip(20)));
        assert_eq!(ack.routers(), Some(vec![SERVER]));
        assert_eq!(ack.option(42), Some(&DhcpOption::NtpServers(vec![ip(9)])));
        assert_eq!(ack.option(12), Some(&DhcpOption::Hostname("web1".into())));
    }

    #[test]
    fn identifier_and_relay_information_are_given_back() {
        let mut world = World::new();
        let agent = [1, 4, b'e', b't', b'h', b'1', 2, 2, 0xca, 0xfe];
        let mut ask = with(with(discover(0x20), 61, b"\xffclient"), 82, &agent);
        ask.set_giaddr(ip(5));
        let offer = world.answer(&ask);
        assert_eq!(offer.reply.to, Destination::Socket(SocketAddrV4::new(ip(5), 67)));
        assert_eq!(offer.message.giaddr(), ip(5));
        assert_eq!(offer.option(61), Some(&DhcpOption::ClientIdentifier(b"\xffclient".to_vec())));
        let Some(DhcpOption::RelayAgentInformation(RelayAgentInformation { .. })) = offer.option(82) else {
            panic!("{:?}", offer.message)
        };
        let end: Vec<u8> = [82, 10].into_iter().chain(agent).chain([255]).collect();
        assert!(offer.reply.message.windows(end.len()).any(|window| window == end), "option 82 comes last");
        // A refusal has to be broadcast by the relay.
        let mut ask = init_reboot(0x20, ip(9));
        ask.set_giaddr(ip(5));
        let nak = world.answer(&ask);
        assert!(nak.message.flags().broadcast());
        assert_eq!(nak.reply.to, Destination::Socket(SocketAddrV4::new(ip(5), 67)));
    }

    #[test]
    fn a_boot_file_stands_in_the_header_and_in_the_options() {
        let options =
            json!({"66": {"text": "10.1.1.9"}, "67": {"text": "pxelinux.0"}, "60": {"text": "PXEClient"}});
        let mut world = World::with(json!({"dhcp": {"guest": {"options": options}}}));
        let offer = world.answer(&asking(discover(0x20), &[66, 67, 60]));
        assert_eq!(offer.message.siaddr(), ip(9));
        assert_eq!(offer.message.fname(), Some(b"pxelinux.0\0".as_slice()));
        assert_eq!(offer.message.sname(), Some(b"10.1.1.9\0".as_slice()));
        assert_eq!(offer.option(67), Some(&DhcpOption::BootfileName(b"pxelinux.0".to_vec())));
        assert_eq!(offer.option(60), Some(&DhcpOption::ClassIdentifier(b"PXEClient".to_vec())));
        let offer = world.answer(&asking(discover(0x20), &[2]));
        assert_eq!((offer.message.siaddr(), offer.option(67)), (ip(9), None));
        assert_eq!(offer.message.fname(), Some(b"pxelinux.0\0".as_slice()));
    }

    #[test]
    fn long_options_are_split_for_those_who_take_them() {
        let hex = "ab".repeat(600);
        let mut world = World::with(json!({"dhcp": {"guest": {"options": {"43": {"hex": hex}}}}}));
        let ask = with(asking(discover(0x20), &[3, 43, 6]), 57, &1400u16.to_be_bytes());
        let offer = world.answer(&ask);
        assert_eq!(offer.option(43), Some(&DhcpOption::VendorExtensions(vec![0xab; 600])));
        // Who takes 576 octets gets what fits.
        let offer = world.answer(&asking(discover(0x20), &[3, 43, 6]));
        assert_eq!((offer.option(43), offer.routers()), (None, Some(vec![SERVER])));
        assert!(offer.option(6).is_some() && offer.reply.message.len() <= 548);
    }

    #[test]
    fn what_does_not_fit_is_put_into_the_header() {
        let text = |length: usize| json!({"text": "x".repeat(length)});
        let options =
            json!({"66": text(20), "67": text(30), "17": text(200), "18": text(100), "40": text(50)});
        let mut world = World::with(json!({"dhcp": {"guest": {"options": options}}}));
        let offer = world.answer(&asking(discover(0x20), &[17, 18, 40, 3]));
        let octets = &offer.reply.message;
        assert!(octets.len() <= 548, "{}", octets.len());
        assert_eq!(offer.option(52), Some(&DhcpOption::OptionOverload(3)));
        let read = |field: &[u8]| -> Vec<(u8, usize)> {
            DhcpOptionIterator::new(field).map(|option| (option.code().into(), option.len())).collect()
        };
        assert_eq!(read(&octets[108..236]), [(18, 100)]);
        assert_eq!(read(&octets[44..108]), [(40, 50)]);
        let main = read(&octets[HEADER..]);
        assert!(
            [(67, 30), (66, 20), (17, 200), (3, 4)].iter().all(|option| main.contains(option)),
            "{main:?}"
        );
    }

    #[test]
    fn an_endless_lease_is_not_renewed() {
        let mut world = World::with(json!({"dhcp": {"guest": {"lease_seconds": u32::MAX}}}));
        let offer = world.answer(&discover(0x20));
        assert_eq!(offer.option(51), Some(&DhcpOption::AddressLeaseTime(FOREVER)));
        assert!(offer.option(58).is_none() && offer.option(59).is_none());
    }
}
