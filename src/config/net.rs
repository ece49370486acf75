//! IPv4 addresses as the wire writes them: prefixes, interface addresses, ranges.
//!
//! IPv6 fits the same fields later; until then it is refused with a sentence that says so.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use ipnet::Ipv4Net;

use super::fault::Faults;
use super::text::{self, InvalidText, text_leaf};

/// One IPv4 address that a station can have: not unspecified, loopback, multicast, broadcast or class E.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Ipv4Addr);

impl Address {
    /// The plain address.
    #[must_use]
    pub const fn get(self) -> Ipv4Addr {
        self.0
    }
}

impl FromStr for Address {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let address = ipv4(text)?;
        if is_station(address) {
            Ok(Self(address))
        } else {
            Err(InvalidText::new(format!("{address} is not an address that a station can have")))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Address> for Ipv4Addr {
    fn from(address: Address) -> Self {
        address.0
    }
}

text_leaf!(Address, r"^\d{1,3}(\.\d{1,3}){3}$", "An IPv4 unicast address, such as `10.1.1.20`.");

/// A network: the bits behind the prefix are cleared. A plain address is its own /32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Ipv4Net);

impl Prefix {
    /// The network.
    #[must_use]
    pub const fn net(self) -> Ipv4Net {
        self.0
    }
}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Self {
        Self(net.trunc())
    }
}

impl FromStr for Prefix {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        Ok(Self(net(text)?.trunc()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_leaf!(Prefix, r"^\d{1,3}(\.\d{1,3}){3}(/\d{1,2})?$", "An IPv4 network, such as `10.1.1.0/24`.");

/// An address of the router on a network: address and prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress(Ipv4Net);

impl InterfaceAddress {
    /// The router's address.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        self.0.addr()
    }

    /// The network that the address is in.
    #[must_use]
    pub fn subnet(self) -> Ipv4Net {
        self.0.trunc()
    }

    /// Address and prefix length together.
    #[must_use]
    pub const fn net(self) -> Ipv4Net {
        self.0
    }
}

impl FromStr for InterfaceAddress {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if !text.contains('/') {
            return Err(InvalidText::new(format!("`{text}` lacks its prefix length, such as {text}/24")));
        }
        let net = net(text)?;
        if net.prefix_len() == 0 || !is_station(net.addr()) || !is_host_of(net, net.addr()) {
            return Err(InvalidText::new(format!(
                "{net} is not an address that a station can have in its network"
            )));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_leaf!(
    InterfaceAddress,
    r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$",
    "An address with the length of its network's prefix, such as `10.1.1.1/24`."
);

/// Addresses from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl AddressRange {
    /// The lowest address.
    #[must_use]
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub const fn last(self) -> Ipv4Addr {
        self.last
    }

    /// Whether `address` is one of the range.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl From<Ipv4Net> for AddressRange {
    fn from(net: Ipv4Net) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: ipv4(first.trim())?, last: ipv4(last.trim())? };
        if range.first > range.last {
            return Err(InvalidText::new(format!("`{text}` ends before it begins")));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

text_leaf!(
    AddressRange,
    r"^\d{1,3}(\.\d{1,3}){3}(-\d{1,3}(\.\d{1,3}){3})?$",
    "Addresses from the first to the last, such as `10.1.1.100-10.1.1.199`."
);

/// What a rule compares an address with: an address, a network or a range, kept as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressMatch {
    /// `10.1.1.1` or `10.1.1.0/24`.
    Prefix(Prefix),
    /// `10.1.1.100-10.1.1.199`.
    Range(AddressRange),
}

impl AddressMatch {
    /// The addresses that match.
    #[must_use]
    pub fn range(self) -> AddressRange {
        match self {
            Self::Prefix(prefix) => prefix.net().into(),
            Self::Range(range) => range,
        }
    }
}

impl FromStr for AddressMatch {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.contains('-') { text.parse().map(Self::Range) } else { text.parse().map(Self::Prefix) }
    }
}

impl fmt::Display for AddressMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) if prefix.net().prefix_len() == 32 => prefix.net().addr().fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}

text_leaf!(
    AddressMatch,
    r"^\d{1,3}(\.\d{1,3}){3}(/\d{1,2}|-\d{1,3}(\.\d{1,3}){3})?$",
    "An address, a network or a range: `10.1.1.1`, `10.1.1.0/24`, `10.1.1.100-10.1.1.199`."
);

/// Whether `address` can be a station's in `net`: not the network's or the broadcast address (RFC 3021 aside).
#[must_use]
pub fn is_host_of(net: Ipv4Net, address: Ipv4Addr) -> bool {
    net.contains(&address)
        && (net.prefix_len() >= 31 || (address != net.network() && address != net.broadcast()))
}

/// Whether two networks share addresses.
#[must_use]
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

const fn is_station(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

fn ipv4(text: &str) -> Result<Ipv4Addr, InvalidText> {
    text.parse().map_err(|_| {
        if text.parse::<Ipv6Addr>().is_ok() {
            InvalidText::new(format!("{text} is IPv6, which is not built yet"))
        } else {
            InvalidText::new(format!("`{text}` is not an IPv4 address"))
        }
    })
}

fn net(text: &str) -> Result<Ipv4Net, InvalidText> {
    let Some((address, length)) = text.split_once('/') else {
        return Ok(ipv4(text)?.into());
    };
    let address = ipv4(address)?;
    let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length = if plain { length.parse().ok() } else { None };
    length
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .ok_or_else(|| InvalidText::new(format!("`{text}` has no prefix length from 0 to 32")))
}

impl Deserr<Faults> for Ipv6Text {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        text::read(value, location)
    }
}

/// An IPv6 address inside a DNS record, the one place where IPv6 is data and not configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Text(pub Ipv6Addr);

impl FromStr for Ipv6Text {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        text.parse().map(Self).map_err(|_| InvalidText::new(format!("`{text}` is not an IPv6 address")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_comes_back_as_its_normal_form() {
        let cases = [("10.1.1.1", "10.1.1.1/32"), ("10.1.1.7/24", "10.1.1.0/24"), ("0.0.0.0/0", "0.0.0.0/0")];
        for (text, normal) in cases {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), normal);
        }
        for text in ["10.1.1.1", "10.1.1.0/24", "10.1.1.100-10.1.1.199"] {
            assert_eq!(text.parse::<AddressMatch>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.1.5".parse::<AddressRange>().unwrap().to_string(), "10.1.1.5");
    }

    #[test]
    fn an_interface_address_is_a_station_of_its_network() {
        for good in ["10.1.1.1/24", "198.51.100.5/32", "198.51.100.4/31", "198.51.100.5/31"] {
            assert_eq!(good.parse::<InterfaceAddress>().unwrap().to_string(), good);
        }
        for bad in [
            "10.1.1.1",
            "10.1.1.0/24",
            "10.1.1.255/24",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "0.0.0.0/0",
            "1.2.3.4/0",
            "1.2.3.4/33",
            "1.2.3.4/+8",
        ] {
            assert!(bad.parse::<InterfaceAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sentences_say_what_is_wrong() {
        assert_eq!(
            "2001:db8::1".parse::<Address>().unwrap_err().0,
            "2001:db8::1 is IPv6, which is not built yet"
        );
        assert_eq!(
            "10.1.1.9-10.1.1.1".parse::<AddressRange>().unwrap_err().0,
            "`10.1.1.9-10.1.1.1` ends before it begins"
        );
        assert_eq!("10.1.1.256".parse::<Prefix>().unwrap_err().0, "`10.1.1.256` is not an IPv4 address");
    }
}
