//! The port that ZStack's management node posts to: a path, a body, and two headers that say which task it is and where its
//! answer is wanted. A command is acknowledged once it is on disk; what comes of it is the worker's to say.
//!
//! Called by the server for each request. Bounds: octets of a body, commands that wait and their octets, open tasks.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::callback::{Callback, CallbackError, Deliveries, Light};
use super::ledger::{Ledger, LedgerError};
use super::metrics::{self, Readings};
use super::request::{Asked, Bodies, Refused, plain};
use super::server::Ends;
use super::tasks::{Seen, State as TaskState, Task};
use super::worker::{self, Work};
use super::{Manner, command, failure, gate, machine, manner, ping, result, translate};
use crate::config::{Config, Id};
use crate::reconcile::Handle;
use crate::status::Reporter;

/// The header that names where an answer is wanted.
const CALLBACK_URL: &str = "callbackurl";
/// The path that is answered beside the queue.
const PING: &str = "/ping";
/// The path of what Prometheus reads.
const METRICS: &str = "/metrics";
/// How many commands may wait.
pub(super) const WAITING: usize = 1024;
/// How long a request may take, from its head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a ping waits for a router that starts to carry out what it remembers.
const START: Duration = Duration::from_secs(20);
/// How often it looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What the door asks. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handle: Handle,
    reporter: Arc<Reporter>,
    ledger: Arc<Ledger>,
    deliveries: Deliveries,
    queue: mpsc::Sender<Work>,
    bodies: Bodies,
    /// What bodies that wait may take, in octets.
    room: Arc<Semaphore>,
    /// The tasks of pings that are being answered.
    pings: Arc<Mutex<HashSet<String>>>,
    counts: Counts,
    worked: Arc<worker::Counts>,
    hung_up: Arc<AtomicU64>,
}

/// What came to the door.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Commands that were taken.
    pub(super) taken: AtomicU64,
    /// Commands whose task had come before.
    pub(super) repeated: AtomicU64,
    /// Requests that were refused.
    pub(super) refused: AtomicU64,
    /// Pings.
    pub(super) pings: AtomicU64,
}

/// What the door needs of the house.
#[derive(Debug)]
pub(super) struct House {
    /// The loop.
    pub(super) handle: Handle,
    /// How the router does.
    pub(super) reporter: Arc<Reporter>,
    /// The tasks on disk.
    pub(super) ledger: Arc<Ledger>,
    /// Where answers go.
    pub(super) deliveries: Deliveries,
    /// Where commands wait.
    pub(super) queue: mpsc::Sender<Work>,
    /// What was carried out.
    pub(super) worked: Arc<worker::Counts>,
    /// How many were hung up on.
    pub(super) hung_up: Arc<AtomicU64>,
    /// How much is held of bodies.
    pub(super) bodies: Bodies,
}

/// The port's one handler, for every path.
pub(super) fn router(house: House) -> Router {
    let House { handle, reporter, ledger, deliveries, queue, worked, hung_up, bodies } = house;
    let inner = Inner {
        handle,
        reporter,
        ledger,
        deliveries,
        queue,
        bodies,
        room: Arc::new(Semaphore::new(bodies.waiting)),
        pings: Arc::default(),
        counts: Counts::default(),
        worked,
        hung_up,
    };
    Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(bodies.one))
        .layer(middleware::from_fn(with_deadline))
        .with_state(Context { inner: Arc::new(inner) })
}

async fn with_deadline(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Refused(StatusCode::REQUEST_TIMEOUT, "the request took too long".to_owned()).into_response()
        }
    }
}

