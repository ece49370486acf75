//! What comes of somebody over a channel while a command runs or a line is typed. Called by `conversation.rs`.

use bytes::{Bytes, BytesMut};
use russh::{ChannelMsg, ChannelReadHalf, Sig};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;

use super::line::{END, INTERRUPT};

/// How much may be typed ahead while a command runs, in octets.
const AHEAD: usize = 1 << 20;

/// What comes over a channel.
#[derive(Debug)]
pub(super) struct Inbox {
    reader: ChannelReadHalf,
    /// What was read already.
    first: Option<ChannelMsg>,
}

impl Inbox {
    pub(super) const fn new(reader: ChannelReadHalf) -> Self {
        Self { reader, first: None }
    }

    /// The next of all that comes.
    pub(super) async fn any(&mut self) -> Option<ChannelMsg> {
        match self.first.take() {
            Some(message) => Some(message),
            None => self.reader.wait().await,
        }
    }

    /// Puts one back that is for somebody else.
    pub(super) fn put_back(&mut self, message: ChannelMsg) {
        self.first = Some(message);
    }

    /// The next that matters.
    pub(super) async fn next(&mut self) -> Came {
        loop {
            return match self.any().await {
                None | Some(ChannelMsg::Close) => Came::Gone,
                Some(ChannelMsg::Data { data }) => Came::Octets(data),
                Some(ChannelMsg::Eof) => Came::End,
                Some(ChannelMsg::Signal { signal: Sig::INT | Sig::TERM | Sig::HUP | Sig::QUIT }) => {
                    Came::Interrupt
                }
                // Windows that change size, signals that no command knows.
                Some(_) => continue,
            };
        }
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Octets.
    Octets(Bytes),
    /// He wants what runs to end.
    Interrupt,
    /// He has nothing more to say, and listens.
    End,
    /// He is gone.
    Gone,
}

/// What is typed at a prompt.
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// What was typed and not looked at yet.
    pub(super) ahead: BytesMut,
    /// Nothing more will be.
    pub(super) ended: bool,
}

/// Passes on what comes along with a command. Ends where the client is gone.
pub(super) async fn feed(
    inbox: &mut Inbox,
    given: DuplexStream,
    cancel: &watch::Sender<bool>,
    terminal: bool,
) {
    let mut given = Some(given);
    loop {
        match inbox.next().await {
            Came::Octets(octets) => {
                let mut octets = octets.as_ref();
                let mut ends = false;
                if terminal {
                    if octets.contains(&INTERRUPT) {
                        cancel.send_replace(true);
                    }
                    if let Some(end) = octets.iter().position(|octet| *octet == END) {
                        (octets, ends) = (octets.get(..end).unwrap_or_default(), true);
                    }
                }
                if let Some(open) = &mut given {
                    // A command that takes no more of it has enough.
                    let taken = open.write_all(octets).await;
                    if taken.is_err() || ends {
                        given = None;
                    }
                }
            }
            Came::Interrupt => {
                cancel.send_replace(true);
            }
            Came::End => given = None,
            Came::Gone => {
                // Said before what comes along ends: it did not end by itself.
                cancel.send_replace(true);
                return;
            }
        }
    }
}

/// Keeps what is typed while a command runs, and hears when it is to end. Ends where the client is gone, or types too much.
pub(super) async fn type_ahead(inbox: &mut Inbox, typed: &mut Typing, cancel: &watch::Sender<bool>) {
    loop {
        match inbox.next().await {
            Came::Octets(octets) if octets.contains(&INTERRUPT) => {
                // What was typed before it is given up, as terminals do.
                let last = octets.iter().rposition(|octet| *octet == INTERRUPT).unwrap_or_default();
                typed.ahead.clear();
                typed.ahead.extend_from_slice(octets.get(last + 1..).unwrap_or_default());
                cancel.send_replace(true);
            }
            Came::Octets(octets) if typed.ahead.len() + octets.len() <= AHEAD => {
                typed.ahead.extend_from_slice(&octets);
            }
            Came::Interrupt => {
                cancel.send_replace(true);
            }
            Came::End => typed.ended = true,
            Came::Octets(_) | Came::Gone => {
                cancel.send_replace(true);
                return;
            }
        }
    }
}
