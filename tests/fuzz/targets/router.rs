//! The native API over a router of facts: the real door, the real loop and the real store, with a kernel and engines that
//! do as they are told. Part of the target `api_door`, and of the law of the same name in `tests/laws`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vrouter::api::access::{Access, Peer, Settings, Tokens};
use vrouter::api::{self, Context, Door, openapi};
use vrouter::config::{Config, Id};
use vrouter::engines::Services;
use vrouter::kernel::fake::FakeKernel;
use vrouter::plan::facts::{Capabilities, Counters, Device, Link};
use vrouter::reconcile::{Change, Edit, EngineError, Engines, Handle, Loop, Supervisor, Surroundings};
use vrouter::status::{KernelReadings, Reporter};
use vrouter::store::{Author, Generations};

/// The user at the other end of the socket who may do everything.
const OPERATOR: u32 = 0;
/// Somebody who may do nothing.
const STRANGER: u32 = 4711;
/// A token that nobody guesses.
const TOKENS: &str = "ops write 3a1f5c0b9d8e7f60123456789abcdef0\n";

/// Engines that take everything over.
struct Willing;

impl Engines for Willing {
    async fn apply(&mut self, _: &Config, _: &BTreeMap<Id, Link>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A service manager that nobody asked for.
struct Nobody;

impl Supervisor for Nobody {
    fn ready(&mut self) {}
    fn alive(&mut self) {}
    fn status(&mut self, _: &str) {}
}

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
    runtime: Runtime,
    handle: Handle,
    services: Arc<Services>,
    reporter: Arc<Reporter>,
    description: Value,
    _folder: TempDir,
}

impl Router {
    /// A router that runs this document.
    pub(crate) fn new(document: Value) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = start(&folder);
        let (services, reporter) = runtime.block_on(async {
            let services = Arc::new(Services::open(folder.path()).expect("engines"));
            let kernel = KernelReadings {
                counters: Counters::default,
                addresses: || None,
                balanced: Box::new(Default::default),
            };
            (services.clone(), Arc::new(Reporter::new(handle.clone(), services, kernel)))
        });
        let first = Change::new(Edit::Replace(document), Author::default());
        runtime.block_on(handle.change(first)).expect("a document without faults");
        Self { runtime, handle, services, reporter, description: openapi::openapi(), _folder: folder }
    }

    /// Makes a request of octets and holds its answer against the description. The first octet says who asks; then come a
    /// line with method and target, lines of fields, an empty line, and the body. Nothing where it is no request.
    pub(crate) fn ask(&self, octets: &[u8]) -> Option<Answer> {
        let (who, octets) = octets.split_first()?;
        let trusted = who % 2 == 1;
        let request = request(octets)?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let before = self.handle.published();
        let answer = self.answer(trusted, request);
        let after = self.handle.published();
        let status = answer.status;
        assert!(status != 500 && status != 507, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        if !trusted {
            assert!(matches!(status, 401 | 403), "{method} {path}: a stranger is answered {status}");
        }
        let may_change = trusted && status == 200 && method != Method::GET && path != "/v1/plan";
        if !may_change {
            assert_eq!(before.generation, after.generation, "{method} {path}: {status}");
            assert!(before.config == after.config);
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
        let method = if *method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
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
            handle: self.handle.clone(),
            services: self.services.clone(),
            reporter: self.reporter.clone(),
            door,
        };
        request.extensions_mut().insert(Peer::Socket { uid: if trusted { OPERATOR } else { STRANGER } });
        self.runtime.block_on(async {
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

/// The request that octets say.
fn request(octets: &[u8]) -> Option<Request<Body>> {
    let end = octets.windows(2).position(|two| two == b"\n\n").unwrap_or(octets.len());
    let (head, body) = (octets.get(..end)?, octets.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|octet| *octet == b'\n');
    let mut words = lines.next()?.splitn(2, |octet| *octet == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri: Uri = Uri::try_from(words.next()?).ok()?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for line in lines.take(64) {
        let mut parts = line.splitn(2, |octet| *octet == b':');
        let name = HeaderName::from_bytes(parts.next()?).ok()?;
        let value = HeaderValue::from_bytes(parts.next()?.trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// Starts the loop on a thread of its own, as the service does.
fn start(folder: &TempDir) -> Handle {
    let links = [1, 2, 3].map(|number| Link {
        device: Device { index: u32::from(number) + 1, name: format!("eth{}", number - 1).into() },
        mac: Some([0x52, 0x54, 0, 0, 0, number]),
        mtu: 1500,
        up: false,
        carrier: true,
        master: None,
        parent: None,
    });
    let capabilities = Capabilities {
        flowtable: false,
        log_group: true,
        conntrack_size: true,
        balancing: true,
        connection_limit: true,
        stickiness: true,
        vlan: false,
        vrf: false,
        wireguard: false,
    };
    let surroundings =
        Surroundings { capabilities, management_ports: BTreeSet::new(), conntrack_max: 65_536 };
    let store = Generations::open(folder.path()).expect("a store");
    let (sender, handle) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let kernel = FakeKernel::with_links(links);
        let made = Loop::new(kernel, Willing, Nobody, store, surroundings);
        let (run, handle) = made.unwrap_or_else(|faults| panic!("{faults}"));
        sender.send(handle).expect("somebody waits");
        runtime.block_on(run.run(None));
    });
    handle.recv().expect("the loop")
}