async fn answer(
    State(context): State<Context>,
    Extension(ends): Extension<Ends>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let inner = &context.inner;
    let body_limit = inner.bodies.one;
    let asked = Asked { path: plain(uri.path()), method, headers, ends, body, body_limit };
    let answered = if asked.path == METRICS {
        inner.metrics(&asked)
    } else {
        match manner(&asked.path) {
            None => Err(Refused(StatusCode::NOT_FOUND, format!("there is no command at {}", asked.path))),
            Some(Manner::AtOnce) => inner.at_once(&asked).await,
            Some(Manner::Queued) if asked.path == PING => context.ping(&asked),
            Some(Manner::Queued) => inner.take(asked).await,
        }
    };
    answered.unwrap_or_else(|refused| {
        inner.counts.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(peer = %ends.peer, status = refused.0.as_u16(), why = refused.1, "ZStack's request is refused");
        refused.into_response()
    })
}

/// What says that a command was taken; nobody reads it.
fn acknowledged() -> Response {
    Json("").into_response()
}

impl Inner {
    /// Where an answer is wanted, if it may be heard there.
    fn callback(&self, asked: &Asked) -> Result<Callback, Refused> {
        let refused = |why: String| Refused(StatusCode::BAD_REQUEST, why);
        let callback: Callback =
            asked.header(CALLBACK_URL)?.parse().map_err(|error: CallbackError| refused(error.to_string()))?;
        let config = &self.handle.published().config;
        if gate::may_hear(config, asked.ends.peer.ip(), callback.address()) {
            return Ok(callback);
        }
        Err(refused(format!("the callback {callback} leads out of the management network")))
    }

    /// A command that changes nothing and is answered in the response itself.
    async fn at_once(&self, asked: &Asked) -> Result<Response, Refused> {
        let body = asked.body()?;
        let facts = machine::facts(asked.ends.local)
            .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let config = self.handle.published().config.clone();
        let path = asked.path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let document = serde_json::to_value(config.document()).map_err(|error| error.to_string())?;
            let body = translate::body(&body)?;
            command(&path, &body, &document, &facts).map_err(|refusal| refusal.to_string())
        });
        let answer = answer.await.unwrap_or_else(|_| Err("the router failed at this command".to_owned()));
        let value = match answer {
            Ok(done) => result(done.reply),
            Err(why) => failure(&why),
        };
        Ok(Json(value).into_response())
    }

    /// A command that is answered by a callback.
    async fn take(self: &Arc<Self>, asked: Asked) -> Result<Response, Refused> {
        asked.posted()?;
        let (uuid, callback) = (asked.uuid()?, self.callback(&asked)?);
        let node = match callback.address().to_canonical() {
            IpAddr::V4(node) => Some(node),
            IpAddr::V6(_) => None,
        };
        let body = asked.body()?;
        let busy =
            |what: &str| Refused(StatusCode::SERVICE_UNAVAILABLE, format!("{what} wait already; try again"));
        let octets = u32::try_from(body.len().max(1)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(octets);
        let room = room.map_err(|_| busy(&format!("commands of {} octets", self.bodies.waiting)))?;
        let place = self.queue.clone().try_reserve_owned();
        let place = place.map_err(|_| busy(&format!("{WAITING} commands")))?;
        let task = Task { uuid, path: asked.path, callback: callback.to_string(), state: TaskState::Taken };
        let work = Work { task, body, peer: asked.ends.peer, local: asked.ends.local, node, room };
        // What is written down is carried out, though whoever sent it hangs up meanwhile.
        let this = self.clone();
        let taken = tokio::spawn(async move { this.write_down(work, place, callback).await });
        taken.await.unwrap_or_else(|_| {
            let why = "the router failed at this command".to_owned();
            Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, why))
        })
    }

    /// Writes a command's task down, and hands it to the worker where it is new.
    async fn write_down(
        &self,
        work: Work,
        place: mpsc::OwnedPermit<Work>,
        callback: Callback,
    ) -> Result<Response, Refused> {
        match self.ledger.take(work.task.clone()).await {
            Ok(Seen::New) => {
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                place.send(work);
            }
            Ok(Seen::Running) => {
                self.counts.repeated.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Seen::Over(answer)) => {
                self.counts.repeated.fetch_add(1, Ordering::Relaxed);
                // It was carried out once; that it was is told as often as it is asked.
                if let Some(answer) = answer {
                    let (light, deliveries) = (self.light()?, self.deliveries.clone());
                    tokio::spawn(async move {
                        deliveries.deliver_lightly(light, &work.task.uuid, &callback, answer).await;
                    });
                }
            }
            Err(error @ LedgerError::Full) => {
                return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
            }
            Err(LedgerError::Store(error)) => {
                return Err(Refused(StatusCode::INSUFFICIENT_STORAGE, error.to_string()));
            }
        }
        Ok(acknowledged())
    }

    /// The right to deliver an answer that is not written down.
    fn light(&self) -> Result<Light, Refused> {
        let busy = || {
            Refused(StatusCode::SERVICE_UNAVAILABLE, "many answers are on their way; try again".to_owned())
        };
        self.deliveries.light().ok_or_else(busy)
    }

    fn metrics(&self, asked: &Asked) -> Result<Response, Refused> {
        if asked.method != Method::GET {
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, format!("{METRICS} is read by GET")));
        }
        let config = self.handle.published().config.clone();
        let zstack = config.owner().and_then(|owner| owner.zstack.as_ref());
        let has_vips = zstack.is_some_and(|zstack| zstack.vips.iter().next().is_some());
        let addresses = has_vips.then(|| self.reporter.addresses()).flatten();
        let readings = Readings {
            balancer_uuids: balancer_uuids(&config),
            config,
            balancers: self.reporter.balancers(),
            addresses: addresses.unwrap_or_default(),
            door: &self.counts,
            worked: &self.worked,
            delivered: self.deliveries.counts(),
            tasks: self.ledger.counts(),
            hung_up: self.hung_up.load(Ordering::Relaxed),
        };
        let text = metrics::encode(readings)
            .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
    }
}

