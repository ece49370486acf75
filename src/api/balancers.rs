//! The balancers over HTTP: what they count and know, all of them or one.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Context, chunks};
use crate::balancer::BalancerStatistics;

/// GET `/v1/balancers`.
pub(super) async fn all(State(context): State<Context>) -> Result<Response, Problem> {
    let statistics = context.services.balancer().statistics();
    let body = chunks::body(move |chunks| serde_json::to_writer(chunks, &statistics)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// GET `/v1/balancers/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<BalancerStatistics>, Problem> {
    let Path(id) = id.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut statistics = context.services.balancer().statistics();
    // What is no id is the id of nothing.
    let found = statistics.balancers.remove(id.as_str());
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no balancer `{id}`")))
}
