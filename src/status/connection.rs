//! Connections that the kernel follows, as they are told of. Pure; what is found comes from the reporter.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::wire::Protocol;
pub use crate::plan::facts::ConnectionQuestion;
use crate::plan::facts::{Connection, ConnectionsFound, Counted, Ends, TcpState};

/// The connections that were asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConnectionList {
    /// By protocol, source and destination; not more than were asked for.
    pub connections: Vec<ConnectionView>,
    /// How many there are of those that were asked for.
    pub total: u64,
}

/// A connection that the kernel follows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConnectionView {
    /// Its transport.
    pub protocol: Protocol,
    /// Where its first packet came from and went to.
    #[serde(flatten)]
    pub original: EndsView,
    /// The same packet as it leaves the router; null where nothing is translated.
    pub translated: Option<EndsView>,
    /// Where TCP is, by what it sent last, in the kernel's words (`enum tcp_conntrack`); null for other transports.
    pub tcp_state: Option<TcpState>,
    /// Whether anything came back.
    pub answered: bool,
    /// Whether it is in the flowtable, and its packets pass the rules by.
    pub offloaded: bool,
    /// After how many seconds without a packet it is forgotten; null while it is in the flowtable.
    pub seconds_left: Option<u32>,
    /// What went over it; null where that is not counted, which it is while a balancer is there that the kernel serves.
    pub traffic: Option<ConnectionTraffic>,
}

/// Where a packet comes from and goes to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EndsView {
    /// Who sends it.
    pub source: Ipv4Addr,
    /// Who gets it.
    pub destination: Ipv4Addr,
    /// The ports of both; null where the transport has none.
    pub ports: Option<PortsView>,
}

/// The ports of a packet.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PortsView {
    /// Of who sends it.
    pub source: u16,
    /// Of who gets it.
    pub destination: u16,
}

/// What went over a connection: octets of IP packets, and packets.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConnectionTraffic {
    /// Octets from whoever began it.
    pub original_bytes: u64,
    /// Packets from whoever began it.
    pub original_packets: u64,
    /// Octets to whoever began it.
    pub reply_bytes: u64,
    /// Packets to whoever began it.
    pub reply_packets: u64,
}

impl From<ConnectionsFound> for ConnectionList {
    fn from(found: ConnectionsFound) -> Self {
        Self { connections: found.connections.iter().map(Into::into).collect(), total: found.total }
    }
}

impl From<&Connection> for ConnectionView {
    fn from(connection: &Connection) -> Self {
        let traffic = connection.counted.map(|ways| {
            let (Counted { bytes: original_bytes, packets: original_packets }, reply) =
                (ways.original, ways.reply);
            let (reply_bytes, reply_packets) = (reply.bytes, reply.packets);
            ConnectionTraffic { original_bytes, original_packets, reply_bytes, reply_packets }
        });
        Self {
            protocol: Protocol::Number(connection.protocol),
            original: connection.original.into(),
            translated: connection.translated().map(Into::into),
            tcp_state: connection.tcp,
            answered: connection.answered,
            offloaded: connection.offloaded,
            seconds_left: connection.seconds_left,
            traffic,
        }
    }
}

impl From<Ends> for EndsView {
    fn from(Ends { source, destination, ports }: Ends) -> Self {
        let ports = ports.map(|(source, destination)| PortsView { source, destination });
        Self { source, destination, ports }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::facts::Ways;

    #[test]
    fn a_connection_is_told_as_it_comes_and_as_it_leaves() {
        let original = Ends {
            source: [10, 1, 1, 20].into(),
            destination: [192, 0, 2, 53].into(),
            ports: Some((40_000, 80)),
        };
        let reply = Ends { source: [198, 51, 100, 5].into(), ..original }.turned();
        let counted = Ways { original: Counted { bytes: 60, packets: 1 }, reply: Counted::default() };
        let web = Connection {
            protocol: 6,
            original,
            reply,
            tcp: Some(TcpState::SynRecv),
            answered: true,
            offloaded: false,
            seconds_left: Some(59),
            counted: Some(counted),
        };
        let ping = Ends { ports: None, ..original };
        let ping = Connection {
            protocol: 47,
            original: ping,
            reply: ping.turned(),
            tcp: None,
            answered: false,
            seconds_left: None,
            counted: None,
            ..web
        };
        let list = ConnectionList::from(ConnectionsFound { connections: vec![web, ping], total: 7 });
        let expected = json!({"total": 7, "connections": [
            {"protocol": "tcp", "source": "10.1.1.20", "destination": "192.0.2.53",
             "ports": {"source": 40_000, "destination": 80},
             "translated": {"source": "198.51.100.5", "destination": "192.0.2.53",
                            "ports": {"source": 40_000, "destination": 80}},
             "tcp_state": "syn_recv", "answered": true, "offloaded": false, "seconds_left": 59,
             "traffic": {"original_bytes": 60, "original_packets": 1, "reply_bytes": 0, "reply_packets": 0}},
            {"protocol": 47, "source": "10.1.1.20", "destination": "192.0.2.53", "ports": null, "translated": null,
             "tcp_state": null, "answered": false, "offloaded": false, "seconds_left": null, "traffic": null}]});
        assert_eq!(serde_json::to_value(list).unwrap(), expected);
    }
}
