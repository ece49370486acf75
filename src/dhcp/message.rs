//! What a client or a relay says: a datagram as the values that decisions are made of.
//!
//! Reads the header and the options of RFC 2131 and 2132, options that are spread over several instances (RFC 3396) or
//! over the fields `file` and `sname` (option 52), and the relay's sub-options that matter (RFC 3527, RFC 5107). Any
//! octets at all may come in. Called by the engine.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message as Header};
use dhcproto::v4::{MAGIC, OptionCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::MacAddress;

/// `op` of a message to a server.
const BOOT_REQUEST: u8 = 1;
/// Ethernet (RFC 1700).
const ETHERNET: u8 = 1;
/// The field `chaddr`.
const MAX_HARDWARE: usize = 16;
/// The longest name that is remembered (RFC 1035).
const MAX_HOSTNAME: usize = 253;

/// What a client can say (RFC 2131 section 3.1, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Received {
    /// Is there a server with an address for me?
    Discover,
    /// I want this address, or to keep it.
    Request,
    /// Somebody has this address already.
    Decline,
    /// I am done with this address.
    Release,
    /// I have an address; what else should I know?
    Inform,
}

/// Why a datagram is no message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message from a client, perhaps through a relay.
#[derive(Debug)]
pub(super) struct Message<'a> {
    header: Header<'a>,
    /// What it is.
    pub(super) kind: Received,
    /// Hardware type and behind it the hardware address, as far as [`Message::hardware_length`].
    hardware: [u8; 1 + MAX_HARDWARE],
    hardware_length: usize,
    options: Options,
}

