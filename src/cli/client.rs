//! One request and its answer, over HTTP on TCP or on a socket in the file system: the one place that talks to the
//! router.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::address::Address;
use super::credentials::Credentials;
use super::error::CliError;
use super::json;
use super::upload::Upload;
use super::way::Way;
use crate::clock::{self, Timestamp};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, connected: more than the router itself allows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// The largest answer, in octets.
const ANSWER_LIMIT: usize = 256 << 20;
/// What a whole document is sent as.
pub(super) const JSON: &str = "application/json";
/// What a merge patch is sent as (RFC 7396 section 4).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// What a file is sent as.
const OCTETS: &str = "application/octet-stream";
/// What refusals come as (RFC 9457 section 3).
const PROBLEM: &str = "application/problem+json";

/// Asks a router.
#[derive(Debug)]
pub(super) struct Client {
    way: Way,
    credentials: Credentials,
    /// The largest answer, in octets.
    limit: usize,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    /// The path, with a query where there is one.
    target: String,
    content: Option<(&'static str, Content)>,
    if_match: Option<u64>,
}

/// What is sent.
#[derive(Debug)]
enum Content {
    Octets(Vec<u8>),
    File(Upload),
}

impl Content {
    /// As a body.
    fn body(self) -> UnsyncBoxBody<Bytes, io::Error> {
        match self {
            Self::Octets(octets) => Full::new(octets.into()).map_err(|never| match never {}).boxed_unsync(),
            Self::File(upload) => upload.boxed_unsync(),
        }
    }
}

impl Question {
    /// To read something.
    pub(super) fn get(target: impl Into<String>) -> Self {
        Self { method: Method::GET, target: target.into(), content: None, if_match: None }
    }

    /// To send something.
    pub(super) fn send(method: Method, target: &str, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            method,
            target: target.to_owned(),
            content: Some((kind, Content::Octets(body))),
            if_match: None,
        }
    }

    /// To send a file, which takes as long as it takes.
    pub(super) fn upload(target: &str, file: Upload) -> Self {
        let content = Some((OCTETS, Content::File(file)));
        Self { method: Method::POST, target: target.to_owned(), content, if_match: None }
    }

    /// Only where this generation runs (RFC 9110 section 13.1.1).
    pub(super) fn if_match(self, generation: Option<u64>) -> Self {
        Self { if_match: generation, ..self }
    }
}

/// What the router answered where it did not refuse: a JSON object.
#[derive(Debug)]
pub(super) struct Answer {
    /// The object.
    pub(super) value: Value,
    /// What time it is for the router.
    pub(super) time: Timestamp,
    body: Bytes,
    address: String,
}

impl Answer {
    /// The answer as JSON for people, ended by a line feed.
    ///
    /// # Errors
    /// Never: it was read once.
    pub(super) fn pretty(&self) -> Result<String, CliError> {
        let pretty = json::pretty(&self.body).map_err(|error| self.nonsense(error.to_string()))?;
        Ok(pretty + "\n")
    }

    /// An error for an answer that lacks what it is all about.
    pub(super) fn nonsense(&self, what: impl Into<String>) -> CliError {
        CliError::Nonsense { address: self.address.clone(), what: what.into() }
    }
}

impl Client {
    /// For the router there; nothing is connected yet.
    pub(super) const fn new(way: Way, credentials: Credentials) -> Self {
        Self { way, credentials, limit: ANSWER_LIMIT }
    }

    /// Asks once.
    ///
    /// # Errors
    /// The router cannot be reached, refuses, fails, or says what is not understood.
    pub(super) async fn ask(&self, question: Question) -> Result<Answer, CliError> {
        match &self.way {
            Way::To(Address::Tcp(url)) => {
                let stream = self.connect(TcpStream::connect((url.host.as_str(), url.port))).await?;
                // Without it, a small request waits for the acknowledgement of the one before: there is none.
                let _ = stream.set_nodelay(true);
                match &self.credentials.tls {
                    None => self.ask_on(stream, question).await,
                    Some(tls) => {
                        let name = ServerName::try_from(url.host.clone())
                            .map_err(|error| self.unreachable(error.to_string()))?;
                        let stream = self.connect(tls.connect(name, stream)).await?;
                        self.ask_on(stream, question).await
                    }
                }
            }
            Way::To(Address::Unix(path)) => {
                self.ask_on(self.connect(UnixStream::connect(path)).await?, question).await
            }
            Way::Within(within) => {
                let connected = within.connect().await;
                let (stream, _turn) = connected.map_err(|error| self.unreachable(error.to_string()))?;
                self.ask_on(stream, question).await
            }
        }
    }

