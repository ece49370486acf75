//! What happens to links, addresses, routes and rules, as the kernel tells it.
//!
//! The loop does not follow each event: it is told that devices changed, that a device's neighbours should hear of its
//! addresses again, or that somebody else changed something, and looks for itself. Called by the loop.

use std::collections::BTreeSet;
use std::io;

use bytes::BytesMut;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkEvent};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};

use super::KernelError;
use super::netlink::{NETLINK_ROUTE, decode, failed, messages};

/// Events that may wait to be read; when more come, the kernel says so and the loop looks at everything.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The most that is read at once.
const CHUNK: usize = 64 << 10;

/// What happened since the last time it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Happened {
    /// A device came, went, or changed.
    pub links: bool,
    /// Devices whose neighbours should hear of the addresses again, because the machine moved.
    pub announce: BTreeSet<u32>,
    /// Somebody else changed an address, a route or a rule.
    pub foreign: bool,
}

/// The kernel's events of the routing family.
pub struct Events {
    socket: TokioSocket,
    own_port: u32,
    buffer: BytesMut,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("own_port", &self.own_port).finish_non_exhaustive()
    }
}

impl Events {
    /// Listens. What the socket with `own_port` causes is not told.
    ///
    /// # Errors
    /// A socket cannot be had.
    pub fn open(own_port: u32) -> Result<Self, KernelError> {
        let open = || -> io::Result<TokioSocket> {
            let mut listening = TokioSocket::new(NETLINK_ROUTE)?;
            let socket = listening.socket_mut();
            socket.bind_auto()?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            let groups = [
                MulticastGroup::Link,
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv4Route,
                MulticastGroup::Ipv4Rule,
            ];
            for group in groups {
                socket.add_membership(group as u32)?;
            }
            Ok(listening)
        };
        let socket = open().map_err(|error| failed("listen", &error))?;
        Ok(Self { socket, own_port, buffer: BytesMut::with_capacity(CHUNK) })
    }

    /// Waits until something happened, and tells all that did by then.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub async fn next(&mut self) -> Result<Happened, KernelError> {
        loop {
            let mut happened = Happened::default();
            self.buffer.clear();
            self.buffer.reserve(CHUNK);
            let mut read = self.socket.recv(&mut self.buffer).await.map(drop);
            loop {
                match read {
                    Ok(()) => happened.read(&self.buffer, self.own_port),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // More happened than fitted: look at everything.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        (happened.links, happened.foreign) = (true, true);
                    }
                    Err(error) => return Err(failed("listen", &error)),
                }
                self.buffer.clear();
                self.buffer.reserve(CHUNK);
                read = self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT).map(drop);
            }
            if happened != Happened::default() {
                return Ok(happened);
            }
        }
    }
}

impl Happened {
    /// Takes in what a buffer of events says.
    fn read(&mut self, buffer: &[u8], own_port: u32) {
        for (header, payload) in messages(buffer) {
            // An event that cannot be understood may be anything.
            let Ok(message) = decode::<RouteNetlinkMessage>(&header, payload) else {
                (self.links, self.foreign) = (true, true);
                continue;
            };
            match message {
                RouteNetlinkMessage::NewLink(link) => {
                    self.links = true;
                    if link.attributes.contains(&LinkAttribute::Event(LinkEvent::NotifyPeers)) {
                        self.announce.insert(link.header.index);
                    }
                }
                RouteNetlinkMessage::DelLink(_) => self.links = true,
                // What the kernel does by itself follows from what somebody did.
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                    let by_kernel = route.header.protocol == RouteProtocol::Kernel;
                    self.foreign |= !by_kernel && header.port_number != own_port;
                }
                _ => self.foreign |= header.port_number != own_port,
            }
        }
    }
}
