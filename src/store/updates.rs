//! What is remembered of the last update of the firmware: what it was, who sent it, and what became of it. Nothing is decided
//! by it that a start depends on: a file that cannot be read is put aside, and then nothing is known. Called by the system
//! room.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generations::Author;
use super::journal::{Journal, StoreError};
use crate::clock::{Mark, Timestamp};

/// The file, in the state directory.
const FILE: &str = "update.journal";

/// An update that was brought to the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The version that it brought.
    pub version: String,
    /// The version that ran.
    pub from: String,
    /// The slot that it went to.
    pub slot: String,
    /// Whether an older version was taken because somebody said so.
    #[serde(default)]
    pub forced: bool,
    /// Who sent it.
    #[serde(default)]
    pub author: Author,
    /// When it was there.
    pub mark: Mark,
    /// The interfaces that had a device then: a version without a driver for one of them is not good.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is on the disk, and starts with the machine's next start.
    Waits,
    /// It runs, and has yet to show that it is good.
    Trial,
    /// It runs and is good.
    Good,
    /// Its time to show that it is good is over.
    Failed,
    /// The version before it runs again.
    WentBack,
}

/// The file.
#[derive(Debug)]
pub struct UpdateFile {
    journal: Journal,
}

impl UpdateFile {
    /// Opens or creates the file in a state directory, with what it remembers.
    ///
    /// # Errors
    /// The file cannot be opened or created.
    pub fn open(state_dir: &Path) -> Result<(Self, Option<Update>), StoreError> {
        let (journal, records) = Journal::open_or_put_aside(&state_dir.join(FILE))?;
        let update = records.last().and_then(|record| {
            serde_json::from_slice(record)
                .inspect_err(
                    |error| tracing::warn!(%error, "what is remembered of the last update is not understood"),
                )
                .ok()
        });
        Ok((Self { journal }, update))
    }

    /// Remembers this update in place of any other. Waits for the disk: for a thread that may.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub fn put(&self, update: &Update) -> Result<(), StoreError> {
        let record = serde_json::to_vec(update).map_err(|error| StoreError::Io {
            action: "write as JSON for",
            path: FILE.to_owned(),
            reason: error.to_string(),
        })?;
        self.journal.submit_rewrite(vec![record])?.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_update_is_remembered_and_a_later_version_s_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (file, none) = UpdateFile::open(folder.path()).unwrap();
        assert_eq!(none, None);
        let update = Update {
            version: "0.2.0".into(),
            from: "0.1.0".into(),
            slot: "b".into(),
            forced: false,
            author: Author::default(),
            mark: Mark { time: Timestamp::from_seconds(7), boot: "a".into(), uptime_ms: 1 },
            interfaces: vec!["guest".into()],
            outcome: Outcome::Waits,
            since: Timestamp::from_seconds(7),
            why: None,
        };
        file.put(&update).unwrap();
        file.put(&Update { outcome: Outcome::Good, ..update.clone() }).unwrap();
        let (_, found) = UpdateFile::open(folder.path()).unwrap();
        assert_eq!(found, Some(Update { outcome: Outcome::Good, ..update.clone() }));
        let mut later = serde_json::to_value(&update).unwrap();
        later["more"] = true.into();
        file.journal.submit(later.to_string().into_bytes()).unwrap().blocking_recv().unwrap().unwrap();
        assert_eq!(UpdateFile::open(folder.path()).unwrap().1, Some(update));
        later["outcome"] = "of the future".into();
        file.journal.submit(later.to_string().into_bytes()).unwrap().blocking_recv().unwrap().unwrap();
        assert_eq!(UpdateFile::open(folder.path()).unwrap().1, None);
    }
}
