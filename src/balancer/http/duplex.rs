//! Both directions of one exchange, driven by one task: the request's body to the backend, the answer to the client.
//!
//! Neither direction waits for the other: a backend may answer before it has the whole request. No more is read on one
//! side than the other side takes. Called by `exchange.rs`.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::body::{Decoder, Piece};
use super::client::{Client, Lost};
use super::head::Framing;
use super::io::Timer;
use super::refusal::Refusal;
use super::upstream::Server;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) client_header: Duration,
    pub(crate) client_idle: Duration,
    pub(crate) server_idle: Duration,
    pub(crate) server_response: Duration,
    pub(crate) tunnel_idle: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// The client is the reason.
    Client(Lost),
    /// The backend closed the connection before it said anything.
    Silent,
    /// The backend is the reason otherwise.
    Backend(Refusal),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        Self::Client(lost)
    }
}

/// The client has a part of an answer that nobody can complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Whether the backend is the reason.
    pub(super) by_backend: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// The body goes on.
    Running,
    /// The backend has all of it, or it waits in the backend's connection.
    Done,
    /// The backend takes no more. It may have answered nevertheless.
    Broken,
}

/// What goes on between a client and a backend.
#[derive(Debug)]
pub(super) struct Duplex {
    upload: Upload,
    framing: Framing,
    /// Whether anything of the body was taken from the client: then it cannot be sent again.
    touched: bool,
    /// Whether nothing but the client keeps the upload from going on.
    waits_for_client: bool,
    /// Octets that were written to the backend.
    pub(super) sent: u64,
    /// Octets that were written to the client.
    pub(super) received: u64,
}

impl Duplex {
    /// For a request whose body is framed so towards the backend.
    pub(super) fn new(framing: Framing) -> Self {
        let upload = if framing == Framing::Empty { Upload::Done } else { Upload::Running };
        Self { upload, framing, touched: false, waits_for_client: false, sent: 0, received: 0 }
    }

    /// Whether nothing of the client's body is gone.
    pub(super) const fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Whether all of the request was taken from the client.
    pub(super) fn is_whole(&self) -> bool {
        self.upload == Upload::Done
    }

    fn poll_upload<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        server: &mut Server,
    ) -> Poll<Result<(), Lost>> {
        self.waits_for_client = false;
        loop {
            let mut starved = false;
            while self.upload == Upload::Running && server.out.takes_more() {
                match client.poll_body(cx)? {
                    Poll::Ready(piece) => {
                        self.touched = true;
                        match piece {
                            Piece::Data(data) => server.out.data(self.framing, data),
                            Piece::End(trailers) => {
                                server.out.end(self.framing, &trailers);
                                self.upload = Upload::Done;
                            }
                            Piece::More => {}
                        }
                    }
                    Poll::Pending => {
                        starved = true;
                        break;
                    }
                }
            }
            if self.upload == Upload::Broken {
                return Poll::Ready(Ok(()));
            }
            match server.out.poll_flush(cx, &mut server.io, &mut self.sent, false) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => self.upload = Upload::Broken,
                Poll::Ready(Ok(())) if self.upload == Upload::Done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if starved => {
                    self.waits_for_client = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Sends the request, whose head waits in the backend's connection, until the backend answers. An interim answer is
    /// an answer. It is `now`; `patient` says that the client waits for one before it sends its body, `text` that the
    /// answer's fields may stay text.
    pub(super) async fn head<C: Client>(
        &mut self,
        client: &mut C,
        server: &mut Server,
        timer: &mut Timer,
        (now, times): (Instant, &Times),
        (patient, text): (bool, bool),
    ) -> Result<Answer, Failure> {
        timer.set_from(now, times.server_response);
        let mut waited_for_client = false;
        poll_fn(|cx| {
            let before = self.sent;
            if let Poll::Ready(Err(lost)) = client.poll_flush(cx, &mut self.received) {
                return Poll::Ready(Err(lost.into()));
            }
            if let Poll::Ready(Err(lost)) = self.poll_upload(cx, client, server) {
                return Poll::Ready(Err(lost.into()));
            }
            loop {
                if !server.buffer.is_empty() {
                    match answer::read(&mut server.buffer, text) {
                        Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                        Ok(None) => {}
                        Err(_) => return Poll::Ready(Err(Failure::Backend(Refusal::BadGateway))),
                    }
                }
                match server.io.poll_fill(cx, &mut server.buffer, false) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) if server.buffer.is_empty() => return Poll::Ready(Err(Failure::Silent)),
                    Poll::Ready(_) => return Poll::Ready(Err(Failure::Backend(Refusal::BadGateway))),
                    Poll::Pending => break,
                }
            }
            let waits_for_client = self.waits_for_client && !patient;
            if self.sent != before || waits_for_client != waited_for_client {
                timer.set(if waits_for_client { times.client_idle } else { times.server_response });
                waited_for_client = waits_for_client;
            }
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(Err(if waits_for_client {
                Failure::Client(Lost::Refused(Refusal::Timeout))
            } else {
                Failure::Backend(Refusal::GatewayTimeout)
            }))
        })
        .await
    }

    /// Hands the answer's body on, whose head the client was given; what is left of the request's body goes on beside.
    pub(super) async fn body<C: Client>(
        &mut self,
        client: &mut C,
        server: &mut Server,
        decoder: &mut Decoder,
        timer: &mut Timer,
        times: &Times,
    ) -> Result<(), Cut> {
        let mut ended = false;
        let mut moved_at = None;
        poll_fn(|cx| {
            let sent = self.sent;
            let received = self.received;
            if let Poll::Ready(Err(_)) = self.poll_upload(cx, client, server) {
                return Poll::Ready(Err(Cut { by_backend: false }));
            }
            let mut read = false;
            let client_is_slow = loop {
                while !ended && client.takes_more() {
                    match decoder.next(&mut server.buffer) {
                        Ok(Piece::Data(data)) => client.data(data),
                        Ok(Piece::End(trailers)) => {
                            client.end(&trailers);
                            ended = true;
                        }
                        Ok(Piece::More) => break,
                        Err(_) => return Poll::Ready(Err(Cut { by_backend: true })),
                    }
                }
                let full = !ended && !client.takes_more();
                match client.poll_flush(cx, &mut self.received) {
                    Poll::Ready(Ok(())) if ended => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if full => continue,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut { by_backend: false })),
                    Poll::Pending => break true,
                }
                match server.io.poll_fill(cx, &mut server.buffer, true) {
                    Poll::Ready(Ok(count)) if count > 0 => read = true,
                    Poll::Ready(_) if decoder.may_end() => {
                        client.end(&http::HeaderMap::new());
                        ended = true;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Cut { by_backend: true })),
                    Poll::Pending => break false,
                }
            };
            let moved = read || self.sent != sent || self.received != received;
            if moved || moved_at != Some(client_is_slow) {
                timer.set(if client_is_slow { times.client_idle } else { times.server_idle });
                moved_at = Some(client_is_slow);
            }
            timer.poll(cx).map(|()| Err(Cut { by_backend: !client_is_slow }))
        })
        .await
    }
}
