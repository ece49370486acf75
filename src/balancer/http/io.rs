//! Connections, plain or within TLS, and what is read from them and written to them; the timer that bounds both.
//!
//! Called by whatever speaks HTTP here, towards clients and backends alike.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::TlsStream;

use super::socket::Socket;
use super::spare;
use crate::clock;

/// What is read at once while a body streams.
const BULK: usize = 64 * 1024;
/// What is read at once where little is expected; the memory is not kept while nothing comes.
const SMALL: usize = 4 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) enum Io {
    /// TCP as it is.
    Plain(Socket),
    /// Within TLS that ends here.
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    /// Reads what is there to the end of `buffer`; 0 is the end of the stream. An empty buffer takes memory only for
    /// what comes, so an idle connection has none.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        bulk: bool,
    ) -> Poll<io::Result<usize>> {
        if bulk {
            if buffer.capacity() - buffer.len() < BULK / 4 {
                buffer.reserve(BULK);
            }
            return pin!(self.read_buf(buffer)).poll(cx);
        }
        let mut scratch = [const { MaybeUninit::uninit() }; SMALL];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        match Pin::new(self).poll_read(cx, &mut scratch) {
            Poll::Ready(Ok(())) => {
                if buffer.capacity() == 0 && !scratch.filled().is_empty() {
                    *buffer = spare::buffer();
                }
                buffer.extend_from_slice(scratch.filled());
                Poll::Ready(Ok(scratch.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what is followed by nothing but the end of the connection; see [`Socket::poll_write_last`].
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_last(cx, data),
            // The end is said in a record of its own first.
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    /// Whether the other side is silent and has not closed: only such a connection may be used again.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_idle(),
            Self::Tls(stream) => stream.get_ref().0.is_idle(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A timer that is moved with every octet and costs nothing until it would ring: only then it is wound anew.
#[derive(Debug)]
pub(crate) struct Timer {
    at: Instant,
    /// Nothing until somebody waits for it.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// A timer that rings after so long.
    pub(crate) fn new(after: Duration) -> Self {
        Self::new_from(clock::moment(), after)
    }

    /// A timer that rings so long after a moment that was now just before.
    pub(crate) fn new_from(now: Instant, after: Duration) -> Self {
        Self { at: now + after, sleep: None }
    }

    /// It rings after so long from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.set_from(clock::moment(), after);
    }

    /// It rings after so long from a moment that was now just before.
    pub(crate) fn set_from(&mut self, now: Instant, after: Duration) {
        self.at = now + after;
        if let Some(sleep) = &mut self.sleep
            && sleep.deadline().into_std() > self.at
        {
            sleep.as_mut().reset(self.at.into());
        }
    }

    /// Whether it rings.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| spare::sleep(self.at));
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline().into_std() >= self.at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.at.into());
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.sleep.take().into_iter().for_each(spare::give_sleep);
    }
}
