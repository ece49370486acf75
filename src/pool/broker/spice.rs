//! What of the SPICE protocol a broker has to understand: how a channel opens, and the number of its session.
//!
//! A session is one TCP connection for each channel. Each opens with a link message in clear text, which the server
//! answers with its public key; then comes the ticket, encrypted to that key, and the server's verdict on it. The main
//! channel's first messages tell the number of the session, and every further channel names that number in its own link
//! message. After the verdict nothing is looked at but that number. Pure; called by `link.rs` and `relay.rs`. The layout
//! is the one of spice-protocol's `protocol.h`, little-endian and packed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How every link message begins.
pub const MAGIC: [u8; 4] = *b"REDQ";
/// Octets of a link message before its body: magic, major and minor version, size of the body.
pub const HEADER: usize = 16;
/// The longest body that is taken. A client's has about 50 octets, a server's about 200.
pub const MAX_BODY: usize = 4096;
/// Octets of a server's public key: an RSA key of 1024 bits as SubjectPublicKeyInfo (RFC 5280).
pub const KEY: usize = 162;
/// Octets of an encrypted ticket.
pub const TICKET: usize = 128;
/// The verdict that lets a channel through.
pub const ERROR_OK: u32 = 0;
/// The verdict on what is not the protocol.
pub const ERROR_INVALID_DATA: u32 = 3;
/// The verdict that asks for TLS.
pub const ERROR_NEED_SECURED: u32 = 5;
/// The verdict on a wrong ticket.
pub const ERROR_PERMISSION_DENIED: u32 = 7;
/// The verdict on a channel of a session that is not there.
pub const ERROR_BAD_CONNECTION_ID: u32 = 8;
/// The way of authentication that a broker can check: the ticket.
pub const AUTH_SPICE: u32 = 1;

/// Octets of a client's body before its capabilities.
const LINK_FIXED: usize = 18;
/// Octets of a server's body before its capabilities.
const REPLY_FIXED: usize = 4 + KEY + 12;
/// Capability: the client says how it authenticates before it does.
const CAP_AUTH_SELECTION: u32 = 1;
/// Capability: SASL, which a broker cannot stand in the middle of.
const CAP_AUTH_SASL: u32 = 1 << 2;
/// Capability: headers of six octets.
const CAP_MINI_HEADER: u32 = 1 << 3;
/// `SPICE_MSG_MAIN_INIT`, whose first field is the session's number.
const MAIN_INIT: u16 = 103;
/// How many octets of a main channel are searched for it. It is the first message.
const MAX_SEARCH: usize = 64 * 1024;

/// Why octets are no link message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first four octets are others.
    #[error("it does not begin as a link message of SPICE")]
    Magic,
    /// A body of a size that no link message has.
    #[error("its body cannot have {0} octets")]
    Size(u32),
    /// Capabilities that lie outside of the body.
    #[error("its capabilities lie outside of it")]
    Capabilities,
}

/// Which kind of channel a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The one that a session begins and ends with.
    Main,
    /// What the screen shows.
    Display,
    /// Keyboard and mouse.
    Inputs,
    /// The pointer's shape.
    Cursor,
    /// Sound from the VM.
    Playback,
    /// Sound to the VM.
    Record,
    /// Smart cards.
    Smartcard,
    /// USB devices of the station.
    Usbredir,
    /// A serial line.
    Port,
    /// A shared folder.
    Webdav,
    /// A kind that is not known here; it is relayed like any other.
    Other,
}

impl Channel {
    /// The channel of this number in a link message.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Main,
            2 => Self::Display,
            3 => Self::Inputs,
            4 => Self::Cursor,
            5 => Self::Playback,
            6 => Self::Record,
            8 => Self::Smartcard,
            9 => Self::Usbredir,
            10 => Self::Port,
            11 => Self::Webdav,
            _ => Self::Other,
        }
    }

    /// Whether octets of the station on it show that somebody is there. Display and main chat all the time.
    #[must_use]
    pub const fn shows_presence(self) -> bool {
        matches!(self, Self::Inputs | Self::Usbredir | Self::Smartcard)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::Display => "display",
            Self::Inputs => "inputs",
            Self::Cursor => "cursor",
            Self::Playback => "playback",
            Self::Record => "record",
            Self::Smartcard => "smartcard",
            Self::Usbredir => "usbredir",
            Self::Port => "port",
            Self::Webdav => "webdav",
            Self::Other => "other",
        })
    }
}

/// What a client's link message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The session that the channel belongs to; 0 where it begins one.
    pub session: u32,
    /// The kind of channel.
    pub channel: Channel,
    /// Which of its kind.
    pub number: u8,
    /// The first 32 common capabilities.
    capabilities: u32,
}

/// The size of the body that a header announces.
///
/// # Errors
/// The header is no link message's, or its body is too long to be one.
pub fn body_size(header: &[u8; HEADER]) -> Result<usize, Malformed> {
    if header.get(..4) != Some(MAGIC.as_slice()) {
        return Err(Malformed::Magic);
    }
    let size = word(header, 12).unwrap_or(u32::MAX);
    usize::try_from(size).ok().filter(|size| *size <= MAX_BODY).ok_or(Malformed::Size(size))
}

impl Link {
    /// Reads a client's body.
    ///
    /// # Errors
    /// It is too short, or its capabilities lie outside of it.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() < LINK_FIXED {
            return Err(Malformed::Size(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        }
        let (_, capabilities) = capabilities(body, 6)?;
        let octet = |at: usize| body.get(at).copied().unwrap_or_default();
        Ok(Self {
            session: word(body, 0).unwrap_or_default(),
            channel: Channel::from_wire(octet(4)),
            number: octet(5),
            capabilities,
        })
    }
}

