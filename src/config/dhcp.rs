//! What a DHCP network is: a subnet whose clients get their addresses here, and its hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::{Collection, Edit, FlatNoun, Noun, collection};
use super::fault::{Faults, Pointer, Rule};
use super::id::Id;
use super::mac::MacAddress;
use super::name::{DomainName, Hostname};
use super::net::{Address, AddressRange, Prefix};
use super::wire;
pub use super::wire::StaticRoute;

/// Options that are the server's own business: framing, the lease itself, and what relays and clients say.
const RESERVED_OPTIONS: [u8; 15] = [0, 1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255];
/// The longest value of one option; with RFC 3396 it is split, and a message still fits an Ethernet frame.
const MAX_OPTION_OCTETS: usize = 1000;

/// A network that gets its addresses here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Everything but the hosts.
    pub settings: Arc<NetworkSettings>,
    /// Clients that always get one address.
    pub hosts: Collection<Host>,
}

/// Everything of a network but its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The guest interface whose clients, or whose relays, are served.
    pub interface: Id,
    /// The network, where it is named; [`super::Config::dhcp_subnet`] has it in every case.
    pub subnet: Option<Prefix>,
    /// Addresses for clients that are no configured host.
    pub ranges: Vec<AddressRange>,
    /// How long a lease is good for.
    pub lease_seconds: u32,
    /// Option 3; the interface's address in the network where absent.
    pub gateway: Option<Address>,
    /// Option 6; the router, where it serves DNS on the interface, where absent.
    pub dns_servers: Option<Vec<Address>>,
    /// Option 15, and the domain of the hosts' names.
    pub domain: Option<DomainName>,
    /// Option 26; the interface's where absent.
    pub mtu: Option<u16>,
    /// Option 121.
    pub static_routes: Vec<StaticRoute>,
    /// Further options; they win over what is derived.
    pub options: Options,
    /// Whether strangers get nothing, where that is said; see [`NetworkSettings::known_only`].
    pub known_only_given: Option<bool>,
}

impl NetworkSettings {
    /// Whether strangers get nothing: as said, else where there is no range to serve them from.
    #[must_use]
    pub fn known_only(&self) -> bool {
        self.known_only_given.unwrap_or(self.ranges.is_empty())
    }
}

/// A client that always gets one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// How it is known.
    pub mac: MacAddress,
    /// What it gets.
    pub ip: Address,
    /// Option 12, and its name in the network's domain.
    pub hostname: Option<Hostname>,
    /// Further options, for this host; they win over the network's.
    pub options: Options,
    /// Whether this is its main network: only then it gets a router and a DNS server.
    pub gateway: bool,
}

/// DHCP options by their number.
pub type Options = BTreeMap<u8, OptionValue>;

/// The value of a DHCP option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// IPv4 addresses; never empty.
    Addresses(Vec<Address>),
    /// Text; never empty.
    Text(String),
    /// Octets.
    Octets(Vec<u8>),
    /// One octet.
    U8(u8),
    /// Two octets in network order.
    U16(u16),
    /// Four octets in network order.
    U32(u32),
}

impl OptionValue {
    /// The value as it travels.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        match self {
            Self::Addresses(addresses) => {
                addresses.iter().flat_map(|address| address.get().octets()).collect()
            }
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Octets(octets) => octets.clone(),
            Self::U8(number) => vec![*number],
            Self::U16(number) => number.to_be_bytes().to_vec(),
            Self::U32(number) => number.to_be_bytes().to_vec(),
        }
    }
}

impl Noun for Network {
    fn edit(previous: Option<&Self>, mut edit: Edit, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let none = Collection::new();
        let hosts = previous.map_or(&none, |network| &network.hosts);
        let hosts = collection(hosts, edit.take("hosts"), &at.key("hosts"), faults);
        let settings = match previous {
            Some(network) if edit.is_nothing() => network.settings.clone(),
            _ => {
                let previous = previous.map(|network| network.settings.as_ref());
                Arc::new(NetworkSettings::edit(previous, edit, at, faults)?)
            }
        };
        Some(Self { settings, hosts })
    }
}

impl From<&Network> for wire::Network {
    fn from(network: &Network) -> Self {
        let Network { settings, hosts } = network;
        Self {
            settings: settings.write(),
            hosts: hosts.iter().map(|(id, host)| (id.clone(), host.write())).collect(),
        }
    }
}

impl FlatNoun for NetworkSettings {
    type Wire = wire::NetworkSettings;

    fn read(wire: wire::NetworkSettings, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::NetworkSettings {
            interface,
            subnet,
            ranges,
            lease_seconds,
            gateway,
            dns_servers,
            domain,
            mtu,
            static_routes,
            options,
            known_only,
        } = wire;
        for (index, range) in ranges.iter().enumerate() {
            if let Some(earlier) = ranges.iter().take(index).find(|earlier| earlier.overlaps(*range)) {
                faults.add(
                    at.key("ranges").index(index),
                    Rule::Overlap,
                    format!("{range} overlaps {earlier}"),
                );
            }
        }
        if lease_seconds == 0 {
            faults.add(at.key("lease_seconds"), Rule::OutOfRange, "a lease lasts at least one second");
        }
        if mtu.is_some_and(|mtu| mtu < 576) {
            faults.add(at.key("mtu"), Rule::OutOfRange, "an MTU is at least 576 octets");
        }
        if known_only == Some(false) && ranges.is_empty() {
            let detail = "strangers cannot be served without `ranges`";
            faults.add(at.key("known_only"), Rule::Contradiction, detail);
        }
        let options = read_options(options, &at.key("options"), faults);
        Some(Self {
            interface,
            subnet,
            ranges,
            lease_seconds,
            gateway,
            dns_servers,
            domain,
            mtu,
            static_routes,
            options,
            known_only_given: known_only,
        })
    }

