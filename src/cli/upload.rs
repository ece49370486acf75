//! A file as the body of a request: read as it is sent, so that it is never in memory as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::error::CliError;

/// How much is read at once.
const CHUNK: u64 = 256 << 10;

/// A file on its way.
#[derive(Debug)]
pub(super) struct Upload {
    file: File,
    /// How long it was when it was opened: so much is sent, and a file that became shorter is a failure.
    octets: u64,
    sent: Arc<AtomicU64>,
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
        Ok(Self { file, octets: metadata.len(), sent: Arc::default() })
    }

    /// How long it is.
    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }

    /// How much of it went out, for whoever watches.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    fn left(&self) -> u64 {
        self.octets.saturating_sub(self.sent.load(Ordering::Relaxed))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    /// Reads from the disk without letting others go on meanwhile: there is nobody else.
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let length = self.left().min(CHUNK);
        if length == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
        Poll::Ready(Some((&self.file).read_exact(&mut chunk).map(|()| {
            self.sent.fetch_add(length, Ordering::Relaxed);
            Frame::data(chunk.into())
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
