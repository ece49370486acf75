//! The configuration over HTTP: replaced, patched, planned, read, rolled back.

use std::ops::RangeInclusive;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::{Caller, Context};
use crate::config::{json, owner};
use crate::reconcile::{Answer, Change, Confirmed, Difference, Edit};
use crate::store::generations::Number;
use crate::store::{Author, Generation};

/// How long a change may wait to be confirmed.
const CONFIRM_SECONDS: RangeInclusive<u32> = 1..=86_400;

/// `?generation=N`
#[derive(Debug, Deserialize)]
pub(super) struct GenerationQuery {
    generation: Option<Number>,
}

/// `?confirm=SECONDS`
#[derive(Debug, Deserialize)]
pub(super) struct ConfirmQuery {
    confirm: Option<u32>,
}

/// `?to=N`
#[derive(Debug, Deserialize)]
pub(super) struct ToQuery {
    to: Option<Number>,
}

/// What is confirmed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The generation that the caller believes to run; another one refuses the confirmation.
    pub generation: Option<Number>,
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

type Body = Result<Bytes, BytesRejection>;
type Confirm = Result<Query<ConfirmQuery>, QueryRejection>;

/// POST and PUT `/v1/config`.
pub(super) async fn replace(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    confirm: Confirm,
    body: Body,
) -> Result<Response, Problem> {
    let edit = Edit::Replace(read(&context, body)?);
    change(&context, caller, &headers, confirm, edit).await
}

/// PATCH `/v1/config`.
pub(super) async fn patch(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    confirm: Confirm,
    body: Body,
) -> Result<Response, Problem> {
    let edit = Edit::Patch(read(&context, body)?);
    change(&context, caller, &headers, confirm, edit).await
}

/// POST `/v1/rollback`.
pub(super) async fn rollback(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    confirm: Confirm,
    body: Body,
) -> Result<Response, Problem> {
    let request: RollbackRequest = serde_json::from_value(read(&context, body)?)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    change(&context, caller, &headers, confirm, Edit::Rollback(request.generation)).await
}

/// POST `/v1/confirm`.
pub(super) async fn confirm(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Confirmed>, Problem> {
    let request = match &body {
        Ok(body) if body.is_empty() => ConfirmRequest::default(),
        _ => serde_json::from_value(read(&context, body)?)
            .map_err(|error| Problem::bad_request(error.to_string()))?,
    };
    Ok(Json(context.handle.confirm(request.generation, caller.author).await?))
}

/// POST `/v1/plan`: a whole document; with `application/merge-patch+json`, a patch.
pub(super) async fn plan(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let value = read(&context, body)?;
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

/// GET `/v1/generations/{generation}/diff`: what a generation changed, or what differs between it and another.
pub(super) async fn difference(
    State(context): State<Context>,
    generation: Result<Path<Number>, PathRejection>,
    query: Result<Query<ToQuery>, QueryRejection>,
) -> Result<Json<Difference>, Problem> {
    let Path(generation) = generation.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Query(ToQuery { to }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let (from, to) = match (generation.checked_sub(1), to) {
        (_, Some(to)) => (generation, to),
        (Some(before), None) => (before, generation),
        (None, None) => return Err(Problem::not_found("generation 0 is nothing, and changed nothing")),
    };
    Ok(Json(context.handle.difference(from, to).await?))
}

async fn change(
    context: &Context,
    caller: Caller,
    headers: &HeaderMap,
    confirm: Confirm,
    edit: Edit,
) -> Result<Response, Problem> {
    let Query(ConfirmQuery { confirm }) = confirm.map_err(|error| Problem::bad_request(error.body_text()))?;
    if confirm.is_some_and(|seconds| !CONFIRM_SECONDS.contains(&seconds)) {
        let (first, last) = (CONFIRM_SECONDS.start(), CONFIRM_SECONDS.end());
        return Err(Problem::bad_request(format!("`confirm` is {first} to {last} seconds")));
    }
    refuse_owned(context, &edit)?;
    let change =
        Change { if_match: if_match(headers)?, confirm_seconds: confirm, ..Change::new(edit, caller.author) };
    let answer = context.handle.change(change).await?;
    Ok(([(header::ETAG, etag(answer.generation)?)], Json(answer)).into_response())
}

/// Two management planes of one router are not mixed: what is posted here takes it over or is refused.
fn refuse_owned(context: &Context, edit: &Edit) -> Result<(), Problem> {
    let takes_over = match edit {
        Edit::Replace(posted) | Edit::Patch(posted) => owner::takes_over(posted),
        Edit::FirstBoot(_) | Edit::Rollback(_) => false,
    };
    let is_owned = context.handle.published().config.owner().is_some();
    if is_owned && !takes_over { Err(Problem::owned()) } else { Ok(()) }
}

/// The body as JSON without a member that stands twice.
pub(super) fn read(context: &Context, body: Result<Bytes, BytesRejection>) -> Result<Value, Problem> {
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(context.door.body_limit()),
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
