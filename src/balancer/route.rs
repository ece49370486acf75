//! What becomes of a request: the rules are asked, what they change is changed, and what has to be known of it until its
//! answer is there is kept.
//!
//! Called by `http` for each request.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, MAX_FORWARDS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request, response};

use super::backend::Backend;
use super::host::Host;
use super::http::Refusal;
use super::location::Asked;
use super::path::Path;
use super::rewrite::{Edits, target};
use super::rules::{Outcome, Request};
use super::site::{PoolSite, Site, Visit};
use super::sticky::Brought;
use super::told::is_untold;
use crate::clock;

/// What becomes of a request.
pub(crate) enum Route<'a> {
    /// A pool serves it.
    Pool(&'a PoolSite, Errand<'a>),
    /// It is answered here.
    Answer(response::Parts, Bytes),
}

/// What is to be kept in mind for a request until it is answered.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    /// What is hashed, for the algorithms that hash.
    pub(crate) key: u64,
    /// By what the client is known.
    brought: Option<Brought>,
    /// What the answer's fields are changed by.
    edits: Vec<&'a Edits>,
    /// The host, where the backend is still to be told of the client: those fields do not stand among the others.
    told: Option<HeaderValue>,
}

impl Errand<'_> {
    /// The backend that the client stays with.
    pub(crate) fn stay(&self) -> Option<&Arc<Backend>> {
        self.brought.as_ref()?.backend.as_ref()
    }

    /// The host to tell the backend of, with the client, where that is still to be done.
    pub(crate) const fn told(&self) -> Option<&HeaderValue> {
        self.told.as_ref()
    }

    /// Whether nothing of the answer's fields is changed.
    pub(crate) fn leaves_answer(&self) -> bool {
        self.edits.is_empty() && self.brought.is_none()
    }

    /// A backend takes the request.
    pub(crate) fn chosen(&self, pool: &PoolSite, backend: &Arc<Backend>) {
        if let (Some(sticky), Some(brought)) = (&pool.sticky, &self.brought) {
            sticky.chosen(brought, backend, clock::moment());
        }
    }

    /// It has answered: the fields of its answer become what rules and stickiness want.
    pub(crate) fn answered(&self, pool: &PoolSite, backend: &Arc<Backend>, fields: &mut HeaderMap) {
        if let (Some(sticky), Some(brought)) = (&pool.sticky, &self.brought) {
            sticky.answered(brought, backend, fields, clock::moment(), clock::now());
        }
        for edits in &self.edits {
            edits.on_response(fields);
        }
    }
}

impl Site {
    /// What becomes of a request that came at `now`. What the rules change of it is changed, and backends are told of the
    /// client.
    ///
    /// # Errors
    /// Nobody can tell where its path leads, a rewrite made it too long, or nothing leads anywhere.
    pub(crate) fn route(
        &self,
        parts: &mut request::Parts,
        visit: &Visit,
        now: Instant,
    ) -> Result<Route<'_>, Refusal> {
        let client = *visit.client.ip();
        let named = parts.headers.get(HOST).cloned();
        let host = named.as_ref().and_then(|host| Host::read(host.to_str().ok()?));
        // Rules would see no host where a backend may see one.
        if host.is_none() && named.as_ref().is_some_and(|named| !named.is_empty()) {
            return Err(Refusal::Malformed("nobody can tell which host is asked"));
        }
        // Where no rule looks at it, a path goes on as it came.
        let reads = self.rules.reads_paths();
        let path = Path::read(if reads { parts.uri.path() } else { "/" });
        let path = path.map_err(|_| Refusal::Malformed("nobody can tell where the path leads"))?;
        let decision = self.rules.decide(&Request {
            method: &parts.method,
            host: host.as_ref().map_or("", Host::name),
            path: &path,
            query: parts.uri.query(),
            headers: &parts.headers,
            client,
        });
        let pool = match decision.outcome {
            None => return Err(Refusal::Unavailable),
            Some(Outcome::Pool(pool)) => pool,
            Some(Outcome::Redirect { location, status }) => {
                let host = host.ok_or(Refusal::Malformed("there is no Host to lead back to"))?;
                let location = location.write(&Asked {
                    scheme: if visit.https { "https" } else { "http" },
                    host: &host,
                    port: visit.local.port(),
                    path: path.as_str(),
                    query: parts.uri.query(),
                });
                let mut answer = answer(*status, &decision.edits);
                answer.headers.insert(LOCATION, location);
                return Ok(Route::Answer(answer, Bytes::new()));
            }
            Some(Outcome::Reject { status, body }) => {
                let mut answer = answer(*status, &decision.edits);
                let body = body.clone().map(Bytes::from).unwrap_or_default();
                if !body.is_empty() {
                    let text = HeaderValue::from_static("text/plain; charset=utf-8");
                    answer.headers.entry(CONTENT_TYPE).or_insert(text);
                }
                return Ok(Route::Answer(answer, body));
            }
        };
        if ends_here(&parts.method, &mut parts.headers) {
            let status = if parts.method == Method::TRACE {
                StatusCode::NOT_IMPLEMENTED
            } else {
                StatusCode::NO_CONTENT
            };
            return Ok(Route::Answer(answer(status, &decision.edits), Bytes::new()));
        }
        if reads {
            let query = parts.uri.query();
            let rewritten =
                target(&decision.edits, path.as_str(), query).map_err(|_| Refusal::TargetTooLong)?;
            let normal = || match query {
                Some(query) => format!("{}?{query}", path.as_str()),
                None => path.as_str().to_owned(),
            };
            if let Some(target) = rewritten.or_else(|| path.is_changed().then(normal)) {
                parts.uri = Uri::try_from(target).map_err(|_| Refusal::TargetTooLong)?;
            }
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let key = self.keyed.key(client, Some((&parts.headers, target)));
        let brought = pool
            .sticky
            .as_ref()
            .map(|sticky| sticky.brought(&pool.pool, client, Some(&parts.headers), now, clock::now()));
        let mut told = None;
        if self.config.tells_of_client() {
            // Rules may change these fields like all others.
            if decision.edits.is_empty() && named.is_some() && is_untold(&parts.headers) {
                told = named;
            } else {
                visit.told.tell(&mut parts.headers, named.as_ref());
            }
        }
        for edits in &decision.edits {
            edits.on_request(&mut parts.headers);
        }
        Ok(Route::Pool(pool, Errand { key, brought, edits: decision.edits, told }))
    }
}

/// Whether a request that explores the way goes no further than here; if it does, it may go one hop less far from now on
/// (RFC 9110 section 7.6.2). What is no number is left to whoever gets it.
fn ends_here(method: &Method, headers: &mut HeaderMap) -> bool {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return false;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
    if let Some(less) = left.and_then(|left| left.checked_sub(1)) {
        headers.insert(MAX_FORWARDS, less.into());
    }
    left == Some(0)
}

/// The head of an answer of the balancer's own.
fn answer(status: StatusCode, edits: &[&Edits]) -> response::Parts {
    let mut answer = http::Response::new(()).into_parts().0;
    answer.status = status;
    for edits in edits {
        edits.on_response(&mut answer.headers);
    }
    answer
}
