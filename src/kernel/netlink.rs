//! One netlink socket, used by one owner at a time: requests, batches and dumps, with the kernel's own words on errors.
//!
//! The kernel works off what is sent before `send` returns, so answers are there when it does: nothing here waits
//! for the kernel longer than it needs. Called by the rooms' files for nftables, conntrack and bulk routes; everything
//! else of rtnetlink goes through the `rtnetlink` crate.

use std::fmt::Debug;
use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use rtnetlink::sys::{Socket, SocketAddr};

use super::KernelError;

/// Protocols (`linux/netlink.h`).
pub(super) const NETLINK_ROUTE: isize = 0;
/// Netfilter: nftables, connections, logs.
pub(super) const NETLINK_NETFILTER: isize = 12;
/// Room for one batch; the kernel takes it whole or not at all.
const SEND_BUFFER: usize = 64 << 20;
/// Room for the answers that wait while a batch is worked off.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The most the kernel sends at once in a dump.
const CHUNK: usize = 64 << 10;
/// How often a dump is repeated that the kernel says was disturbed.
const DUMP_ATTEMPTS: usize = 8;
/// The attribute with the kernel's own words (`linux/netlink.h`: NLMSGERR_ATTR_MSG).
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The length of a message's header.
const HEADER: usize = 16;

/// One netlink socket.
pub(super) struct Netlink {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A message that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The sequence number of the message.
    pub(super) sequence: u32,
    /// The error number, positive.
    pub(super) code: i32,
    /// The error, with the kernel's own words where it has some.
    pub(super) reason: String,
}

