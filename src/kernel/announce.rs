//! Gratuitous ARP: neighbours learn at once where an address is (RFC 5227 section 3).
//!
//! A task of its own sends each announcement twice, some time apart, and many at a pace that no switch minds. Whatever is
//! asked of it, it keeps one entry for each address, so nothing waits and nothing is refused. Called by the kernel room's
//! front.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::KernelError;
use crate::clock;

/// How often each announcement is sent, and how long after the one before (RFC 5227 section 1.1: ANNOUNCE_NUM,
/// ANNOUNCE_INTERVAL).
const TIMES: u8 = 2;
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

/// Sends announcements from a task of its own, which ends with it.
pub(super) struct Announcer {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
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
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(socket, shared.clone())).abort_handle();
        Ok(Self { shared, task })
    }

    /// Has these announced from now on, anew where they were before.
    pub(super) fn announce(&self, announcements: impl IntoIterator<Item = Announcement>) {
        self.shared.waiting().add(announcements, clock::moment());
        self.shared.changed.notify_one();
    }

    /// These addresses may be another's now: they are not announced any more.
    pub(super) fn withdraw(&self, addresses: impl IntoIterator<Item = (u32, Ipv4Addr)>) {
        self.shared.waiting().remove(addresses);
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(socket: Socket, shared: Arc<Shared>) {
    loop {
        let (due, next) = shared.waiting().take_due(clock::moment());
        send(&socket, &due).await;
        let changed = shared.changed.notified();
        match next {
            Some(next) => {
                let rest = next.saturating_duration_since(clock::moment());
                // Whichever comes first: what is due is looked at anew.
                let _ = tokio::time::timeout(rest, changed).await;
            }
            None => changed.await,
        }
    }
}

/// What is still to be announced: for each address on a device its Ethernet address, how often, and when next.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<(u32, Ipv4Addr), Pending>);

#[derive(Debug, Clone, Copy)]
struct Pending {
    mac: [u8; 6],
    left: u8,
    due: Instant,
}

impl Waiting {
    fn add(&mut self, announcements: impl IntoIterator<Item = Announcement>, now: Instant) {
        for Announcement { index, mac, address } in announcements {
            self.0.insert((index, address), Pending { mac, left: TIMES, due: now });
        }
    }

    fn remove(&mut self, addresses: impl IntoIterator<Item = (u32, Ipv4Addr)>) {
        for address in addresses {
            self.0.remove(&address);
        }
    }

    /// What has to be sent now, and when there is more to send.
    fn take_due(&mut self, now: Instant) -> (Vec<Announcement>, Option<Instant>) {
        let mut due = Vec::new();
        self.0.retain(|&(index, address), pending| {
            if pending.due <= now {
                due.push(Announcement { index, mac: pending.mac, address });
                pending.left = pending.left.saturating_sub(1);
                pending.due = now + INTERVAL;
            }
            pending.left > 0
        });
        (due, self.0.values().map(|pending| pending.due).min())
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
    fn each_address_is_announced_twice_unless_it_goes() {
        let announcement =
            |last| Announcement { index: 2, mac: [2; 6], address: Ipv4Addr::new(198, 51, 100, last) };
        let start = clock::moment();
        let mut waiting = Waiting::default();
        waiting.add([announcement(7), announcement(8)], start);
        waiting.add([announcement(7)], start);
        assert_eq!(
            waiting.take_due(start),
            (vec![announcement(7), announcement(8)], Some(start + INTERVAL)),
            "one entry for each address"
        );
        let later = start + INTERVAL / 2;
        waiting.remove([(2, announcement(8).address)]);
        waiting.add([announcement(9)], later);
        assert_eq!(waiting.take_due(later), (vec![announcement(9)], Some(start + INTERVAL)));
        let (due, next) = waiting.take_due(start + INTERVAL);
        assert_eq!(
            (due, next),
            (vec![announcement(7)], Some(later + INTERVAL)),
            "what went is not announced"
        );
        assert_eq!(waiting.take_due(later + INTERVAL), (vec![announcement(9)], None));
    }

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
