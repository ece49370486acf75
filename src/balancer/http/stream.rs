//! A client's connection in HTTP/2, and each of its streams as a client of its own (RFC 9113).
//!
//! The `h2` crate bounds what a client can do without asking for anything: streams at once, resets that nobody waits
//! for, the size of heads, frames that carry nothing. Called by `accept.rs` where ALPN says so, and by `connection.rs`
//! where the client begins with the preface.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection as H2, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request, response};
use tokio::runtime::Handle;

use super::body::Piece;
use super::client::{self, Client, Lost};
use super::exchange::{self, Ended, Request};
use super::fields::Connection;
use super::head::{Framing, HeadLimits, content_length, is_host, says_length};
use super::io::{Io, Timer};
use super::refusal::Refusal;
use super::rewound::Rewound;
use super::spare;
use crate::balancer::hands::{Hands, Job};
use crate::balancer::site::Visit;
use crate::clock;

/// How many requests a client has at once.
const STREAMS: u32 = 128;
/// How much of a body a client sends ahead, by stream and altogether.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of an answer waits in memory for a slow client.
const SEND_BUFFER: usize = 128 * 1024;
/// Data up to this length is copied out of the buffer that it came in, which serves another answer at once.
const COPIED: usize = 512;
/// How long a client has to take its leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a connection until it ends. `read` is what was read from it already.
pub(crate) async fn serve(io: Io, read: Bytes, visit: Visit) {
    let site = visit.site();
    let (limits, times) = (site.limits, site.times);
    drop(site);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    let handshake = builder.handshake::<_, Bytes>(Rewound::new(read, io));
    let Ok(Ok(mut connection)) = tokio::time::timeout(times.client_header, handshake).await else { return };
    let active = Arc::new(AtomicUsize::new(0));
    let mut timer = Timer::new(times.client_idle);
    let mut leaving = false;
    while let Some(stream) =
        next(&mut connection, &visit, &active, &mut timer, times.client_idle, &mut leaving).await
    {
        active.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { stream, visit: visit.clone(), _active: Active(active.clone()) };
        HANDS.with(|hands| hands.give(&Handle::current(), asked));
    }
}

thread_local! {
    /// Tasks for streams. Only workers serve connections, and each has one runtime for all of its life.
    static HANDS: Arc<Hands<Asked>> = Arc::new(Hands::new());
}

/// A stream that is to be served.
struct Asked {
    stream: Accepted,
    visit: Visit,
    _active: Active,
}

impl Job for Asked {
    async fn run(self) {
        let Self { stream: (request, respond), visit, _active } = self;
        serve_stream(request, respond, &visit).await;
    }
}

/// One of the streams of a connection.
struct Active(Arc<AtomicUsize>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

/// The next stream; none when the connection is over.
async fn next(
    connection: &mut H2<Rewound, Bytes>,
    visit: &Visit,
    active: &AtomicUsize,
    timer: &mut Timer,
    idle: Duration,
    leaving: &mut bool,
) -> Option<Accepted> {
    if !*leaving {
        timer.set(idle);
    }
    poll_fn(|cx| {
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok(stream))) => return Poll::Ready(Some(stream)),
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        let ending = !*leaving && visit.is_ending(cx);
        let rings = timer.poll(cx).is_ready();
        let busy = active.load(Ordering::Relaxed) > 0;
        if rings && *leaving && !busy {
            return Poll::Ready(None);
        }
        if ending || (rings && !busy) {
            *leaving = true;
            connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if ending || rings {
            timer.set(if *leaving { FAREWELL } else { idle });
            let _ = timer.poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// A stream: one request and its answer.
struct Http2 {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    pending: Bytes,
    /// How much of the answer's body is still to be sent, where that is known.
    to_send: Option<u64>,
    left: u64,
    head_only: bool,
    ended: bool,
    gone: bool,
}

async fn serve_stream(request: http::Request<RecvStream>, respond: SendResponse<Bytes>, visit: &Visit) {
    let since = clock::moment();
    let (mut parts, body) = request.into_parts();
    let site = visit.site();
    let mut timer = Timer::new_from(since, site.times.client_idle);
    let mut client = Http2 {
        send: None,
        pending: Bytes::new(),
        to_send: None,
        left: site.body_limit.unwrap_or(u64::MAX),
        head_only: parts.method == Method::HEAD,
        ended: false,
        gone: false,
        body,
        respond,
    };
    let framing = judge(&mut parts, &client.body, &site.limits).and_then(|framing| match framing {
        Framing::Length(length) if length > client.left => Err(Refusal::BodyTooLong),
        framing => Ok(framing),
    });
    let framing = match framing {
        Ok(framing) => framing,
        Err(refusal) => {
            site.tally.declined(refusal.status());
            return client.refuse(refusal, &mut timer, visit).await;
        }
    };
    let connection = Connection { upgrade: None, ..Connection::take(&mut parts.headers, parts.version) };
    let request = Request { parts: &mut parts, framing, connection, since };
    match exchange::serve(&mut client, request, &site, visit, &mut timer).await {
        Ended::Whole => {}
        Ended::Refused(refusal) => client.refuse(refusal, &mut timer, visit).await,
        Ended::Cut | Ended::Tunnel => client.reset(Reason::INTERNAL_ERROR),
    }
    // The answer's went with it: this one serves the next.
    spare::give_fields(std::mem::take(&mut parts.headers));
}

/// Makes a request what one of HTTP/1 would be, and says how its body is framed there.
fn judge(parts: &mut request::Parts, body: &RecvStream, limits: &HeadLimits) -> Result<Framing, Refusal> {
    const TARGET: Refusal = Refusal::Malformed("the target is none");
    if parts.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    if parts.headers.len() > limits.fields {
        return Err(Refusal::HeadTooLong);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("there is more than one Host"));
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let authority = uri.authority.take();
    uri.scheme = None;
    let host = match (authority, host) {
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            return Err(Refusal::Malformed("Host is not the target's host"));
        }
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| TARGET)?,
        (None, Some(host)) => host,
        (None, None) => return Err(Refusal::Malformed("there is no Host")),
    };
    if !is_host(host.as_bytes()) {
        return Err(Refusal::Malformed("Host is none"));
    }
    parts.headers.insert(HOST, host);
    let target = uri.path_and_query.as_ref().map_or("/", |target| target.as_str());
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    let plain = target.bytes().all(|octet| matches!(octet, 0x21..=0x7e) && octet != b'#');
    if !plain || !(target.starts_with('/') || target == "*" && parts.method == Method::OPTIONS) {
        return Err(TARGET);
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| TARGET)?;
    join_cookies(&mut parts.headers);
    if parts.headers.get(EXPECT).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Refusal::Expectation);
    }
    match content_length(&parts.headers)? {
        _ if body.is_end_stream() => Ok(Framing::Empty),
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::Chunked),
    }
}

