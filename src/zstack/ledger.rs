//! The tasks on disk: a task is written down before it is acknowledged, and its answer before it is delivered.
//!
//! Each record is a task as it has become; the last one counts. The file is written anew when most of it is history.
//! Called by the door, by the worker and by whoever delivers answers.

use std::path::Path;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::tasks::{Seen, Task, Tasks};
use crate::store::generations::Number;
use crate::store::{Foreign, Journal, StoreError};

/// The file, in the state directory.
const FILE: &str = "zstack.journal";
/// How many tasks may be open; more are refused until some are over.
pub(super) const OPEN: usize = 4096;
/// How many records may gather before the file is written anew.
const GATHER: usize = 30_000;

/// The tasks, in memory and on disk.
#[derive(Debug)]
pub(super) struct Ledger {
    journal: Journal,
    path: String,
    /// What another version wrote and this one does not understand.
    foreign: Foreign,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: Tasks,
    /// How many records the file holds.
    records: usize,
}

/// Why a task is not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum LedgerError {
    /// Too many are open.
    #[error("{OPEN} commands wait for their answers to be taken already; try again")]
    Full,
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Durable = oneshot::Receiver<Result<(), StoreError>>;

impl Ledger {
    /// Opens the tasks of a state directory. With it come those whose answers are to be delivered, each with an answer
    /// that is true: `ran` is whether a generation was made by the management node's commands.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(super) async fn open(
        state_dir: &Path,
        ran: impl Fn(Number) -> bool,
    ) -> Result<(Self, Vec<Task>), StoreError> {
        let path = state_dir.join(FILE);
        let (journal, lines) = Journal::open(&path)?;
        let path = path.display().to_string();
        let (mut tasks, mut foreign) = (Tasks::default(), Foreign::default());
        for line in &lines {
            match serde_json::from_slice(line) {
                Ok(task) => tasks.put(task),
                Err(_) => foreign.keep(line.clone()),
            }
        }
        foreign.tell(&path);
        let left = tasks.resume(ran);
        let records = lines.len();
        let ledger = Self { journal, path, foreign, inner: Mutex::new(Inner { tasks, records }) };
        // What is to be delivered must not become something else at the next start.
        let rewritten = ledger.rewrite(&mut ledger.inner.lock());
        settle(rewritten).await?;
        Ok((ledger, left))
    }

    /// Takes a task that is new; it is on disk when this returns.
    ///
    /// # Errors
    /// Too many are open, or the disk refused; the task is as unknown as before.
    pub(super) async fn take(&self, task: Task) -> Result<Seen, LedgerError> {
        let uuid = task.uuid.clone();
        let written = {
            let mut inner = self.inner.lock();
            match inner.tasks.seen(&uuid) {
                Seen::New if inner.tasks.open() >= OPEN => return Err(LedgerError::Full),
                Seen::New => {}
                seen => return Ok(seen),
            }
            let written = self.write(&mut inner, &task);
            inner.tasks.put(task);
            written
        };
        match settle(written).await {
            Ok(()) => Ok(Seen::New),
            Err(error) => {
                self.inner.lock().tasks.remove(&uuid);
                Err(error.into())
            }
        }
    }

    /// Writes down what tasks have become; it is on disk when this returns.
    ///
    /// # Errors
    /// The disk refused. In memory they have become it all the same.
    pub(super) async fn put(&self, tasks: impl IntoIterator<Item = Task>) -> Result<(), StoreError> {
        let mut written = Vec::new();
        {
            let mut inner = self.inner.lock();
            for task in tasks {
                written.push(self.write(&mut inner, &task));
                inner.tasks.put(task);
            }
        }
        for written in written {
            settle(written).await?;
        }
        Ok(())
    }

    /// A task by its uuid.
    #[cfg(test)]
    fn get(&self, uuid: &str) -> Option<Task> {
        self.inner.lock().tasks.get(uuid).cloned()
    }

    /// How many tasks are remembered, and how many of them are open.
    #[must_use]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.tasks.len(), inner.tasks.open())
    }

    /// The answer of a task is delivered, or nobody wants it. Nothing waits for the disk: if this is lost, the answer is
    /// delivered twice, which the management node takes no harm from.
    pub(super) fn close(&self, uuid: &str) {
        let mut inner = self.inner.lock();
        let Some(task) = inner.tasks.get(uuid).cloned().map(Task::over) else { return };
        if let Err(error) = self.write(&mut inner, &task) {
            tracing::warn!(%error, "that an answer was delivered is not written down");
        }
        inner.tasks.put(task);
        if inner.records > GATHER
            && let Err(error) = self.rewrite(&mut inner)
        {
            tracing::warn!(%error, file = self.path, "old tasks could not be forgotten");
        }
    }

    /// Hands a record to the disk. Under the lock, so that the file has the order of the memory.
    fn write(&self, inner: &mut Inner, task: &Task) -> Result<Durable, StoreError> {
        inner.records += 1;
        self.journal.submit(self.record(task)?)
    }

    fn rewrite(&self, inner: &mut Inner) -> Result<Durable, StoreError> {
        let own = inner.tasks.all().map(|task| self.record(task));
        let records = self.foreign.records().map(Ok).chain(own).collect::<Result<Vec<_>, _>>()?;
        inner.records = records.len();
        self.journal.submit_rewrite(records)
    }

    fn record(&self, task: &Task) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(task).map_err(|error| StoreError::Io {
            action: "write a record of",
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// Waits for the disk.
async fn settle(written: Result<Durable, StoreError>) -> Result<(), StoreError> {
    written?.await.unwrap_or(Err(StoreError::Closed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::zstack::tasks::State;

    fn task(uuid: &str) -> Task {
        Task {
            uuid: uuid.to_owned(),
            path: "/syncsnat".to_owned(),
            callback: "http://10.0.0.2/".to_owned(),
            state: State::Taken,
        }
    }

    fn answered(uuid: &str, generation: Number) -> Task {
        Task { state: State::answered(&json!({"success": true}), Some(generation)), ..task(uuid) }
    }

    #[tokio::test]
    async fn a_task_is_taken_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, left) = Ledger::open(folder.path(), |_| false).await.unwrap();
        assert!(left.is_empty());
        for uuid in ["a", "b", "c"] {
            assert_eq!(ledger.take(task(uuid)).await.unwrap(), Seen::New);
        }
        assert_eq!(ledger.take(task("a")).await.unwrap(), Seen::Running);
        ledger.put([answered("a", 1), answered("b", 2)]).await.unwrap();
        ledger.close("a");
        // What was asked of the disk before this is on it as well.
        ledger.put([answered("b", 2)]).await.unwrap();
        drop(ledger);

        let (ledger, left) = Ledger::open(folder.path(), |generation| generation <= 1).await.unwrap();
        let left: Vec<&str> = left.iter().map(|task| task.uuid.as_str()).collect();
        assert_eq!(left, ["b", "c"], "their answers were never delivered");
        assert_eq!(ledger.take(task("a")).await.unwrap(), Seen::Over(Some(r#"{"success":true}"#.to_owned())));
        assert_eq!(ledger.take(task("c")).await.unwrap(), Seen::Running);
        assert_eq!(ledger.counts(), (3, 2));
        drop(ledger);

        // Generation 2 comes after all, by somebody else: what was said stays said.
        let (ledger, _) = Ledger::open(folder.path(), |_| true).await.unwrap();
        let Some(Task { state: State::Answered { answer, .. }, .. }) = ledger.get("b") else {
            panic!("{:?}", ledger.get("b"))
        };
        assert!(answer.contains("\"success\":false"), "{answer}");
    }

    #[tokio::test]
    async fn tasks_of_another_version_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&folder.path().join(FILE)).unwrap();
        let known = serde_json::to_string(&task("a")).unwrap();
        let [other, more] = [r#"{"uuid":"b","state":"of the future"}"#, &known.replace('{', "{\"new\":1,")];
        for record in [other, more] {
            journal.append(record.as_bytes().to_vec()).await.unwrap();
        }
        for _ in 0..2 {
            let (ledger, left) = Ledger::open(folder.path(), |_| true).await.unwrap();
            assert_eq!((left.len(), ledger.counts().0), (1, 1));
        }
        assert_eq!(Journal::open(&folder.path().join(FILE)).unwrap().1[0], other.as_bytes());
    }

    #[tokio::test]
    async fn no_more_are_open_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(folder.path(), |_| false).await.unwrap();
        ledger.put((0..OPEN).map(|number| task(&number.to_string()))).await.unwrap();
        assert!(matches!(ledger.take(task("one more")).await, Err(LedgerError::Full)));
        ledger.close("0");
        assert_eq!(ledger.take(task("one more")).await.unwrap(), Seen::New);
    }

    #[tokio::test]
    async fn the_file_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(folder.path(), |_| false).await.unwrap();
        for first in (0..GATHER).step_by(1000) {
            let uuids: Vec<String> =
                (first..first + 1000).map(|number| format!("{:032x}", number % 20_000)).collect();
            ledger.put(uuids.iter().map(|uuid| answered(uuid, 1))).await.unwrap();
            uuids.iter().for_each(|uuid| ledger.close(uuid));
        }
        ledger.put([answered("last", 1).over()]).await.unwrap();
        let length = || std::fs::metadata(folder.path().join(FILE)).unwrap().len();
        assert!(length() < 10 << 20, "{}", length());
        drop(ledger);
        let (ledger, left) = Ledger::open(folder.path(), |_| true).await.unwrap();
        assert_eq!((ledger.counts().1, left.len()), (0, 0));
        assert!(length() < 4 << 20, "{}", length());
    }
}
