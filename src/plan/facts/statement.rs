//! What a rule asks of a packet and does with it, in the terms of nft(8).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::ruleset::Name;

/// One expression or statement of a rule. Those that ask end the rule for packets that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Statement {
    /// `iifname "eth0"`.
    InputDevice(Name),
    /// `oifname "eth0"`.
    OutputDevice(Name),
    /// `oifname != "lo"`.
    NotLoopbackOutput,
    /// `meta nfproto ipv6`.
    Ipv6,
    /// `meta l4proto tcp`, by number.
    Protocol(u8),
    /// `ip saddr 10.1.1.0/24`.
    SourceNet(Ipv4Net),
    /// `ip daddr 10.1.1.0/24`.
    DestinationNet(Ipv4Net),
    /// `ip saddr @set` of address ranges.
    SourceIn(Name),
    /// `ip saddr != @set` of address ranges.
    SourceNotIn(Name),
    /// `ip daddr @set` of address ranges.
    DestinationIn(Name),
    /// `th dport 53`.
    DestinationPort(u16),
    /// `th sport 53`.
    SourcePort(u16),
    /// `th sport @set` of port ranges.
    SourcePortIn(Name),
    /// `th dport @set` of port ranges.
    DestinationPortIn(Name),
    /// `icmp type 8`.
    IcmpType(u8),
    /// `icmp code 0`.
    IcmpCode(u8),
    /// `tcp flags & (syn | rst) == syn`.
    TcpSyn,
    /// `ct state` is one of these bits.
    ConntrackState(ConntrackState),
    /// `ct status dnat`.
    Translated,
    /// `ct direction reply`, or original.
    Direction(Direction),
    /// `ct original ip daddr 198.51.100.7`.
    OriginalDestination(Ipv4Addr),
    /// `ct mark & mask == value`.
    ConntrackMark {
        /// The bits that count.
        mask: u32,
        /// Their value.
        value: u32,
    },
    /// `ct mark & mask != 0`.
    ConntrackMarkAny(u32),
    /// `ip daddr . meta l4proto . th dport @set` of endpoint ranges.
    DestinationEndpointIn(Name),
    /// `ip saddr . ip daddr . meta l4proto . th dport @set` of endpoint ranges with sources.
    SourcedDestinationEndpointIn(Name),
    /// `counter`.
    Counter,
    /// `limit rate N/second burst B packets`.
    Limit {
        /// Packets per second.
        per_second: u32,
        /// How many at once.
        burst: u32,
    },
    /// `limit rate over N bytes/second burst B bytes`.
    RateOver {
        /// Octets per second.
        octets_per_second: u64,
        /// How many at once.
        burst: u32,
    },
    /// `log group G prefix "…"`.
    Log {
        /// The group that listens.
        group: u16,
        /// What the listener is told; at most 127 octets.
        prefix: String,
    },
    /// `ct mark set 0x2`.
    SetConntrackMark(u32),
    /// `ct mark set ip saddr map @map`.
    SetConntrackMarkBySource(Name),
    /// `meta mark set ct mark`.
    RestoreMark,
    /// `tcp option maxseg size set rt mtu`.
    ClampMss,
    /// `flow add @flowtable`.
    Offload(Name),
    /// `dnat ip to ip daddr map @map`.
    DnatByAddress(Name),
    /// `dnat ip to ip daddr . meta l4proto . th dport map @map` with address and port.
    DnatByEndpoint(Name),
    /// The same with an address alone: the port stays.
    DnatByEndpointRange(Name),
    /// `snat ip to ip saddr map @map`.
    SnatBySource(Name),
    /// `snat ip to 198.51.100.5`.
    SnatTo(Ipv4Addr),
    /// `masquerade`.
    Masquerade,
    /// `ct original ip daddr vmap @map`.
    JudgeByOriginalDestination(Name),
    /// `ip daddr vmap @map`.
    JudgeByDestination(Name),
    /// `ip saddr vmap @map`.
    JudgeBySource(Name),
    /// `ip daddr . meta l4proto . th dport vmap @map`.
    JudgeByDestinationEndpoint(Name),
    /// `ct count over N`: of the connections that came by here, more than so many are there.
    ConnectionsOver(u32),
    /// `dnat ip to numgen inc mod N map @slots`, or by another way to pick a slot; what is picked may be remembered.
    DnatBySlot {
        /// How a slot is picked.
        pick: Pick,
        /// How many slots there are.
        slots: u32,
        /// Slot to address and port.
        map: Name,
        /// Where the source's pick is remembered.
        sticky: Option<Sticky>,
    },
    /// `dnat ip to ip saddr map @sticky` for a source that is remembered, if where it went is live; it is remembered
    /// longer then.
    DnatBySticky {
        /// Where picks are remembered.
        sticky: Sticky,
        /// Address, protocol, port, and address and port of the backend, to [`LIVE`] where it takes connections.
        backends: Name,
    },
    /// `reject with tcp reset`.
    RejectReset,
    /// `reject with icmpx admin-prohibited`.
    RejectProhibited,
    /// What becomes of the packet.
    Verdict(Verdict),
}

/// The mark of a backend that takes new connections.
pub const LIVE: u32 = 1;
/// The mark of a backend that keeps the connections that it has and takes no new ones.
pub const DRAINING: u32 = 2;

/// How one of several slots is picked for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pick {
    /// One after the other: `numgen inc`.
    Next,
    /// Any: `numgen random`.
    Random,
    /// By the source's address: `jhash ip saddr` with this seed.
    Source(u32),
}

/// Where picks are remembered by the source's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sticky {
    /// Source to address and port.
    pub map: Name,
    /// How long after its last connection a source is forgotten.
    pub seconds: u32,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes this hook.
    Accept,
    /// It vanishes.
    Drop,
    /// The chain that called this one goes on.
    Return,
    /// Another chain judges, and the judgement is final.
    Goto(Name),
    /// Another chain judges first.
    Jump(Name),
}

/// Bits of `ct state` (kernel: `nf_conntrack_common.h`, NF_CT_STATE_BIT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConntrackState(u32);

impl ConntrackState {
    /// Packets of no connection that is known or can be.
    pub const INVALID: Self = Self(1);
    /// Both directions were seen.
    pub const ESTABLISHED: Self = Self(2);
    /// An ICMP error of a connection, or a connection that another expects.
    pub const RELATED: Self = Self(4);
    /// The first packet of a connection.
    pub const NEW: Self = Self(8);

    /// Either of the two.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// The direction of a packet in its connection (kernel: `ip_conntrack_dir`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the first packet went.
    Original,
    /// As answers go.
    Reply,
}
