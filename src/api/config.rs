//! The configuration over HTTP: replaced, patched, planned, read, rolled back.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::{BODY_LIMIT, Context};
use crate::config::json;
use crate::reconcile::{Answer, Change, Edit};
use crate::store::generations::Number;
use crate::store::{Author, Generation};

/// `?generation=N`
#[derive(Debug, Deserialize)]
pub(super) struct GenerationQuery {
    generation: Option<Number>,
}

/// What a rollback goes back to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The generation whose configuration comes back, as a new generation.
    pub generation: Number,
}

/// The generations that can be read and rolled back to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GenerationList {
    /// The one that runs; 0 where nothing was ever configured.
    pub current: Number,
    /// Those that are remembered, oldest first.
    pub generations: Vec<Generation>,
}

/// POST and PUT `/v1/config`.
pub(super) async fn replace(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let edit = Edit::Replace(read(body)?);
    change(&context, &headers, edit).await
}

/// PATCH `/v1/config`.
pub(super) async fn patch(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let edit = Edit::Patch(read(body)?);
    change(&context, &headers, edit).await
}

/// POST `/v1/rollback`.
pub(super) async fn rollback(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let request: RollbackRequest =
        serde_json::from_value(read(body)?).map_err(|error| Problem::bad_request(error.to_string()))?;
    change(&context, &headers, Edit::Rollback(request.generation)).await
}

/// POST `/v1/plan`: a whole document; with `application/merge-patch+json`, a patch.
pub(super) async fn plan(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let value = read(body)?;
    let is_patch = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let edit = match is_patch.is_some_and(|kind| kind.starts_with("application/merge-patch+json")) {
        true => Edit::Patch(value),
        false => Edit::Replace(value),
    };
    let change =
        Change { if_match: if_match(&headers)?, dry_run: true, ..Change::new(edit, Author::default()) };
    Ok(Json(context.handle.change(change).await?))
}

/// GET `/v1/config`.
pub(super) async fn read_config(
    State(context): State<Context>,
    headers: HeaderMap,
    query: Result<Query<GenerationQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let published = context.handle.published();
    let number = query.generation.unwrap_or(published.generation);
    let tag = etag(number)?;
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let document = if number == published.generation {
        published.config.to_json()
    } else {
        let unknown = || crate::reconcile::ChangeError::Unknown(number);
        context.handle.document(number).await?.ok_or_else(unknown)?
    };
    Ok(([(header::ETAG, tag)], Json(document)).into_response())
}

/// GET `/v1/generations`.
pub(super) async fn generations(State(context): State<Context>) -> Json<GenerationList> {
    let published = context.handle.published();
    Json(GenerationList { current: published.generation, generations: published.generations.to_vec() })
}

async fn change(context: &Context, headers: &HeaderMap, edit: Edit) -> Result<Response, Problem> {
    let change = Change { if_match: if_match(headers)?, ..Change::new(edit, Author::default()) };
    let answer = context.handle.change(change).await?;
    Ok(([(header::ETAG, etag(answer.generation)?)], Json(answer)).into_response())
}

/// The body as JSON without a member that stands twice.
fn read(body: Result<Bytes, BytesRejection>) -> Result<Value, Problem> {
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_LIMIT),
        _ => Problem::bad_request(error.body_text()),
    })?;
    Ok(json::parse(&body)?)
}

/// The generation that the caller believes in (RFC 9110 section 13.1.1); `*` is any.
fn if_match(headers: &HeaderMap) -> Result<Option<Number>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_matches('"').parse();
    number
        .map(Some)
        .map_err(|_| Problem::bad_request("If-Match is a generation in quotes, such as \"7\", or *"))
}

fn etag(generation: Number) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(&format!("\"{generation}\""))
        .map_err(|error| Problem::bad_request(error.to_string()))
}
