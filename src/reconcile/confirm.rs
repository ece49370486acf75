//! Commit-confirm: a change that goes back by itself unless somebody confirms it.
//!
//! What waits is on disk before anything of it is carried out, with the whole document that comes back. Changes that come
//! meanwhile are part of the same waiting: what comes back is the generation before the first of them. Called by the loop.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Sleep, sleep};

use super::audit;
use super::change::{ChangeError, Comparison};
use super::reach::{self, Reach};
use super::run::Loop;
use super::{Engines, Supervisor};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::kernel::Kernel;
use crate::store::content::Content;
use crate::store::generations::Number;
use crate::store::{Author, Generation, Pending, StoreError};

/// What waits to be confirmed, and what is owed to the disk.
#[derive(Debug, Default)]
pub(super) struct Confirm {
    waiting: Option<Waiting>,
    /// What came back and is not stored as a generation yet.
    owed: Option<(Generation, Content)>,
    /// Whether the file says something else than `waiting`.
    outdated: bool,
    /// What keeps the disk from taking it.
    fault: Option<String>,
    /// The last change that went back.
    went: Option<WentBack>,
}

/// A change that waits.
pub(super) struct Waiting {
    pending: Pending,
    back: Config,
    deadline: Pin<Box<Sleep>>,
    /// Ends when whoever asked cannot be reached any more; absent where he never could.
    lost: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Why a change goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nobody confirmed it in time.
    NotConfirmed,
    /// Whoever asked for it cannot be reached any more.
    OutOfReach,
}

/// A change that goes back by itself unless it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unconfirmed {
    /// The generation whose configuration comes back, as a new generation.
    pub back_to: Number,
    /// When it comes back.
    pub until: Timestamp,
    /// How many seconds were asked for.
    pub seconds: u32,
    /// Who asked.
    pub author: Author,
    /// Whether it also comes back when whoever asked cannot be reached for five seconds: he could be, before the change.
    pub watched: bool,
}

/// What became of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Confirmed {
    /// The generation that runs, and stays.
    pub generation: Number,
    /// Whether anything waited to be confirmed.
    pub confirmed: bool,
}

/// A change that went back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WentBack {
    /// When.
    pub time: Timestamp,
    /// The generation that went.
    pub from: Number,
    /// The generation whose configuration came back.
    pub back_to: Number,
    /// Why: `not confirmed`, or `management plane out of reach`.
    pub why: &'static str,
    /// What keeps it from being stored; changes are refused until it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<String>,
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::NotConfirmed => "not confirmed",
            Self::OutOfReach => "management plane out of reach",
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl Waiting {
    fn new(pending: Pending, back: Config, left: Duration, reach: &Arc<dyn Reach>) -> Self {
        let address: Option<SocketAddr> = reach::place(&pending.author).filter(|_| pending.reached);
        let lost = address.map(|address| {
            Box::pin(reach::lost(reach.clone(), address)) as Pin<Box<dyn Future<Output = ()> + Send>>
        });
        Self { pending, back, deadline: Box::pin(sleep(left)), lost }
    }

    async fn ends(&mut self) -> Why {
        let Some(lost) = &mut self.lost else {
            self.deadline.as_mut().await;
            return Why::NotConfirmed;
        };
        tokio::select! {
            () = self.deadline.as_mut() => Why::NotConfirmed,
            () = lost.as_mut() => Why::OutOfReach,
        }
    }
}

impl Confirm {
    /// Waits until what waits has to go back; for ever where nothing does.
    pub(super) async fn ends(&mut self) -> Why {
        match &mut self.waiting {
            Some(waiting) => waiting.ends().await,
            None => std::future::pending().await,
        }
    }

    /// What waits, as it is told.
    pub(super) fn told(&self) -> Option<Unconfirmed> {
        let Pending { back_to, begin, seconds, author, reached } = &self.waiting.as_ref()?.pending;
        Some(Unconfirmed {
            back_to: *back_to,
            until: begin.time.after((*seconds).into()),
            seconds: *seconds,
            author: author.clone(),
            watched: *reached,
        })
    }

