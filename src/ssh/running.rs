//! A command that runs for somebody over SSH: a thread of its own, what comes along with it, and what it says.
//!
//! It writes to sockets that it waits at where the client does not read. What comes along with it ends well only where its sender says so: a document whose sender goes is not whole, and never applied. Called
//! by `conversation.rs`.

use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::command::{Call, Commands};
use super::outlet::Outlet;
use super::standing::Standing;

/// How much of what comes along waits for a command, and how much of its output is carried at once, in octets.
pub(super) const PIECE: usize = 32 << 10;
/// What a command ends with whose thread ended without a code.
const LOST: u8 = 4;

/// Says when nobody wants a command's end any more.
#[derive(Debug, Clone)]
pub struct Cancelled(watch::Receiver<bool>);

impl Cancelled {
    /// Waits for that.
    pub async fn wait(&mut self) {
        // Whoever could say so is gone, which says the same.
        let _ = self.0.wait_for(|cancelled| *cancelled).await;
    }
}

/// A command that runs.
pub(super) struct Running {
    task: JoinHandle<u8>,
    stdout: Option<UnixStream>,
    stderr: Option<UnixStream>,
}

impl Running {
    /// Has the words of an operator done.
    ///
    /// # Errors
    /// The system gives no sockets.
    pub(super) fn start(
        commands: Arc<dyn Commands>,
        (standing, words): (Standing, Vec<String>),
        terminal: bool,
        input: Option<DuplexStream>,
        cancelled: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (stdout, output) = pair()?;
        let (stderr, complaints) = pair()?;
        let along = |stream| Box::new(Along { stream, cancelled: cancelled.clone() }) as _;
        let call = Call {
            standing,
            words,
            input: input.map(along),
            output: Box::new(output),
            complaints: Box::new(complaints),
            terminal,
            cancelled: Cancelled(cancelled.clone()),
        };
        let task = tokio::task::spawn_blocking(move || commands.run(call));
        Ok(Self { task, stdout: Some(stdout), stderr: Some(stderr) })
    }

    /// Carries what it says to the client, to its end.
    pub(super) async fn carry(&mut self, outlet: &Outlet) -> Result<u8, russh::Error> {
        let (mut said, mut complained) = (vec![0; PIECE], vec![0; PIECE]);
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                piece = read(&mut self.stdout, &mut said) => if let Some(piece) = piece {
                    outlet.say(piece).await?;
                },
                piece = read(&mut self.stderr, &mut complained) => if let Some(piece) = piece {
                    outlet.complain(piece).await?;
                },
            }
        }
        Ok((&mut self.task).await.unwrap_or(LOST))
    }
}

/// The next piece of a stream, which is taken away at its end. Waits for ever where there is none.
async fn read<'a>(stream: &mut Option<UnixStream>, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let Some(open) = stream else { return std::future::pending().await };
    match open.read(buffer).await {
        Ok(length @ 1..) => buffer.get(..length),
        Ok(0) | Err(_) => {
            *stream = None;
            None
        }
    }
}

/// A socket that is waited at, and one that keeps its thread waiting.
fn pair() -> io::Result<(UnixStream, Blocking)> {
    let (mine, theirs) = Blocking::pair()?;
    mine.set_nonblocking(true)?;
    Ok((UnixStream::from_std(mine)?, theirs))
}

/// What comes along with a command, as the command reads it.
#[derive(Debug)]
struct Along {
    stream: DuplexStream,
    cancelled: watch::Receiver<bool>,
}

impl AsyncRead for Along {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if at_end && *self.cancelled.borrow() {
            let why = "the connection ended before it was whole";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_comes_along_ends_well_only_where_its_sender_says_so() {
        for cut in [false, true] {
            let (cancel, cancelled) = watch::channel(false);
            let (mut given, stream) = tokio::io::duplex(64);
            let mut along = Along { stream, cancelled };
            given.write_all(b"{\"version\":").await.unwrap();
            if cut {
                cancel.send_replace(true);
            }
            drop(given);
            let mut read = Vec::new();
            let ended = along.read_to_end(&mut read).await;
            assert_eq!((ended.is_err(), read.as_slice()), (cut, b"{\"version\":".as_slice()));
        }
    }
}
