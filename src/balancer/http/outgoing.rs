//! What is on its way out of a connection: heads, and bodies in their framing, in as few writes as possible.
//!
//! Called for requests to backends and answers to clients. Bounded: more is taken only when little is left.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncWrite;

use super::head::Framing;
use super::io::Io;
use super::spare;

/// Data up to this length is copied behind what goes before it; longer data is written from where it lies.
const COPIED: usize = 4 * 1024;
/// So much may wait before more is taken.
const HIGH: usize = 16 * 1024;

/// What is on its way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    first: BytesMut,
    data: Bytes,
    last: &'static [u8],
}

impl Outgoing {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.data.is_empty() && self.last.is_empty()
    }

    /// Whether more may be put in before what waits is written.
    pub(crate) fn takes_more(&self) -> bool {
        self.data.is_empty() && self.last.is_empty() && self.first.len() < HIGH
    }

    /// Makes room for a head at once, rather than for each of its fields.
    pub(crate) fn begin_head(&mut self) {
        if self.first.capacity() == 0 {
            self.first = spare::buffer();
        }
    }

    /// Text as it is; only while [`Self::takes_more`].
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.first.extend_from_slice(text);
    }

    /// Fields of a head, without the empty line.
    pub(crate) fn fields(&mut self, fields: &HeaderMap) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    /// One field.
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        self.first.reserve(name.len() + value.len() + 4);
        self.first.extend_from_slice(name);
        self.first.extend_from_slice(b": ");
        self.first.extend_from_slice(value);
        self.first.extend_from_slice(b"\r\n");
    }

    /// How a body is framed, as the field that says so, and the empty line.
    pub(crate) fn end_of_head(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) => {
                self.text(b"content-length: ");
                self.text(itoa::Buffer::new().format(length).as_bytes());
                self.text(b"\r\n");
            }
            Framing::Chunked => self.text(b"transfer-encoding: chunked\r\n"),
            Framing::Empty | Framing::Close => {}
        }
        self.text(b"\r\n");
    }

    /// Data of a body; only while [`Self::takes_more`].
    pub(crate) fn data(&mut self, framing: Framing, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let chunked = framing == Framing::Chunked;
        if chunked {
            // Writing into memory cannot fail.
            let _ = write!((&mut self.first).writer(), "{:x}\r\n", data.len());
        }
        if data.len() <= COPIED {
            self.text(&data);
            if chunked {
                self.text(b"\r\n");
            }
        } else {
            self.data = data;
            self.last = if chunked { b"\r\n" } else { b"" };
        }
    }

    /// The end of a body; only while [`Self::takes_more`].
    pub(crate) fn end(&mut self, framing: Framing, trailers: &HeaderMap) {
        if framing == Framing::Chunked {
            self.text(b"0\r\n");
            self.fields(trailers);
            self.text(b"\r\n");
        }
    }

    /// All that waits, for the fuzz targets.
    #[cfg(fuzzing)]
    pub(super) fn waiting(&self) -> Vec<u8> {
        [&self.first[..], &self.data, self.last].concat()
    }

    /// Writes until nothing waits. The octets that were written are added to `written`; `last` are those that the end of the
    /// connection follows at once.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        written: &mut u64,
        last: bool,
    ) -> Poll<io::Result<()>> {
        let mut any = false;
        while !self.is_empty() {
            let mut io = Pin::new(&mut *io);
            let count = if self.data.is_empty() && self.last.is_empty() {
                ready!(if last {
                    io.as_mut().get_mut().poll_write_last(cx, &self.first)
                } else {
                    io.as_mut().poll_write(cx, &self.first)
                })?
            } else {
                let slices = [IoSlice::new(&self.first), IoSlice::new(&self.data), IoSlice::new(self.last)];
                let from = slices.iter().position(|slice| !slice.is_empty()).unwrap_or_default();
                ready!(io.as_mut().poll_write_vectored(cx, slices.get(from..).unwrap_or_default()))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            self.advance(count);
            any = true;
        }
        if any || matches!(io, Io::Tls(_)) {
            ready!(Pin::new(io).poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let first = count.min(self.first.len());
        self.first.advance(first);
        let data = (count - first).min(self.data.len());
        self.data.advance(data);
        let last = count - first - data;
        self.last = self.last.get(last..).unwrap_or_default();
        if self.is_empty() {
            self.data = Bytes::new();
        }
    }

    /// Gives back the memory of a connection that is over, with whatever nobody takes any more.
    pub(crate) fn clear(&mut self) {
        spare::give_buffer(std::mem::take(&mut self.first));
    }

    /// Gives back the memory, for a connection that waits.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            spare::give_buffer(std::mem::take(&mut self.first));
        }
    }
}
