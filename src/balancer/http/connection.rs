//! A client's connection in HTTP/1: one request after the other, until either side has enough.
//!
//! Called by `accept.rs` with a connection that is there, and by itself for whatever comes after. What a client sends
//! ahead waits in the connection until its turn.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};

use super::body::{Decoder, Piece};
use super::client::{self, Client, Lost};
use super::exchange::{self, Ended, Request};
use super::fields::{Connection, is_modern};
use super::head::{self, Framing, Scan};
use super::io::{Io, Timer};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::{spare, stream};
use crate::balancer::site::{Site, Visit};
use crate::clock;

/// How a client begins that speaks HTTP/2 without having been asked (RFC 9113 section 3.3).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may go on sending what nobody reads any more, so that it gets to read why.
const LINGER: Duration = Duration::from_secs(1);
/// And how much.
const LINGER_OCTETS: usize = 256 * 1024;

/// A client's connection.
#[derive(Debug)]
struct Http1 {
    visit: Visit,
    io: Io,
    buffer: BytesMut,
    out: Outgoing,
    /// The body of the request that is being served.
    decoder: Decoder,
    /// How much of it is allowed yet.
    left: u64,
    version: Version,
    head_only: bool,
    /// Whether another request may come.
    persists: bool,
    /// How the answer's body is framed.
    framing: Framing,
    /// Whether what waits to be written is the last.
    last: bool,
}

/// What came instead of a request.
enum Nothing {
    /// The connection is over, or nobody asked anything.
    Over,
    /// HTTP/2.
    Preface,
    /// A head that is refused.
    Refused(Refusal),
}

/// Serves a connection until it ends, whose first head may take so long.
pub(crate) async fn serve(io: Io, visit: Visit, patience: Duration) {
    let mut timer = Timer::new(patience);
    let mut client = Http1 {
        visit: visit.clone(),
        io,
        buffer: BytesMut::new(),
        out: Outgoing::default(),
        decoder: Decoder::new(Framing::Empty),
        left: u64::MAX,
        version: Version::HTTP_11,
        head_only: false,
        persists: true,
        framing: Framing::Empty,
        last: false,
    };
    let mut parts = http::Request::new(()).into_parts().0;
    let mut first = true;
    loop {
        // A connection that waits holds neither room for fields nor the octets of its last head.
        spare::give_fields(std::mem::take(&mut parts.headers));
        parts.uri = Uri::default();
        match client.next(&mut parts, &visit, &mut timer, first).await {
            Ok((framing, site)) => {
                first = false;
                if !client.exchange(&mut parts, framing, &site, &visit, &mut timer).await {
                    break;
                }
            }
            Err(Nothing::Over) => break,
            Err(Nothing::Preface) => {
                // Apart, so that who speaks HTTP/1 needs no room for it.
                return Box::pin(stream::serve(client.io, client.buffer.freeze(), visit)).await;
            }
            Err(Nothing::Refused(refusal)) => {
                visit.site().tally.declined(refusal.status());
                client.decoder = Decoder::new(Framing::Close);
                client.refuse(refusal, &mut timer).await;
                break;
            }
        }
    }
    // What is left of the last head is in the way of its buffer's next use.
    spare::give_fields(std::mem::take(&mut parts.headers));
    drop(parts);
    client.out.clear();
    spare::give_buffer(client.buffer);
}

