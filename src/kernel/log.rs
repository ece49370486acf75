//! Firewall logs: packets that rules with `log` decided, told to the journal with the rule's id.
//!
//! The kernel hands each such packet to a group of ours, limited per rule; nothing waits when nobody reads. Called by
//! the daemon.

use std::net::Ipv4Addr;

use bytes::BytesMut;
use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigMode, PacketNla, ULogMessage, config_request};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use rtnetlink::packet_core::NLM_F_ACK;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};

use super::KernelError;
use super::netlink::{NETLINK_NETFILTER, decode, failed, messages, write};
use crate::plan::facts::LOG_GROUP;

/// How much of each packet is told: its headers.
const COPY: u32 = 64;
/// The most that is read at once.
const CHUNK: usize = 64 << 10;

/// The firewall's log.
pub struct FirewallLog {
    socket: TokioSocket,
}

impl std::fmt::Debug for FirewallLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirewallLog").finish_non_exhaustive()
    }
}

impl FirewallLog {
    /// Listens to the group.
    ///
    /// # Errors
    /// The kernel has no such groups, or another process listens to this one.
    pub fn open() -> Result<Self, KernelError> {
        let mut listening =
            TokioSocket::new(NETLINK_NETFILTER).map_err(|error| failed("open a socket", &error))?;
        let socket = listening.socket_mut();
        socket.bind_auto().map_err(|error| failed("bind", &error))?;
        for command in [ConfigCmd::Bind.into(), ConfigMode::new_packet(COPY).into()] {
            let request = config_request(NetfilterProtoFamily::Unspec, LOG_GROUP, vec![command]);
            let mut buffer = Vec::new();
            write::<NetfilterMessage>(&mut buffer, request.payload, NLM_F_ACK, 1);
            socket.send(&buffer, 0).map_err(|error| failed("listen", &error))?;
            // The kernel has answered by the time that it returns.
            let mut answer = BytesMut::with_capacity(CHUNK);
            socket.recv(&mut answer, libc::MSG_DONTWAIT).map_err(|error| failed("listen", &error))?;
            if let Some(refusal) = super::netlink::first_refusal(&answer) {
                return Err(KernelError::Refused {
                    action: "tell firewall logs".to_owned(),
                    reason: refusal.reason,
                });
            }
        }
        Ok(Self { socket: listening })
    }

    /// Writes what comes to the journal, for ever.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub async fn run(self) -> Result<(), KernelError> {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.clear();
            buffer.reserve(CHUNK);
            match self.socket.recv(&mut buffer).await {
                Ok(_) => tell(&buffer),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tracing::warn!(target: "firewall", "more packets were logged than could be told");
                }
                Err(error) => return Err(failed("listen", &error)),
            }
        }
    }
}

fn tell(buffer: &[u8]) {
    for (header, payload) in messages(buffer) {
        let Ok(message) = decode::<NetfilterMessage>(&header, payload) else { continue };
        let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message.inner else { continue };
        let (mut prefix, mut packet) = (String::new(), Packet::default());
        for attribute in &attributes {
            match attribute {
                PacketNla::Prefix(text) => prefix = text.to_string_lossy().into_owned(),
                PacketNla::Payload(octets) => packet = Packet::of(octets),
                _ => {}
            }
        }
        let mut words = prefix.splitn(3, ' ');
        let (action, direction, rule) = (words.next(), words.next(), words.next());
        tracing::info!(
            target: "firewall",
            rule = rule.unwrap_or_default(),
            action = action.unwrap_or_default(),
            direction = direction.unwrap_or_default(),
            source = packet.source.map(tracing::field::display),
            destination = packet.destination.map(tracing::field::display),
            protocol = packet.protocol,
            source_port = packet.source_port,
            destination_port = packet.destination_port,
            "a firewall rule logs a packet"
        );
    }
}

/// The headers of a packet, as far as a person asks for them (RFC 791 section 3.1).
#[derive(Debug, Default, PartialEq, Eq)]
struct Packet {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Packet {
    fn of(octets: &[u8]) -> Self {
        let address = |from: usize| {
            octets.get(from..from + 4).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from)
        };
        let header = octets.first().map_or(0, |first| usize::from(first & 15) * 4);
        let protocol = octets.get(9).copied();
        let port = |from: usize| {
            let octets = octets.get(header + from..header + from + 2)?;
            <[u8; 2]>::try_from(octets).ok().map(u16::from_be_bytes)
        };
        let ported = matches!(protocol, Some(6 | 17 | 132));
        Self {
            source: address(12),
            destination: address(16),
            protocol,
            source_port: if ported { port(0) } else { None },
            destination_port: if ported { port(2) } else { None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_where_they_are_and_no_further() {
        let mut octets = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        octets.extend([0x1f, 0x90, 0, 80]);
        let packet = Packet::of(&octets);
        assert_eq!(packet.destination, Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!((packet.source_port, packet.destination_port), (Some(8080), Some(80)));
        for length in 0..octets.len() {
            Packet::of(&octets[..length]);
        }
    }
}
