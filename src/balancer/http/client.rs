//! What an exchange needs of a client, whichever version of HTTP it speaks, and answers of the balancer's own to it.
//!
//! `connection.rs` is one in HTTP/1, `stream.rs` one in HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use super::body::Piece;
use super::head::Framing;
use super::io::{Io, Timer};
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

    /// The same for a head whose fields are text, only where [`Self::takes_plain`].
    fn plain(&mut self, status: StatusCode, fields: &[u8], framing: Framing, whole: bool);

    /// Whether [`Self::plain`] may be called.
    fn takes_plain(&self) -> bool;

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

/// Gives a client an answer of the balancer's own, and waits until all of it is written or `timer` rings. `whole` is that
/// of [`Client::answer`]; the octets that were written are added to `written`.
pub(super) async fn give<C: Client>(
    client: &mut C,
    (answer, body): (Parts, Bytes),
    whole: bool,
    timer: &mut Timer,
    written: &mut u64,
) -> Result<(), Lost> {
    client.answer(answer, Framing::Length(body.len() as u64), whole);
    client.data(body);
    let mut is_ended = false;
    poll_fn(|cx| {
        loop {
            match client.poll_flush(cx, written) {
                Poll::Pending => {
                    ready!(timer.poll(cx));
                    return Poll::Ready(Err(Lost::Gone));
                }
                // The end has to be told as well: in HTTP/2 a stream that is left without it is cut.
                Poll::Ready(Ok(())) if !is_ended => {
                    client.end(&HeaderMap::new());
                    is_ended = true;
                }
                flushed => return flushed,
            }
        }
    })
    .await
}