impl Http1 {
    /// The head of the next request, and what the listener serves now that it is there.
    async fn next(
        &mut self,
        parts: &mut request::Parts,
        visit: &Visit,
        timer: &mut Timer,
        first: bool,
    ) -> Result<(Framing, Arc<Site>), Nothing> {
        let times = visit.site().times;
        // Much may change while nobody asks anything, and a connection that waits keeps nothing of what was before.
        let mut site = None;
        let mut scan = Scan::default();
        // A head that comes at once needs no timer of its own.
        let mut timed = first || !self.buffer.is_empty();
        if !first {
            timer.set(if timed { times.client_header } else { times.client_idle });
        }
        self.out.rest();
        if self.buffer.is_empty() {
            spare::give_buffer(std::mem::take(&mut self.buffer));
        }
        let length = poll_fn(|cx| {
            loop {
                let start = PREFACE.get(..self.buffer.len()).unwrap_or(PREFACE);
                if first && self.buffer.starts_with(start) {
                    if self.buffer.len() >= PREFACE.len() {
                        return Poll::Ready(Err(Nothing::Preface));
                    }
                } else if !self.buffer.is_empty() {
                    let site = site.get_or_insert_with(|| visit.site());
                    match scan.end(&mut self.buffer, &site.limits) {
                        Ok(Some(length)) => return Poll::Ready(Ok(length)),
                        Ok(None) => {}
                        Err(refusal) => return Poll::Ready(Err(Nothing::Refused(refusal))),
                    }
                }
                match self.io.poll_fill(cx, &mut self.buffer, false) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(Err(Nothing::Over)),
                    Poll::Pending => break,
                }
            }
            let silent = self.buffer.is_empty();
            if silent && visit.is_ending(cx) {
                return Poll::Ready(Err(Nothing::Over));
            }
            if !silent && !std::mem::replace(&mut timed, true) {
                timer.set(times.client_header);
            }
            timer
                .poll(cx)
                .map(|()| Err(if silent { Nothing::Over } else { Nothing::Refused(Refusal::Timeout) }))
        })
        .await?;
        let site = site.unwrap_or_else(|| visit.site());
        let head = self.buffer.split_to(length).freeze();
        // What is not understood is answered as if it were HTTP/1.1.
        self.version = Version::HTTP_11;
        self.head_only = false;
        parts.headers = spare::fields();
        let framing = head::read(&head, parts, &site.limits).map_err(Nothing::Refused)?;
        self.version = parts.version;
        self.head_only = parts.method == Method::HEAD;
        Ok((framing, site))
    }

    /// Serves one request; true if another may come.
    async fn exchange(
        &mut self,
        parts: &mut request::Parts,
        framing: Framing,
        site: &Site,
        visit: &Visit,
        timer: &mut Timer,
    ) -> bool {
        let mut connection = Connection::take(&mut parts.headers, parts.version);
        if !is_modern(parts.version) {
            parts.headers.remove(EXPECT);
        }
        // What is sent ahead of an upgrade's answer would be taken for the other protocol, or the other way round.
        if framing != Framing::Empty {
            connection.upgrade = None;
        }
        self.decoder = Decoder::new(framing);
        self.persists = connection.persists(parts.version);
        self.left = site.body_limit.unwrap_or(u64::MAX);
        if let Framing::Length(length) = framing
            && length > self.left
        {
            site.tally.declined(StatusCode::PAYLOAD_TOO_LARGE);
            self.refuse(Refusal::BodyTooLong, timer).await;
            return false;
        }
        let request = Request { parts, framing, connection, since: clock::moment() };
        match exchange::serve(self, request, site, visit, timer).await {
            Ended::Whole if self.persists => true,
            Ended::Whole => {
                self.linger(timer).await;
                false
            }
            Ended::Refused(refusal) => self.refuse(refusal, timer).await,
            Ended::Cut | Ended::Tunnel => false,
        }
    }

    /// Tells the client that its request is not served; true if another may come.
    async fn refuse(&mut self, refusal: Refusal, timer: &mut Timer) -> bool {
        let whole = self.decoder.is_done() && !matches!(refusal, Refusal::Malformed(_) | Refusal::Timeout);
        timer.set(LINGER);
        if client::give(self, refusal.answer(), whole, timer, &mut 0).await.is_err() {
            return false;
        }
        if !self.persists {
            self.linger(timer).await;
        }
        self.persists
    }

    /// Whether all that the client sent was taken.
    fn is_drained(&self) -> bool {
        self.decoder.is_done() && self.buffer.is_empty()
    }

    /// Ends the connection in a way that lets the client read its answer: what it is still sending is read and dropped
    /// for a while, since a reset would take the answer with it (RFC 9112 section 9.6).
    async fn linger(&mut self, timer: &mut Timer) {
        use std::pin::Pin;
        use tokio::io::AsyncWrite;

        let done = self.is_drained();
        if done && matches!(self.io, Io::Plain(_)) {
            // Closing it says the same.
            return;
        }
        timer.set(LINGER);
        let mut dropped = self.buffer.len();
        poll_fn(|cx| {
            if timer.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() || done {
                return Poll::Ready(());
            }
            loop {
                self.buffer.clear();
                match ready!(self.io.poll_fill(cx, &mut self.buffer, false)) {
                    Ok(count) if count > 0 && dropped < LINGER_OCTETS => dropped += count,
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// Begins the head of a final answer.
    fn begin(&mut self, status: StatusCode, framing: Framing, whole: bool) {
        self.persists &= whole && !self.visit.is_over();
        self.framing = match framing {
            Framing::Chunked | Framing::Close if !is_modern(self.version) => {
                self.persists = false;
                Framing::Close
            }
            Framing::Close => Framing::Chunked,
            framing => framing,
        };
        self.out.begin_head();
        self.status_line(status);
    }

    /// Ends it; `told` is how its body is framed, as far as no field says that yet.
    fn finish(&mut self, status: StatusCode, told: Framing) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.out.text(b"connection: upgrade\r\n");
        } else if !self.persists {
            self.out.text(b"connection: close\r\n");
        } else if self.version == Version::HTTP_10 {
            self.out.text(b"connection: keep-alive\r\n");
        }
        self.out.end_of_head(told);
        if self.head_only {
            self.framing = Framing::Empty;
        }
    }

    fn status_line(&mut self, status: StatusCode) {
        self.out.text(b"HTTP/1.1 ");
        self.out.text(status.as_str().as_bytes());
        self.out.text(b" ");
        self.out.text(status.canonical_reason().unwrap_or_default().as_bytes());
        self.out.text(b"\r\n");
    }
}

impl Client for Http1 {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Lost>> {
        loop {
            match self.decoder.next(&mut self.buffer) {
                Ok(Piece::More) => {}
                Ok(Piece::Data(data)) => {
                    let Some(left) = self.left.checked_sub(data.len() as u64) else {
                        return Poll::Ready(Err(Lost::Refused(Refusal::BodyTooLong)));
                    };
                    self.left = left;
                    return Poll::Ready(Ok(Piece::Data(data)));
                }
                Ok(end) => return Poll::Ready(Ok(end)),
                Err(_) => return Poll::Ready(Err(Lost::Refused(Refusal::Malformed("the chunks are none")))),
            }
            if !matches!(ready!(self.io.poll_fill(cx, &mut self.buffer, true)), Ok(count) if count > 0) {
                return Poll::Ready(Err(Lost::Gone));
            }
        }
    }

    fn inform(&mut self, answer: response::Parts) {
        if is_modern(self.version) && self.out.takes_more() {
            self.status_line(answer.status);
            self.out.fields(&answer.headers);
            self.out.text(b"\r\n");
        }
    }

    fn answer(&mut self, mut answer: response::Parts, framing: Framing, whole: bool) {
        self.begin(answer.status, framing, whole);
        if self.framing != Framing::Empty {
            answer.headers.remove(CONTENT_LENGTH);
        }
        self.out.fields(&answer.headers);
        self.finish(answer.status, self.framing);
        spare::give_fields(answer.headers);
    }

    fn plain(&mut self, status: StatusCode, fields: &[u8], framing: Framing, whole: bool) {
        self.begin(status, framing, whole);
        self.out.text(fields);
        // The length is among the fields.
        let told = if matches!(self.framing, Framing::Length(_)) { Framing::Empty } else { self.framing };
        self.finish(status, told);
    }

    fn takes_plain(&self) -> bool {
        true
    }

    fn takes_more(&self) -> bool {
        self.out.takes_more()
    }

    fn data(&mut self, data: Bytes) {
        if !self.head_only {
            self.out.data(self.framing, data);
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.out.end(self.framing, trailers);
        self.last = !self.persists && self.is_drained();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut u64) -> Poll<Result<(), Lost>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.out.poll_flush(cx, &mut self.io, written, self.last).map_err(|_| Lost::Gone)
    }

    fn connection(&mut self) -> Option<(&mut Io, &mut BytesMut)> {
        Some((&mut self.io, &mut self.buffer))
    }
}
