//! Checks of the types http and https: a request, the status of its answer, and perhaps a text in its body.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Asking, Failure, Finding, failure, tls};

/// How much of a body is looked at.
const BODY: usize = 64 * 1024;
/// How long the head of an answer may be.
const HEAD: usize = 32 * 1024;

/// Well is who answers with a status that is expected, and with the text that is.
pub(super) async fn plain(asking: Asking<'_>) -> Finding {
    ask(asking, asking.connect().await?).await
}

/// The same within TLS.
pub(super) async fn within_tls(asking: Asking<'_>, config: &Arc<ClientConfig>) -> Finding {
    ask(asking, tls::handshake(asking, config).await?).await
}

async fn ask(asking: Asking<'_>, stream: impl AsyncRead + AsyncWrite + Unpin) -> Finding {
    let request = request(asking)?;
    let shaking = Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream));
    let (sender, connection) = asking.within(shaking).await?.map_err(|error| broken(&error))?;
    let mut connection = pin!(connection);
    let mut answer = pin!(answer(asking, sender, request));
    // The connection does the reading; when it is over, what was read is still to be looked at.
    asking
        .within(async {
            tokio::select! {
                biased;
                finding = &mut answer => finding,
                _ = &mut connection => answer.await,
            }
        })
        .await?
}

fn request(asking: Asking<'_>) -> Result<Request<Empty<Bytes>>, Failure> {
    let check = asking.check;
    let invalid = |error: http::Error| Failure::Undecided(format!("http: cannot ask: {error}").into());
    let host = match &check.host {
        Some(host) => host.as_str().to_owned(),
        None => asking.endpoint.to_string(),
    };
    Request::builder()
        .method(Method::from_bytes(check.method.as_str().as_bytes()).map_err(|error| invalid(error.into()))?)
        .uri(check.path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("vrouter health check"))
        .header(ACCEPT, HeaderValue::from_static("*/*"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .map_err(invalid)
}

async fn answer(
    asking: Asking<'_>,
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Finding {
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status().as_u16();
    if !asking.check.expects(status) {
        return Err(Failure::Ill(format!("http: status {status}").into()));
    }
    if let Some(text) = &asking.check.expected_body
        && !holds(answer.into_body(), text.as_bytes()).await?
    {
        return Err(Failure::Ill("http: the body lacks the expected text".into()));
    }
    Ok(format!("http: status {status}").into())
}

/// Whether the beginning of a body holds a text.
async fn holds(mut body: Incoming, text: &[u8]) -> Result<bool, Failure> {
    let mut read = Vec::new();
    // What was searched before is not searched again, but for an end that may be the text's beginning.
    let mut searched: usize = 0;
    loop {
        let rest = read.get(searched..).unwrap_or_default();
        if text.is_empty() || rest.windows(text.len()).any(|window| window == text) {
            return Ok(true);
        }
        searched = read.len().saturating_sub(text.len() - 1);
        if read.len() >= BODY {
            return Ok(false);
        }
        match body.frame().await {
            None => return Ok(false),
            Some(frame) => {
                if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                    read.extend_from_slice(data.get(..BODY - read.len()).unwrap_or(&data));
                }
            }
        }
    }
}

/// What an error of HTTP says.
fn broken(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    if let Some(error) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return failure(error);
    }
    Failure::Ill(if error.is_incomplete_message() {
        "http: closed without an answer".into()
    } else {
        format!("http: {error}").into()
    })
}