/// What a server answered, as far as it concerns what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Its first verdict; without [`ERROR_OK`] nothing follows.
    pub error: u32,
    /// The key that it wants the ticket encrypted to.
    pub key: [u8; KEY],
    capabilities: u32,
}

impl Reply {
    /// Reads a server's body.
    ///
    /// # Errors
    /// It is too short, or its capabilities lie outside of it.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let key = body.get(4..4 + KEY).and_then(|octets| octets.try_into().ok());
        let (Some(key), true) = (key, body.len() >= REPLY_FIXED) else {
            return Err(Malformed::Size(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        };
        let (_, capabilities) = capabilities(body, 4 + KEY)?;
        Ok(Self { error: word(body, 0).unwrap_or_default(), key, capabilities })
    }

    /// Puts another key into a server's body and takes SASL out of its capabilities, so that the ticket comes to us.
    ///
    /// # Errors
    /// As [`Reply::parse`].
    pub fn stand_in(body: &mut [u8], key: &[u8; KEY]) -> Result<(), Malformed> {
        let (at, found) = capabilities(body, 4 + KEY)?;
        if let Some(at) = at {
            put(body, at, found & !CAP_AUTH_SASL);
        }
        let place = body.get_mut(4..4 + KEY).ok_or(Malformed::Capabilities)?;
        place.copy_from_slice(key);
        Ok(())
    }
}

/// Whether the client says how it authenticates before it does: when both can.
#[must_use]
pub const fn selects_authentication(link: &Link, reply: &Reply) -> bool {
    link.capabilities & reply.capabilities & CAP_AUTH_SELECTION != 0
}

/// A whole link message with a refusal, as a server would answer: some viewers show its reason.
#[must_use]
pub fn refusal(error: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REPLY_FIXED);
    message.extend_from_slice(&MAGIC);
    for number in [2, 2, u32::try_from(REPLY_FIXED).unwrap_or_default(), error] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.resize(HEADER + REPLY_FIXED - 4, 0);
    message.extend_from_slice(&u32::try_from(REPLY_FIXED).unwrap_or_default().to_le_bytes());
    message
}

/// The place and the value of the first word of common capabilities; `counts` is where their number stands.
fn capabilities(body: &[u8], counts: usize) -> Result<(Option<usize>, u32), Malformed> {
    let number = |at| word(body, at).and_then(|word| usize::try_from(word).ok());
    let (Some(common), Some(channel), Some(offset)) =
        (number(counts), number(counts + 4), number(counts + 8))
    else {
        return Err(Malformed::Capabilities);
    };
    let end = common
        .checked_add(channel)
        .and_then(|words| words.checked_mul(4))
        .and_then(|octets| octets.checked_add(offset));
    if end.is_none_or(|end| end > body.len()) {
        return Err(Malformed::Capabilities);
    }
    if common == 0 {
        return Ok((None, 0));
    }
    // What lies before the capabilities is the fixed part; nobody may have it overwritten.
    if offset < counts + 12 {
        return Err(Malformed::Capabilities);
    }
    Ok((Some(offset), word(body, offset).ok_or(Malformed::Capabilities)?))
}

fn word(octets: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(octets.get(at..end)?.try_into().ok()?))
}

fn put(octets: &mut [u8], at: usize, value: u32) {
    if let Some(place) = octets.get_mut(at..at.saturating_add(4)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Looks for the session's number in what the server says on the main channel.
#[derive(Debug)]
pub struct SessionFinder {
    header: usize,
    seen: usize,
    pending: Vec<u8>,
    skip: usize,
}

impl SessionFinder {
    /// Begins after the verdict on a main channel that these two opened.
    #[must_use]
    pub fn new(link: &Link, reply: &Reply) -> Self {
        let mini = link.capabilities & reply.capabilities & CAP_MINI_HEADER != 0;
        Self { header: if mini { 6 } else { 18 }, seen: 0, pending: Vec::new(), skip: 0 }
    }

    /// Takes the next octets. `Some` when the search is over: with the number, or without where there was none.
    pub fn feed(&mut self, mut octets: &[u8]) -> Option<Option<u32>> {
        self.seen = self.seen.saturating_add(octets.len());
        loop {
            let skipped = self.skip.min(octets.len());
            self.skip -= skipped;
            octets = octets.get(skipped..).unwrap_or_default();
            if octets.is_empty() {
                break;
            }
            // The header and the first word of the body are all that is ever kept.
            let missing = (self.header + 4).saturating_sub(self.pending.len());
            let taken = missing.min(octets.len());
            self.pending.extend_from_slice(octets.get(..taken).unwrap_or_default());
            octets = octets.get(taken..).unwrap_or_default();
            if let Some((kind, size)) = self.head() {
                if kind == MAIN_INIT && size >= 4 {
                    if self.pending.len() < self.header + 4 {
                        continue;
                    }
                    return Some(word(&self.pending, self.header));
                }
                // What was read of a shorter body belongs to the next message.
                let read = self.pending.len() - self.header;
                let kept = self.pending.split_off(self.header + read.min(size));
                self.skip = size.saturating_sub(read);
                self.pending = kept;
            }
        }
        (self.seen > MAX_SEARCH).then_some(None)
    }

    /// Type and size of the message whose header was read.
    fn head(&self) -> Option<(u16, usize)> {
        let at = self.header - 6 - if self.header == 18 { 4 } else { 0 };
        let kind = self.pending.get(at..at + 2)?;
        let kind = u16::from_le_bytes(kind.try_into().ok()?);
        if self.pending.len() < self.header {
            return None;
        }
        Some((kind, usize::try_from(word(&self.pending, at + 2)?).ok()?))
    }
}

#[cfg(test)]
#[path = "spice_tests.rs"]
mod tests;
