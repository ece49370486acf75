//! The table in the words of nft(8).
//!
//! What is printed here can be loaded by `nft -f` and compared with what the kernel shows: that is how a test proves
//! that the messages of the kernel room mean what this file says. Also the text that fingerprints are made of.

use std::fmt::{self, Display, Formatter};

use super::TABLE;
use super::conntrack::Balanced;
use super::ruleset::{BaseChain, Chain, Flowtable, Hook, HookPoint, Policy, Rule, Ruleset};
use super::set::{Key, MOST_REMEMBERED, Set, SetKind, Target};
use super::statement::{ConntrackState, Direction, LIVE, Pick, Statement, Sticky, Verdict};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        if let Some(flowtable) = &self.flowtable {
            write!(f, "{flowtable}")?;
        }
        // A verdict map names chains, and rules name sets: chains are declared, then sets, then chains are filled.
        for (name, chain) in &self.chains {
            match &chain.base {
                Some(base) => writeln!(f, "\tchain {name} {{\n\t\t{base}\n\t}}")?,
                None => writeln!(f, "\tchain {name} {{\n\t}}")?,
            }
        }
        for (name, set) in &self.sets {
            let noun = if set.kind.is_map() { "map" } else { "set" };
            writeln!(f, "\t{noun} {name} {{\n{set}\t}}")?;
        }
        for (name, chain) in self.chains.iter().filter(|(_, chain)| !chain.rules.is_empty()) {
            writeln!(f, "\tchain {name} {{\n{chain}\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        Ok(())
    }
}

impl Display for BaseChain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Filter => "filter",
            Hook::Nat => "nat",
            Hook::Route => "route",
        };
        let point = match self.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        write!(f, "type {hook} hook {point} priority {}; policy {policy};", self.priority)
    }
}

impl Display for Flowtable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let devices: Vec<String> = self.devices.iter().map(|device| format!("\"{device}\"")).collect();
        writeln!(f, "\tflowtable {} {{", self.name)?;
        writeln!(f, "\t\thook ingress priority 0; devices = {{ {} }};", devices.join(", "))?;
        writeln!(f, "\t}}")
    }
}

impl SetKind {
    /// Whether elements lead somewhere.
    #[must_use]
    pub const fn is_map(self) -> bool {
        !matches!(
            self,
            Self::Endpoints
                | Self::EndpointRanges
                | Self::SourcedEndpointRanges
                | Self::AddressRanges
                | Self::PortRanges
        )
    }
}

