//! What somebody who came in may have done, as far as this room knows it. Implemented by the daemon, called by
//! `running.rs`.

use std::fmt::{self, Debug};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::running::Cancelled;
use super::standing::Standing;
use crate::config::ssh::SshRole;

/// Somebody who showed a key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The key's id in the configuration.
    pub name: Arc<str>,
    /// What it may do.
    pub role: SshRole,
    /// Where he is.
    pub from: SocketAddr,
}

/// A command, and where it reads and writes.
pub struct Call {
    /// Who asks.
    pub standing: Standing,
    /// The words.
    pub words: Vec<String>,
    /// What comes along with it. Its end is the sender's: where he goes before it, reading fails.
    pub input: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Where it writes; waits where nobody reads.
    pub output: Box<dyn Write + Send>,
    /// Where it complains.
    pub complaints: Box<dyn Write + Send>,
    /// Whether he reads at a terminal.
    pub terminal: bool,
    /// Ends when nobody wants it any more.
    pub cancelled: Cancelled,
}

impl Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { standing, words, terminal, .. } = self;
        f.debug_struct("Call")
            .field("operator", standing.operator())
            .field("words", words)
            .field("terminal", terminal)
            .finish_non_exhaustive()
    }
}

/// The commands.
pub trait Commands: Debug + Send + Sync {
    /// Does what a call says, and returns its exit code. Runs on a thread of its own, which it may keep waiting.
    fn run(&self, call: Call) -> u8;

    /// What stands before the line that is typed.
    fn prompt(&self) -> String;
}
