//! Why a request is not served, and what the client is told of it.
//!
//! Called by whatever reads requests or asks backends for answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The message is malformed, or could be read in two ways. Nothing after it can be trusted.
    #[error("{0}")]
    Malformed(&'static str),
    /// The method is none that a gateway takes.
    #[error("the method is not allowed here")]
    Method,
    /// The head did not come in time.
    #[error("the request did not come in time")]
    Timeout,
    /// The body is longer than is allowed.
    #[error("the body is too long")]
    BodyTooLong,
    /// The target is longer than is allowed.
    #[error("the target is too long")]
    TargetTooLong,
    /// Something is expected that is not 100-continue.
    #[error("the expectation cannot be met")]
    Expectation,
    /// The head is longer, or has more fields, than is allowed.
    #[error("the head is too long")]
    HeadTooLong,
    /// The body is coded in a way that nobody here understands.
    #[error("the transfer coding is not known here")]
    Coding,
    /// The version is not HTTP/1.0 or HTTP/1.1.
    #[error("the version is not spoken here")]
    Version,
    /// The backend closed the connection, or its answer cannot be understood.
    #[error("the backend gave no valid answer")]
    BadGateway,
    /// No backend is there to answer.
    #[error("no backend is available")]
    Unavailable,
    /// The backend did not answer in time.
    #[error("the backend did not answer in time")]
    GatewayTimeout,
}

impl Refusal {
    /// The status that says so.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer that says so, with its body.
    pub(super) fn answer(self) -> (Parts, Bytes) {
        let mut parts = Response::new(()).into_parts().0;
        parts.status = self.status();
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        (parts, Bytes::from(format!("{} {self}\n", self.status().as_u16())))
    }
}
