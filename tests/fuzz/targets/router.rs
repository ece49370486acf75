//! The native API over a router of facts: the real door in front of the house of `house.rs`. Part of the target `api_door`,
//! and of the law of the same name in `tests/laws`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use vrouter::api::access::{Access, Peer, Settings, Tokens};
use vrouter::api::{self, Context, Door, openapi};
use vrouter::config::json;
use vrouter::reconcile::Published;
use vrouter::store::Author;

use super::house::{House, same};
use crate::surroundings::{ALL, links};

/// The user at the other end of the socket who may do everything.
const OPERATOR: u32 = 0;
/// Somebody who may do nothing.
const STRANGER: u32 = 4711;
/// A token that nobody guesses.
const TOKENS: &str = "ops write 3a1f5c0b9d8e7f60123456789abcdef0\n";

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// A router with its door.
pub(crate) struct Router {
    house: House,
    description: Value,
}

impl Router {
    /// A router that runs this document.
    pub(crate) fn new(document: Value) -> Self {
        Self { house: House::new(links(ALL), document), description: openapi::openapi() }
    }

    /// Makes it run this document again, and nothing else.
    #[cfg_attr(not(fuzzing), expect(dead_code, reason = "the fuzz target alone goes back now and then"))]
    pub(crate) fn replace(&self, document: Value) {
        self.house.replace(document);
    }

    /// Makes a request of octets and holds its answer against the description, and what runs afterwards against the answer.
    /// The first octet says who asks; then come a line with method and target, lines of fields, an empty line, and the body.
    /// Nothing where it is no request.
    pub(crate) fn ask(&self, octets: &[u8]) -> Option<Answer> {
        let (who, octets) = octets.split_first()?;
        let trusted = who % 2 == 1;
        let (request, body) = request(octets)?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let before = self.house.published();
        let answer = self.answer(trusted, request);
        let after = self.house.published();
        let status = answer.status;
        assert!(status != 500 && status != 507, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        if !trusted {
            assert!(matches!(status, 401 | 403), "{method} {path}: a stranger is answered {status}");
        }
        // A change that waits to be confirmed may go back by itself at any moment.
        if before.went_back == after.went_back {
            let changes = matches!(method, Method::POST | Method::PUT | Method::PATCH)
                && matches!(path.as_str(), "/v1/config" | "/v1/rollback");
            match changes && status == 200 {
                true => check_changed(&before, &after, &method, &path, &body, &answer),
                false => assert!(same(&before, &after), "{method} {path}: {status}, and something changed"),
            }
        }
        if after.unconfirmed.is_some() {
            let kept = self.house.runtime.block_on(self.house.handle.confirm(None, Author::default()));
            assert!(kept.is_ok() || self.house.published().unconfirmed.is_none(), "{kept:?}");
        }
        self.check_described(&method, &path, status);
        if status >= 400 && method != Method::HEAD {
            let problem: Value =
                serde_json::from_slice(&answer.body).expect("a refusal is a problem document");
            assert_eq!(problem["status"], status);
        }
        Some(answer)
    }

    fn check_described(&self, method: &Method, path: &str, status: u16) {
        let fits = |described: &str| {
            let mut pairs = described.split('/').zip(path.split('/'));
            described.split('/').count() == path.split('/').count()
                && pairs.all(|(described, asked)| {
                    described == asked || described == "{id}" || described == "{generation}"
                })
        };
        let paths = self.description["paths"].as_object().expect("paths");
        let item = paths.iter().find(|(described, _)| fits(described)).map(|(_, item)| item);
        // Methods are told apart by their case (RFC 9110 section 9.1).
        let method = match method.as_str() {
            "HEAD" => "get".to_owned(),
            known if known == known.to_uppercase() => known.to_lowercase(),
            _ => String::new(),
        };
        match item.map(|item| &item[method.as_str()]).filter(|operation| operation.is_object()) {
            Some(operation) => {
                let responses = &operation["responses"];
                assert!(
                    responses.get(status.to_string()).is_some(),
                    "{method} {path}: {status} is not described"
                );
            }
            None => assert!(matches!(status, 401 | 403 | 404 | 405 | 429 | 503), "{method} {path}: {status}"),
        }
    }

    fn answer(&self, trusted: bool, mut request: Request<Body>) -> Answer {
        let settings = Settings {
            tokens: Some(Tokens::parse(TOKENS).expect("tokens")),
            writers: BTreeSet::from([OPERATOR]),
            ..Settings::default()
        };
        let door = Arc::new(Door::new(Access::new(settings), None));
        let context = Context {
            handle: self.house.handle.clone(),
            services: self.house.services.clone(),
            reporter: self.house.reporter.clone(),
            door,
            system: self.house.system.clone(),
        };
        request.extensions_mut().insert(Peer::Socket { uid: if trusted { OPERATOR } else { STRANGER } });
        self.house.runtime.block_on(async {
            let service = TowerToHyperService::new(api::router(context));
            let response = match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole answer").to_bytes();
            Answer { status: head.status.as_u16(), body: body.to_vec() }
        })
    }
}

/// What was accepted runs, and is what the answer says.
fn check_changed(
    before: &Published,
    after: &Published,
    method: &Method,
    path: &str,
    body: &[u8],
    answer: &Answer,
) {
    let told: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    assert_eq!(told["generation"], after.generation, "{method} {path}");
    assert_eq!(told["changed"], after.generation != before.generation, "{method} {path}: {told}");
    assert!(told["changed"] == true || same(before, after), "{method} {path}: {told}");
    if path == "/v1/config" {
        let posted = json::parse(body).expect("what was accepted is JSON");
        let meant = match *method {
            Method::PATCH => before.config.patch(posted),
            _ => before.config.replace(posted),
        };
        assert!(meant.is_ok_and(|meant| meant == after.config), "{method} {path}: something else runs");
    }
}

/// The request that octets say, and its body.
fn request(octets: &[u8]) -> Option<(Request<Body>, Vec<u8>)> {
    let end = octets.windows(2).position(|two| two == b"\n\n").unwrap_or(octets.len());
    let (head, body) = (octets.get(..end)?, octets.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|octet| *octet == b'\n');
    let mut words = lines.next()?.splitn(2, |octet| *octet == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri: Uri = Uri::try_from(words.next()?).ok()?;
    let body = body.to_vec();
    let mut request = Request::new(Body::from(body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for line in lines.take(64) {
        let mut parts = line.splitn(2, |octet| *octet == b':');
        let name = HeaderName::from_bytes(parts.next()?).ok()?;
        let value = HeaderValue::from_bytes(parts.next()?.trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some((request, body))
}
