//! Refusals as problem documents (RFC 9457): one shape for every error that the API answers.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::access::Refusal;
use crate::config::{Fault, Faults, Rule};
use crate::reconcile::{ChangeError, TraceError};

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
    /// In how many seconds it is worth asking again: `Retry-After`.
    #[serde(skip)]
    pub(super) retry_after: Option<u64>,
    /// What the request should have shown: `WWW-Authenticate`.
    #[serde(skip)]
    pub(super) challenge: Option<&'static str>,
}

/// What a request has to show (RFC 6750 section 3), and what browsers ask their user for (RFC 7617).
const CHALLENGE: &str = "Bearer realm=\"vrouter\", Basic realm=\"vrouter\", charset=\"UTF-8\"";
/// The same where it showed what is not known.
const CHALLENGE_AGAIN: &str =
    "Bearer realm=\"vrouter\", error=\"invalid_token\", Basic realm=\"vrouter\", charset=\"UTF-8\"";

impl Problem {
    /// A problem of a kind.
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (faults, retry_after, challenge) = (Vec::new(), None, None);
        Self { kind, title, status: status.as_u16(), detail: detail.into(), faults, retry_after, challenge }
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

    /// The same about a question, which changes nothing in any case.
    pub(super) fn of_question(self) -> Self {
        let (kind, title) = ("urn:vrouter:problem:invalid-question", "The question has faults");
        if self.faults.is_empty() { self } else { Self { kind, title, ..self } }
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

    /// Another management plane commands the router.
    pub(super) fn owned() -> Self {
        let detail = "ZStack commands this router; a change here that sets `owner` to null takes it over";
        Self::new(
            StatusCode::CONFLICT,
            "urn:vrouter:problem:owned",
            "The router has another owner; nothing changed",
            detail,
        )
    }

    /// The request is larger than anybody needs.
    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("a body is at most {limit} octets on this machine");
        let kind = "urn:vrouter:problem:too-large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, kind, "The request is too large", detail)
    }

    /// More than the router works on at once.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        let kind = "urn:vrouter:problem:busy";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, "Not now; nothing changed", detail);
        Self { retry_after: Some(1), ..problem }
    }

    /// More often than somebody may.
    pub(super) fn too_many(
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        wait: Duration,
    ) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, title, detail);
        Self { retry_after: Some(seconds.max(1)), ..problem }
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

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let unknown = |challenge| {
            let kind = "urn:vrouter:problem:unauthorized";
            let problem = Self::new(StatusCode::UNAUTHORIZED, kind, "It is not known who asks", &detail);
            Self { challenge: Some(challenge), ..problem }
        };
        match refusal {
            Refusal::Unknown { .. } => unknown(CHALLENGE),
            Refusal::Wrong { .. } => unknown(CHALLENGE_AGAIN),
            Refusal::Throttled { wait, .. } => {
                let kind = "urn:vrouter:problem:too-many-failures";
                Self::too_many(kind, "Too much was presented that is not known", detail, wait)
            }
            Refusal::Forbidden { .. } | Refusal::CrossSite => {
                let kind = "urn:vrouter:problem:forbidden";
                Self::new(StatusCode::FORBIDDEN, kind, "Whoever asks may not; nothing changed", detail)
            }
        }
    }
}

impl From<TraceError> for Problem {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Question(faults) => Self::from(faults).of_question(),
            TraceError::Kernel(error) => Self::internal(error.to_string()),
            TraceError::Loop(error) => error.into(),
        }
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
            ChangeError::NothingWaits(_) => {
                (StatusCode::CONFLICT, "urn:vrouter:problem:nothing-waits", "Nothing waits to be confirmed")
            }
            ChangeError::Busy { .. } | ChangeError::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:vrouter:problem:unavailable",
                "Not now; nothing changed",
            ),
        };
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { retry_after, ..Self::new(status, kind, title, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (retry_after, challenge) = (self.retry_after, self.challenge);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
