//! A file as the body of a request: read as it is sent, so that it is never in memory as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead as _, ReadBuf};

use super::error::CliError;
use super::input::Sent;

/// How much is read at once.
const CHUNK: u64 = 256 << 10;

/// A file on its way.
pub(super) struct Upload {
    source: Source,
    sent: Arc<AtomicU64>,
}

/// Where it comes from.
enum Source {
    /// A file, and how long it was when it was opened: so much is sent, and one that became shorter is a failure.
    File(File, u64),
    /// What somebody sends; its end is not known before it comes.
    Stream(Sent),
    /// All of that is sent.
    Ended,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("octets", &self.octets()).field("sent", &self.sent).finish()
    }
}

impl Upload {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |reason: String| CliError::Input { file: path.display().to_string(), reason };
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
        if !metadata.is_file() {
            return Err(failed("it is not a file".to_owned()));
        }
        Ok(Self { source: Source::File(file, metadata.len()), sent: Arc::default() })
    }

    /// What somebody sends, to its end.
    pub(super) fn of(stream: Sent) -> Self {
        Self { source: Source::Stream(stream), sent: Arc::default() }
    }

    /// How long it is, where that is known.
    pub(super) const fn octets(&self) -> Option<u64> {
        match &self.source {
            Source::File(_, octets) => Some(*octets),
            Source::Stream(_) | Source::Ended => None,
        }
    }

    /// How much of it went out, for whoever watches.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    /// How much of it is left, where that is known.
    fn left(&self) -> Option<u64> {
        match &self.source {
            Source::File(_, octets) => Some(octets.saturating_sub(self.sent.load(Ordering::Relaxed))),
            Source::Stream(_) => None,
            Source::Ended => Some(0),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads from the disk without letting others go on meanwhile: there is nobody else. What somebody sends is waited for.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let length = usize::try_from(self.left().unwrap_or(CHUNK).min(CHUNK)).unwrap_or_default();
        if length == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; length];
        let read = match &mut self.source {
            Source::File(file, _) => file.read_exact(&mut chunk).map(|()| length),
            Source::Stream(stream) => {
                let mut buffer = ReadBuf::new(&mut chunk);
                let read = ready!(Pin::new(stream).poll_read(context, &mut buffer));
                read.map(|()| buffer.filled().len())
            }
            Source::Ended => Ok(0),
        };
        Poll::Ready(match read {
            Ok(0) => {
                self.source = Source::Ended;
                None
            }
            Ok(length) => {
                chunk.truncate(length);
                self.sent.fetch_add(length as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(chunk.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