/// Cookies in one field: they may come in several, which HTTP/1 does not know (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    if fields.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for cookie in fields.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        fields.insert(COOKIE, joined);
    }
}

impl Http2 {
    async fn refuse(&mut self, refusal: Refusal, timer: &mut Timer, visit: &Visit) {
        if self.send.is_some() {
            return self.reset(Reason::INTERNAL_ERROR);
        }
        timer.set(visit.site().times.client_idle);
        let _ = client::give(self, refusal.answer(), true, timer, &mut 0).await;
        // If the rest of the request is not wanted, dropping the stream says so once the answer is out.
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

impl Client for Http2 {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Lost>> {
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                if self.body.flow_control().release_capacity(data.len()).is_err() {
                    return Poll::Ready(Err(Lost::Gone));
                }
                let Some(left) = self.left.checked_sub(data.len() as u64) else {
                    return Poll::Ready(Err(Lost::Refused(Refusal::BodyTooLong)));
                };
                self.left = left;
                Poll::Ready(Ok(Piece::Data(data)))
            }
            Some(Err(_)) => Poll::Ready(Err(Lost::Gone)),
            None => match ready!(self.body.poll_trailers(cx)) {
                Ok(trailers) => Poll::Ready(Ok(Piece::End(trailers.unwrap_or_default()))),
                Err(_) => Poll::Ready(Err(Lost::Gone)),
            },
        }
    }

    fn inform(&mut self, answer: response::Parts) {
        let mut interim = http::Response::new(());
        *interim.status_mut() = answer.status;
        *interim.headers_mut() = answer.headers;
        self.gone |= self.respond.send_informational(interim).is_err();
    }

    fn answer(&mut self, answer: response::Parts, framing: Framing, _whole: bool) {
        let mut head = http::Response::new(());
        *head.status_mut() = answer.status;
        *head.headers_mut() = answer.headers;
        if let Framing::Length(length) = framing {
            if !says_length(head.headers(), length) {
                head.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            self.to_send = Some(length);
        }
        self.ended = self.head_only || matches!(framing, Framing::Empty | Framing::Length(0));
        match self.respond.send_response(head, self.ended) {
            Ok(send) => self.send = Some(send),
            Err(_) => self.gone = true,
        }
    }

    fn plain(&mut self, _: StatusCode, _: &[u8], _: Framing, _: bool) {}

    fn takes_plain(&self) -> bool {
        false
    }

    fn takes_more(&self) -> bool {
        self.pending.is_empty()
    }

    fn data(&mut self, data: Bytes) {
        if !self.ended {
            // What is short does not keep the buffer that it came in.
            self.pending = if data.len() <= COPIED { Bytes::copy_from_slice(&data) } else { data };
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Some(send) = &mut self.send else { return };
        let sent = if trailers.is_empty() {
            send.send_data(Bytes::new(), true)
        } else {
            send.send_trailers(trailers.clone())
        };
        self.gone |= sent.is_err();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut u64) -> Poll<Result<(), Lost>> {
        if self.gone {
            return Poll::Ready(Err(Lost::Gone));
        }
        let Some(send) = &mut self.send else {
            // Nobody waits for an answer any more once the client has given up its stream.
            let given_up = self.respond.poll_reset(cx).is_ready();
            return Poll::Ready(if given_up { Err(Lost::Gone) } else { Ok(()) });
        };
        while !self.pending.is_empty() {
            send.reserve_capacity(self.pending.len());
            let Some(Ok(capacity)) = ready!(send.poll_capacity(cx)) else {
                return Poll::Ready(Err(Lost::Gone));
            };
            let data = match capacity {
                capacity if capacity < self.pending.len() => self.pending.split_to(capacity),
                _ => std::mem::take(&mut self.pending),
            };
            *written += data.len() as u64;
            self.to_send = self.to_send.map(|left| left.saturating_sub(data.len() as u64));
            // The last octets say that they are, which saves a frame.
            self.ended = self.to_send == Some(0);
            if send.send_data(data, self.ended).is_err() {
                return Poll::Ready(Err(Lost::Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn connection(&mut self) -> Option<(&mut Io, &mut BytesMut)> {
        None
    }
}
