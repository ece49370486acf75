//! A packet traced, over HTTP.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;

use super::Context;
use super::config::read;
use super::problem::Problem;
use crate::trace::{Question, Trace};

/// POST `/v1/trace`.
pub(super) async fn trace(
    State(context): State<Context>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Trace>, Problem> {
    let value = read(&context, body).map_err(Problem::of_question)?;
    let question = Question::read(value).map_err(|faults| Problem::from(faults).of_question())?;
    Ok(Json(context.handle.trace(question).await?))
}