    /// The last change that went back, as it is told.
    pub(super) fn told_back(&self) -> Option<WentBack> {
        self.went.clone().map(|went| WentBack { not_stored: self.fault.clone(), ..went })
    }

    /// Takes note that a change was made which waits.
    pub(super) fn wait_for(&mut self, waiting: Waiting) {
        self.waiting = Some(waiting);
    }
}

impl<K: Kernel, E: Engines, S: Supervisor> Loop<K, E, S> {
    /// Takes up what a predecessor left waiting, before anything is carried out.
    pub(super) async fn take_up(&mut self) {
        let Some((pending, document)) = self.store.take_pending() else { return };
        let back = match self.config.replace(document) {
            Ok(back) => back,
            Err(faults) => {
                tracing::error!(%faults, "what waits to be confirmed stays: what was before it is not of this version");
                self.config.clone()
            }
        };
        // It was never made, or has come back already.
        if self.store.last() <= pending.back_to || back == self.config {
            self.confirm.outdated = true;
            self.settle_or_say().await;
            return;
        }
        let left = pending.left(&clock::mark());
        tracing::info!(back_to = pending.back_to, left_s = left.as_secs(), "a change waits to be confirmed");
        self.confirm.waiting = Some(Waiting::new(pending, back, left, &self.reach));
        if left.is_zero() {
            self.go_back(Why::NotConfirmed).await;
        }
    }

    /// Makes sure that what is about to be changed goes back, whatever happens to this machine. What it returns is handed
    /// to [`Confirm::wait_for`] once the change is made, or to [`Loop::call_off`] where it is not.
    pub(super) async fn arm(&mut self, seconds: u32, author: Author) -> Result<Waiting, ChangeError> {
        let running = self.store.last();
        let reached = match reach::place(&author) {
            Some(address) => self.reach.answers(address).await,
            None => false,
        };
        let begin = clock::mark();
        let (file, stored, pending, back) = match &self.confirm.waiting {
            Some(Waiting { pending: Pending { back_to, .. }, back, .. }) => {
                let pending = Pending { back_to: *back_to, begin, seconds, author, reached };
                (self.store.confirm(), None, pending, back.clone())
            }
            None => {
                let back = self.config.clone();
                let content =
                    Content::of(&back.document()).map_err(|error| ChangeError::Store(error, running))?;
                let pending = Pending { back_to: running, begin, seconds, author, reached };
                (self.store.confirm(), Some(content), pending, back)
            }
        };
        let stored = match stored {
            Some(content) => file.begin(&pending, content).await,
            None => file.go_on(&pending).await,
        };
        stored.map_err(|error| ChangeError::Store(error, running))?;
        Ok(Waiting::new(pending, back, Duration::from_secs(seconds.into()), &self.reach))
    }

    /// The change was not made: what waited before it waits on, or nothing does.
    pub(super) async fn call_off(&mut self, _: Waiting) {
        self.confirm.outdated = true;
        self.settle_or_say().await;
    }

    /// Keeps what waits.
    pub(super) async fn confirm(
        &mut self,
        meant: Option<Number>,
        author: &Author,
    ) -> Result<Confirmed, ChangeError> {
        self.go_back_if_over().await;
        self.settle().await?;
        let generation = self.store.last();
        if let Some(expected) = meant.filter(|meant| *meant != generation) {
            return Err(ChangeError::Outdated { expected, current: generation });
        }
        if self.confirm.waiting.is_none() {
            // Whoever names the generation that runs knows that it was not taken back, and may ask twice.
            return match meant {
                Some(_) => Ok(Confirmed { generation, confirmed: false }),
                None => Err(ChangeError::NothingWaits(generation)),
            };
        }
        self.store.confirm().end().await.map_err(|error| ChangeError::Store(error, generation))?;
        self.confirm.waiting = None;
        audit::confirmed(author, generation);
        self.publish(|_| {});
        Ok(Confirmed { generation, confirmed: true })
    }

