//! Looking for an address on the network before it is offered: by ARP on the link (RFC 5227), by an echo request behind
//! routers. Messages wait here until that is known. Used by the listener of the device.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, SockaddrIn, recvmsg, sendto};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use super::decision::Probe;
use super::frame;
use super::socket::{Sockets, arp_socket, echo_socket};
use crate::clock;

/// How many addresses are looked for at once on a device.
const MAX_PROBES: usize = 1024;
/// When an address that nothing has answered for is asked for once more.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// When an address that nothing has answered for is free. Clients wait for an offer for some seconds; on the networks
/// of virtual machines an answer takes a millisecond.
const WAIT: Duration = Duration::from_millis(500);
/// How many addresses are looked for on behalf of one message, while each is found to be taken.
const MAX_ATTEMPTS: u8 = 4;
/// More than an ARP packet, and enough of an echo reply.
const PACKET: usize = 128;

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The message.
    pub(super) datagram: Vec<u8>,
    /// How many addresses were looked for on its behalf.
    pub(super) attempts: u8,
}

/// What is known of an address.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) address: Ipv4Addr,
    /// The station that has it; its Ethernet address is zero where only its echo came back.
    pub(super) answer: Option<[u8; 6]>,
    /// The message that waited for it.
    pub(super) waiting: Waiting,
}

/// The addresses of a device that are looked for.
#[derive(Debug)]
pub(super) struct Prober {
    sockets: Arc<Sockets>,
    held: BTreeMap<Ipv4Addr, Held>,
    /// When to ask again, and when to give up; both in the order of time, because each waits for the same.
    again: VecDeque<(Instant, Ipv4Addr)>,
    until: VecDeque<(Instant, Ipv4Addr)>,
    /// Open while there is something to hear on them.
    arp: Option<UdpSocket>,
    echo: Option<UdpSocket>,
}

#[derive(Debug)]
struct Held {
    probe: Probe,
    waiting: Waiting,
    until: Instant,
}

impl Prober {
    pub(super) fn new(sockets: Arc<Sockets>) -> Self {
        let (again, until) = (VecDeque::new(), VecDeque::new());
        Self { sockets, held: BTreeMap::new(), again, until, arp: None, echo: None }
    }

    /// Begins to look for an address, on behalf of a message. False where that cannot be done now.
    pub(super) fn start(&mut self, probe: Probe, waiting: Waiting, mac: [u8; 6]) -> bool {
        if self.held.len() >= MAX_PROBES || waiting.attempts >= MAX_ATTEMPTS {
            return false;
        }
        if let Err(error) = self.open(probe).and_then(|()| self.ask(probe, mac)) {
            // What cannot be asked on a device that is down cannot be answered either.
            tracing::debug!(device = %self.sockets.device, address = %probe.address, %error, "could not ask for an address");
        }
        let now = clock::moment();
        let until = now + WAIT;
        self.again.push_back((now + ASK_AGAIN, probe.address));
        self.until.push_back((until, probe.address));
        self.held.insert(probe.address, Held { probe, waiting, until });
        true
    }

    /// Waits until something is known of an address, or time is over for one. `mac` is the device's own address.
    pub(super) async fn next(&mut self, mac: [u8; 6]) -> Outcome {
        loop {
            if self.held.is_empty() {
                (self.arp, self.echo) = (None, None);
                self.again.clear();
                self.until.clear();
            }
            if let Some(outcome) = self.due(mac) {
                return outcome;
            }
            let first =
                [self.again.front(), self.until.front()].into_iter().flatten().map(|(time, _)| *time).min();
            let timer = async {
                match first {
                    Some(time) => sleep_until(time.into()).await,
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                () = timer => None,
                heard = hear(self.arp.as_ref(), frame::arp_sender) => heard,
                heard = hear(self.echo.as_ref(), |packet| Some((frame::echo_sender(packet)?, [0; 6]))) => heard,
            };
            if let Some(outcome) = answer.and_then(|(address, station)| self.answered(address, station)) {
                return outcome;
            }
        }
    }

    fn answered(&mut self, address: Ipv4Addr, station: [u8; 6]) -> Option<Outcome> {
        if self.held.get(&address)?.probe.client == Some(station) {
            return None;
        }
        let Held { waiting, .. } = self.held.remove(&address)?;
        Some(Outcome { address, answer: Some(station), waiting })
    }

    /// Asks again where it is time to, and returns an address that nothing answered for.
    fn due(&mut self, mac: [u8; 6]) -> Option<Outcome> {
        let now = clock::moment();
        while let Some(address) = pop_due(&mut self.again, now) {
            if let Some(held) = self.held.get(&address) {
                // The first time was reported; this one has the same fate.
                let _ = self.ask(held.probe, mac);
            }
        }
        while let Some(address) = pop_due(&mut self.until, now) {
            // Where the address is looked for once more already, this is the time of the first time.
            if self.held.get(&address).is_some_and(|held| held.until <= now)
                && let Some(Held { waiting, .. }) = self.held.remove(&address)
            {
                return Some(Outcome { address, answer: None, waiting });
            }
        }
        None
    }

    fn open(&mut self, probe: Probe) -> io::Result<()> {
        let device = &self.sockets.device;
        if probe.on_link && self.arp.is_none() {
            self.arp = Some(arp_socket(device)?);
        } else if !probe.on_link && self.echo.is_none() {
            self.echo = Some(echo_socket(device)?);
        }
        Ok(())
    }

    fn ask(&self, probe: Probe, mac: [u8; 6]) -> io::Result<()> {
        if probe.on_link {
            return self.sockets.send_arp(&frame::arp_probe(mac, probe.address));
        }
        if let Some(echo) = &self.echo {
            let to = SockaddrIn::from(SocketAddrV4::new(probe.address, 0));
            sendto(echo.as_raw_fd(), &frame::echo_request(), &to, MsgFlags::MSG_DONTWAIT)?;
        }
        Ok(())
    }
}

/// The first address whose time has come.
fn pop_due(queue: &mut VecDeque<(Instant, Ipv4Addr)>, now: Instant) -> Option<Ipv4Addr> {
    let due = queue.front().is_some_and(|(time, _)| *time <= now);
    if due { queue.pop_front().map(|(_, address)| address) } else { None }
}

/// Waits for a packet that says who has which address.
async fn hear(
    socket: Option<&UdpSocket>,
    read: impl Fn(&[u8]) -> Option<(Ipv4Addr, [u8; 6])>,
) -> Option<(Ipv4Addr, [u8; 6])> {
    let Some(socket) = socket else { return std::future::pending().await };
    let mut packet = [0; PACKET];
    let length = socket.async_io(Interest::READABLE, || receive(socket, &mut packet)).await;
    // A device that goes down is an error once; that nothing is heard then is what the timer is for.
    length.ok().and_then(|length| read(packet.get(..length)?))
}

fn receive(socket: &UdpSocket, packet: &mut [u8]) -> io::Result<usize> {
    let mut parts = [IoSliceMut::new(packet)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
    Ok(received.bytes)
}
