//! What the connections and requests of the API share: who may speak, how much of what is let in at once, and how often
//! somebody was turned away.
//!
//! Made by the daemon; `server.rs` asks it for each connection and the two middlewares here for each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::access::tls::Tls;
use super::access::{Access, Caller, Peer, Refusal, Settings, Source};
use super::bodies::{self, Bodies};
use super::problem::Problem;
use super::throttle::{Buckets, Rate};
use crate::clock;

/// How many connections one source has at once: an address, or an IPv6 network of 64 bits.
pub(super) const CONNECTIONS_OF_SOURCE: usize = 64;
/// How many requests are worked on at once.
const REQUESTS: usize = 64;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// A body of so many octets leaves memory behind that is worth returning.
const GREAT: usize = 4 << 20;
/// How often one caller may send a document, a patch or a question about one.
const CHANGES: Rate = Rate { burst: 5000, per_second: 200 };
/// How many callers are told apart by how often they do.
const CHANGING_CALLERS: usize = 1024;

/// Why a connection or a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Unknown,
    Wrong,
    Throttled,
    Forbidden,
    CrossSite,
    Handshake,
    Connections,
    Requests,
    Bodies,
    Changes,
}

impl Reason {
    /// Every reason with its name in metrics, in the order of their numbers.
    const ALL: [(Self, &'static str); 10] = [
        (Self::Unknown, "unknown"),
        (Self::Wrong, "wrong_token"),
        (Self::Throttled, "throttled"),
        (Self::Forbidden, "forbidden"),
        (Self::CrossSite, "cross_site"),
        (Self::Handshake, "handshake"),
        (Self::Connections, "connections_of_source"),
        (Self::Requests, "requests_in_flight"),
        (Self::Bodies, "bodies_in_flight"),
        (Self::Changes, "rate_of_changes"),
    ];
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unknown { .. } => Self::Unknown,
            Refusal::Wrong { .. } => Self::Wrong,
            Refusal::Throttled { .. } => Self::Throttled,
            Refusal::Forbidden { .. } => Self::Forbidden,
            Refusal::CrossSite => Self::CrossSite,
        }
    }
}

/// What the connections and requests of the API share.
#[derive(Debug)]
pub struct Door {
    /// Who may speak.
    pub access: Access,
    tls: ArcSwapOption<Tls>,
    connections: Mutex<HashMap<Source, usize>>,
    requests: Semaphore,
    bodies: Bodies,
    changes: Mutex<Buckets<String>>,
    counts: [AtomicU64; Reason::ALL.len()],
    relief: fn(),
}

impl Default for Door {
    fn default() -> Self {
        Self::new(Access::new(Settings::default()), None)
    }
}

impl Door {
    /// A door that these may pass. With TLS, TCP is spoken by it alone.
    #[must_use]
    pub fn new(access: Access, tls: Option<Tls>) -> Self {
        Self {
            access,
            tls: ArcSwapOption::from_pointee(tls),
            connections: Mutex::default(),
            requests: Semaphore::new(REQUESTS),
            bodies: Bodies::default(),
            changes: Mutex::new(Buckets::new(CHANGES, CHANGING_CALLERS)),
            counts: Default::default(),
            relief: || {},
        }
    }

    /// The same door, which has `relief` called when a great body is done with: its memory can go back.
    #[must_use]
    pub fn with_relief(self, relief: fn()) -> Self {
        Self { relief, ..self }
    }

    /// Puts other certificates in the place of those that there are. Connections that are there go on.
    pub fn replace_tls(&self, tls: Tls) {
        if self.tls.load().is_some() {
            self.tls.store(Some(Arc::new(tls)));
        }
    }

    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.load_full()
    }

    pub(super) fn count(&self, reason: Reason) {
        if let Some(count) = self.counts.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often who was turned away, by reason, since the start.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let read = |((_, name), count): (&(Reason, &'static str), &AtomicU64)| {
            (*name, count.load(Ordering::Relaxed))
        };
        Reason::ALL.iter().zip(&self.counts).map(read).collect()
    }

    /// A place for a connection, unless its source has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, source: Source) -> Option<Place> {
        let mut connections = self.connections.lock();
        let count = connections.entry(source).or_default();
        if *count >= CONNECTIONS_OF_SOURCE {
            drop(connections);
            self.count(Reason::Connections);
            return None;
        }
        *count += 1;
        Some(Place { door: self.clone(), source })
    }

    /// The same door on a machine with so many octets of memory: bodies are to fit it.
    #[must_use]
    pub fn with_memory(self, memory: u64) -> Self {
        Self { bodies: Bodies::within(memory), ..self }
    }

    /// How many octets a body has at most.
    #[must_use]
    pub const fn body_limit(&self) -> usize {
        self.bodies.one()
    }

    /// A share of what bodies may take together.
    fn body(&self, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        // An update goes to the disk as it comes, and is never held.
        if !has_document(request.method()) || request.uri().path() == super::system::UPDATE {
            return Ok(None);
        }
        self.bodies.admit(request).map(Some).map_err(|bodies::Full| {
            self.count(Reason::Bodies);
            let all = self.bodies.all();
            let detail =
                format!("the bodies that are being worked on have {all} octets together, as many as may be");
            Problem::busy(detail)
        })
    }

    /// Whether a caller may send one more document.
    fn pace(&self, caller: &Caller) -> Result<(), Problem> {
        let (now, mut changes) = (clock::moment(), self.changes.lock());
        let checked = changes.check(&caller.author.name, now);
        if checked.is_ok() {
            changes.take(&caller.author.name, now);
        }
        drop(changes);
        checked.map_err(|wait| {
            self.count(Reason::Changes);
            let Rate { burst, per_second } = CHANGES;
            let detail = format!("a caller sends at most {burst} changes in a row and {per_second} a second");
            Problem::too_many(
                "urn:vrouter:problem:too-many-changes",
                "Too many changes; nothing changed",
                detail,
                wait,
            )
        })
    }
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.door.connections.lock();
        if let Some(count) = connections.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.source);
            }
        }
    }
}

