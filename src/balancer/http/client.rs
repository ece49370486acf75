//! What an exchange needs of a client, whichever version of HTTP it speaks.
//!
//! `connection.rs` is one in HTTP/1, `stream.rs` one in HTTP/2.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::response::Parts;

use super::body::Piece;
use super::head::Framing;
use super::io::Io;
use super::refusal::Refusal;

/// Why a client gets and gives nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It is gone.
    Gone,
    /// Its body is not served.
    Refused(Refusal),
}

/// A client with one request, whose head was read.
pub(super) trait Client: Send {
    /// The next piece of the request's body; never [`Piece::More`].
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Lost>>;

    /// Takes an interim answer (1xx), as far as the client understands those.
    fn inform(&mut self, answer: Parts);

    /// Takes the head of the answer. `whole` says that all of the request's body was taken: if not, the connection cannot
    /// be used for another.
    fn answer(&mut self, answer: Parts, framing: Framing, whole: bool);

    /// Whether data may be put in before what waits is flushed.
    fn takes_more(&self) -> bool;

    /// Takes data of the answer's body; only while [`Self::takes_more`].
    fn data(&mut self, data: Bytes);

    /// The answer's body is over; only while [`Self::takes_more`].
    fn end(&mut self, trailers: &HeaderMap);

    /// Writes until nothing waits. The octets that were written are added to `written`.
    fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut u64) -> Poll<Result<(), Lost>>;

    /// The connection itself, with what was read from it beyond the request; none where others share it.
    fn connection(&mut self) -> Option<(&mut Io, &mut BytesMut)>;
}
