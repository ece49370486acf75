//! One direction of a relayed connection. Called by `carry.rs`.
//!
//! Octets go through a buffer that all connections of a thread share; one of its own a direction has only while the other
//! side does not take what was read. Where much comes at once, they go through a pipe and are not copied at all.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::pipe::Pipe;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// So many whole chunks in a row are worth a pipe.
const BULK: u32 = 4;
/// What passes a pipe in less than this is not worth it.
const SMALL: usize = 16 * 1024;
/// How much one direction moves before it is the turn of others.
const TURN: u64 = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pump {
    /// What was read and is not taken yet, from `start` on.
    held: Vec<u8>,
    start: usize,
    pipe: Option<Pipe>,
    /// Whole chunks in a row; with a pipe, small amounts in a row.
    run: u32,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// There is nothing more to read; what was read is still to be written.
    Ending,
    Over,
}

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

/// What a direction moved in a turn.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Moved {
    pub(super) read: u64,
    pub(super) written: u64,
}

impl Pump {
    /// A direction in which these octets were read already.
    pub(super) fn with(held: Vec<u8>) -> Self {
        Self { held, ..Self::default() }
    }

    /// Whether everything was written, and the end told.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether it has a pipe.
    pub(super) const fn has_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    /// Gives the pipe back, if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.pipe.as_ref().is_some_and(Pipe::is_empty) {
            self.pipe = None;
            self.run = 0;
        }
    }

    /// Moves what can be moved. Ready when the direction is over, or has had its turn: then it has to be called again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        while moved.read < TURN {
            if self.stage == Stage::Over {
                return Poll::Ready(Ok(()));
            }
            if self.start < self.held.len() {
                ready!(self.write_held(cx, to, moved))?;
                continue;
            }
            if self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty()) {
                ready!(self.drain_pipe(cx, to.as_ref(), moved))?;
                continue;
            }
            if self.stage == Stage::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Broken::Writing)?;
                self.stage = Stage::Over;
                self.pipe = None;
                return Poll::Ready(Ok(()));
            }
            if self.pipe.is_some() {
                ready!(self.fill_pipe(cx, from.as_ref(), moved))?;
            } else {
                ready!(self.copy(cx, from, to, moved))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_held(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut WriteHalf<'_>,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        let rest = self.held.get(self.start..).unwrap_or_default();
        let written = ready!(Pin::new(to).poll_write(cx, rest)).map_err(Broken::Writing)?;
        self.start += written;
        moved.written += written as u64;
        if self.start >= self.held.len() {
            (self.held, self.start) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a chunk and writes it. What is not taken at once is held.
    fn copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(Broken::Reading)?;
            let octets = buffer.filled();
            if octets.is_empty() {
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            moved.read += octets.len() as u64;
            self.run = if octets.len() == CHUNK { self.run + 1 } else { 0 };
            if self.run >= BULK {
                // Where there are no descriptors for it, it goes on as it was.
                self.pipe = Pipe::new().ok();
                self.run = 0;
            }
            let written = match Pin::new(to).poll_write(cx, octets) {
                Poll::Ready(written) => written.map_err(Broken::Writing)?,
                Poll::Pending => 0,
            };
            moved.written += written as u64;
            self.held = octets.get(written..).unwrap_or_default().to_vec();
            Poll::Ready(Ok(()))
        })
    }

    fn fill_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        let splice = || from.try_io(Interest::READABLE, || pipe.fill_from(from));
        let read = ready!(when_ready(|| from.poll_read_ready(cx), splice)).map_err(Broken::Reading)?;
        if read == 0 {
            self.stage = Stage::Ending;
        } else {
            moved.read += read as u64;
            self.run = if read < SMALL { self.run + 1 } else { 0 };
        }
        Poll::Ready(Ok(()))
    }

    fn drain_pipe(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        moved: &mut Moved,
    ) -> Poll<Result<(), Broken>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        let splice = || to.try_io(Interest::WRITABLE, || pipe.drain_to(to));
        let written = ready!(when_ready(|| to.poll_write_ready(cx), splice)).map_err(Broken::Writing)?;
        moved.written += written as u64;
        if self.run >= BULK {
            self.rest();
        }
        Poll::Ready(Ok(()))
    }
}

/// Moves octets once a socket is ready for it. A socket that was ready and would block after all is waited for again.
fn when_ready(
    mut poll_ready: impl FnMut() -> Poll<io::Result<()>>,
    mut splice: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(poll_ready())?;
        match splice() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            moved => return Poll::Ready(moved),
        }
    }
}