/// Whether a request of this method carries a document or what is like one.
fn has_document(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Lets through who may speak, and says with the request who it is.
pub(super) async fn authenticate(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Problem::internal("the connection is not known").into_response();
    };
    let asked = (request.method(), request.uri().path());
    match door.access.caller(&peer, asked, request.headers(), clock::moment()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            door.count(Reason::from(&refusal));
            let from = peer.from();
            match &refusal {
                Refusal::Wrong { last: true } => {
                    tracing::warn!(target: "audit", from, "presented what is not known so often that it has to wait");
                }
                refusal => tracing::debug!(target: "audit", from, %refusal, "a request was refused"),
            }
            Problem::from(refusal).into_response()
        }
    }
}

/// Lets through as much as can be worked on.
pub(super) async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let Ok(Ok(_turn)) = timeout(TURN, door.requests.acquire()).await else {
        door.count(Reason::Requests);
        let detail = format!("{REQUESTS} requests are being worked on, as many as may be");
        return Problem::busy(detail).into_response();
    };
    if has_document(request.method())
        && let Some(caller) = request.extensions().get::<Caller>()
        && let Err(problem) = door.pace(caller)
    {
        return problem.into_response();
    }
    match door.body(&request) {
        // What it holds is held until the answer is there: until then the document is, in one form or another.
        Ok(share) => {
            let answer = next.run(request).await;
            if share.as_ref().is_some_and(|share| bodies::octets(share) >= GREAT) {
                tokio::task::spawn_blocking(door.relief);
            }
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::store::Author;

    #[test]
    fn a_source_has_so_many_connections_and_others_have_theirs() {
        let door = Arc::new(Door::default());
        let (one, other) = (Source::V4([192, 0, 2, 1].into()), Source::V4([192, 0, 2, 2].into()));
        let mut places: Vec<_> = (0..CONNECTIONS_OF_SOURCE).map(|_| door.enter(one).unwrap()).collect();
        assert!(door.enter(one).is_none() && door.enter(other).is_some());
        places.pop();
        places.push(door.enter(one).unwrap());
        drop(places);
        assert!(door.connections.lock().is_empty(), "nobody is remembered who is gone");
        let refused = door.refused();
        assert!(
            refused.contains(&("connections_of_source", 1)) && refused.contains(&("unknown", 0)),
            "{refused:?}"
        );
    }

    #[test]
    fn every_reason_has_its_own_number() {
        for (index, (reason, _)) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_turn_but_not_for_ever() {
        use axum::routing::get;
        use hyper::service::Service as _;
        let door = Arc::new(Door::default());
        let admitted = axum::middleware::from_fn_with_state(door.clone(), admit);
        let router = axum::Router::new().route("/", get(|| async {})).layer(admitted);
        let ask = || {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            async move { service.call(Request::get("/").body(Body::empty()).unwrap()).await.unwrap().status() }
        };
        assert_eq!(ask().await, 200);
        let all = door.requests.acquire_many(u32::try_from(REQUESTS).unwrap()).await.unwrap();
        assert_eq!(ask().await, 503);
        let waiting = tokio::spawn(ask());
        tokio::time::sleep(TURN / 2).await;
        drop(all);
        assert_eq!(waiting.await.unwrap(), 200);
        assert!(door.refused().contains(&("requests_in_flight", 1)));
    }

    #[test]
    fn a_caller_that_does_nothing_but_change_is_slowed_down() {
        let door = Door::default();
        let caller = |name: &str| Caller {
            author: Author { name: name.to_owned(), from: None },
            role: super::super::access::Role::Write,
        };
        let refused = (0..2 * CHANGES.burst).find_map(|_| door.pace(&caller("token a")).err()).unwrap();
        assert_eq!((refused.status, refused.kind), (429, "urn:vrouter:problem:too-many-changes"));
        assert!(door.pace(&caller("token b")).is_ok());
    }
}
