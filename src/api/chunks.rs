//! Long answers, written while they are sent: what twenty thousand backends count needs no memory of its size.
//!
//! An answer that fits into one chunk has its length in its head, as any other. Who takes nothing is given up by
//! `stream.rs`, and what was still to be written with him. Called by the handlers whose answers grow with the number of
//! objects.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io, mem};

use axum::body::{Body, Bytes};
use hyper::body::Frame;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::problem::Problem;

/// The size of a chunk, in octets.
const CHUNK: usize = 256 << 10;
/// How many chunks wait to be sent.
const WAITING: usize = 2;
/// How many answers are written at once: each takes a thread and its chunks, for as long as its reader takes.
static PLACES: Semaphore = Semaphore::const_new(32);
/// How long an answer waits for its place.
const TURN: Duration = Duration::from_secs(5);

/// Where an answer is written, as text or as octets.
#[derive(Debug)]
pub(super) struct Chunks {
    chunk: Vec<u8>,
    sender: Sender<Result<Bytes, Failed>>,
}

impl Chunks {
    fn put(&mut self, octets: &[u8]) -> Result<(), Gone> {
        self.chunk.extend_from_slice(octets);
        if self.chunk.len() < CHUNK {
            return Ok(());
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), Gone> {
        let chunk = mem::take(&mut self.chunk);
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| Gone)
    }
}

/// Nobody takes the answer any more.
#[derive(Debug)]
struct Gone;

impl fmt::Write for Chunks {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes()).map_err(|Gone| fmt::Error)
    }
}

impl io::Write for Chunks {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.put(octets).map_err(|Gone| io::ErrorKind::BrokenPipe)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer could not be written to its end; its connection is closed, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was not written to its end: {0}")]
struct Failed(String);

/// The body that `write` writes, on a thread that may wait.
///
/// # Errors
/// What kept it from being written, where nothing of it was sent yet.
pub(super) async fn body<E: fmt::Display>(
    write: impl FnOnce(&mut Chunks) -> Result<(), E> + Send + 'static,
) -> Result<Body, Problem> {
    let Ok(Ok(place)) = timeout(TURN, PLACES.acquire()).await else {
        return Err(Problem::busy("as many long answers are being written as may be"));
    };
    let (sender, mut receiver) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { chunk: Vec::new(), sender };
        // Whoever is gone needs to hear neither the end nor what kept it from coming.
        let _ = match write(&mut chunks) {
            Ok(()) => chunks.send(),
            Err(error) => chunks.sender.blocking_send(Err(Failed(error.to_string()))).map_err(|_| Gone),
        };
        drop(place);
    });
    let failed = |error: Failed| Problem::internal(error.to_string());
    let first = receiver.recv().await.transpose().map_err(failed)?.unwrap_or_default();
    Ok(match receiver.recv().await.transpose().map_err(failed)? {
        None => Body::from(first),
        Some(second) => Body::new(Rest { begin: [Some(first), Some(second)], receiver }),
    })
}

/// What is sent of an answer of several chunks.
#[derive(Debug)]
struct Rest {
    begin: [Option<Bytes>; 2],
    receiver: Receiver<Result<Bytes, Failed>>,
}

impl hyper::body::Body for Rest {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        if let Some(chunk) = self.begin.iter_mut().find_map(Option::take) {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        self.receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use hyper::body::Body as _;

    use super::*;

    async fn all(body: Body) -> Option<Bytes> {
        axum::body::to_bytes(body, usize::MAX).await.ok()
    }

    #[tokio::test]
    async fn an_answer_comes_whole_whatever_its_length() {
        for lines in [0, 1, CHUNK / 8 - 1, CHUNK / 8, CHUNK / 8 + 1, CHUNK] {
            let body = body(move |chunks| (0..lines).try_for_each(|line| writeln!(chunks, "{line:07}")));
            let body = body.await.unwrap();
            let expected: String = (0..lines).map(|line| format!("{line:07}\n")).collect();
            let short = expected.len() < CHUNK;
            assert_eq!(body.size_hint().exact(), short.then_some(expected.len() as u64), "{lines} lines");
            assert!(all(body).await.unwrap() == expected, "{lines} lines");
        }
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_writing() {
        let (told, ended) = tokio::sync::oneshot::channel();
        let body = body(move |chunks| {
            let written = (0_u64..).try_for_each(|line| writeln!(chunks, "{line}"));
            told.send(written.is_err()).unwrap();
            written
        });
        drop(body.await.unwrap());
        assert!(ended.await.unwrap());
    }

    #[tokio::test]
    async fn what_fails_is_refused_or_cut_off_but_never_whole() {
        let failing = |lines: usize| {
            body(move |chunks| {
                (0..lines).try_for_each(|line| writeln!(chunks, "{line:07}"))?;
                Err(fmt::Error)
            })
        };
        assert_eq!(failing(1).await.unwrap_err().status, 500);
        assert!(all(failing(CHUNK).await.unwrap()).await.is_none());
    }
}