impl Netlink {
    /// A socket of a protocol (`linux/netlink.h`: NETLINK_*).
    pub(super) fn open(protocol: isize) -> Result<Self, KernelError> {
        let open = || -> io::Result<(Socket, u32)> {
            let mut socket = Socket::new(protocol)?;
            let port = socket.bind_auto()?.port_number();
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // Without the right to force them, the buffers stay as the system has them: enough for small changes.
            let _ = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER);
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
            if protocol == NETLINK_ROUTE {
                // A dump is of what was asked for, not of everything.
                socket.set_netlink_get_strict_chk(true)?;
            }
            Ok((socket, port))
        };
        let (socket, port) = open().map_err(|error| failed("open a socket", &error))?;
        Ok(Self { socket, port, sequence: 0, buffer: Vec::with_capacity(CHUNK) })
    }

    /// The next sequence number.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Adds a message to a buffer and returns its sequence number.
    pub(super) fn pack<I>(
        &mut self,
        buffer: &mut Vec<u8>,
        payload: impl Into<NetlinkPayload<I>>,
        flags: u16,
    ) -> u32
    where
        I: NetlinkSerializable,
    {
        let sequence = self.next_sequence();
        write(buffer, payload, flags, sequence);
        sequence
    }

    /// Sends a packed buffer and returns the messages that the kernel refused.
    pub(super) fn send(&mut self, buffer: &[u8]) -> Result<Vec<Refusal>, KernelError> {
        self.socket.send_to(buffer, &SocketAddr::new(0, 0), 0).map_err(|error| failed("send", &error))?;
        let mut refusals = Vec::new();
        while self.receive(libc::MSG_DONTWAIT)? {
            for (header, payload) in messages(&self.buffer) {
                if let Some(refusal) = refusal(&header, payload) {
                    refusals.push(refusal);
                }
            }
        }
        Ok(refusals)
    }

    /// Asks for one change. `action` says which, for the error.
    pub(super) fn request<I>(
        &mut self,
        message: I,
        flags: u16,
        action: impl FnOnce() -> String,
    ) -> Result<(), KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        let mut buffer = Vec::new();
        self.pack(&mut buffer, message, flags);
        match self.send(&buffer)?.into_iter().next() {
            Some(refusal) => Err(KernelError::Refused { action: action(), reason: refusal.reason }),
            None => Ok(()),
        }
    }

    /// Asks for a removal; what is gone already is no fault.
    pub(super) fn request_gone<I>(
        &mut self,
        message: I,
        action: impl FnOnce() -> String,
    ) -> Result<(), KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        let mut buffer = Vec::new();
        self.pack(&mut buffer, message, NLM_F_ACK);
        let gone = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL];
        match self.send(&buffer)?.into_iter().find(|refusal| !gone.contains(&refusal.code)) {
            Some(refusal) => Err(KernelError::Refused { action: action(), reason: refusal.reason }),
            None => Ok(()),
        }
    }

    /// The number by which the kernel tells this socket from others.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Asks for one thing; nothing where the kernel has no such thing.
    pub(super) fn get<I>(&mut self, message: I) -> Result<Option<I>, KernelError>
    where
        I: NetlinkSerializable + NetlinkDeserializable + Debug + Into<NetlinkPayload<I>>,
    {
        self.get_with(message, decode)
    }

    /// Asks for one thing, read by the caller.
    pub(super) fn get_with<I, T>(
        &mut self,
        message: I,
        read: impl Fn(&NetlinkHeader, &[u8]) -> Result<T, KernelError>,
    ) -> Result<Option<T>, KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        match self.ask(message, read)? {
            Ok(found) => Ok(found),
            Err(refusal) if refusal.code == libc::ENOENT || refusal.code == libc::ESRCH => Ok(None),
            Err(refusal) => {
                Err(KernelError::Refused { action: "answer a question".to_owned(), reason: refusal.reason })
            }
        }
    }

    /// Asks for one thing, where a refusal is an answer too.
    pub(super) fn ask<I, T>(
        &mut self,
        message: I,
        read: impl Fn(&NetlinkHeader, &[u8]) -> Result<T, KernelError>,
    ) -> Result<Result<Option<T>, Refusal>, KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        let mut buffer = Vec::new();
        let sequence = self.pack(&mut buffer, message, 0);
        self.socket.send_to(&buffer, &SocketAddr::new(0, 0), 0).map_err(|error| failed("send", &error))?;
        let mut found = Ok(None);
        while self.receive(libc::MSG_DONTWAIT)? {
            for (header, payload) in messages(&self.buffer) {
                if header.sequence_number != sequence {
                    continue;
                }
                match refusal(&header, payload) {
                    Some(refusal) => found = Err(refusal),
                    None if i32::from(header.message_type) == libc::NLMSG_ERROR => {}
                    None => found = Ok(Some(read(&header, payload)?)),
                }
            }
        }
        Ok(found)
    }

    /// Asks for everything of a kind.
    pub(super) fn dump<I>(&mut self, request: &I) -> Result<Vec<I>, KernelError>
    where
        I: NetlinkSerializable + NetlinkDeserializable + Debug + Clone + Into<NetlinkPayload<I>>,
    {
        self.dump_with(request, decode)
    }

    /// Asks for everything of a kind, each message read by the caller.
    pub(super) fn dump_with<I, T>(
        &mut self,
        request: &I,
        read: impl Fn(&NetlinkHeader, &[u8]) -> Result<T, KernelError>,
    ) -> Result<Vec<T>, KernelError>
    where
        I: NetlinkSerializable + Clone + Into<NetlinkPayload<I>>,
    {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(request.clone(), &read)? {
                return Ok(found);
            }
        }
        Err(KernelError::Netlink {
            action: "read".to_owned(),
            reason: "the kernel's state changed at every attempt".to_owned(),
        })
    }

    /// Asks for everything of a kind, each message read by the caller as it comes; nothing of it is kept. What changes
    /// meanwhile may be told twice or not at all.
    pub(super) fn dump_each<I>(&mut self, request: I, mut each: impl FnMut(&[u8])) -> Result<(), KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        self.dump_once(request, |_, payload| {
            each(payload);
            Ok(())
        })
        .map(drop)
    }

    /// Nothing where something changed while the kernel was telling.
    fn dump_once<I, T>(
        &mut self,
        request: I,
        mut read: impl FnMut(&NetlinkHeader, &[u8]) -> Result<T, KernelError>,
    ) -> Result<Option<Vec<T>>, KernelError>
    where
        I: NetlinkSerializable + Into<NetlinkPayload<I>>,
    {
        let mut buffer = Vec::new();
        let sequence = self.pack(&mut buffer, request, NLM_F_DUMP);
        self.socket.send_to(&buffer, &SocketAddr::new(0, 0), 0).map_err(|error| failed("send", &error))?;
        let mut found = Vec::new();
        let mut disturbed = false;
        loop {
            self.receive(0)?;
            for (header, payload) in messages(&self.buffer) {
                if header.sequence_number != sequence {
                    continue;
                }
                disturbed |= header.flags & NLM_F_DUMP_INTR != 0;
                if i32::from(header.message_type) == libc::NLMSG_DONE {
                    return Ok((!disturbed).then_some(found));
                }
                if let Some(refusal) = refusal(&header, payload) {
                    // Nothing of the kind is there: the table that was asked about, for example.
                    if refusal.code == libc::ENOENT {
                        return Ok(Some(found));
                    }
                    return Err(KernelError::Refused {
                        action: "be read".to_owned(),
                        reason: refusal.reason,
                    });
                }
                found.push(read(&header, payload)?);
            }
        }
    }

    /// Fills the buffer with what is there; false where nothing is and it was told not to wait.
    fn receive(&mut self, flags: i32) -> Result<bool, KernelError> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, flags) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(failed("receive", &error)),
        }
    }
}

