//! Gratuitous ARP: neighbours learn at once where an address is (RFC 5227 section 3).
//!
//! A task of its own sends each announcement twice, some time apart, and many at a pace that no switch minds. Called by
//! the kernel room's front.

use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::mpsc;

use super::KernelError;

/// How many announcements may wait; a whole base of addresses fits.
const QUEUE: usize = 64;
/// The second announcement follows after this (RFC 5227 section 1.1: ANNOUNCE_INTERVAL).
const INTERVAL: Duration = Duration::from_secs(2);
/// So many are sent at once, and then a breath is taken.
const BURST: usize = 256;
const BREATH: Duration = Duration::from_millis(5);
/// The type of ARP frames, and the length of one with the least that Ethernet carries.
const ETHERTYPE_ARP: u16 = 0x0806;
const FRAME: usize = 60;
const BROADCAST: [u8; 6] = [0xff; 6];

/// One address on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcement {
    /// The index of the device.
    pub(super) index: u32,
    /// The device's Ethernet address.
    pub(super) mac: [u8; 6],
    /// The address.
    pub(super) address: Ipv4Addr,
}

/// Sends announcements from a task of its own.
pub(super) struct Announcer {
    queue: mpsc::Sender<Vec<Announcement>>,
}

impl Announcer {
    /// Opens the socket and starts the task.
    pub(super) fn open() -> Result<Self, KernelError> {
        let failed = |error: std::io::Error| KernelError::Netlink {
            action: "open a packet socket".to_owned(),
            reason: error.to_string(),
        };
        let socket =
            Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None::<Protocol>).map_err(failed)?;
        let (queue, mut waiting) = mpsc::channel::<Vec<Announcement>>(QUEUE);
        tokio::spawn(async move {
            while let Some(announcements) = waiting.recv().await {
                send(&socket, &announcements).await;
                tokio::time::sleep(INTERVAL).await;
                send(&socket, &announcements).await;
            }
        });
        Ok(Self { queue })
    }

    /// Hands announcements over.
    pub(super) fn announce(&self, announcements: Vec<Announcement>) -> Result<(), KernelError> {
        self.queue.try_send(announcements).map_err(|_| KernelError::Refused {
            action: "announce addresses".to_owned(),
            reason: format!("{QUEUE} announcements are waiting already"),
        })
    }
}

async fn send(socket: &Socket, announcements: &[Announcement]) {
    for burst in announcements.chunks(BURST) {
        for announcement in burst {
            // A device that is gone or down has no neighbours to tell; the next change of its state tells them anew.
            if let Err(error) = send_frame(socket, announcement) {
                tracing::debug!(address = %announcement.address, %error, "not announced");
            }
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// A request for the address by the address itself, as RFC 5227 has it.
fn frame(announcement: &Announcement) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let address = announcement.address.octets();
    let parts: [&[u8]; 11] = [
        &BROADCAST,
        &announcement.mac,
        &ETHERTYPE_ARP.to_be_bytes(),
        &[0, 1, 8, 0],
        &[6, 4],
        &[0, 1],
        &announcement.mac,
        &address,
        &[0; 6],
        &address,
        &[],
    ];
    let octets = parts.concat();
    for (place, octet) in frame.iter_mut().zip(octets) {
        *place = octet;
    }
    frame
}

fn send_frame(socket: &Socket, announcement: &Announcement) -> std::io::Result<usize> {
    socket.send_to(&frame(announcement), &link_address(announcement.index)?)
}

/// The address of a device's link for a packet socket (`linux/if_packet.h`: sockaddr_ll).
#[expect(unsafe_code, reason = "no crate builds this address safely")]
fn link_address(index: u32) -> std::io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(std::io::Error::other)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(std::io::Error::other)?;
    let size = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(std::io::Error::other)?;
    // SAFETY: the storage is zeroed and large enough for any address; exactly the fields of sockaddr_ll are written, and
    // its length is what is told.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = family;
            (*link).sll_protocol = ETHERTYPE_ARP.to_be();
            (*link).sll_ifindex = index;
            (*link).sll_halen = 6;
            *length = size;
            Ok(())
        })
    }?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_request_by_the_address_for_itself() {
        let mac = [0x52, 0x54, 0, 0, 0, 2];
        let announcement = Announcement { index: 2, mac, address: Ipv4Addr::new(198, 51, 100, 7) };
        let expected = "ffffffffffff525400000002080600010800060400015254000000\
                        02c6336407000000000000c6336407";
        let octets: String = frame(&announcement).iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(octets.trim_end_matches("00"), expected.replace(' ', ""));
        assert_eq!(octets.len(), 120);
    }
}