impl Display for SetKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressToAddress => "ipv4_addr : ipv4_addr",
            Self::AddressToChain => "ipv4_addr : verdict",
            Self::AddressToMark => "ipv4_addr : mark",
            Self::EndpointToEndpoint => "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
            Self::EndpointToChain => "ipv4_addr . inet_proto . inet_service : verdict",
            // The number has no name among nft's types: it is told by an expression that gives one.
            Self::SlotToEndpoint => "numgen inc mod 2 : ip daddr . th dport",
            Self::BalancedToMark => "ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service : mark",
            Self::StickyToEndpoint => "ipv4_addr : ipv4_addr . inet_service",
            Self::EndpointRangeToAddress => "ipv4_addr . inet_proto . inet_service : ipv4_addr",
            Self::Endpoints | Self::EndpointRanges => "ipv4_addr . inet_proto . inet_service",
            Self::SourcedEndpointRanges => "ipv4_addr . ipv4_addr . inet_proto . inet_service",
            Self::AddressRanges => "ipv4_addr",
            Self::PortRanges => "inet_service",
        })
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let noun = if self.kind == SetKind::SlotToEndpoint { "typeof" } else { "type" };
        writeln!(f, "\t\t{noun} {}", self.kind)?;
        if self.kind.has_ranges() {
            writeln!(f, "\t\tflags interval")?;
        }
        if self.kind.is_dynamic() {
            writeln!(f, "\t\tsize {MOST_REMEMBERED}\n\t\tflags dynamic,timeout")?;
        }
        if self.elements.is_empty() {
            return Ok(());
        }
        let elements: Vec<String> =
            self.elements.iter().map(|(key, target)| format!("{key}{target}")).collect();
        writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "))
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Endpoint(address, protocol, port) => {
                write!(f, "{address} . {} . {port}", Protocol(*protocol))
            }
            Self::Slot(number) => number.fmt(f),
            Self::Balanced(Balanced { address, protocol, port, backend, backend_port }) => {
                let protocol = Protocol(*protocol);
                write!(f, "{address} . {protocol} . {port} . {backend} . {backend_port}")
            }
            Self::EndpointRange(address, protocol, first, last) => {
                write!(f, "{address} . {} . {}", Protocol(*protocol), Range(first, last))
            }
            Self::SourcedEndpointRange(from, to, address, protocol, first, last) => {
                write!(
                    f,
                    "{} . {address} . {} . {}",
                    Range(from, to),
                    Protocol(*protocol),
                    Range(first, last)
                )
            }
            Self::AddressRange(first, last) => Range(first, last).fmt(f),
            Self::PortRange(first, last) => Range(first, last).fmt(f),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member => Ok(()),
            Self::Address { address, keep: false } => write!(f, " : {address}"),
            Self::Address { address, keep: true } => write!(f, " comment \"keep\" : {address}"),
            Self::Endpoint(address, port) => write!(f, " : {address} . {port}"),
            Self::Chain(chain) => write!(f, " : goto {chain}"),
            Self::Mark(mark) => write!(f, " : {mark:#010x}"),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements().iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            statement.fmt(f)?;
        }
        match self.comment() {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const ENDPOINT: &str = "ip daddr . meta l4proto . th dport";
        match self {
            Self::InputDevice(device) => write!(f, "iifname \"{device}\""),
            Self::OutputDevice(device) => write!(f, "oifname \"{device}\""),
            Self::NotLoopbackOutput => f.write_str("oifname != \"lo\""),
            Self::Ipv6 => f.write_str("meta nfproto ipv6"),
            Self::Protocol(number) => write!(f, "meta l4proto {}", Protocol(*number)),
            Self::SourceNet(net) => write!(f, "ip saddr {net}"),
            Self::DestinationNet(net) => write!(f, "ip daddr {net}"),
            Self::SourceIn(set) => write!(f, "ip saddr @{set}"),
            Self::SourceNotIn(set) => write!(f, "ip saddr != @{set}"),
            Self::DestinationIn(set) => write!(f, "ip daddr @{set}"),
            Self::DestinationPort(port) => write!(f, "th dport {port}"),
            Self::SourcePort(port) => write!(f, "th sport {port}"),
            Self::SourcePortIn(set) => write!(f, "th sport @{set}"),
            Self::DestinationPortIn(set) => write!(f, "th dport @{set}"),
            Self::IcmpType(number) => write!(f, "icmp type {number}"),
            Self::IcmpCode(number) => write!(f, "icmp code {number}"),
            Self::TcpSyn => f.write_str("tcp flags & (syn | rst) == syn"),
            Self::ConntrackState(state) => write!(f, "ct state {state}"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::Direction(Direction::Original) => f.write_str("ct direction original"),
            Self::Direction(Direction::Reply) => f.write_str("ct direction reply"),
            Self::OriginalDestination(address) => write!(f, "ct original ip daddr {address}"),
            Self::ConntrackMark { mask, value } => write!(f, "ct mark & {mask:#010x} == {value:#010x}"),
            Self::ConntrackMarkAny(mask) => write!(f, "ct mark & {mask:#010x} != 0x00000000"),
            Self::DestinationEndpointIn(set) => write!(f, "{ENDPOINT} @{set}"),
            Self::SourcedDestinationEndpointIn(set) => write!(f, "ip saddr . {ENDPOINT} @{set}"),
            Self::Counter => f.write_str("counter"),
            Self::Limit { per_second, burst } => {
                write!(f, "limit rate {per_second}/second burst {burst} packets")
            }
            Self::RateOver { octets_per_second, burst } => {
                write!(f, "limit rate over {octets_per_second} bytes/second burst {burst} bytes")
            }
            Self::Log { group, prefix } => write!(f, "log prefix \"{prefix}\" group {group}"),
            Self::SetConntrackMark(mark) => write!(f, "ct mark set {mark:#010x}"),
            Self::SetConntrackMarkBySource(map) => write!(f, "ct mark set ip saddr map @{map}"),
            Self::RestoreMark => f.write_str("meta mark set ct mark"),
            Self::ClampMss => f.write_str("tcp option maxseg size set rt mtu"),
            Self::Offload(flowtable) => write!(f, "flow add @{flowtable}"),
            Self::DnatByAddress(map) => write!(f, "dnat ip to ip daddr map @{map}"),
            Self::DnatByEndpoint(map) | Self::DnatByEndpointRange(map) => {
                write!(f, "dnat ip to {ENDPOINT} map @{map}")
            }
            Self::SnatBySource(map) => write!(f, "snat ip to ip saddr map @{map}"),
            Self::SnatTo(address) => write!(f, "snat ip to {address}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::JudgeByOriginalDestination(map) => write!(f, "ct original ip daddr vmap @{map}"),
            Self::JudgeByDestination(map) => write!(f, "ip daddr vmap @{map}"),
            Self::JudgeBySource(map) => write!(f, "ip saddr vmap @{map}"),
            Self::JudgeByDestinationEndpoint(map) => write!(f, "{ENDPOINT} vmap @{map}"),
            Self::ConnectionsOver(count) => write!(f, "ct count over {count}"),
            Self::DnatBySlot { pick, slots, map, sticky: None } => {
                write!(f, "dnat ip to {} map @{map}", Picked(*pick, *slots))
            }
            // One look-up serves both, which nft has no words for; these are the nearest.
            Self::DnatBySlot { pick, slots, map, sticky: Some(Sticky { map: sticky, seconds }) } => {
                let slot = Picked(*pick, *slots);
                write!(
                    f,
                    "update @{sticky} {{ ip saddr timeout {seconds}s : {slot} map @{map} }} dnat ip to that"
                )
            }
            Self::DnatBySticky { sticky: Sticky { map, seconds }, backends } => write!(
                f,
                "{ENDPOINT} . ip saddr map @{map} map @{backends} {LIVE:#010x} \
                 update @{map} {{ ip saddr timeout {seconds}s }} dnat ip to ip saddr map @{map}"
            ),
            Self::RejectReset => f.write_str("reject with tcp reset"),
            Self::RejectProhibited => f.write_str("reject with icmpx admin-prohibited"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

impl Display for ConntrackState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::INVALID, "invalid"),
            (Self::ESTABLISHED, "established"),
            (Self::RELATED, "related"),
            (Self::NEW, "new"),
        ];
        let set = names.iter().filter(|(state, _)| self.bits() & state.bits() != 0);
        f.write_str(&set.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
    }
}

/// The number of the slot that is picked.
struct Picked(Pick, u32);

impl Display for Picked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self(Pick::Next, slots) => write!(f, "numgen inc mod {slots}"),
            Self(Pick::Random, slots) => write!(f, "numgen random mod {slots}"),
            Self(Pick::Source(seed), slots) => write!(f, "jhash ip saddr mod {slots} seed {seed:#x}"),
        }
    }
}

/// A protocol by its name where nft knows one that everybody knows.
struct Protocol(u8);

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            number => number.fmt(f),
        }
    }
}

/// A range of one or more.
struct Range<'a, T>(&'a T, &'a T);

impl<T: Display + PartialEq> Display for Range<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { self.0.fmt(f) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}
