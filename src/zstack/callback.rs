//! Answers on their way to the management node: posted to the task's callback, again and again until they arrive, within
//! bounds. 404 says that nobody waits for it any more.
//!
//! Called by the worker for each answer, and at start for those that a predecessor did not get rid of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::ledger::Ledger;

/// The header that names a task, on its way here and back.
pub(super) const TASK_UUID: &str = "taskuuid";
/// How often an answer is posted at most.
const TRIES: u32 = 60;
/// How often one that nobody counts on, such as a ping's: the next ping asks again.
const LIGHT_TRIES: u32 = 10;
/// How many of those are on their way at once.
const LIGHT: usize = 64;
/// How long is waited between two.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the management node may take to say that it has the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many answers are on their way at once.
const AT_ONCE: usize = 32;
/// The longest callback in octets.
const LONGEST: usize = 1024;

/// Where an answer is wanted: `http://ADDRESS[:PORT]/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callback {
    address: SocketAddr,
    authority: String,
    target: String,
}

/// Why a callback is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the callback {text:?} is not http://ADDRESS:PORT/PATH: {reason}")]
pub(super) struct CallbackError {
    text: String,
    reason: &'static str,
}

impl Callback {
    /// The address that it leads to.
    #[must_use]
    pub(super) const fn address(&self) -> IpAddr {
        self.address.ip()
    }
}

impl FromStr for Callback {
    type Err = CallbackError;

    fn from_str(text: &str) -> Result<Self, CallbackError> {
        let wrong = |reason| CallbackError { text: text.chars().take(LONGEST).collect::<String>(), reason };
        if text.len() > LONGEST {
            return Err(wrong("it is too long"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("the scheme has to be http"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user is not told"));
        }
        // Names would be asked of resolvers that the router itself may be.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = host.parse().map_err(|_| wrong("the host has to be an IP address"))?;
        let port = authority.port_u16().unwrap_or(80);
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            address: SocketAddr::new(address, port),
            authority: authority.to_string(),
            target: target.to_owned(),
        })
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

/// What has become of answers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Arrived.
    pub(super) delivered: AtomicU64,
    /// Nobody waited for them any more.
    pub(super) unwanted: AtomicU64,
    /// Given up after every try.
    pub(super) given_up: AtomicU64,
    /// Tries that failed.
    pub(super) failed_tries: AtomicU64,
}

/// Delivers answers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Deliveries {
    ledger: Arc<Ledger>,
    places: Arc<Semaphore>,
    light: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// The right to deliver an answer of no task that is written down.
#[derive(Debug)]
pub(super) struct Light(OwnedSemaphorePermit);

/// What one try came to.
enum Try {
    Taken,
    Unwanted,
    Failed(String),
}

impl Deliveries {
    /// Deliveries of the answers to the tasks of a ledger.
    #[must_use]
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let (places, light) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(LIGHT)));
        Self { ledger, places, light, counts: Arc::default() }
    }

    /// What has become of answers since the start.
    #[must_use]
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Delivers the answer of a task in the background, and closes the task when it arrived or is given up. As many tasks
    /// are open as the ledger allows, so that is how many of these there are at most.
    pub(super) fn deliver(&self, uuid: String, callback: String, answer: String) {
        let this = self.clone();
        tokio::spawn(async move {
            this.deliver_now(&uuid, &callback, answer).await;
            this.ledger.close(&uuid);
        });
    }

    /// The right to deliver an answer lightly, unless many are on their way.
    pub(super) fn light(&self) -> Option<Light> {
        self.light.clone().try_acquire_owned().ok().map(Light)
    }

    /// Delivers an answer of no task that is written down, such as a ping's.
    pub(super) async fn deliver_lightly(
        &self,
        place: Light,
        uuid: &str,
        callback: &Callback,
        answer: String,
    ) {
        self.insist(uuid, callback, answer, LIGHT_TRIES).await;
        drop(place.0);
    }

    async fn deliver_now(&self, uuid: &str, callback: &str, answer: String) {
        match callback.parse() {
            Ok(callback) => self.insist(uuid, &callback, answer, TRIES).await,
            // It was one when it was taken.
            Err(error) => tracing::error!(%error, task = uuid, "an answer cannot be delivered"),
        }
    }

    async fn insist(&self, uuid: &str, callback: &Callback, answer: String, tries: u32) {
        let answer = Bytes::from(answer);
        let mut last = String::new();
        for number in 0..tries {
            if number > 0 {
                sleep(PAUSE).await;
            }
            // Whoever waits for its next try leaves its place to others.
            let Ok(_place) = self.places.acquire().await else { return };
            match post(uuid, callback, answer.clone()).await {
                Try::Taken => {
                    self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Try::Unwanted => {
                    self.counts.unwanted.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(task = uuid, "nobody waits for the answer any more");
                    return;
                }
                Try::Failed(why) => {
                    self.counts.failed_tries.fetch_add(1, Ordering::Relaxed);
                    last = why;
                }
            }
        }
        self.counts.given_up.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(task = uuid, %callback, why = last, "an answer is given up after {tries} tries");
    }
}

/// Posts an answer once, on a connection of its own.
async fn post(uuid: &str, callback: &Callback, answer: Bytes) -> Try {
    let request = Request::post(&callback.target)
        .header(header::HOST, &callback.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header(TASK_UUID, uuid)
        .body(Full::new(answer));
    let request = match request {
        Ok(request) => request,
        Err(error) => return Try::Failed(error.to_string()),
    };
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(callback.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Try::Failed(error.to_string()),
        Err(_) => return Try::Failed(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
    };
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDrop(tokio::spawn(async move {
            // What ends the connection is told by the exchange as well.
            let _ = connection.await;
        }));
        // The body of what is answered is of no interest: the head ends the exchange, and the connection with it.
        let answer = sender.send_request(request).await;
        drop(driver);
        answer.map(|answer| answer.status())
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(status)) if status.is_success() => Try::Taken,
        Ok(Ok(StatusCode::NOT_FOUND)) => Try::Unwanted,
        Ok(Ok(status)) => Try::Failed(format!("it was answered {status}")),
        Ok(Err(error)) => Try::Failed(error.to_string()),
        Err(_) => Try::Failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_a_url_of_an_address() {
        let callback: Callback = "http://10.0.0.2:8080/zstack/asyncrest/callback".parse().unwrap();
        assert_eq!(callback.address, "10.0.0.2:8080".parse().unwrap());
        assert_eq!(callback.target, "/zstack/asyncrest/callback");
        assert_eq!(callback.to_string(), "http://10.0.0.2:8080/zstack/asyncrest/callback");
        let short: Callback = "http://10.0.0.2".parse().unwrap();
        assert_eq!((short.address.port(), short.target.as_str()), (80, "/"));
        let six: Callback = "http://[fd00::2]:8080/x".parse().unwrap();
        assert_eq!(six.address(), "fd00::2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        let long = format!("http://10.0.0.2/{}", "x".repeat(LONGEST));
        let cases =
            ["", "/x", "https://10.0.0.2/", "http://mn.example.net/", "http://root@10.0.0.2/", "x y", &long];
        for text in cases {
            let error = text.parse::<Callback>().unwrap_err();
            assert!(!error.to_string().is_empty() && error.to_string().len() < 2 * LONGEST, "{text}");
        }
    }
}
