//! `dhcp.<id>` on the wire.

use std::collections::BTreeMap;

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::mac::MacAddress;
use crate::config::name::{DomainName, Hostname};
use crate::config::net::{Address, AddressRange, Prefix};

/// The length of a lease where nothing else is said: a day.
pub(super) const LEASE_SECONDS: u32 = 86_400;

const fn lease_seconds() -> u32 {
    LEASE_SECONDS
}

/// A network that gets its addresses here. Everything but its hosts.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct NetworkSettings {
    /// The guest interface whose clients, or whose relays, are served.
    pub interface: Id,
    /// The network; by default the interface's subnet that holds the ranges and hosts. A network behind relays names
    /// its own.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Prefix>,
    /// Addresses for clients that are no configured host.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub ranges: Vec<AddressRange>,
    /// How long a lease is good for.
    #[deserr(default = LEASE_SECONDS)]
    #[schemars(default = "lease_seconds", range(min = 1))]
    pub lease_seconds: u32,
    /// Option 3; by default the interface's address in the network.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Address>,
    /// Option 6; by default the router, where it serves DNS on the interface.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<Address>>,
    /// Option 15, and the domain of the hosts' names.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// Option 26; by default the interface's.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65535))]
    pub mtu: Option<u16>,
    /// Option 121 (RFC 3442).
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub static_routes: Vec<StaticRoute>,
    /// Further options by number; they win over what is derived.
    #[deserr(default)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// Whether strangers get nothing; by default they get an address where ranges are given.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_only: Option<bool>,
}

/// A network that gets its addresses here.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DhcpNetwork")]
pub struct Network {
    /// Everything but the hosts.
    #[serde(flatten)]
    pub settings: NetworkSettings,
    /// Clients that always get one address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub hosts: BTreeMap<Id, Host>,
}

/// A client that always gets one address.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "DhcpHost")]
pub struct Host {
    /// How it is known.
    pub mac: MacAddress,
    /// What it gets.
    pub ip: Address,
    /// Option 12, and its name in the network's domain.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// Further options by number, for this host; they win over the network's.
    #[deserr(default)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// False for a client whose main network is another: it gets no router and no DNS server here.
    #[deserr(default = true)]
    #[serde(skip_serializing_if = "super::is_true")]
    #[schemars(default = "super::yes")]
    pub gateway: bool,
}

/// One route of option 121.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: Prefix,
    /// The next hop.
    pub via: Address,
}

/// The value of a DHCP option: exactly one member.
#[derive(Debug, Clone, Default, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "DhcpOption")]
pub struct OptionValue {
    /// One or more IPv4 addresses.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<Address>>,
    /// Text.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Octets as hexadecimal digits; colons and spaces between octets are allowed.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// One octet.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub u8: Option<u8>,
    /// Two octets in network order.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub u16: Option<u16>,
    /// Four octets in network order.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub u32: Option<u32>,
}
