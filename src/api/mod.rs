//! The door: bytes over HTTP become a value that the loop is asked with, or a refusal that lists every fault.
//!
//! Nothing runs in here. [`router`] is the native API, version 1; `access` says who may speak, `door` how much at once;
//! `server` keeps the connections; `openapi` describes it; `page` and `docs` are what a browser shows of it. Called by the
//! daemon.

pub(crate) mod accept;
pub mod access;
mod balancers;
pub(crate) mod bodies;
mod chunks;
mod config;
mod connection;
mod docs;
mod door;
mod html;
pub mod openapi;
mod page;
pub mod problem;
pub mod server;
mod status;
pub(crate) mod stream;
mod system;
mod throttle;
mod trace;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use access::{Access, Caller};
pub use config::{ConfirmRequest, GenerationList, RollbackRequest};
pub use door::Door;
pub use problem::Problem;
pub use server::{Listener, answer_within};
pub use status::LeaseList;
pub use system::Rebooting;

use crate::engines::Services;
use crate::reconcile::Handle;
use crate::status::Reporter;
use crate::system::System;

/// How long a request may take, from its head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the handlers ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The loop.
    pub handle: Handle,
    /// DHCP, DNS and the balancers.
    pub services: Arc<Services>,
    /// How the router does.
    pub reporter: Arc<Reporter>,
    /// Who may speak, and how much at once.
    pub door: Arc<Door>,
    /// The firmware.
    pub system: Arc<System>,
}

/// The native API.
pub fn router(context: Context) -> Router {
    let door = context.door.clone();
    Router::new()
        .route(
            "/v1/config",
            get(config::read_config).post(config::replace).put(config::replace).patch(config::patch),
        )
        .route("/v1/plan", post(config::plan))
        .route("/v1/rollback", post(config::rollback))
        .route("/v1/confirm", post(config::confirm))
        .route("/v1/trace", post(trace::trace))
        .route("/v1/generations", get(config::generations))
        .route("/v1/generations/{generation}/diff", get(config::difference))
        .route("/v1/status", get(status::status))
        .route("/v1/leases", get(status::leases))
        .route("/v1/connections", get(connection::connections))
        .route("/v1/balancers", get(balancers::all))
        .route("/v1/balancers/{id}", get(balancers::one))
        .route("/v1/system", get(system::system))
        .route(system::UPDATE, post(system::update))
        .route("/v1/system/reboot", post(system::reboot))
        .route("/", get(page::page))
        .route("/docs", get(docs::page))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        .fallback(|request: Request| async move {
            Problem::not_found(format!("nothing is at {}", request.uri().path()))
        })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(door.body_limit()))
        .layer(middleware::from_fn_with_state(door.clone(), door::admit))
        .layer(middleware::from_fn_with_state(door, door::authenticate))
        .layer(middleware::from_fn(with_deadline))
        .with_state(context)
}

async fn with_deadline(request: Request, next: Next) -> Response {
    if request.uri().path() == system::UPDATE {
        return next.run(request).await;
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timeout(REQUEST_TIMEOUT.as_secs()).into_response(),
    }
}
