//! What a command is given to read: files and standard input of this machine, or what somebody elsewhere sends along with
//! the command. Called by the commands that take a FILE, and by `console.rs` for its keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use parking_lot::Mutex;
use tokio::io::AsyncRead;

use super::error::CliError;
use super::upload::Upload;

/// The largest document that is sent, in octets: a router takes no larger one.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// What comes along with a command, octet by octet.
pub type Sent = Box<dyn AsyncRead + Send + Unpin>;

/// Where a command reads.
pub(super) enum Input {
    /// On this machine.
    Machine,
    /// What was sent along, once. No file of this machine can be named.
    Sent(Mutex<Option<Sent>>),
}

impl Input {
    /// Of what is sent along; nothing where nothing is.
    pub(super) fn sent(sent: Option<Sent>) -> Self {
        Self::Sent(Mutex::new(sent))
    }

    /// The content of a file, or of standard input. Whether it is JSON, the router says: it names every fault.
    ///
    /// # Errors
    /// It cannot be read, or is too large.
    pub(super) async fn document(&self, file: &Path) -> Result<Vec<u8>, CliError> {
        let standard = is_standard(file);
        let name = if standard { "standard input".to_owned() } else { file.display().to_string() };
        let mut content = Vec::new();
        let read = match self {
            Self::Machine => {
                let mut fill = |from: &mut dyn Read| from.take(DOCUMENT_LIMIT + 1).read_to_end(&mut content);
                if standard {
                    fill(&mut io::stdin().lock())
                } else {
                    File::open(file).and_then(|mut file| fill(&mut file))
                }
            }
            Self::Sent(sent) => {
                let sent = take(sent, file)?;
                tokio::io::AsyncReadExt::read_to_end(
                    &mut tokio::io::AsyncReadExt::take(sent, DOCUMENT_LIMIT + 1),
                    &mut content,
                )
                .await
            }
        };
        match read {
            Ok(length) if length as u64 > DOCUMENT_LIMIT => {
                let reason =
                    format!("it is larger than the {} MiB that a router takes", DOCUMENT_LIMIT >> 20);
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
            Self::Sent(sent) => Ok(Upload::of(take(sent, file)?)),
        }
    }

    /// Whether somebody may press keys while the command runs.
    pub(super) const fn has_keys(&self) -> bool {
        matches!(self, Self::Machine)
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
