//! The firmware over HTTP: what runs, an update that streams in, and a start of the machine.
//!
//! An update is never held: its octets go to the disk as they come, at most a few pieces wait. So neither the limit of
//! bodies nor the deadline of requests is for it; its parts have the size that its signed manifest says, and a sender has to
//! keep up a pace.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use hyper::body::Frame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::problem::Problem;
use super::{Caller, Context};
use crate::clock;
use crate::status::InterfaceState;
use crate::system::file::FileFault;
use crate::system::manifest::Unsuitable;
use crate::system::receive::{Cut, ReceiveError};
use crate::system::{Installed, Order, Piece, RebootError, SystemView, UpdateError};

/// Where an update goes: the one path whose requests take their time.
pub(super) const UPDATE: &str = "/v1/system/update";
/// How many pieces wait for the disk.
const WAITING: usize = 4;
/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// A sender has this long, and a second more for each so many octets.
const GRACE: Duration = Duration::from_secs(60);
const PACE: u64 = 32 << 10;

/// How long a sender who was refused is listened to.
const LINGER: Duration = Duration::from_secs(5);

/// `?force=true`
#[derive(Debug, Deserialize)]
pub(super) struct ForceQuery {
    #[serde(default)]
    force: bool,
}

/// The machine starts again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rebooting {
    /// The version that runs until then.
    pub version: String,
    /// The entry that the boot loader starts; absent where there are none.
    pub starts: Option<String>,
}

/// GET `/v1/system`.
pub(super) async fn system(State(context): State<Context>) -> Result<Json<SystemView>, Problem> {
    let system = context.system.clone();
    let view = tokio::task::spawn_blocking(move || system.view(clock::moment())).await;
    view.map(Json).map_err(|error| Problem::internal(error.to_string()))
}

/// POST `/v1/system/update`.
pub(super) async fn update(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ForceQuery>, QueryRejection>,
    body: Body,
) -> Result<Json<Installed>, Problem> {
    let Query(ForceQuery { force }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let interfaces = context.reporter.status().interfaces.into_iter();
    let there = interfaces.filter(|(_, interface)| interface.state != InterfaceState::Absent);
    let interfaces = there.map(|(id, _)| id.to_string()).collect();
    let order = Order { force, author: caller.author, interfaces };
    let (sender, pieces) = mpsc::channel(WAITING);
    let system = Arc::clone(&context.system);
    // It ends with its pieces: whoever waits for its answer may go.
    let receiving =
        tokio::task::spawn_blocking(move || system.receive(&order, clock::now(), pieces, clock::mark));
    let (mut receiving, mut body) = (pin!(receiving), Box::pin(body));
    let received = tokio::select! {
        biased;
        received = &mut receiving => received,
        () = carry(&mut body, sender) => receiving.await,
    };
    let received = received.map_err(|error| Problem::internal(error.to_string()))?;
    if received.is_err() {
        // A sender who is refused in the middle hears why only while he is listened to.
        tokio::spawn(timeout(LINGER, async move {
            while next(&mut body).await.is_some_and(|frame| frame.is_ok()) {}
        }));
    }
    Ok(Json(received?))
}

/// The next of a body.
async fn next(body: &mut Pin<Box<Body>>) -> Option<Result<Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
}

/// Carries a body to the disk, until it ends or nobody takes it any more.
async fn carry(body: &mut Pin<Box<Body>>, sender: mpsc::Sender<Piece>) {
    let (mut octets, mut waited) = (0_u64, Duration::ZERO);
    loop {
        let left = (GRACE + Duration::from_secs(octets / PACE)).saturating_sub(waited);
        let begin = Instant::now();
        let frame = timeout(SILENCE.min(left), next(body)).await;
        waited += begin.elapsed();
        let piece = match frame {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    octets += data.len() as u64;
                    Piece::Octets(data)
                }
                // Trailers say nothing.
                Err(_) => continue,
            },
            Ok(Some(Err(_))) => Piece::Cut(Cut::Gone),
            Ok(None) => Piece::End,
            Err(_) => {
                let why = format!("{octets} octets in {} seconds", waited.as_secs());
                Piece::Cut(Cut::Slow(why))
            }
        };
        let last = !matches!(piece, Piece::Octets(_));
        if sender.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// POST `/v1/system/reboot`.
