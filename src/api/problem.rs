//! Refusals as problem documents (RFC 9457): one shape for every error that the API answers.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Fault, Faults, Rule};
use crate::reconcile::ChangeError;

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Problem {
    /// The kind of problem; stable.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Every fault of the document that was posted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub faults: Vec<Fault>,
}

impl Problem {
    /// A problem of a kind.
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, title, status: status.as_u16(), detail: detail.into(), faults: Vec::new() }
    }

    /// A request that is not understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:vrouter:problem:bad-request",
            "The request is not understood",
            detail,
        )
    }

    /// Nothing is at this address.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "urn:vrouter:problem:not-found", "There is no such thing", detail)
    }

    /// Something is at this address that does not know the method.
    pub(super) fn method_not_allowed() -> Self {
        let detail = "this resource does not know the method; see /openapi.json";
        let kind = "urn:vrouter:problem:method-not-allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, kind, "The method is not known here", detail)
    }

    /// The request is larger than anybody needs.
    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("a body is at most {limit} octets");
        let kind = "urn:vrouter:problem:too-large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "The request is too large", detail)
    }

    /// The router is at fault.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:vrouter:problem:internal",
            "The router failed to answer",
            detail,
        )
    }

    /// The request took too long to come, or to be worked off.
    pub(super) fn timeout(seconds: u64) -> Self {
        let detail = format!("the request was not done after {seconds} seconds");
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "urn:vrouter:problem:timeout",
            "The request took too long",
            detail,
        )
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let syntax = faults.as_slice().iter().any(|fault| fault.rule == Rule::Syntax);
        let status = if syntax { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        let detail = match faults.as_slice().len() {
            1 => "1 fault; `faults` says where".to_owned(),
            count => format!("{count} faults; `faults` says where"),
        };
        let kind = "urn:vrouter:problem:invalid-configuration";
        let mut problem = Self::new(status, kind, "The configuration has faults; nothing changed", detail);
        problem.faults = faults.as_slice().to_vec();
        problem
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        let (status, kind, title) = match error {
            ChangeError::Faults(faults) => return faults.into(),
            ChangeError::Unknown(_) => return Self::not_found(detail),
            ChangeError::Outdated { .. } => (
                StatusCode::PRECONDITION_FAILED,
                "urn:vrouter:problem:outdated",
                "Another generation runs; nothing changed",
            ),
            ChangeError::Kernel(..) | ChangeError::NotVerified { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:vrouter:problem:not-applied",
                "The kernel does not follow; nothing changed",
            ),
            ChangeError::Engine(..) => (
                StatusCode::CONFLICT,
                "urn:vrouter:problem:not-served",
                "A service cannot take it over; nothing changed",
            ),
            ChangeError::Store(..) => (
                StatusCode::INSUFFICIENT_STORAGE,
                "urn:vrouter:problem:not-stored",
                "It cannot be stored; nothing changed",
            ),
            ChangeError::Busy { .. } | ChangeError::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:vrouter:problem:unavailable",
                "Not now; nothing changed",
            ),
        };
        Self::new(status, kind, title, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
