//! One request and its answer: to whom, how often, and what goes on between.
//!
//! What was not sent to anybody may go to another backend; what was, only where the method says that twice is as good as
//! once and nothing of the body is gone (RFC 9110 section 9.2.2). Called by `connection.rs` and `stream.rs` for each
//! request.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{StatusCode, request, response};

use super::answer::{self, Answer};
use super::body::Decoder;
use super::client::{self, Client, Lost};
use super::duplex::{Duplex, Failure};
use super::fields::Connection;
use super::head::Framing;
use super::io::Timer;
use super::plain::Fields;
use super::refusal::Refusal;
use super::spare;
use super::tunnel;
use super::upstream::{self, Server, until_cut};
use crate::balancer::backend::Backend;
use crate::balancer::counters::Tally;
use crate::balancer::pool::Wish;
use crate::balancer::proxy_header;
use crate::balancer::route::{Errand, Route};
use crate::balancer::site::{PoolSite, Site, Visit};
use crate::clock;

/// How many backends are asked for one request.
const ATTEMPTS: usize = 3;
/// How many interim answers one request gets.
const INTERIM: usize = 16;

/// A request whose head was read and judged, without what belongs to the client's connection.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) parts: &'a mut request::Parts,
    pub(super) framing: Framing,
    pub(super) connection: Connection,
    /// When its head was complete.
    pub(super) since: Instant,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has its whole answer.
    Whole,
    /// The client has nothing of an answer, and gets this one.
    Refused(Refusal),
    /// The client is gone, or its answer cannot be completed: its connection has to end.
    Cut,
    /// The connection became something else, which is over.
    Tunnel,
}

/// Serves one request.
pub(super) async fn serve<C: Client>(
    client: &mut C,
    request: Request<'_>,
    site: &Site,
    visit: &Visit,
    timer: &mut Timer,
) -> Ended {
    let Request { parts, framing, connection, since } = request;
    site.tally.asked();
    let (ended, status) = match site.route(parts, visit, since) {
        Err(refusal) => (Ended::Refused(refusal), None),
        Ok(Route::Answer(answer, body)) => {
            let status = answer.status;
            timer.set(site.times.client_idle);
            let mut received = 0;
            let whole = framing == Framing::Empty;
            let given = client::give(client, (answer, body), whole, timer, &mut received).await;
            site.tally.carried(0, received);
            (if given.is_ok() { Ended::Whole } else { Ended::Cut }, Some(status))
        }
        Ok(Route::Pool(pool, errand)) => {
            let exchange =
                Exchange { site, visit, pool, parts, framing, connection: &connection, since, errand };
            exchange.run(client, timer).await
        }
    };
    let took = clock::moment().saturating_duration_since(since);
    match (ended, status) {
        (Ended::Refused(refusal), _) => site.tally.answered(refusal.status(), took),
        // It was counted when it became one.
        (Ended::Tunnel, _) => {}
        (_, Some(status)) => site.tally.answered(status, took),
        (_, None) => site.tally.given_up(),
    }
    ended
}

struct Exchange<'a> {
    site: &'a Site,
    visit: &'a Visit,
    pool: &'a PoolSite,
    parts: &'a request::Parts,
    framing: Framing,
    connection: &'a Connection,
    since: Instant,
    errand: Errand<'a>,
}

