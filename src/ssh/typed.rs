//! What comes of somebody over a channel while a command runs or a line is typed. Called by `conversation.rs`.

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, Sig};

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

/// The next that matters.
pub(super) async fn next(reader: &mut ChannelReadHalf) -> Came {
    loop {
        return match reader.wait().await {
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