pub(super) async fn reboot(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Rebooting>, Problem> {
    let system = context.system.clone();
    let asked = tokio::task::spawn_blocking(move || {
        system.reboot(&caller.author)?;
        Ok::<_, RebootError>(system.view(clock::moment()))
    });
    let view = asked.await.map_err(|error| Problem::internal(error.to_string()))??;
    let starts = view.entries.into_iter().find(|entry| entry.next).map(|entry| entry.name);
    Ok(Json(Rebooting { version: view.version, starts }))
}

impl From<UpdateError> for Problem {
    fn from(error: UpdateError) -> Self {
        let detail = error.to_string();
        let conflict = |kind, title| Self::new(StatusCode::CONFLICT, kind, title, detail.clone());
        match error {
            UpdateError::Unfit(_) => {
                conflict("urn:vrouter:problem:no-updates", "This machine takes no updates; nothing changed")
            }
            UpdateError::Busy => conflict(
                "urn:vrouter:problem:update-in-progress",
                "Another update is on its way; nothing changed",
            ),
            UpdateError::OnTrial(_) => conflict(
                "urn:vrouter:problem:on-trial",
                "The version that runs is not known to be good; nothing changed",
            ),
            UpdateError::Receive(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for Problem {
    fn from(error: ReceiveError) -> Self {
        let detail = error.to_string();
        let (status, kind, title) = match error {
            ReceiveError::File(FileFault::Unsuitable(Unsuitable::Same(_) | Unsuitable::Older { .. })) => (
                StatusCode::CONFLICT,
                "urn:vrouter:problem:not-newer",
                "The update is not newer; nothing changed",
            ),
            ReceiveError::File(FileFault::Unsuitable(Unsuitable::Size { .. })) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "urn:vrouter:problem:too-large",
                "The update is too large; nothing changed",
            ),
            ReceiveError::File(FileFault::Short(_)) | ReceiveError::Cut(Cut::Gone) => (
                StatusCode::BAD_REQUEST,
                "urn:vrouter:problem:bad-request",
                "The update is not whole; what runs goes on",
            ),
            ReceiveError::Cut(Cut::Slow(_)) => (
                StatusCode::REQUEST_TIMEOUT,
                "urn:vrouter:problem:timeout",
                "The update took too long; what runs goes on",
            ),
            ReceiveError::File(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:vrouter:problem:refused-update",
                "The update is refused; what runs goes on",
            ),
            ReceiveError::System { .. } | ReceiveError::ReadBack(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                "urn:vrouter:problem:not-stored",
                "The update cannot be stored; what runs goes on",
            ),
        };
        Self::new(status, kind, title, detail)
    }
}

impl From<RebootError> for Problem {
    fn from(error: RebootError) -> Self {
        let detail = error.to_string();
        match error {
            RebootError::System(_) => {
                let (status, kind) = (StatusCode::INSUFFICIENT_STORAGE, "urn:vrouter:problem:not-stored");
                Self::new(status, kind, "The wish cannot be written down; nothing changed", detail)
            }
            RebootError::Nobody => {
                let kind = "urn:vrouter:problem:no-reboot";
                Self::new(
                    StatusCode::CONFLICT,
                    kind,
                    "This machine is not started again by the router",
                    detail,
                )
            }
            RebootError::Busy => {
                let kind = "urn:vrouter:problem:update-in-progress";
                Self::new(StatusCode::CONFLICT, kind, "An update is on its way; nothing changed", detail)
            }
        }
    }
}
