//! Queries that wait together come in by one system call, and their answers leave by one. Called by `udp.rs`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// How many messages go through one system call at most.
const BATCH: usize = 32;
/// The room for a query; a longer one is cut, and so malformed.
const QUERY: usize = 4096;

/// Room for queries that came in together.
pub(super) struct Queries {
    octets: Box<[u8]>,
    /// The length of each, and whom it is from.
    received: Vec<(usize, Option<SocketAddrV4>)>,
}

/// Answers that leave together.
#[derive(Default)]
pub(super) struct Answers {
    /// What the next answer is written to.
    pub(super) room: Vec<u8>,
    messages: Vec<Vec<u8>>,
    /// Whom each of them is for.
    to: Vec<Option<SockaddrIn>>,
    /// Room that earlier answers left behind.
    spare: Vec<Vec<u8>>,
}

impl Queries {
    /// Room for one call's queries.
    pub(super) fn new() -> Self {
        Self { octets: vec![0; BATCH * QUERY].into(), received: Vec::with_capacity(BATCH) }
    }

    /// Waits for queries and takes what is there. Whether there may be more at once.
    ///
    /// # Errors
    /// The socket is broken.
    pub(super) async fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.received.clear();
        socket.readable().await?;
        let taken = socket.try_io(Interest::READABLE, || {
            self.take(socket)?;
            // Fewer than there is room for: that was all, and nobody has to ask the socket again to know it.
            if self.received.len() < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match taken {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut rooms: Vec<[IoSliceMut<'_>; 1]> =
            self.octets.chunks_mut(QUERY).map(|room| [IoSliceMut::new(room)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut rooms, flags, None)?;
        self.received
            .extend(received.map(|message| (message.bytes, message.address.map(SocketAddrV4::from))));
        Ok(())
    }

    /// The queries, and whom each is from.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        self.octets
            .chunks(QUERY)
            .zip(&self.received)
            .filter_map(|(room, (length, from))| Some((room.get(..*length)?, (*from)?)))
    }
}

impl Answers {
    /// What was written to the room is an answer to this client.
    pub(super) fn keep(&mut self, to: SocketAddrV4) {
        self.messages.push(mem::replace(&mut self.room, self.spare.pop().unwrap_or_default()));
        self.to.push(Some(to.into()));
    }

    /// Sends the answers, waiting for the socket where it is choked. Returns those that the system would not send.
    pub(super) async fn send(&mut self, socket: &UdpSocket) -> Vec<(SocketAddrV4, io::Error)> {
        let mut unsent = Vec::new();
        let mut sent = 0;
        while let Some(first) = self.to.get(sent) {
            match socket.try_io(Interest::WRITABLE, || self.give(socket, sent)) {
                Ok(number) => sent += number.max(1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = socket.writable().await {
                        unsent.extend(first.map(|to| (to.into(), error)));
                        break;
                    }
                }
                // The call ends with an error only where it is the first message's.
                Err(error) => {
                    unsent.extend(first.map(|to| (to.into(), error)));
                    sent += 1;
                }
            }
        }
        self.to.clear();
        self.spare.append(&mut self.messages);
        unsent
    }

    /// Gives the system what is left behind the first so many; returns how many it took.
    fn give(&self, socket: &UdpSocket, sent: usize) -> io::Result<usize> {
        let to = self.to.get(sent..).unwrap_or_default();
        let slices: Vec<[IoSlice<'_>; 1]> =
            self.messages.iter().skip(sent).map(|message| [IoSlice::new(message)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(to.len(), None);
        let flags = MsgFlags::MSG_DONTWAIT;
        Ok(sendmmsg(socket.as_raw_fd(), &mut headers, &slices, to, [], flags)?.count())
    }
}
