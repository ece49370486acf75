//! `dns` on the wire.

use std::collections::BTreeMap;

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::dns::Forwarder;
use crate::config::fault::Faults;
use crate::config::id::Id;
use crate::config::name::{DomainName, RecordName};

/// How many answers of forwarders are kept where nothing else is said.
pub(super) const CACHE_ENTRIES: u32 = 10_000;
/// How long a record may be kept by others where nothing else is said.
pub(super) const TTL_SECONDS: u32 = 60;

const fn cache_entries() -> u32 {
    CACHE_ENTRIES
}

const fn ttl_seconds() -> u32 {
    TTL_SECONDS
}

/// Names for the guests. Everything but the two collections.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct DnsSettings {
    /// The guest interfaces where it answers; by default all.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<Id>>,
    /// Who is asked for names that are not ours, the first that answers wins: `192.0.2.53`, `192.0.2.54:5353`.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub forwarders: Vec<Forwarder>,
    /// How many answers of forwarders are kept; 0 keeps none.
    #[deserr(default = CACHE_ENTRIES)]
    #[schemars(default = "cache_entries")]
    pub cache_entries: u32,
}

/// Names for the guests.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Dns {
    /// Everything but the two collections.
    #[serde(flatten)]
    pub settings: DnsSettings,
    /// Domains whose names others are asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub conditional_forwarders: BTreeMap<Id, ConditionalForwarder>,
    /// Names of the router's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub records: BTreeMap<Id, Record>,
}

/// A domain whose names others are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct ConditionalForwarder {
    /// The domain and all below it; the longest match wins.
    pub domain: DomainName,
    /// Who is asked.
    #[schemars(length(min = 1))]
    pub forwarders: Vec<Forwarder>,
}

/// A name of the router's own.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "DnsRecord")]
pub struct Record {
    /// The name; the first label may be `*`.
    pub name: RecordName,
    /// What the values are.
    #[serde(rename = "type")]
    #[deserr(rename = "type")]
    pub kind: RecordType,
    /// The values in the form of zone files (RFC 1035 section 5), text without quotes.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
    /// How long others may keep it.
    #[deserr(default = TTL_SECONDS)]
    #[schemars(default = "ttl_seconds")]
    pub ttl_seconds: u32,
}

/// The types of record that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    AAAA,
    /// Another name of a name; one value.
    CNAME,
    /// Mail exchange: `10 mail.demo.local.`.
    MX,
    /// A name for an address.
    PTR,
    /// A service: `10 60 5060 web1.demo.local.`.
    SRV,
    /// Text; each value is one record.
    TXT,
}
