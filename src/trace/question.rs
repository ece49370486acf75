//! What is asked: a packet, by the words of the configuration.

use std::net::Ipv4Addr;

use deserr::Deserr;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::packet::{ICMP, Packet, TCP, UDP};
use crate::config::wire::Protocol;
use crate::config::{Faults, Id, Pointer, Rule};

/// The type of an ICMP echo request (RFC 792).
const ECHO: u8 = 8;

/// The first packet of a connection, as it comes in.
#[derive(Debug, Clone, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "TraceRequest")]
pub struct Request {
    /// The interface that it comes in by, by its id in the configuration.
    pub interface: Id,
    /// The IPv4 address that it comes from.
    #[schemars(extend("format" = "ipv4"))]
    pub source: String,
    /// The IPv4 address that it goes to, before any translation.
    #[schemars(extend("format" = "ipv4"))]
    pub destination: String,
    /// What it carries: `tcp`, `udp`, `icmp`, or a number of the IANA protocol registry.
    pub protocol: Protocol,
    /// TCP and UDP: its ports; they need the destination's.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
    /// ICMP: its type and code; by default an echo request.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
}

/// The ports of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "TracePorts")]
pub struct Ports {
    /// The port that it comes from; where it is not said, it is taken to be none that a rule asks for.
    #[deserr(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<u16>,
    /// The port that it goes to.
    pub destination: u16,
}

/// Type and code of an ICMP message (RFC 792).
#[derive(Debug, Clone, Copy, Deserr, Serialize, JsonSchema)]
#[deserr(error = Faults, deny_unknown_fields)]
#[schemars(rename = "TraceIcmp")]
pub struct Icmp {
    /// The type.
    #[serde(rename = "type")]
    #[deserr(rename = "type")]
    pub kind: u8,
    /// The code; by default 0.
    #[deserr(default)]
    #[schemars(default)]
    pub code: u8,
}

/// A question that can be answered where the interface is there.
#[derive(Debug, Clone)]
pub struct Question {
    /// The interface that the packet comes in by.
    pub interface: Id,
    /// The packet.
    pub packet: Packet,
}

impl Question {
    /// Reads a question.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn read(value: Value) -> Result<Self, Faults> {
        let request: Request = deserr::deserialize(value)?;
        Self::try_from(request)
    }
}

impl TryFrom<Request> for Question {
    type Error = Faults;

    fn try_from(request: Request) -> Result<Self, Faults> {
        let Request { interface, source, destination, protocol, ports, icmp } = request;
        let mut faults = Faults::default();
        let mut address = |member: &str, text: &str| -> Ipv4Addr {
            text.parse().unwrap_or_else(|_| {
                let detail = format!("`{text}` is not an IPv4 address");
                faults.add(Pointer::root().key(member), Rule::InvalidValue, detail);
                Ipv4Addr::UNSPECIFIED
            })
        };
        let (source, destination) = (address("source", &source), address("destination", &destination));
        let number = match protocol {
            Protocol::Number(number) => number,
            Protocol::All => {
                let detail = "a packet has one protocol: tcp, udp, icmp, or a number";
                faults.add(Pointer::root().key("protocol"), Rule::InvalidValue, detail);
                ICMP
            }
        };
        let ported = matches!(number, TCP | UDP);
        if ported && ports.is_none() {
            let detail = "tcp and udp go to a port: `{\"destination\": 80}`";
            faults.add(Pointer::root().key("ports"), Rule::MissingField, detail);
        }
        if !ported && ports.is_some() {
            faults.add(Pointer::root().key("ports"), Rule::Contradiction, "only tcp and udp have ports");
        }
        for (member, port) in [
            ("source", ports.and_then(|ports| ports.source)),
            ("destination", ports.map(|ports| ports.destination)),
        ] {
            if port == Some(0) {
                let at = Pointer::root().key("ports").key(member);
                faults.add(at, Rule::OutOfRange, "a port is 1 to 65535");
            }
        }
        if icmp.is_some() && number != ICMP {
            faults.add(Pointer::root().key("icmp"), Rule::Contradiction, "only icmp has a type and a code");
        }
        let echo = Icmp { kind: ECHO, code: 0 };
        let icmp = (number == ICMP).then(|| icmp.unwrap_or(echo)).map(|icmp| (icmp.kind, icmp.code));
        let packet = Packet {
            source,
            destination,
            protocol: number,
            source_port: ports.and_then(|ports| ports.source),
            destination_port: ports.map(|ports| ports.destination),
            icmp,
        };
        faults.into_result(Self { interface, packet })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_is_told_with_its_place() {
        let wrong = json!({"interface": "guest", "source": "x", "destination": "10.0.0.256", "protocol": "all",
            "ports": {"destination": 0}, "icmp": {"type": 8}});
        let faults = Question::read(wrong).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/source", "/destination", "/protocol", "/ports", "/ports/destination"]);
        let wrong = json!({"interface": "guest", "source": "10.1.1.1", "destination": "10.1.1.2", "protocol": "tcp",
            "icmp": {"type": 8}});
        let faults = Question::read(wrong).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/ports", "/icmp"]);
        for wrong in [json!([]), json!({}), json!({"more": 1}), json!(null), json!({"interface": "a b"})] {
            assert!(Question::read(wrong).is_err());
        }
    }

    #[test]
    fn what_is_not_told_is_as_it_mostly_is() {
        let ping = json!({"interface": "guest", "source": "10.1.1.20", "destination": "192.0.2.1", "protocol": "icmp"});
        assert_eq!(Question::read(ping).unwrap().packet.icmp, Some((8, 0)));
        let gre =
            json!({"interface": "guest", "source": "10.1.1.20", "destination": "192.0.2.1", "protocol": 47});
        let packet = Question::read(gre).unwrap().packet;
        assert_eq!((packet.icmp, packet.destination_port), (None, None));
    }
}
