//! Rules as the kernel runs them: statements become the operations of its register machine.
//!
//! What nft(8) would send for the same words is what is sent here, so that `nft list table inet vrouter` shows each
//! rule as the planner states it. Called by `rule.rs`.

use ipnet::Ipv4Net;

use super::balance;
use crate::plan::facts::statement::{Direction, Pick, Statement, Verdict};

/// One operation on the registers of a rule (`linux/netfilter/nf_tables.h`: `nft_*_attributes`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    /// Loads something that is known of the packet.
    Meta(MetaKey, Register),
    /// Sets the packet's mark from a register.
    SetMark(Register),
    /// Loads octets of a header.
    Payload { base: Base, offset: u32, length: u32, register: Register },
    /// Masks the first register in place.
    Mask(Vec<u8>),
    /// Compares the first register: equal, or not.
    Compare { equal: bool, data: Vec<u8> },
    /// Puts a value into the first register.
    Load(Vec<u8>),
    /// Looks the first register up, and perhaps puts what is found into it.
    Lookup { set: &'a str, result: Option<LookupResult> },
    /// Loads something that is known of the connection.
    Conntrack(ConntrackKey),
    /// Sets the connection's mark from the first register.
    SetConntrackMark,
    /// Goes on where the first register is not in the set.
    NotIn(&'a str),
    /// Looks up what is from one register on, and puts what is found from another one on.
    LookupInto { set: &'a str, from: Register, to: Register },
    /// Puts a number below the modulus into the first register: the next one, or any.
    Number { random: bool, modulus: u32 },
    /// Puts a number below the modulus into the first register, by the hash of the second.
    Hash { modulus: u32, seed: u32 },
    /// Puts an element into a map, or takes it out: its key from one register, what it leads to from others on.
    Remember { action: Remember, map: &'a str, key: Register, data: Register },
    /// Goes on where more connections than this came by here and are still there.
    ConnectionsOver(u32),
    /// Translates the destination to the address in a register, and perhaps the port in the one behind it.
    Dnat { address: Register, port: bool },
    /// Translates the source to the address in the first register.
    Snat,
    /// Translates the source to the address of the way out.
    Masquerade,
    /// Refuses: with a reset, or as administratively prohibited (RFC 1812 section 5.2.7.1).
    Reject { reset: bool },
    /// Tells a listener.
    Log { group: u16, prefix: &'a str },
    /// Goes on for so many packets a second only.
    Limit { per_second: u32, burst: u32 },
    /// Goes on for what is beyond so many octets a second.
    RateOver { octets_per_second: u64, burst: u32 },
    /// Counts.
    Counter,
    /// Loads the largest segment that the route takes.
    RouteMss,
    /// Turns a number of two octets in the first register into network order.
    ToNetworkOrder,
    /// Writes the first register to the largest segment of a TCP handshake.
    SetTcpMss,
    /// Hands the flow to the flowtable.
    Offload(&'a str),
    /// Judges.
    Verdict(&'a Verdict),
}

/// A register of four octets; an address, a port or a protocol each fills one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    First,
    Second,
    Third,
    Fourth,
}

/// What a rule does to a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remember {
    /// The element is there from now on for so long; what it leads to stays where it is there already.
    Put { seconds: u32 },
    /// The element is gone.
    Forget,
}

/// What a lookup leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupResult {
    /// The data, in the first register.
    Data,
    /// The verdict, carried out.
    Verdict,
}

/// What is known of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetaKey {
    InputName,
    OutputName,
    NetworkProtocol,
    TransportProtocol,
}

/// Which header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Network,
    Transport,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConntrackKey {
    State,
    Direction,
    Status,
    Mark,
    OriginalDestination,
}

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
/// Where the addresses are in an IPv4 header.
pub(super) const SOURCE: u32 = 12;
pub(super) const DESTINATION: u32 = 16;
/// Where the source port is in a TCP or UDP header.
const SOURCE_PORT: u32 = 0;
/// Where the destination port is.
pub(super) const PORT: u32 = 2;
/// Where the flags are in a TCP header, and two of them.
const TCP_FLAGS: u32 = 13;
const SYN: u8 = 2;
const RST: u8 = 4;
/// The bit of a connection whose destination was translated (`nf_conntrack_common.h`: IPS_DST_NAT).
const IPS_DST_NAT: u32 = 1 << 5;
/// The length of a device's name in a rule.
const NAME: usize = 16;

/// Loads an address of the IPv4 header.
pub(super) const fn address<'a>(offset: u32, register: Register) -> Operation<'a> {
    Operation::Payload { base: Base::Network, offset, length: 4, register }
}

/// The operations of a rule.
pub(super) fn operations(statements: &[Statement]) -> Vec<Operation<'_>> {
    let mut builder = Builder::default();
    for statement in statements {
        builder.add(statement);
    }
    builder.operations
}

/// Builds a rule; what has been asked once need not be asked again.
#[derive(Default)]
struct Builder<'a> {
    operations: Vec<Operation<'a>>,
    is_ipv4: bool,
    protocol: Option<u8>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, statement: &'a Statement) {
        match statement {
            Statement::InputDevice(device) => self.compare_name(MetaKey::InputName, true, device.as_str()),
            Statement::OutputDevice(device) => self.compare_name(MetaKey::OutputName, true, device.as_str()),
            Statement::NotLoopbackOutput => self.compare_name(MetaKey::OutputName, false, "lo"),
            Statement::Ipv6 => self.network_protocol(NFPROTO_IPV6),
            Statement::Protocol(number) => self.transport_protocol(*number),
            Statement::SourceNet(net) => self.compare_net(SOURCE, *net),
            Statement::DestinationNet(net) => self.compare_net(DESTINATION, *net),
            Statement::SourceIn(set) => self.look_up_address(SOURCE, set.as_str(), None),
            Statement::SourceNotIn(set) => {
                self.ipv4();
                self.address(SOURCE, Register::First);
                self.push(Operation::NotIn(set.as_str()));
            }
            Statement::ConnectionsOver(count) => self.push(Operation::ConnectionsOver(*count)),
            Statement::DestinationIn(set) => self.look_up_address(DESTINATION, set.as_str(), None),
            Statement::DestinationPort(port) => self.compare_port(PORT, *port),
            Statement::SourcePort(port) => self.compare_port(SOURCE_PORT, *port),
            Statement::SourcePortIn(set) => self.look_up_port(SOURCE_PORT, set.as_str()),
            Statement::DestinationPortIn(set) => self.look_up_port(PORT, set.as_str()),
            Statement::IcmpType(number) => self.compare_icmp(0, *number),
            Statement::IcmpCode(number) => self.compare_icmp(1, *number),
            Statement::TcpSyn => {
                self.transport_protocol(IPPROTO_TCP);
                self.transport(TCP_FLAGS, 1);
                self.push(Operation::Mask(vec![SYN | RST]));
                self.equals(vec![SYN]);
            }
            Statement::JudgeByDestination(map) => {
                self.look_up_address(DESTINATION, map.as_str(), Some(LookupResult::Verdict));
            }
            Statement::JudgeBySource(map) => {
                self.look_up_address(SOURCE, map.as_str(), Some(LookupResult::Verdict));
            }
            Statement::DestinationEndpointIn(set) => {
                self.destination_endpoint(Register::First);
                self.push(Operation::Lookup { set: set.as_str(), result: None });
            }
            Statement::SourcedDestinationEndpointIn(set) => {
                self.ipv4();
                self.address(SOURCE, Register::First);
                self.destination_endpoint(Register::Second);
                self.push(Operation::Lookup { set: set.as_str(), result: None });
            }
            Statement::Counter => self.push(Operation::Counter),
            Statement::Limit { per_second, burst } => {
                self.push(Operation::Limit { per_second: *per_second, burst: *burst });
            }
            Statement::RateOver { octets_per_second, burst } => {
                self.push(Operation::RateOver { octets_per_second: *octets_per_second, burst: *burst });
            }
            Statement::Log { group, prefix } => self.push(Operation::Log { group: *group, prefix }),
            Statement::ClampMss => {
                self.operations.extend([
                    Operation::RouteMss,
                    Operation::ToNetworkOrder,
                    Operation::SetTcpMss,
                ]);
            }
            Statement::Offload(flowtable) => self.push(Operation::Offload(flowtable.as_str())),
            Statement::RejectReset => self.push(Operation::Reject { reset: true }),
            Statement::RejectProhibited => self.push(Operation::Reject { reset: false }),
            Statement::Verdict(verdict) => self.push(Operation::Verdict(verdict)),
            other => self.add_connection(other),
        }
    }

    /// What is asked of, and done with, the connection.
    fn add_connection(&mut self, statement: &'a Statement) {
        let data = Some(LookupResult::Data);
        match statement {
            Statement::ConntrackState(state) => self.has_bits(ConntrackKey::State, state.bits()),
            Statement::Translated => self.has_bits(ConntrackKey::Status, IPS_DST_NAT),
            Statement::ConntrackMarkAny(mask) => self.has_bits(ConntrackKey::Mark, *mask),
            Statement::Direction(direction) => {
                self.push(Operation::Conntrack(ConntrackKey::Direction));
                self.equals(vec![u8::from(*direction == Direction::Reply)]);
            }
            Statement::OriginalDestination(address) => {
                self.push(Operation::Conntrack(ConntrackKey::OriginalDestination));
                self.equals(address.octets().to_vec());
            }
            Statement::ConntrackMark { mask, value } => {
                self.push(Operation::Conntrack(ConntrackKey::Mark));
                self.push(Operation::Mask(mask.to_ne_bytes().to_vec()));
                self.equals(value.to_ne_bytes().to_vec());
            }
            Statement::SetConntrackMark(mark) => {
                self.operations
                    .extend([Operation::Load(mark.to_ne_bytes().to_vec()), Operation::SetConntrackMark]);
            }
            Statement::SetConntrackMarkBySource(map) => {
                self.look_up_address(SOURCE, map.as_str(), data);
                self.push(Operation::SetConntrackMark);
            }
            Statement::RestoreMark => {
                self.operations
                    .extend([Operation::Conntrack(ConntrackKey::Mark), Operation::SetMark(Register::First)]);
            }
            Statement::DnatByAddress(map) => {
                self.look_up_address(DESTINATION, map.as_str(), data);
                self.push(Operation::Dnat { address: Register::First, port: false });
            }
            Statement::DnatByEndpoint(map) | Statement::DnatByEndpointRange(map) => {
                self.destination_endpoint(Register::First);
                self.push(Operation::Lookup { set: map.as_str(), result: data });
                let port = matches!(statement, Statement::DnatByEndpoint(_));
                self.push(Operation::Dnat { address: Register::First, port });
            }
            Statement::SnatBySource(map) => {
                self.look_up_address(SOURCE, map.as_str(), data);
                self.push(Operation::Snat);
            }
            Statement::SnatTo(address) => {
                self.ipv4();
                self.operations.extend([Operation::Load(address.octets().to_vec()), Operation::Snat]);
            }
            Statement::Masquerade => self.push(Operation::Masquerade),
            Statement::JudgeByDestinationEndpoint(map) => {
                self.destination_endpoint(Register::First);
                self.push(Operation::Lookup { set: map.as_str(), result: Some(LookupResult::Verdict) });
            }
            Statement::DnatBySlot { pick, slots, map, sticky } => {
                if matches!(pick, Pick::Source(_)) || sticky.is_some() {
                    self.ipv4();
                }
                let operations = balance::by_slot(*pick, *slots, map.as_str(), sticky.as_ref());
                self.operations.extend(operations);
            }
            Statement::DnatBySticky { sticky, backends } => {
                self.ipv4();
                self.operations.extend(balance::by_sticky(sticky, backends.as_str()));
            }
            Statement::JudgeByOriginalDestination(map) => {
                self.push(Operation::Conntrack(ConntrackKey::OriginalDestination));
                self.push(Operation::Lookup { set: map.as_str(), result: Some(LookupResult::Verdict) });
            }
            _ => {}
        }
    }

    fn push(&mut self, operation: Operation<'a>) {
        self.operations.push(operation);
    }

    fn equals(&mut self, data: Vec<u8>) {
        self.push(Operation::Compare { equal: true, data });
    }

    fn compare_name(&mut self, key: MetaKey, equal: bool, name: &str) {
        let mut data = name.as_bytes().to_vec();
        data.resize(NAME, 0);
        self.push(Operation::Meta(key, Register::First));
        self.push(Operation::Compare { equal, data });
    }

    fn network_protocol(&mut self, number: u8) {
        self.push(Operation::Meta(MetaKey::NetworkProtocol, Register::First));
        self.equals(vec![number]);
    }

    fn ipv4(&mut self) {
        if !std::mem::replace(&mut self.is_ipv4, true) {
            self.network_protocol(NFPROTO_IPV4);
        }
    }

    fn transport_protocol(&mut self, number: u8) {
        if self.protocol.replace(number) != Some(number) {
            self.push(Operation::Meta(MetaKey::TransportProtocol, Register::First));
            self.equals(vec![number]);
        }
    }

    fn transport(&mut self, offset: u32, length: u32) {
        self.push(Operation::Payload { base: Base::Transport, offset, length, register: Register::First });
    }

    fn address(&mut self, offset: u32, register: Register) {
        self.push(address(offset, register));
    }

    fn compare_net(&mut self, offset: u32, net: Ipv4Net) {
        self.ipv4();
        self.address(offset, Register::First);
        if net.prefix_len() < 32 {
            self.push(Operation::Mask(net.netmask().octets().to_vec()));
        }
        self.equals(net.network().octets().to_vec());
    }

    fn look_up_address(&mut self, offset: u32, set: &'a str, result: Option<LookupResult>) {
        self.ipv4();
        self.address(offset, Register::First);
        self.push(Operation::Lookup { set, result });
    }

    fn compare_icmp(&mut self, offset: u32, number: u8) {
        self.ipv4();
        self.transport_protocol(IPPROTO_ICMP);
        self.transport(offset, 1);
        self.equals(vec![number]);
    }

    /// Destination address, protocol and port, in three registers from this one on.
    fn compare_port(&mut self, offset: u32, port: u16) {
        self.transport(offset, 2);
        self.equals(port.to_be_bytes().to_vec());
    }

    fn look_up_port(&mut self, offset: u32, set: &'a str) {
        self.transport(offset, 2);
        self.push(Operation::Lookup { set, result: None });
    }

    fn destination_endpoint(&mut self, first: Register) {
        self.ipv4();
        let (protocol, port) = match first {
            Register::First => (Register::Second, Register::Third),
            _ => (Register::Third, Register::Fourth),
        };
        self.address(DESTINATION, first);
        self.push(Operation::Meta(MetaKey::TransportProtocol, protocol));
        self.push(Operation::Payload { base: Base::Transport, offset: PORT, length: 2, register: port });
    }

    fn has_bits(&mut self, key: ConntrackKey, bits: u32) {
        self.push(Operation::Conntrack(key));
        self.push(Operation::Mask(bits.to_ne_bytes().to_vec()));
        self.push(Operation::Compare { equal: false, data: vec![0; 4] });
    }
}
