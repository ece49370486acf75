//! The loop: one owner of the state, one path for boot, change, rollback and repair.
//!
//! ```text
//! requests ─▶ ┌──────────────────────────────────────────────┐ ─▶ published (readers take it without a lock)
//! health   ─▶ │                                              │
//! events   ─▶ │ config ─ lower ─ diff ─ execute ─ read back  │ ─▶ engines, once the kernel is as it should be
//! ticks    ─▶ └──────────────────────────────────────────────┘ ─▶ generations, before anybody is told
//! ```
//!
//! The API asks through a [`Handle`]; requests are worked off one after the other, so the newest wins. What a request
//! does is all or nothing: where the kernel, an engine or the disk refuses, the last generation is planned again by the
//! same path. `confirm` brings back what nobody confirms; `repair` puts back, or reports, what others do to ours, which
//! `drift` remembers and limits; `difference` tells two generations apart.

mod audit;
mod carry_out;
mod change;
mod confirm;
mod difference;
mod drift;
mod reach;
mod repair;
mod run;
mod trace;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

pub use change::{Answer, ChangeError, ChangeSummary, StepReport};
pub use confirm::{Confirmed, Unconfirmed, WentBack};
pub use difference::{Difference, Differing};
pub use drift::{DriftCause, DriftEvent, DriftSeen};
pub use reach::{Reach, Tcp};
pub use run::{Loop, Surroundings};
pub use trace::TraceError;

use crate::clock::Timestamp;
use crate::config::{Config, Faults, Id};
use crate::plan::Availability;
use crate::plan::facts::{Capabilities, Link};
use crate::store::generations::Number;
use crate::store::{Author, Generation};
use crate::trace::{Question, Trace};

/// How many requests may wait for the loop; more are told that it is busy.
const QUEUE: usize = 256;

/// What is asked of the configuration.
#[derive(Debug)]
pub enum Edit {
    /// It becomes this document.
    Replace(Value),
    /// This merge patch is applied to it.
    Patch(Value),
    /// It becomes this document, which came with the machine.
    FirstBoot(Value),
    /// It becomes what it was in an older generation.
    Rollback(Number),
}

/// A change of the configuration.
#[derive(Debug)]
pub struct Change {
    /// What is asked.
    pub edit: Edit,
    /// The generation that the caller believes in; another one refuses the change.
    pub if_match: Option<Number>,
    /// Whether only the difference is told, and nothing is done.
    pub dry_run: bool,
    /// Who asks.
    pub author: Author,
    /// The change is taken back after so many seconds unless it is confirmed by then.
    pub confirm_seconds: Option<u32>,
}

impl Change {
    /// A change that is made whatever runs, and stays.
    #[must_use]
    pub const fn new(edit: Edit, author: Author) -> Self {
        Self { edit, if_match: None, dry_run: false, author, confirm_seconds: None }
    }
}

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// A change of the configuration.
    Change(Change, oneshot::Sender<Result<Answer, ChangeError>>),
    /// Keep what waits to be confirmed: the generation that is meant, where the caller says so, and who he is.
    Confirm(Option<Number>, Author, oneshot::Sender<Result<Confirmed, ChangeError>>),
    /// The document of a generation as it is stored, if it is remembered.
    Document(Number, oneshot::Sender<Result<Option<Value>, ChangeError>>),
    /// Look at everything again and put right what is not.
    Reload(oneshot::Sender<()>),
    /// What becomes of a packet.
    Trace(Question, oneshot::Sender<Result<Trace, TraceError>>),
}

/// What the rest of the process sees of the loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    published: Arc<ArcSwap<Published>>,
}

/// What the loop says of itself after each step.
#[derive(Debug, Clone)]
pub struct Published {
    /// When the process started.
    pub started: Timestamp,
    /// The generation that runs; 0 is nothing configured.
    pub generation: Number,
    /// When it was carried out and verified; absent until it is for the first time.
    pub verified: Option<Timestamp>,
    /// The configuration that runs.
    pub config: Config,
    /// The devices of its interfaces that are there.
    pub links: BTreeMap<Id, Link>,
    /// What the kernel can do.
    pub capabilities: Capabilities,
    /// The generations that can be read back, oldest first.
    pub generations: Arc<Vec<Generation>>,
    /// What keeps the configuration from being carried out.
    pub trouble: Option<Trouble>,
    /// How long the last change took, and how many steps.
    pub last_change: Option<(Duration, usize)>,
    /// How often something was put right that somebody else had changed.
    pub repairs: u64,
    /// What others did to ours.
    pub drift: Arc<DriftSeen>,
    /// What comes back, and when, unless it is confirmed.
    pub unconfirmed: Option<Unconfirmed>,
    /// The last change that went back by itself.
    pub went_back: Option<WentBack>,
}