    fn write(&self) -> wire::NetworkSettings {
        let Self {
            interface,
            subnet,
            ranges,
            lease_seconds,
            gateway,
            dns_servers,
            domain,
            mtu,
            static_routes,
            options,
            known_only_given,
        } = self;
        wire::NetworkSettings {
            interface: interface.clone(),
            subnet: *subnet,
            ranges: ranges.clone(),
            lease_seconds: *lease_seconds,
            gateway: *gateway,
            dns_servers: dns_servers.clone(),
            domain: domain.clone(),
            mtu: *mtu,
            static_routes: static_routes.clone(),
            options: write_options(options),
            known_only: *known_only_given,
        }
    }
}

impl FlatNoun for Host {
    type Wire = wire::Host;

    fn read(wire: wire::Host, at: &Pointer, faults: &mut Faults) -> Option<Self> {
        let wire::Host { mac, ip, hostname, options, gateway } = wire;
        Some(Self { mac, ip, hostname, options: read_options(options, &at.key("options"), faults), gateway })
    }

    fn write(&self) -> wire::Host {
        let Self { mac, ip, hostname, options, gateway } = self;
        wire::Host {
            mac: *mac,
            ip: *ip,
            hostname: hostname.clone(),
            options: write_options(options),
            gateway: *gateway,
        }
    }
}

fn read_options(wire: BTreeMap<String, wire::OptionValue>, at: &Pointer, faults: &mut Faults) -> Options {
    let mut options = Options::new();
    for (key, value) in wire {
        let place = at.key(&key);
        let plain = key.bytes().all(|byte| byte.is_ascii_digit()) && !key.starts_with('0');
        let Some(code) = key.parse::<u8>().ok().filter(|_| plain) else {
            faults.add(place, Rule::InvalidValue, format!("`{key}` is not an option's number from 2 to 254"));
            continue;
        };
        if RESERVED_OPTIONS.contains(&code) {
            faults.add(place, Rule::Unsupported, format!("option {code} is set by the server itself"));
            continue;
        }
        match read_option(value) {
            Ok(value) => {
                options.insert(code, value);
            }
            Err(detail) => faults.add(place, Rule::InvalidValue, detail),
        }
    }
    options
}

fn read_option(wire: wire::OptionValue) -> Result<OptionValue, &'static str> {
    let value = match wire {
        wire::OptionValue {
            addresses: Some(addresses),
            text: None,
            hex: None,
            u8: None,
            u16: None,
            u32: None,
        } => OptionValue::Addresses(addresses),
        wire::OptionValue {
            addresses: None,
            text: Some(text),
            hex: None,
            u8: None,
            u16: None,
            u32: None,
        } => OptionValue::Text(text),
        wire::OptionValue { addresses: None, text: None, hex: Some(hex), u8: None, u16: None, u32: None } => {
            OptionValue::Octets(octets(&hex).ok_or("`hex` is pairs of hexadecimal digits")?)
        }
        wire::OptionValue {
            addresses: None,
            text: None,
            hex: None,
            u8: Some(number),
            u16: None,
            u32: None,
        } => OptionValue::U8(number),
        wire::OptionValue {
            addresses: None,
            text: None,
            hex: None,
            u8: None,
            u16: Some(number),
            u32: None,
        } => OptionValue::U16(number),
        wire::OptionValue {
            addresses: None,
            text: None,
            hex: None,
            u8: None,
            u16: None,
            u32: Some(number),
        } => OptionValue::U32(number),
        _ => return Err("exactly one of addresses, text, hex, u8, u16, u32 is the value"),
    };
    match (&value, value.octets().len()) {
        (OptionValue::Addresses(_) | OptionValue::Text(_), 0) => Err("the value is empty"),
        (_, length) if length > MAX_OPTION_OCTETS => Err("the value is longer than 1000 octets"),
        _ => Ok(value),
    }
}

fn write_options(options: &Options) -> BTreeMap<String, wire::OptionValue> {
    let value = |value: &OptionValue| {
        let mut wire = wire::OptionValue::default();
        match value {
            OptionValue::Addresses(addresses) => wire.addresses = Some(addresses.clone()),
            OptionValue::Text(text) => wire.text = Some(text.clone()),
            OptionValue::Octets(octets) => {
                wire.hex = Some(octets.iter().map(|octet| format!("{octet:02x}")).collect());
            }
            OptionValue::U8(number) => wire.u8 = Some(*number),
            OptionValue::U16(number) => wire.u16 = Some(*number),
            OptionValue::U32(number) => wire.u32 = Some(*number),
        }
        wire
    };
    options.iter().map(|(code, option)| (code.to_string(), value(option))).collect()
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !matches!(byte, b':' | b' ')).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
