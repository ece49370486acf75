//! Connections that the kernel follows, one by one, for whoever looks for one.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::counters::Counted;

/// A connection, as the kernel follows it (`nf_conntrack.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The transport's number in the IANA registry.
    pub protocol: u8,
    /// As its first packet was, before any translation.
    pub original: Ends,
    /// As packets that answer are, before they are translated back.
    pub reply: Ends,
    /// Where TCP is, by what it sent last.
    pub tcp: Option<TcpState>,
    /// Whether anything came back.
    pub answered: bool,
    /// Whether its packets pass the rules by, through the flowtable.
    pub offloaded: bool,
    /// After how many seconds without a packet it is forgotten; absent while it is in the flowtable.
    pub seconds_left: Option<u32>,
    /// What went over it, where that is counted.
    pub counted: Option<Ways>,
}

/// Where packets of one direction come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// Who sends them.
    pub source: Ipv4Addr,
    /// Who gets them.
    pub destination: Ipv4Addr,
    /// The ports of both, where the protocol has some.
    pub ports: Option<(u16, u16)>,
}

/// What went over a connection both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ways {
    /// From whoever began it.
    pub original: Counted,
    /// To whoever began it.
    pub reply: Counted,
}

/// Where a TCP connection is (`linux/netfilter/nf_conntrack_tcp.h`: `enum tcp_conntrack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TcpState {
    /// Nothing is known of it.
    None,
    /// SYN was sent.
    SynSent,
    /// SYN was answered.
    SynRecv,
    /// It is up.
    Established,
    /// One side ended it.
    FinWait,
    /// The other side knows of that.
    CloseWait,
    /// Both ended it.
    LastAck,
    /// It is over, and late packets are waited for.
    TimeWait,
    /// It was reset.
    Close,
    /// Both sides sent SYN.
    SynSent2,
}

impl TcpState {
    /// The state of this number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynRecv,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SynSent2,
            _ => return None,
        })
    }
}

impl Ends {
    /// The same packets on their way back.
    #[must_use]
    pub const fn turned(self) -> Self {
        let ports = match self.ports {
            Some((source, destination)) => Some((destination, source)),
            None => None,
        };
        Self { source: self.destination, destination: self.source, ports }
    }
}

impl Connection {
    /// How its first packet leaves the router, where that is not as it came.
    #[must_use]
    pub fn translated(&self) -> Option<Ends> {
        let leaves = self.reply.turned();
        (leaves != self.original).then_some(leaves)
    }
}

/// Which connections are looked for: all that everything said here is true of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionQuestion {
    /// Either end has this address, before or after translation.
    pub address: Option<Ipv4Addr>,
    /// The transport has this number.
    pub protocol: Option<u8>,
    /// Either end has this port, before or after translation.
    pub port: Option<u16>,
    /// So many are told of at most; the others are counted.
    pub most: usize,
}

impl ConnectionQuestion {
    /// Whether a connection is one of those.
    #[must_use]
    pub fn means(&self, connection: &Connection) -> bool {
        let ends = [connection.original, connection.reply];
        let at = |address| ends.iter().any(|ends| [ends.source, ends.destination].contains(&address));
        let by =
            |port| ends.iter().filter_map(|ends| ends.ports).any(|(from, to)| from == port || to == port);
        self.address.is_none_or(at)
            && self.protocol.is_none_or(|protocol| protocol == connection.protocol)
            && self.port.is_none_or(by)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionsFound {
    /// By protocol and ends; not more than were asked for.
    pub connections: Vec<Connection>,
    /// How many there are.
    pub total: u64,
}

impl ConnectionsFound {
    /// Takes note of a connection, if it is meant.
    pub fn add(&mut self, question: &ConnectionQuestion, connection: Connection) {
        if !question.means(&connection) {
            return;
        }
        self.total = self.total.saturating_add(1);
        if self.connections.len() < question.most {
            self.connections.push(connection);
        }
    }

    /// The same in order.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.connections.sort_unstable_by_key(|one| (one.protocol, one.original, one.reply));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: [u8; 4], destination: [u8; 4], ports: Option<(u16, u16)>) -> Ends {
        Ends { source: source.into(), destination: destination.into(), ports }
    }

    /// A guest at a web server, under the router's address and another port.
    fn web() -> Connection {
        Connection {
            protocol: 6,
            original: ends([10, 1, 1, 20], [192, 0, 2, 53], Some((40_000, 80))),
            reply: ends([192, 0, 2, 53], [198, 51, 100, 5], Some((80, 1024))),
            tcp: Some(TcpState::Established),
            answered: true,
            offloaded: false,
            seconds_left: Some(300),
            counted: None,
        }
    }

    #[test]
    fn a_connection_is_found_by_all_of_its_ends() {
        let found = |question: ConnectionQuestion| question.means(&web());
        let asked = ConnectionQuestion::default;
        assert!(found(asked()));
        for (address, is) in [
            ([10, 1, 1, 20], true),
            ([192, 0, 2, 53], true),
            ([198, 51, 100, 5], true),
            ([10, 1, 1, 1], false),
        ] {
            assert_eq!(
                found(ConnectionQuestion { address: Some(address.into()), ..asked() }),
                is,
                "{address:?}"
            );
        }
        for (port, is) in [(40_000, true), (80, true), (1024, true), (443, false)] {
            assert_eq!(found(ConnectionQuestion { port: Some(port), ..asked() }), is, "{port}");
        }
        assert!(!found(ConnectionQuestion { protocol: Some(17), ..asked() }));
        let two = ConnectionQuestion { protocol: Some(6), port: Some(443), ..asked() };
        assert!(!found(two), "all of it has to be true");
    }

    #[test]
    fn what_is_translated_is_told_as_it_leaves() {
        assert_eq!(web().translated(), Some(ends([198, 51, 100, 5], [192, 0, 2, 53], Some((1024, 80)))));
        let ping = ends([10, 1, 1, 20], [10, 2, 2, 20], None);
        let plain = Connection { protocol: 1, original: ping, reply: ping.turned(), tcp: None, ..web() };
        assert_eq!(plain.translated(), None);
    }

    #[test]
    fn more_than_asked_for_are_counted() {
        let question = ConnectionQuestion { protocol: Some(6), most: 2, ..ConnectionQuestion::default() };
        let mut found = ConnectionsFound::default();
        for port in [3, 1, 2] {
            let original = ends([10, 1, 1, 20], [192, 0, 2, 53], Some((port, 80)));
            found.add(&question, Connection { original, ..web() });
        }
        found.add(&question, Connection { protocol: 17, ..web() });
        let found = found.sorted();
        let ports: Vec<_> = found.connections.iter().filter_map(|one| one.original.ports).collect();
        assert_eq!((found.total, ports), (3, vec![(1, 80), (3, 80)]));
    }
}