/// What keeps the configuration from being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened, in words that a person can act on.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// The engine that it concerns alone, such as `dns`; absent where it concerns the kernel.
    pub service: Option<&'static str>,
}

impl Handle {
    /// Asks for a change and waits for what becomes of it.
    ///
    /// # Errors
    /// Everything that keeps the change from being made; nothing has changed then.
    pub async fn change(&self, change: Change) -> Result<Answer, ChangeError> {
        self.ask(|reply| Request::Change(change, reply)).await?
    }

    /// Keeps what waits to be confirmed; `meant` is the generation that the caller believes to run.
    ///
    /// # Errors
    /// Another generation runs, nothing waits, or the disk refused.
    pub async fn confirm(&self, meant: Option<Number>, author: Author) -> Result<Confirmed, ChangeError> {
        self.ask(|reply| Request::Confirm(meant, author, reply)).await?
    }

    /// The document of a generation, if it is remembered, as anybody may read it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn document(&self, generation: Number) -> Result<Option<Value>, ChangeError> {
        let Some(document) = self.stored(generation).await? else { return Ok(None) };
        difference::work(move || difference::normalised(document)).await.map(Some)
    }

    /// What differs between two generations, if both are remembered; 0 is the router with nothing configured.
    ///
    /// # Errors
    /// One of them is not remembered, or the store cannot be read.
    pub async fn difference(&self, from: Number, to: Number) -> Result<Difference, ChangeError> {
        let published = self.published();
        let [mut before, mut after] = [None, None];
        for (number, document) in [(from, &mut before), (to, &mut after)] {
            if number != 0 && number != published.generation {
                *document = Some(self.stored(number).await?.ok_or(ChangeError::Unknown(number))?);
            }
        }
        difference::work(move || difference::between(&published, [(from, before), (to, after)])).await?
    }

    async fn stored(&self, generation: Number) -> Result<Option<Value>, ChangeError> {
        self.ask(|reply| Request::Document(generation, reply)).await?
    }

    /// Has everything looked at again, and waits until it is as it should be.
    ///
    /// # Errors
    /// The loop is busy or gone.
    pub async fn reload(&self) -> Result<(), ChangeError> {
        self.ask(Request::Reload).await
    }

    /// What becomes of a packet, by the configuration that runs and by the kernel as it is.
    ///
    /// # Errors
    /// The interface is not in the configuration, the kernel does not answer, or the loop is busy or gone.
    pub async fn trace(&self, question: Question) -> Result<Trace, TraceError> {
        self.ask(|reply| Request::Trace(question, reply)).await.map_err(TraceError::Loop)?
    }

    /// What the loop said of itself last.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ChangeError::Busy { waiting: QUEUE },
            mpsc::error::TrySendError::Closed(_) => ChangeError::Stopping,
        })?;
        answer.await.map_err(|_| ChangeError::Stopping)
    }
}

/// What runs beside the kernel, with a snapshot swapped under it: DHCP and DNS, or a fake in a test.
pub trait Engines {
    /// Takes a configuration over: opens what it needs first, and changes nothing where that fails.
    ///
    /// # Errors
    /// A socket cannot be had; the text says which and why.
    fn apply(
        &mut self,
        config: &Config,
        links: &BTreeMap<Id, Link>,
    ) -> impl Future<Output = Result<(), EngineError>>;

    /// Which backends of balancers take connections, now and whenever that changes. What is published within
    /// [`Engines::apply`] holds what follows from the configuration ([`Availability::following`]), with backends that
    /// drain taken out again when their time is over. The default is that all do.
    fn availability(&self) -> watch::Receiver<Arc<Availability>> {
        watch::channel(Arc::default()).1
    }
}

/// What keeps an engine from taking a configuration over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {reason}")]
pub struct EngineError {
    /// The service, such as `dns`.
    pub service: &'static str,
    /// Why, in words that a person can act on.
    pub reason: String,
    /// What of the configuration it is about, where it is about some of it.
    pub faults: Faults,
}

/// Who is told how the loop does: the service manager, or nobody in a test.
pub trait Supervisor {
    /// The configuration is carried out and verified for the first time.
    fn ready(&mut self);
    /// The loop is alive.
    fn alive(&mut self);
    /// What a person should know in one line.
    fn status(&mut self, line: &str);
    /// A great change is over: memory that it took can go back.
    fn relieved(&mut self) {}
}
