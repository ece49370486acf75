//! `firewall` on the wire.

use std::collections::BTreeMap;

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::rule_set::RuleSet;
use crate::config::fault::{Faults, Rule};
use crate::config::id::Id;
use crate::config::net::{Address, AddressMatch};
use crate::config::port::Ports;
use crate::config::text::kind;

/// What may pass.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Firewall {
    /// What becomes of traffic that no rule decides.
    #[schemars(default)]
    pub defaults: Defaults,
    /// The rules; the lowest `priority` decides first, ties go by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub rules: BTreeMap<Id, FirewallRule>,
    /// Rules at interfaces, which judge what is forwarded before `rules` do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub rule_sets: BTreeMap<Id, RuleSet>,
}

impl Firewall {
    pub(super) fn is_default(&self) -> bool {
        self.rules.is_empty() && self.rule_sets.is_empty() && self.defaults.is_default()
    }
}

/// What becomes of traffic that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct Defaults {
    /// From a guest to elsewhere.
    #[deserr(default = Action::Accept)]
    #[schemars(default = "accept")]
    pub egress: Action,
    /// From the public side to a guest.
    #[deserr(default = Action::Drop)]
    #[schemars(default = "drop")]
    pub ingress: Action,
    /// From one guest network to another.
    #[deserr(default = Action::Drop)]
    #[schemars(default = "drop")]
    pub between_guests: Action,
}

pub(super) const fn accept() -> Action {
    Action::Accept
}

const fn drop() -> Action {
    Action::Drop
}

impl Defaults {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self { egress: accept(), ingress: drop(), between_guests: drop() }
    }
}

/// One rule. What it does not name, it does not ask for.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
pub struct FirewallRule {
    /// Lower decides first; rules of one priority go by id.
    pub priority: u32,
    /// Which traffic it judges.
    pub direction: Direction,
    /// Egress and between guests: the guest interface it comes from; ingress: the public interface.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Id>,
    /// The transport.
    #[deserr(default)]
    #[schemars(default)]
    pub protocol: Protocol,
    /// Where it comes from; absent is anywhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub sources: Option<Vec<AddressMatch>>,
    /// Where it goes, behind all translation; absent is anywhere.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub destinations: Option<Vec<AddressMatch>>,
    /// Ingress: the public address before translation.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// TCP and UDP: the guest's ports, behind all translation; absent is any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub destination_ports: Option<Vec<Ports>>,
    /// TCP and UDP: the ports of whoever began the connection, as he has them; absent is any.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub source_ports: Option<Vec<Ports>>,
    /// ICMP: the type (RFC 792).
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP: the code, with a type.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// What becomes of it.
    pub action: Action,
    /// Whether each new connection that the rule decides is written to the journal with the rule's id.
    #[deserr(default)]
    #[serde(skip_serializing_if = "super::is_false")]
    #[schemars(default)]
    pub log: bool,
}

/// Which traffic a rule judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a guest to elsewhere.
    Egress,
    /// From the public side to a guest.
    Ingress,
    /// From one guest network to another.
    #[deserr(rename = "between_guests")]
    BetweenGuests,
}

/// What becomes of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, rename_all = lowercase)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It passes.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused: a TCP reset, else ICMP administratively prohibited.
    Reject,
}

/// `tcp`, `udp`, `icmp`, `all`, or a number of the IANA protocol registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Every protocol.
    #[default]
    All,
    /// One protocol by its number.
    Number(u8),
}

impl Protocol {
    /// `icmp`.
    pub const ICMP: Self = Self::Number(1);
    /// `tcp`.
    pub const TCP: Self = Self::Number(6);
    /// `udp`.
    pub const UDP: Self = Self::Number(17);
}

impl Deserr<Faults> for Protocol {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        match value {
            Value::Integer(number) => u8::try_from(number).map(Self::Number).map_err(|_| {
                Faults::at(location, Rule::OutOfRange, format!("{number} is not a protocol from 0 to 255"))
            }),
            Value::String(name) => match name.as_str() {
                "all" => Ok(Self::All),
                "tcp" => Ok(Self::TCP),
                "udp" => Ok(Self::UDP),
                "icmp" => Ok(Self::ICMP),
                _ => {
                    let detail = format!("`{name}` is not one of all, tcp, udp, icmp, or a number");
                    Err(Faults::at(location, Rule::InvalidValue, detail))
                }
            },
            other => {
                let detail = format!("expected a protocol's name or number, found {}", kind(&other));
                Err(Faults::at(location, Rule::WrongType, detail))
            }
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::All => serializer.serialize_str("all"),
            Self::TCP => serializer.serialize_str("tcp"),
            Self::UDP => serializer.serialize_str("udp"),
            Self::ICMP => serializer.serialize_str("icmp"),
            Self::Number(number) => serializer.serialize_u8(number),
        }
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Protocol".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A transport by name, or by its number in the IANA protocol registry.",
            "oneOf": [
                { "type": "string", "enum": ["all", "tcp", "udp", "icmp"] },
                { "type": "integer", "minimum": 0, "maximum": 255 }
            ]
        })
    }
}