/// The options that matter; the last instance of a fixed one counts.
#[derive(Debug, Default)]
struct Options {
    kind: Option<u8>,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    max_size: Option<u16>,
    overload: u8,
    parameters: Option<Vec<u8>>,
    client_id: Option<Vec<u8>>,
    relay_agent: Option<Vec<u8>>,
    hostname: Option<Vec<u8>>,
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    pub(super) fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::new(datagram).map_err(|_| Malformed)?;
        let [op, hardware_type, hardware_length, ..] = *datagram else { return Err(Malformed) };
        let hardware_length = usize::from(hardware_length);
        let chaddr = datagram.get(28..28 + MAX_HARDWARE).ok_or(Malformed)?;
        if op != BOOT_REQUEST || hardware_length > MAX_HARDWARE || datagram.get(236..240) != Some(&MAGIC) {
            return Err(Malformed);
        }
        let mut hardware = [0; 1 + MAX_HARDWARE];
        if let Some((first, rest)) = hardware.split_first_mut() {
            *first = hardware_type;
            rest.copy_from_slice(chaddr);
        }
        let mut options = Options::default();
        options.read(datagram.get(240..).unwrap_or_default());
        // The order is that of RFC 3396 section 5; what stands in those fields cannot overload them again.
        let overload = options.overload;
        if overload & 1 != 0 {
            options.read(datagram.get(108..236).unwrap_or_default());
        }
        if overload & 2 != 0 {
            options.read(datagram.get(44..108).unwrap_or_default());
        }
        let kind = match options.kind {
            Some(1) => Received::Discover,
            Some(3) => Received::Request,
            Some(4) => Received::Decline,
            Some(7) => Received::Release,
            Some(8) => Received::Inform,
            _ => return Err(Malformed),
        };
        let message = Self { header, kind, hardware, hardware_length, options };
        // A client has to be told from others by something (RFC 2131 section 4.2).
        if message.hardware_length == 0 && message.client_id().is_none() {
            Err(Malformed)
        } else {
            Ok(message)
        }
    }

    /// Option 61, unless it is too short to be one (RFC 2132 section 9.14).
    pub(super) fn client_id(&self) -> Option<&[u8]> {
        self.options.client_id.as_deref().filter(|id| id.len() >= 2)
    }

    /// The hardware type and behind it the hardware address.
    pub(super) fn hardware(&self) -> &[u8] {
        self.hardware.get(..=self.hardware_length).unwrap_or(&self.hardware)
    }

    /// What tells the client from all others: its identifier, else type and address of its hardware.
    pub(super) fn client(&self) -> &[u8] {
        self.client_id().unwrap_or_else(|| self.hardware())
    }

    /// The octets of its Ethernet address, whatever they are.
    pub(super) fn ethernet(&self) -> Option<[u8; 6]> {
        match self.hardware() {
            [ETHERNET, octets @ ..] => octets.try_into().ok(),
            _ => None,
        }
    }

    /// Its Ethernet address, if it is one that a station can have.
    pub(super) fn mac(&self) -> Option<MacAddress> {
        self.ethernet().and_then(MacAddress::from_octets)
    }

    /// The transaction.
    pub(super) fn xid(&self) -> u32 {
        self.header.xid()
    }

    /// The flags as they came.
    pub(super) fn flags(&self) -> u16 {
        self.header.flags().into()
    }

    /// Whether it can only hear broadcasts.
    pub(super) fn wants_broadcast(&self) -> bool {
        self.header.flags().broadcast()
    }

    /// The address that the client has.
    pub(super) fn ciaddr(&self) -> Option<Ipv4Addr> {
        specified(self.header.ciaddr())
    }

    /// The relay that it came through.
    pub(super) fn giaddr(&self) -> Option<Ipv4Addr> {
        specified(self.header.giaddr())
    }

    /// Option 50: the address that the client wants.
    pub(super) fn requested(&self) -> Option<Ipv4Addr> {
        self.options.requested.and_then(specified)
    }

    /// Option 54: the server that the client means.
    pub(super) fn server(&self) -> Option<Ipv4Addr> {
        self.options.server
    }

    /// Option 57: the largest message that the client takes, with its IP and UDP headers.
    pub(super) fn max_size(&self) -> Option<u16> {
        self.options.max_size
    }

    /// Option 55: what the client wants to know, in its order.
    pub(super) fn parameters(&self) -> Option<&[u8]> {
        self.options.parameters.as_deref()
    }

    /// Option 82 as it came.
    pub(super) fn relay_agent(&self) -> Option<&[u8]> {
        self.options.relay_agent.as_deref()
    }

    /// The relay's link selection (RFC 3527): an address of the client's network, where it is not `giaddr`'s.
    pub(super) fn link_selection(&self) -> Option<Ipv4Addr> {
        self.sub_option(5).and_then(address).and_then(specified)
    }

    /// The address that the relay wants to be taken for the server by (RFC 5107).
    pub(super) fn server_override(&self) -> Option<Ipv4Addr> {
        self.sub_option(11).and_then(address).and_then(specified)
    }

    /// Option 12 if it is a name that can be shown: letters, digits, hyphens, underscores and dots.
    pub(super) fn hostname(&self) -> Option<&str> {
        let name = std::str::from_utf8(self.options.hostname.as_deref()?).ok()?.trim_end_matches('\0');
        let plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        (plain && (1..=MAX_HOSTNAME).contains(&name.len())).then_some(name)
    }

    fn sub_option(&self, code: u8) -> Option<&[u8]> {
        let mut rest = self.relay_agent()?;
        while let [found, length, behind @ ..] = rest {
            let (value, next) = behind.split_at_checked(usize::from(*length))?;
            if *found == code {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

impl Options {
    fn read(&mut self, field: &[u8]) {
        for option in DhcpOptionIterator::new(field) {
            let data = option.data();
            match option.code() {
                OptionCode::MessageType => self.kind = data.first().copied().or(self.kind),
                OptionCode::RequestedIpAddress => self.requested = address(data).or(self.requested),
                OptionCode::ServerIdentifier => self.server = address(data).or(self.server),
                OptionCode::MaxMessageSize => {
                    self.max_size = data.try_into().ok().map(u16::from_be_bytes).or(self.max_size);
                }
                OptionCode::OptionOverload => self.overload = data.first().copied().unwrap_or(0),
                OptionCode::ParameterRequestList => append(&mut self.parameters, data),
                OptionCode::ClientIdentifier => append(&mut self.client_id, data),
                OptionCode::RelayAgentInformation => append(&mut self.relay_agent, data),
                OptionCode::Hostname => append(&mut self.hostname, data),
                _ => {}
            }
        }
    }
}

/// Instances of one option are one value (RFC 3396 section 7).
fn append(value: &mut Option<Vec<u8>>, data: &[u8]) {
    value.get_or_insert_default().extend_from_slice(data);
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use dhcproto::Encodable;
    use proptest::prelude::*;

    use super::*;
    use crate::dhcp::testing::{discover, with};

    #[test]
    fn options_are_gathered_from_wherever_they_stand() {
        let mut octets = discover(1).to_vec().unwrap();
        octets.truncate(240);
        octets.extend([53, 1, 1, 55, 2, 1, 3, 61, 2, 0, 1, 55, 1, 6, 52, 1, 3, 255]);
        octets[108..113].copy_from_slice(&[55, 1, 15, 255, 0]);
        octets[44..50].copy_from_slice(&[50, 4, 10, 1, 1, 9]);
        octets[50] = 255;
        let message = Message::parse(&octets).unwrap();
        assert_eq!(message.parameters(), Some([1, 3, 6, 15].as_slice()));
        assert_eq!(message.requested(), Some(Ipv4Addr::new(10, 1, 1, 9)));
        assert_eq!(message.client(), [0, 1]);
    }

    #[test]
    fn names_are_shown_only_if_they_are_plain() {
        let name = |name: &[u8]| {
            let octets = with(discover(1), 12, name).to_vec().unwrap();
            Message::parse(&octets).unwrap().hostname().map(str::to_owned)
        };
        assert_eq!(name(b"web-1.demo\0").as_deref(), Some("web-1.demo"));
        for bad in [b"\0".as_slice(), b"a b", b"\xff", b"<script>", &[b'x'; 254]] {
            assert_eq!(name(bad), None);
        }
    }

    #[test]
    fn what_is_no_message_of_a_client_is_told() {
        let good = discover(1).to_vec().unwrap();
        assert!(Message::parse(&good).is_ok());
        for (place, octet) in [(0, 2), (2, 17), (236, 0), (242, 2), (242, 99), (2, 0)] {
            let mut octets = good.clone();
            octets[place] = octet;
            assert!(Message::parse(&octets).is_err(), "octet {place}");
        }
        for length in 0..242 {
            assert!(Message::parse(&good[..length]).is_err(), "length {length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_octets_make_the_reader_panic(
            mut octets in prop::collection::vec(any::<u8>(), 0..700),
            sound in any::<bool>(),
        ) {
            if sound && octets.len() > 243 {
                octets[0] = 1;
                octets[2] %= 17;
                octets[236..240].copy_from_slice(&MAGIC);
                octets[240..243].copy_from_slice(&[53, 1, 3]);
            }
            if let Ok(message) = Message::parse(&octets) {
                let _ = (message.client(), message.mac(), message.hostname(), message.link_selection());
                let _ = (message.server_override(), message.xid(), message.flags(), message.max_size());
            }
        }
    }
}
