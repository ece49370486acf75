//! What goes to somebody over a channel. Called by `conversation.rs` and `running.rs`.
//!
//! Where he takes nothing, whoever speaks waits: nothing is held in memory for anybody slow. It waits for minutes, not for ever,
//! because the connection reads nothing more either while its channels wait.

use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{ChannelWriteHalf, Error};
use tokio::time::timeout;

/// How long somebody may take nothing of what is said.
const STALLED: Duration = Duration::from_secs(300);
/// The data type of standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// The way to somebody.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) writer: ChannelWriteHalf<Msg>,
    /// Whether he reads at a terminal, which has one screen.
    pub(super) terminal: bool,
}

impl Outlet {
    /// Says something.
    pub(super) async fn say(&self, text: &[u8]) -> Result<(), Error> {
        self.send(self.writer.data_bytes(shown(text, self.terminal))).await
    }

    /// Complains of something.
    pub(super) async fn complain(&self, text: &[u8]) -> Result<(), Error> {
        if self.terminal {
            return self.say(text).await;
        }
        self.send(self.writer.extended_data_bytes(STDERR, Bytes::copy_from_slice(text))).await
    }

    /// What a terminal is to show of the keys that were pressed.
    pub(super) async fn echo(&self, keys: Vec<u8>) -> Result<(), Error> {
        if !self.terminal || keys.is_empty() {
            return Ok(());
        }
        self.send(self.writer.data_bytes(keys)).await
    }

    /// Ends, with a code where there is one. Who is gone cannot be told.
    pub(super) async fn end(&self, code: Option<u8>) {
        let ending = async {
            if let Some(code) = code {
                self.writer.exit_status(u32::from(code)).await?;
                self.writer.eof().await?;
            }
            self.writer.close().await
        };
        let _ = self.send(ending).await;
    }

    async fn send(&self, sending: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        timeout(STALLED, sending).await.unwrap_or(Err(Error::Disconnect))
    }
}

/// Text as a client wants it: a terminal that does nothing by itself has to be told to begin a line.
fn shown(text: &[u8], terminal: bool) -> Bytes {
    if !terminal {
        return Bytes::copy_from_slice(text);
    }
    let mut shown = Vec::with_capacity(text.len() + 64);
    for octet in text {
        if *octet == b'\n' {
            shown.push(b'\r');
        }
        shown.push(*octet);
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_to_begin_a_line() {
        assert_eq!(shown(b"a\nb\n", true), b"a\r\nb\r\n".as_slice());
        assert_eq!(shown(b"a\nb\n", false), b"a\nb\n".as_slice());
    }
}
