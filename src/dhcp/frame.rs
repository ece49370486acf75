//! Packets that do not go through a UDP socket: the IP and UDP headers of a reply in a frame, ARP, and echo requests.
//! Called by the sockets and the prober.

use std::net::Ipv4Addr;

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};

/// The IP and UDP headers.
const HEADERS: usize = 28;
/// An ARP packet for IPv4 on Ethernet.
const ARP: usize = 28;
/// The time to live of what we send (RFC 1700).
const TTL: u8 = 64;
/// UDP (RFC 1700).
const UDP: u8 = 17;
/// The identifier of our echo requests; replies to anybody else's do not matter.
const ECHO_IDENTIFIER: [u8; 2] = *b"vr";

/// The headers of a reply to a client on the link.
pub(super) fn headers(source: Ipv4Addr, destination: Ipv4Addr, message: &[u8]) -> [u8; HEADERS] {
    let udp_length = u16::try_from(message.len() + 8).unwrap_or(u16::MAX).to_be_bytes();
    let ip_length = u16::try_from(message.len() + HEADERS).unwrap_or(u16::MAX).to_be_bytes();
    let (from, to) = (source.octets(), destination.octets());
    let mut ip = [0; 20];
    let mut udp = [0; 8];
    ip[..4].copy_from_slice(&[0x45, 0, ip_length[0], ip_length[1]]);
    ip[8..10].copy_from_slice(&[TTL, UDP]);
    ip[12..16].copy_from_slice(&from);
    ip[16..].copy_from_slice(&to);
    udp[..2].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length);
    let ip_sum = checksum(sum(&ip));
    ip[10..12].copy_from_slice(&ip_sum);
    let pseudo = sum(&from) + sum(&to) + sum(&[0, UDP]) + sum(&udp_length);
    let udp_sum = checksum(pseudo + sum(&udp) + sum(message));
    // Zero would mean that there is none (RFC 768).
    udp[6..].copy_from_slice(if udp_sum == [0; 2] { &[0xff; 2] } else { &udp_sum });
    let mut headers = [0; HEADERS];
    headers[..20].copy_from_slice(&ip);
    headers[20..].copy_from_slice(&udp);
    headers
}

/// An ARP request that asks for an address without claiming any (RFC 5227 section 2.1.1).
pub(super) fn arp_probe(mac: [u8; 6], address: Ipv4Addr) -> [u8; ARP] {
    let mut packet = [0; ARP];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&mac);
    packet[24..].copy_from_slice(&address.octets());
    packet
}

/// Who says in an ARP packet that it has which address.
pub(super) fn arp_sender(packet: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let sender = packet.strip_prefix(&[0, 1, 8, 0, 6, 4])?.get(2..12)?;
    let (mac, address) = sender.split_first_chunk::<6>()?;
    Some((Ipv4Addr::from(*address.first_chunk::<4>()?), *mac))
}

/// An echo request (RFC 792).
pub(super) fn echo_request() -> [u8; 8] {
    let mut packet = [8, 0, 0, 0, ECHO_IDENTIFIER[0], ECHO_IDENTIFIER[1], 0, 1];
    let sum = checksum(sum(&packet));
    packet[2..4].copy_from_slice(&sum);
    packet
}

/// Who answers an echo request of ours, in an IPv4 packet.
pub(super) fn echo_sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let reply = packet.get(header..)?.strip_prefix(&[0, 0])?;
    let source = packet.get(12..16)?.first_chunk::<4>()?;
    (reply.get(2..4) == Some(&ECHO_IDENTIFIER)).then_some(Ipv4Addr::from(*source))
}

/// The sum of 16-bit words of RFC 1071, not yet folded.
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<2>();
    let words: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    words + rest.first().map_or(0, |octet| u64::from(*octet) << 8)
}

fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_a_reply_are_right() {
        let (source, destination) = (Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(10, 1, 1, 20));
        let message: Vec<u8> = (0..=255).cycle().take(301).collect();
        let headers = headers(source, destination, &message);
        let (ip, udp) = headers.split_at(20);
        assert_eq!(checksum(sum(ip)), [0, 0]);
        let pseudo = sum(&source.octets()) + sum(&destination.octets()) + sum(&[0, UDP]) + sum(&udp[4..6]);
        assert_eq!(checksum(pseudo + sum(udp) + sum(&message)), [0, 0]);
        assert_eq!(ip[2..4], 329u16.to_be_bytes());
        assert_eq!(udp[..6], [0, 67, 0, 68, 1, 53]);
    }

    #[test]
    fn answers_are_told_from_other_packets() {
        let address = Ipv4Addr::new(10, 1, 1, 20);
        let mut answer = arp_probe([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 1, 1, 1));
        assert_eq!(arp_sender(&answer), Some((Ipv4Addr::UNSPECIFIED, [2, 0, 0, 0, 0, 1])));
        answer[14..18].copy_from_slice(&address.octets());
        assert_eq!(arp_sender(&answer), Some((address, [2, 0, 0, 0, 0, 1])));
        let mut echo = vec![0x45; 20];
        echo[12..16].copy_from_slice(&address.octets());
        echo.extend([0, 0, 0, 0, b'v', b'r', 0, 1]);
        assert_eq!(echo_sender(&echo), Some(address));
        for length in 0..echo.len() - 2 {
            assert_eq!(echo_sender(&echo[..length]), None);
            assert_eq!(arp_sender(&answer[..length.min(17)]), None);
        }
    }
}
