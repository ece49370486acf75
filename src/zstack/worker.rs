//! The one who carries out commands, in their order: what waits is taken together, so that a burst becomes one change of
//! the configuration. Where that change is refused, the command at fault is found and fails alone.
//!
//! ```text
//! door ─▶ queue ─▶ translate (all that waits) ─▶ answers on disk ─▶ one change ─▶ answers delivered
//! ```

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::callback::Deliveries;
use super::ledger::Ledger;
use super::tasks::{State, Task};
use super::translate::{Answer, Command, translate};
use super::{failure, machine};
use crate::clock;
use crate::reconcile::{Change, ChangeError, Edit, Handle, Published};
use crate::store::Author;
use crate::store::generations::Number;

/// Who asks for changes that come of commands.
pub(super) const AUTHOR: &str = "zstack";
/// How many commands become one change at most.
const TOGETHER: usize = 256;
/// How often a change is tried again after somebody else changed the configuration or the loop was busy.
const TRIES: usize = 20;
/// How long is waited before it is.
const PAUSE: Duration = Duration::from_millis(100);

/// A command that waits.
#[derive(Debug)]
pub(super) struct Work {
    /// The task, as it was taken.
    pub(super) task: Task,
    /// The command's body.
    pub(super) body: Bytes,
    /// Who sent it.
    pub(super) peer: SocketAddr,
    /// The address of the router that it came to.
    pub(super) local: IpAddr,
    /// The management node, by where it wants its answer.
    pub(super) node: Option<Ipv4Addr>,
    /// Its share of the memory that waiting commands may take.
    pub(super) room: OwnedSemaphorePermit,
}

/// What was carried out.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Commands that were carried out.
    pub(super) done: AtomicU64,
    /// Commands that were refused or failed.
    pub(super) failed: AtomicU64,
    /// Changes of the configuration that they became.
    pub(super) changes: AtomicU64,
    /// How long all of that took, in microseconds, from a command's turn to its answer.
    pub(super) micros: AtomicU64,
}

/// Carries out commands.
#[derive(Debug)]
pub(super) struct Worker {
    /// The loop.
    pub(super) handle: Handle,
    /// The tasks on disk.
    pub(super) ledger: Arc<Ledger>,
    /// Where answers go.
    pub(super) deliveries: Deliveries,
    /// What was carried out.
    pub(super) counts: Arc<Counts>,
}

/// Why commands were not carried out together.
enum Failure {
    /// The change that they came to is refused: one of them may be at fault.
    Refused(String),
    /// Each of them would fail by itself as well.
    Hopeless(String),
}