impl Context {
    /// A ping: it waits behind no command, and nothing of it is written down.
    fn ping(&self, asked: &Asked) -> Result<Response, Refused> {
        asked.posted()?;
        let (task, callback) = (asked.uuid()?, self.inner.callback(asked)?);
        let light = self.inner.light()?;
        if !self.inner.pings.lock().insert(task.clone()) {
            return Ok(acknowledged());
        }
        self.inner.counts.pings.fetch_add(1, Ordering::Relaxed);
        let inner = self.inner.clone();
        tokio::spawn(async move {
            // A router that has only just started is not without its configuration: it is not there yet.
            let _ = timeout(START, has_started(&inner.handle)).await;
            let published = inner.handle.published();
            let zstack = published.config.owner().and_then(|owner| owner.zstack.as_ref());
            let uuid = zstack.and_then(|zstack| zstack.uuid.as_ref());
            let answer = ping::answer(&inner.reporter.status(), uuid.map(Id::as_str)).to_string();
            // Whoever waits for the management node keeps nothing of the router from ending.
            let (deliveries, pings) = (inner.deliveries.clone(), inner.pings.clone());
            drop(inner);
            deliveries.deliver_lightly(light, &task, &callback, answer).await;
            pings.lock().remove(&task);
        });
        Ok(acknowledged())
    }
}

/// Waits until what the router remembers is carried out, or cannot be.
async fn has_started(handle: &Handle) {
    loop {
        let published = handle.published();
        if published.generation == 0 || published.verified.is_some() || published.trouble.is_some() {
            return;
        }
        sleep(LOOK).await;
    }
}

/// The balancer that each listener belongs to, by the listener's id.
fn balancer_uuids(config: &Config) -> BTreeMap<String, String> {
    let zstack = config.owner().and_then(|owner| owner.zstack.as_ref());
    let listeners = zstack.into_iter().flat_map(|zstack| &zstack.listeners);
    listeners.map(|(listener, balancer)| (listener.to_string(), balancer.to_string())).collect()
}