/// Writes a message to a buffer.
pub(super) fn write<I: NetlinkSerializable>(
    buffer: &mut Vec<u8>,
    payload: impl Into<NetlinkPayload<I>>,
    flags: u16,
    sequence: u32,
) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    if let Some(place) = buffer.get_mut(start..) {
        message.serialize(place);
    }
}

/// The first refusal of a buffer, if there is one.
pub(super) fn first_refusal(buffer: &[u8]) -> Option<Refusal> {
    messages(buffer).find_map(|(header, payload)| refusal(&header, payload))
}

/// The messages of a buffer.
pub(super) fn messages(buffer: &[u8]) -> impl Iterator<Item = (NetlinkHeader, &[u8])> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let mut header = NetlinkHeader::default();
        header.message_type = message.message_type();
        header.flags = message.flags();
        header.sequence_number = message.sequence_number();
        header.port_number = message.port_number();
        let payload = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, payload))
    })
}

/// The refusal that a message is, if it is one.
fn refusal(header: &NetlinkHeader, payload: &[u8]) -> Option<Refusal> {
    if i32::from(header.message_type) != libc::NLMSG_ERROR {
        return None;
    }
    let (code, rest) = payload.split_first_chunk::<4>()?;
    let code = i32::from_ne_bytes(*code).checked_neg().filter(|code| *code != 0)?;
    let mut reason = io::Error::from_raw_os_error(code).to_string();
    // Behind the header of the message that was refused, which is all of it that comes back.
    if header.flags & NLM_F_ACK_TLVS != 0 {
        for attribute in NlasIterator::new(rest.get(HEADER..).unwrap_or_default()).flatten() {
            if attribute.kind() == NLMSGERR_ATTR_MSG {
                let words = String::from_utf8_lossy(attribute.value());
                reason = format!("{} ({reason})", words.trim_end_matches('\0'));
            }
        }
    }
    Some(Refusal { sequence: header.sequence_number, code, reason })
}

/// A message of a known kind.
pub(super) fn decode<I: NetlinkDeserializable>(
    header: &NetlinkHeader,
    payload: &[u8],
) -> Result<I, KernelError> {
    I::deserialize(header, payload)
        .map_err(|error| KernelError::Unreadable { what: "netlink", reason: error.to_string() })
}

/// What could not be done with a socket, and why.
pub(super) fn failed(action: &str, error: &io::Error) -> KernelError {
    KernelError::Netlink { action: action.to_owned(), reason: error.to_string() }
}
