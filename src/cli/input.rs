//! What a command is given to read: files and standard input of this machine, or what somebody elsewhere sends along with
//! the command. Called by the commands that take a FILE, and by `console.rs` for its keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::CliError;
use super::upload::Upload;
use super::way::Bounds;

/// The largest document that is sent, in octets: a router takes no larger one.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// How long a document may be on its way.
const PATIENCE: Duration = Duration::from_secs(300);

/// What comes along with a command, octet by octet.
pub type Sent = Box<dyn AsyncRead + Send + Unpin>;

/// Where a command reads.
pub(super) enum Input {
    /// On this machine.
    Machine,
    /// What was sent along, once. No file of this machine can be named.
    Sent(Along),
}

/// What was sent along with a command.
pub(super) struct Along {
    sent: Mutex<Option<Sent>>,
    bounds: Arc<Bounds>,
    /// The turn to hold a document, until the command has ended.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Input {
    /// Of what is sent along; nothing where nothing is.
    pub(super) fn sent(sent: Option<Sent>, bounds: Arc<Bounds>) -> Self {
        Self::Sent(Along { sent: Mutex::new(sent), bounds, turn: Mutex::default() })
    }

    /// The content of a file, or of standard input. Whether it is JSON, the router says: it names every fault.
    ///
    /// # Errors
    /// It cannot be read, or is too large.
    pub(super) async fn document(&self, file: &Path) -> Result<Vec<u8>, CliError> {
        let standard = is_standard(file);
        let name = if standard { "standard input".to_owned() } else { file.display().to_string() };
        let mut content = Vec::new();
        let (limit, read) = match self {
            Self::Machine => {
                let mut fill = |from: &mut dyn Read| from.take(DOCUMENT_LIMIT + 1).read_to_end(&mut content);
                let read = if standard {
                    fill(&mut io::stdin().lock())
                } else {
                    File::open(file).and_then(|mut file| fill(&mut file))
                };
                (DOCUMENT_LIMIT, read)
            }
            Self::Sent(along) => (along.bounds.document, along.read(file, &mut content).await?),
        };
        match read {
            Ok(length) if length as u64 > limit => {
                let reason = format!("it is larger than the {} MiB that a router takes", limit >> 20);
                Err(CliError::Input { file: name, reason })
            }
            Ok(_) => Ok(content),
            Err(error) => Err(CliError::Input { file: name, reason: error.to_string() }),
        }
    }

    /// A file that is sent as it is read.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn upload(&self, file: &Path) -> Result<Upload, CliError> {
        match self {
            Self::Machine => Upload::open(file),
            Self::Sent(along) => Ok(Upload::of(take(&along.sent, file)?)),
        }
    }

    /// Whether somebody may press keys while the command runs.
    pub(super) const fn has_keys(&self) -> bool {
        matches!(self, Self::Machine)
    }
}

impl Along {
    /// Reads all of it, if it is no longer than the router takes.
    async fn read(&self, file: &Path, content: &mut Vec<u8>) -> Result<io::Result<usize>, CliError> {
        let sent = take(&self.sent, file)?;
        let read = async {
            *self.turn.lock() = Some(self.bounds.document_turn().await?);
            sent.take(self.bounds.document + 1).read_to_end(content).await
        };
        Ok(timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// What was sent along, which can be read once.
fn take(sent: &Mutex<Option<Sent>>, file: &Path) -> Result<Sent, CliError> {
    let failed =
        |reason: &str| CliError::Input { file: file.display().to_string(), reason: reason.to_owned() };
    if !is_standard(file) {
        return Err(failed("files of the router are not read; give `-`, and the content on standard input"));
    }
    sent.lock().take().ok_or_else(|| {
        failed("nothing comes along with a line that is typed; give it with the command: ssh ROUTER apply - < FILE")
    })
}
