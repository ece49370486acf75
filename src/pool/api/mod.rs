//! Where operators speak with the pool: HTTP and JSON on a socket in the file system, metrics among it, and metrics alone on
//! a TCP port where one is configured. Called by `vrouter-pool run`; `client` is the other side.
//!
//! ```text
//! GET  /v1/status                    how everything is
//! POST /v1/drain, /v1/resume         hands nothing out any more; does again
//! POST /v1/slots/{slot}/recycle      removes its VM and makes a new one
//! POST /v1/slots/{slot}/quarantine   keeps its VM as it is, cut off
//! POST /v1/clear                     removes every VM
//! GET  /metrics                      for Prometheus
//! ```

pub mod client;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::manager::Ask;
use super::metrics;
use super::state::OrderError;
use super::status::Status;

/// How many connections are served at once; more wait.
const CONNECTIONS: usize = 32;
/// How long a connection may take altogether.
const CONNECTION: Duration = Duration::from_secs(30);
/// How long the loop is waited for; it never waits itself.
const ANSWER: Duration = Duration::from_secs(5);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer.
type Answer = Box<Response<Full<Bytes>>>;

/// Listens on a socket in the file system, in place of one that a predecessor left. Its group may speak there.
///
/// # Errors
/// The system's words; nothing but a socket is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers on the socket until the future is dropped.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asks = asks.clone();
                tokio::spawn(async move {
                    connection(stream, asks, false).await;
                    drop(place);
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

/// Answers with metrics alone on a TCP port until the future is dropped.
pub async fn serve_metrics(listener: TcpListener, asks: mpsc::Sender<Ask>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asks = asks.clone();
                tokio::spawn(async move {
                    connection(stream, asks, true).await;
                    drop(place);
                });
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection to the API was not accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection<S>(stream: S, asks: mpsc::Sender<Ask>, metrics_alone: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let asks = asks.clone();
        async move { Ok::<_, hyper::Error>(*answer(&request, &asks, metrics_alone).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the API ended"),
        Err(_) => tracing::debug!("a connection to the API took too long"),
        Ok(Ok(())) => {}
    }
}

async fn answer(request: &Request<Incoming>, asks: &mpsc::Sender<Ask>, metrics_alone: bool) -> Answer {
    let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    let done = match (request.method(), path.as_slice()) {
        (&Method::GET, ["metrics"]) => metrics_of(asks).await,
        _ if metrics_alone => Err(problem(StatusCode::NOT_FOUND, "there are metrics here, at /metrics")),
        (&Method::GET, ["v1", "status"]) => status(asks).await.map(|status| json_of(StatusCode::OK, &status)),
        (&Method::POST, ["v1", "drain"]) => drain(asks, true).await,
        (&Method::POST, ["v1", "resume"]) => drain(asks, false).await,
        (&Method::POST, ["v1", "slots", slot, "recycle"]) => {
            let slot = (*slot).to_owned();
            order(ask(asks, |answer| Ask::Recycle(slot, answer)).await)
        }
        (&Method::POST, ["v1", "slots", slot, "quarantine"]) => {
            let slot = (*slot).to_owned();
            order(ask(asks, |answer| Ask::Quarantine(slot, answer)).await)
        }
        (&Method::POST, ["v1", "clear"]) => ask(asks, Ask::Clear).await.map(|()| accepted()),
        (_, ["v1", "status"] | ["metrics"]) => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "GET alone")),
        (_, ["v1", "drain" | "resume" | "clear"] | ["v1", "slots", _, "recycle" | "quarantine"]) => {
            Err(problem(StatusCode::METHOD_NOT_ALLOWED, "POST alone"))
        }
        _ => Err(problem(StatusCode::NOT_FOUND, "there is nothing at this path")),
    };
    done.unwrap_or_else(|problem| problem)
}

/// Asks the loop.
async fn ask<T>(
    asks: &mpsc::Sender<Ask>,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, Answer> {
    let (sender, receiver) = oneshot::channel();
    let asked = async {
        asks.send(question(sender)).await.ok()?;
        receiver.await.ok()
    };
    timeout(ANSWER, asked)
        .await
        .ok()
        .flatten()
        .ok_or_else(|| problem(StatusCode::SERVICE_UNAVAILABLE, "the pool does not answer"))
}

async fn status(asks: &mpsc::Sender<Ask>) -> Result<Status, Answer> {
    ask(asks, Ask::Status).await
}

async fn metrics_of(asks: &mpsc::Sender<Ask>) -> Result<Answer, Answer> {
    let text = metrics::render(&status(asks).await?)
        .map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?;
    Ok(response(StatusCode::OK, metrics::CONTENT_TYPE, text.into_bytes()))
}

async fn drain(asks: &mpsc::Sender<Ask>, draining: bool) -> Result<Answer, Answer> {
    ask(asks, |answer| Ask::Drain(draining, answer))
        .await?
        .map(|()| accepted())
        .map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, &error))
}

fn order(done: Result<Result<(), OrderError>, Answer>) -> Result<Answer, Answer> {
    done?.map(|()| accepted()).map_err(|error| {
        let status = match error {
            OrderError::NoSlot(_) => StatusCode::NOT_FOUND,
            OrderError::Nothing { .. } => StatusCode::CONFLICT,
        };
        problem(status, &error.to_string())
    })
}

fn accepted() -> Answer {
    json_of(StatusCode::ACCEPTED, &json!({ "accepted": true }))
}

/// A problem document, RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Answer {
    let body = json!({ "status": status.as_u16(), "title": status.canonical_reason(), "detail": detail });
    response(status, "application/problem+json", body.to_string().into_bytes())
}

fn json_of(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => response(status, "application/json", body),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    Box::new(response)
}
