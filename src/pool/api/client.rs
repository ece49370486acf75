//! The command line's side of the API: one request, one answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer that is read, in octets.
const LONGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("the pool does not answer at {}: {why}; does vrouter-pool run?", path.display())]
    Unreached {
        /// The socket.
        path: PathBuf,
        /// In the system's words.
        why: String,
    },
    /// The pool says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the pool behind a socket. The answer's JSON.
///
/// # Errors
/// Nobody answers, or the answer is no.
pub async fn ask(socket: &Path, method: Method, path: &str) -> Result<Value, ClientError> {
    let unreached = |why: String| ClientError::Unreached { path: socket.to_owned(), why };
    let asked = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "vrouter-pool")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        connection.abort();
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let (status, body) = timeout(ANSWER, asked)
        .await
        .map_err(|_| unreached("no answer in time".to_owned()))?
        .map_err(|why: String| unreached(why))?;
    let value: Value = serde_json::from_slice(&body).map_err(|error| unreached(error.to_string()))?;
    if status.is_success() {
        return Ok(value);
    }
    let detail = value.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
    Err(ClientError::Refused(detail.to_owned()))
}