    async fn connect<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S, CliError> {
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.unreachable(error.to_string())),
            Err(_) => {
                Err(self.unreachable(format!("no connection in {} seconds", CONNECT_TIMEOUT.as_secs())))
            }
        }
    }

    async fn ask_on<S>(&self, stream: S, question: Question) -> Result<Answer, CliError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if matches!(question.content, Some((_, Content::File(_)))) {
            return self.exchange(stream, question).await;
        }
        match timeout(REQUEST_TIMEOUT, self.exchange(stream, question)).await {
            Ok(answered) => answered,
            Err(_) => Err(self.no_answer(format!("nothing in {} seconds", REQUEST_TIMEOUT.as_secs()))),
        }
    }

    async fn exchange<S>(&self, stream: S, question: Question) -> Result<Answer, CliError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let lost = |error: hyper::Error| self.no_answer(with_cause(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // What ends the connection early ends the request too, and is told there.
        let connection = tokio::spawn(connection);
        let response = sender.send_request(self.request(question)?).await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = match Limited::new(response.into_body(), self.limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(self.nonsense(format!("more than {} octets", self.limit)));
            }
            Err(error) => return Err(self.no_answer(error.to_string())),
        };
        connection.abort();
        self.understand(status, &headers, body)
    }

    fn request(&self, question: Question) -> Result<Request<UnsyncBoxBody<Bytes, io::Error>>, CliError> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(&question.target)
            .header(header::HOST, self.way.host())
            .header(header::USER_AGENT, concat!("vrctl/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.credentials.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(generation) = question.if_match {
            request = request.header(header::IF_MATCH, format!("\"{generation}\""));
        }
        let mut body = Content::Octets(Vec::new());
        if let Some((kind, content)) = question.content {
            request = request.header(header::CONTENT_TYPE, kind);
            body = content;
        }
        // Only a host that no header can hold fails here, and then nothing was asked.
        request.body(body.body()).map_err(|error| self.unreachable(error.to_string()))
    }

    fn understand(&self, status: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<Answer, CliError> {
        let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let value: Option<Value> = serde_json::from_slice(&body).ok().filter(Value::is_object);
        let problem = said(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM));
        let failed = status.is_client_error() || status.is_server_error();
        match value {
            Some(document) if failed && problem => {
                Err(CliError::Problem { status: status.as_u16(), document, body: body.into() })
            }
            Some(value) if status.is_success() => {
                // Ages are told by the clock that the times were read from, where its owner tells it.
                let time = said(header::DATE).and_then(http_date).unwrap_or_else(clock::now);
                Ok(Answer { value, time, body, address: self.way.to_string() })
            }
            Some(_) => Err(self.nonsense(format!("HTTP status {} without a problem", status.as_u16()))),
            None => Err(self.nonsense(format!("HTTP status {} without a JSON object", status.as_u16()))),
        }
    }

    fn unreachable(&self, reason: String) -> CliError {
        CliError::Unreachable { address: self.way.to_string(), reason }
    }

    pub(super) fn no_answer(&self, reason: String) -> CliError {
        CliError::NoAnswer { address: self.way.to_string(), reason }
    }

    fn nonsense(&self, what: String) -> CliError {
        CliError::Nonsense { address: self.way.to_string(), what }
    }
}

/// A time as HTTP writes it (RFC 9110 section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    u64::try_from(time.unix_timestamp()).ok().map(Timestamp::from_seconds)
}

/// What hyper says, and what it says that comes from.
fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;
    use crate::cli::Exit;

    /// What a client makes of a router that says this and, where it is told to, then keeps the connection open.
    async fn ask(said: &'static str, limit: usize, stay: bool) -> Result<Answer, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let router = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            if stay {
                std::future::pending::<()>().await;
            }
        });
        let client = Client { limit, ..Client::new(Way::To(Address::Unix(path)), Credentials::default()) };
        let answered = client.ask(Question::get("/v1/status")).await;
        router.abort();
        answered
    }

    #[tokio::test]
    async fn an_answer_brings_the_time_of_the_router() {
        let said = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 10\r\n\r\n{\"a\": [1]}";
        let answer = ask(said, 10, true).await.unwrap();
        assert_eq!(answer.time, Timestamp::from_seconds(784_111_777));
        assert_eq!(answer.pretty().unwrap(), "{\n  \"a\": [\n    1\n  ]\n}\n");
        assert_eq!(http_date("yesterday"), None);
    }

    #[tokio::test]
    async fn an_answer_is_bounded() {
        let said = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\": [1]}";
        let error = ask(said, 9, true).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.to_string().contains("more than 9 octets"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_that_says_nothing_is_not_waited_for_for_ever() {
        let before = tokio::time::Instant::now();
        let error = ask("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", 10, true).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.to_string().contains("nothing in 90 seconds"), "{error}");
        assert!(before.elapsed() >= REQUEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_comes_is_given_up() {
        let client =
            Client::new(Way::To(Address::Unix("/run/vrouter/api.sock".into())), Credentials::default());
        let error = client.connect(std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let said = "cannot reach the router at /run/vrouter/api.sock: no connection in 5 seconds";
        assert_eq!(error.to_string(), said);
    }

    #[tokio::test]
    async fn half_an_answer_is_none() {
        for said in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "SSH-2.0-OpenSSH_9.2\r\n"] {
            let error = ask(said, 10, false).await.unwrap_err();
            assert!(matches!(error, CliError::NoAnswer { .. }), "{said}: {error}");
        }
    }
}