    /// Goes back where the time is over though no timer says so: the machine was asleep.
    pub(super) async fn go_back_if_over(&mut self) {
        let Some(waiting) = &self.confirm.waiting else { return };
        if waiting.pending.left(&clock::mark()).is_zero() {
            self.go_back(Why::NotConfirmed).await;
        }
    }

    /// Brings back what was before the change that waits. The kernel has it first; whoever reads sees what goes, and that it
    /// waits, until the disk has it as a generation of its own, or cannot take it.
    pub(super) async fn go_back(&mut self, why: Why) {
        let Some(Waiting { pending, back, .. }) = &self.confirm.waiting else { return };
        let (from, back_to, back) = (self.store.last(), pending.back_to, back.clone());
        tracing::warn!(from, back_to, "{}: generation {back_to} comes back", why.name());
        let comparison = Comparison::start(&self.config, &back, from);
        self.availability = self.availability.following(&self.config, &back);
        // Whatever comes of this, it is what is wanted from now on, and is tried again where it fails.
        let same = std::mem::replace(&mut self.config, back) == self.config;
        self.rest = Default::default();
        let went = WentBack { time: clock::now(), from, back_to, why: why.name(), not_stored: None };
        self.repair("went back").await;
        if self.drift.agrees() {
            self.publish_drift();
        }
        match comparison.await {
            Ok(Comparison { changes, content }) if !same => {
                let generation = Generation {
                    generation: from + 1,
                    time: clock::now(),
                    origin: format!("{}: back to {back_to}", why.name()),
                    author: Author::default(),
                    added: changes.added,
                    changed: changes.changed,
                    removed: changes.removed,
                };
                audit::changed(&generation, &changes);
                self.confirm.owed = Some((generation, content));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "what went back cannot be told"),
        }
        self.confirm.waiting = None;
        self.confirm.went = Some(went);
        self.confirm.outdated = true;
        self.settle_or_say().await;
    }

    /// Pays what is owed to the disk, and says what runs. Until it is paid, nothing is changed; what keeps it from being
    /// paid is told once, and stays in the status.
    pub(super) async fn settle(&mut self) -> Result<(), ChangeError> {
        if self.confirm.owed.is_none() && !self.confirm.outdated {
            return Ok(());
        }
        let paid = self.pay().await;
        // What came back runs, stored or not.
        let runs = match (&self.confirm.owed, &self.confirm.went) {
            (Some(_), Some(went)) => went.back_to,
            _ => self.store.last(),
        };
        let paid = paid.map_err(|error| ChangeError::Store(error, runs));
        let fault = paid.as_ref().err().map(ToString::to_string);
        if let Some(why) = fault.as_ref().filter(|_| fault != self.confirm.fault) {
            tracing::error!(why, "what waited to be confirmed cannot be settled on disk: {why}");
        }
        self.confirm.fault = fault;
        let (config, known) = (self.config.clone(), Arc::new(self.store.known().iter().cloned().collect()));
        self.publish(|published| {
            published.generation = runs;
            published.config = config;
            published.generations = known;
        });
        if paid.is_ok() {
            self.supervisor.status(&format!("generation {runs} runs"));
        }
        paid
    }

    /// The same, where nothing depends on it.
    pub(super) async fn settle_or_say(&mut self) {
        // It is tried again with each tick.
        let _ = self.settle().await;
    }

    async fn pay(&mut self) -> Result<(), StoreError> {
        if let Some((generation, content)) = &self.confirm.owed {
            self.store.append(generation.clone(), content.clone()).await?;
            self.confirm.owed = None;
        }
        if self.confirm.outdated {
            let file = self.store.confirm();
            match &self.confirm.waiting {
                Some(waiting) => file.go_on(&waiting.pending).await?,
                None => file.end().await?,
            }
            self.confirm.outdated = false;
        }
        Ok(())
    }
}