impl Exchange<'_> {
    /// What became of it, and the status of the answer if the client has one.
    async fn run<C: Client>(&self, client: &mut C, timer: &mut Timer) -> (Ended, Option<StatusCode>) {
        let refused = |refusal| (Ended::Refused(refusal), None);
        let mut tried: Vec<Arc<Backend>> = Vec::new();
        let mut fresh = false;
        let mut now = self.since;
        loop {
            let wish = Wish { key: self.errand.key, stay: self.errand.stay(), tried: &tried };
            let Ok(place) = self.pool.pool.pick(wish, now).await else {
                self.pool.unserved();
                return refused(if tried.is_empty() { Refusal::Unavailable } else { Refusal::BadGateway });
            };
            let backend = place.backend();
            let mut server = match self.server(backend, fresh, now).await {
                Ok(server) => server,
                Err(error) => {
                    self.failed(backend, &format!("no connection: {error}"));
                    tried.push(backend.clone());
                    if tried.len() < ATTEMPTS {
                        self.count(backend, Tally::retried);
                        now = clock::moment();
                        continue;
                    }
                    let late = error.kind() == io::ErrorKind::TimedOut;
                    return refused(if late { Refusal::GatewayTimeout } else { Refusal::BadGateway });
                }
            };
            self.errand.chosen(self.pool, backend);
            let mut duplex = Duplex::new(self.framing);
            self.write_head(&mut server);
            let reused = server.reused;
            backend.tally.asked();
            let answer = self.answer(client, &mut server, &mut duplex, timer, now).await;
            let failure = match answer {
                Ok(answer) => {
                    let status = answer.status();
                    let ended = self.hand_on(client, server, &mut duplex, timer, backend, answer).await;
                    self.count(backend, |tally| tally.carried(duplex.sent, duplex.received));
                    match ended {
                        Ended::Tunnel => {}
                        Ended::Refused(_) => backend.tally.given_up(),
                        _ => {
                            let took = clock::moment().saturating_duration_since(self.since);
                            backend.tally.answered(status, took);
                        }
                    }
                    return (ended, Some(status));
                }
                Err(failure) => failure,
            };
            backend.tally.given_up();
            self.count(backend, |tally| tally.carried(duplex.sent, duplex.received));
            let again = duplex.is_untouched() && self.parts.method.is_idempotent();
            match failure {
                Failure::Client(Lost::Gone) => return (Ended::Cut, None),
                Failure::Client(Lost::Refused(refusal)) => return refused(refusal),
                // A connection that was kept may end the moment that it is used again: that says nothing of the backend.
                Failure::Silent if reused && again && !fresh => fresh = true,
                Failure::Silent if again && tried.len() + 1 < ATTEMPTS => {
                    self.failed(backend, "closed without an answer");
                    tried.push(backend.clone());
                }
                failure => {
                    let refusal =
                        if let Failure::Backend(refusal) = failure { refusal } else { Refusal::BadGateway };
                    self.failed(backend, &refusal.to_string());
                    return refused(refusal);
                }
            }
            self.count(backend, Tally::retried);
            now = clock::moment();
        }
    }

    fn count(&self, backend: &Backend, count: impl Fn(&Tally)) {
        count(&self.site.tally);
        count(&backend.tally);
    }

    fn failed(&self, backend: &Backend, reason: &str) {
        self.site.tally.failed();
        self.pool.failed(backend, reason);
    }

    /// A connection to the backend; a new one if `fresh`, or if the backend is to be told of the client by it.
    async fn server(&self, backend: &Backend, fresh: bool, now: Instant) -> io::Result<Server> {
        let endpoint = (backend.endpoint(), self.pool.tls_number());
        let Visit { client, local, .. } = *self.visit;
        let header = |version| proxy_header::header(version, client, local);
        let preface = self.site.proxy_protocol.map(header).unwrap_or_default();
        if !fresh
            && preface.is_empty()
            && let Some(server) = upstream::take(endpoint, now)
        {
            return Ok(server);
        }
        let connect = self.site.times.connect;
        // Apart, so that an exchange on a connection that was kept needs no room for it.
        Box::pin(upstream::connect(backend.endpoint(), self.pool.tls.as_ref(), &preface, connect)).await
    }

    fn write_head(&self, server: &mut Server) {
        let Self { parts, framing, connection, .. } = self;
        let out = &mut server.out;
        out.begin_head();
        out.text(parts.method.as_str().as_bytes());
        out.text(b" ");
        out.text(parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        out.text(b" HTTP/1.1\r\n");
        if !parts.headers.contains_key(HOST) {
            out.text(b"host: \r\n");
        }
        for (name, value) in &parts.headers {
            if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
                out.field(name, value);
            }
        }
        if let Some(host) = self.errand.told() {
            self.visit.told.write(host.as_bytes(), &mut |text| out.text(text));
        }
        if let Some(protocol) = &connection.upgrade {
            out.text(b"connection: upgrade\r\n");
            out.field(&UPGRADE, protocol);
        } else if connection.trailers {
            out.text(b"connection: te\r\nte: trailers\r\n");
        }
        // A body of no octets is said to be one where the method expects a body (RFC 9110 section 8.6).
        let framing = match framing {
            Framing::Empty if parts.headers.contains_key(CONTENT_LENGTH) => Framing::Length(0),
            framing => *framing,
        };
        out.end_of_head(framing);
    }

    /// The final answer, or the switch of protocols. Interim ones are handed on.
    async fn answer<C: Client>(
        &self,
        client: &mut C,
        server: &mut Server,
        duplex: &mut Duplex,
        timer: &mut Timer,
        mut now: Instant,
    ) -> Result<Answer, Failure> {
        let text = client.takes_plain() && self.errand.leaves_answer();
        let mut patient = self.parts.headers.contains_key(EXPECT);
        for _ in 0..INTERIM {
            let times = (now, &self.site.times);
            let mut answer = match duplex.head(client, server, timer, times, (patient, text)).await? {
                Answer::Parts(parts)
                    if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    parts
                }
                answer => return Ok(answer),
            };
            Connection::take(&mut answer.headers, answer.version);
            answer.headers.remove(CONTENT_LENGTH);
            answer.headers.remove(TRANSFER_ENCODING);
            patient = false;
            now = clock::moment();
            client.inform(answer);
        }
        Err(Failure::Backend(Refusal::BadGateway))
    }

    /// The backend has answered so.
    fn answered(&self, backend: &Backend, status: StatusCode) {
        if status.is_server_error() && !matches!(status.as_u16(), 501 | 505) {
            backend.failed(clock::moment());
        } else {
            self.pool.succeeded(backend);
        }
    }

    async fn hand_on<C: Client>(
        &self,
        client: &mut C,
        mut server: Server,
        duplex: &mut Duplex,
        timer: &mut Timer,
        backend: &Arc<Backend>,
        answer: Answer,
    ) -> Ended {
        let status = answer.status();
        let (framing, persists) = match answer {
            Answer::Plain(plain) => {
                self.answered(backend, status);
                let framing = plain.framing(&self.parts.method);
                let persists = plain.persists();
                match plain.fields {
                    Fields::Text(text) => {
                        client.plain(status, &text, framing, duplex.is_whole());
                        spare::give_buffer(text);
                    }
                    Fields::Map(mut fields) => {
                        self.errand.answered(self.pool, backend, &mut fields);
                        let mut parts = http::Response::new(()).into_parts().0;
                        (parts.status, parts.headers) = (status, fields);
                        client.answer(parts, framing, duplex.is_whole());
                    }
                }
                (framing, persists)
            }
            Answer::Parts(mut answer) => {
                let Ok(framing) = answer::framing(&self.parts.method, &answer) else {
                    self.failed(backend, "no valid answer");
                    return Ended::Refused(Refusal::BadGateway);
                };
                let version = answer.version;
                let mut said = Connection::take(&mut answer.headers, version);
                answer.headers.remove(TRANSFER_ENCODING);
                if !matches!(framing, Framing::Empty | Framing::Length(_)) || status == StatusCode::NO_CONTENT
                {
                    answer.headers.remove(CONTENT_LENGTH);
                }
                self.answered(backend, status);
                if status == StatusCode::SWITCHING_PROTOCOLS {
                    if let Some(protocol) = said.upgrade.take().or_else(|| self.connection.upgrade.clone()) {
                        answer.headers.insert(UPGRADE, protocol);
                    }
                    return Box::pin(self.switch(client, server, duplex, timer, backend, answer)).await;
                }
                self.errand.answered(self.pool, backend, &mut answer.headers);
                client.answer(answer, framing, duplex.is_whole());
                (framing, said.persists(version))
            }
        };
        let mut decoder = Decoder::new(framing);
        let ended = {
            let body = duplex.body(client, &mut server, &mut decoder, timer, &self.site.times);
            until_cut(body, backend).await
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(cut)) if cut.by_backend => {
                self.failed(backend, "no valid answer");
                return Ended::Cut;
            }
            _ => return Ended::Cut,
        }
        let complete =
            decoder.is_done() && duplex.is_whole() && server.out.is_empty() && server.buffer.is_empty();
        if complete && persists && self.site.proxy_protocol.is_none() {
            upstream::keep(
                (backend.endpoint(), self.pool.tls_number()),
                server,
                clock::moment(),
                self.site.times.server_idle,
            );
        }
        Ended::Whole
    }

    /// Both sides leave HTTP, if the client asked for it.
    async fn switch<C: Client>(
        &self,
        client: &mut C,
        mut server: Server,
        duplex: &mut Duplex,
        timer: &mut Timer,
        backend: &Backend,
        answer: response::Parts,
    ) -> Ended {
        let asked = self.connection.upgrade.is_some() && duplex.is_whole();
        if !asked || client.connection().is_none() {
            return Ended::Refused(Refusal::BadGateway);
        }
        client.answer(answer, Framing::Empty, true);
        let mut received = 0;
        let flushed = poll_fn(|cx| client.poll_flush(cx, &mut received)).await;
        let Some((io, buffer)) = client.connection().filter(|_| flushed.is_ok()) else { return Ended::Cut };
        let took = clock::moment().saturating_duration_since(self.since);
        self.count(backend, |tally| tally.answered(StatusCode::SWITCHING_PROTOCOLS, took));
        let idle = self.site.times.tunnel_idle;
        let counts = (&mut duplex.sent, &mut duplex.received);
        let tunnel = tunnel::run((io, buffer), (&mut server.io, &mut server.buffer), timer, idle, counts);
        let _ = until_cut(tunnel, backend).await;
        Ended::Tunnel
    }
}
