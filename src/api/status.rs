//! How the router does, over HTTP: status, leases, metrics.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Context, chunks};
use crate::dhcp::LeaseView;
use crate::status::{self, Status};

/// What `/metrics` is: the text format of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `?network=ID`
#[derive(Debug, Deserialize)]
pub(super) struct NetworkQuery {
    network: Option<String>,
}

/// The leases and quarantined addresses that count now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LeaseList {
    /// By address.
    pub leases: Vec<LeaseView>,
}

/// GET `/v1/status`.
pub(super) async fn status(State(context): State<Context>) -> Json<Status> {
    Json(context.reporter.status())
}

/// GET `/v1/leases`.
pub(super) async fn leases(
    State(context): State<Context>,
    query: Result<Query<NetworkQuery>, QueryRejection>,
) -> Result<Json<LeaseList>, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let mut leases = context.services.dhcp().leases();
    if let Some(network) = query.network {
        leases.retain(|lease| lease.network.as_ref().is_some_and(|id| id.as_str() == network));
    }
    Ok(Json(LeaseList { leases }))
}

/// GET `/metrics`.
pub(super) async fn metrics(State(context): State<Context>) -> Result<Response, Problem> {
    let (status, balancers) = (context.reporter.status(), context.reporter.balancers());
    let refused = context.door.refused();
    let body = chunks::body(move |chunks| status::metrics(chunks, status, balancers, refused)).await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response())
}