impl Worker {
    /// Carries out what comes until nobody can send any more.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Work>) {
        let mut waiting = Vec::new();
        while queue.recv_many(&mut waiting, TOGETHER).await > 0 {
            let begin = clock::moment();
            self.work_off(std::mem::take(&mut waiting)).await;
            let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counts.micros.fetch_add(took, Ordering::Relaxed);
        }
    }

    /// Carries out commands together. Where the change that they come to is refused, halves of them are tried, and halves
    /// of those: one that is at fault fails alone, and the others take few changes.
    async fn work_off(&self, works: Vec<Work>) {
        let mut groups = VecDeque::from([works]);
        while let Some(mut group) = groups.pop_front() {
            let why = match self.carry_out(&group).await {
                Ok(answers) => {
                    self.answer(group, answers);
                    continue;
                }
                Err(Failure::Refused(_)) if group.len() > 1 => {
                    // What is written down of them would become true with the first half's generation.
                    match self.ledger.put(group.iter().map(|work| work.task.clone())).await {
                        Ok(()) => {
                            let second = group.split_off(group.len() / 2);
                            groups.push_front(second);
                            groups.push_front(group);
                            continue;
                        }
                        Err(error) => error.to_string(),
                    }
                }
                Err(Failure::Refused(why) | Failure::Hopeless(why)) => why,
            };
            tracing::warn!(commands = group.len(), why, "ZStack's commands were not carried out");
            let answers: Vec<Answer> = group.iter().map(|_| failed_answer(&why)).collect();
            self.settle(&group, &answers).await;
            self.answer(group, answers);
        }
    }

    /// Makes the change that commands come to. When this returns well, what they are answered is true and on disk.
    async fn carry_out(&self, works: &[Work]) -> Result<Vec<Answer>, Failure> {
        let mut last = String::new();
        for number in 0..TRIES {
            if number > 0 {
                sleep(PAUSE).await;
            }
            let published = self.handle.published();
            let running = published.generation;
            let translated = translated(works, &published).await?;
            let Some(document) = translated.document else {
                self.is_in_order().await.map_err(Failure::Hopeless)?;
                self.settle(works, &translated.answers).await;
                return Ok(translated.answers);
            };
            let prepared = tasks(works, &translated.answers, Some(running + 1));
            self.ledger.put(prepared).await.map_err(|error| Failure::Hopeless(error.to_string()))?;
            let change =
                Change { if_match: Some(running), ..Change::new(Edit::Replace(document), author(works)) };
            last = match self.handle.change(change).await {
                Ok(answer) if answer.changed => {
                    self.counts.changes.fetch_add(1, Ordering::Relaxed);
                    return Ok(translated.answers);
                }
                Ok(_) => {
                    self.is_in_order().await.map_err(Failure::Hopeless)?;
                    self.settle(works, &translated.answers).await;
                    return Ok(translated.answers);
                }
                Err(error @ (ChangeError::Outdated { .. } | ChangeError::Busy { .. })) => error.to_string(),
                Err(ChangeError::Stopping) => {
                    return Err(Failure::Hopeless(ChangeError::Stopping.to_string()));
                }
                Err(ChangeError::Faults(faults)) => {
                    return Err(Failure::Refused(in_one_line(&faults.to_string())));
                }
                Err(error) => return Err(Failure::Refused(error.to_string())),
            };
        }
        Err(Failure::Hopeless(last))
    }

    /// Whether what runs is as it should be: a command that changes nothing is a success only there. What is not in order
    /// is looked at once more first.
    async fn is_in_order(&self) -> Result<(), String> {
        let is_well = |published: &Published| published.verified.is_some() && published.trouble.is_none();
        if is_well(&self.handle.published()) {
            return Ok(());
        }
        self.handle.reload().await.map_err(|error| error.to_string())?;
        let published = self.handle.published();
        match &published.trouble {
            Some(trouble) => Err(trouble.why.clone()),
            None if published.verified.is_some() || published.generation == 0 => Ok(()),
            None => Err("the configuration is not carried out yet".to_owned()),
        }
    }

    /// Writes answers down that are true whatever generation runs. Where the disk refuses, the management node is told
    /// all the same; only a restart right now would not know of it.
    async fn settle(&self, works: &[Work], answers: &[Answer]) {
        if let Err(error) = self.ledger.put(tasks(works, answers, None)).await {
            tracing::warn!(%error, "answers to ZStack's commands are not written down");
        }
    }

    fn answer(&self, works: Vec<Work>, answers: Vec<Answer>) {
        for (work, answer) in works.into_iter().zip(answers) {
            let Task { uuid, path, callback, .. } = work.task;
            let count = if answer.promises { &self.counts.done } else { &self.counts.failed };
            count.fetch_add(1, Ordering::Relaxed);
            if !answer.promises {
                tracing::info!(path, answer = %answer.value, "a command of ZStack is refused");
            }
            self.deliveries.deliver(uuid, callback, answer.value.to_string());
            drop(work.room);
        }
    }
}

/// Where a command came to, and from whom.
type Caller = (IpAddr, Option<Ipv4Addr>);

/// What commands come to, on another thread: a great document takes a while, and a fault of ours ends nobody else.
async fn translated(works: &[Work], published: &Published) -> Result<super::translate::Translated, Failure> {
    let mut commands: Vec<Command> = Vec::with_capacity(works.len());
    let mut known: Option<(Caller, Arc<super::Facts>)> = None;
    for work in works {
        let of = (work.local, work.node);
        let facts = match &known {
            Some((known, facts)) if *known == of => facts.clone(),
            _ => {
                let machine = machine::facts(work.local).map_err(Failure::Hopeless)?;
                Arc::new(super::Facts { node: work.node, ..machine })
            }
        };
        known = Some((of, facts.clone()));
        commands.push(Command { path: work.task.path.clone(), body: work.body.clone(), facts });
    }
    let config = published.config.clone();
    let translation = spawn_blocking(move || {
        let before = serde_json::to_value(config.document()).map_err(|error| error.to_string())?;
        Ok(translate(&commands, &before))
    });
    match translation.await {
        Ok(translated) => translated.map_err(Failure::Hopeless),
        Err(_) => Err(Failure::Refused("the router failed at this command; its log says more".to_owned())),
    }
}

/// The tasks of commands with their answers; `generation` is what answers promise.
fn tasks(works: &[Work], answers: &[Answer], generation: Option<Number>) -> Vec<Task> {
    let task = |(work, answer): (&Work, &Answer)| Task {
        state: State::answered(&answer.value, generation.filter(|_| answer.promises)),
        ..work.task.clone()
    };
    works.iter().zip(answers).map(task).collect()
}

fn author(works: &[Work]) -> Author {
    Author { name: AUTHOR.to_owned(), from: works.first().map(|work| work.peer.to_string()) }
}

fn failed_answer(why: &str) -> Answer {
    Answer { value: failure(why), promises: false }
}

fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Whether a generation was made by commands: what an answer of before a restart is checked against.
#[must_use]
pub(super) fn ran(published: &Published, generation: Number) -> bool {
    let made = |one: &crate::store::Generation| one.generation == generation && one.author.name == AUTHOR;
    published.generations.iter().any(made)
}
