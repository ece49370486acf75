//! Generations of the configuration: what was acknowledged is here, and comes back after a power cut.
//!
//! The first record is a whole document; each further one is the merge patch that leads to the next generation, so one
//! EIP among ten thousand costs a line of a hundred octets. When the file has grown, it is written anew with the last
//! generations only. Called by the loop.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::journal::{Journal, StoreError, records};
use crate::clock::Timestamp;
use crate::merge_patch;

/// The file, in the state directory.
const FILE: &str = "generations.journal";
/// How many generations are kept when the file is written anew.
const KEEP: usize = 100;
/// How many more may gather before it is.
const GATHER: usize = 400;

/// The number of a generation; 0 is the router with nothing configured, and is never stored.
pub type Number = u64;

/// What is remembered of a generation besides its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Generation {
    /// The number.
    pub generation: Number,
    /// When it was acknowledged.
    pub time: Timestamp,
    /// How it came: `replace`, `patch`, `rollback to N`, `first boot`.
    pub origin: String,
    /// How many objects were added, changed and removed.
    pub added: usize,
    /// See `added`.
    pub changed: usize,
    /// See `added`.
    pub removed: usize,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    generation: Generation,
    /// The whole document, in the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
    /// What leads here from the line before.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Value>,
}

/// The generations that are remembered.
#[derive(Debug)]
pub struct Generations {
    journal: Journal,
    path: PathBuf,
    known: VecDeque<Generation>,
}

impl Generations {
    /// Opens the store in a state directory. With it comes the document of the last generation, if there is one.
    ///
    /// # Errors
    /// The file cannot be read or created, or a record of it cannot be understood.
    pub fn open(state_dir: &Path) -> Result<(Self, Option<Value>), StoreError> {
        let path = state_dir.join(FILE);
        let (journal, lines) = Journal::open(&path)?;
        let mut known = VecDeque::new();
        let mut document = None;
        for record in parse(&lines, &path)? {
            known.push_back(apply(record, &mut document));
        }
        Ok((Self { journal, path, known }, document))
    }

    /// The number of the last generation; 0 where there is none.
    #[must_use]
    pub fn last(&self) -> Number {
        self.known.back().map_or(0, |last| last.generation)
    }

    /// The generations that can be read back, oldest first.
    #[must_use]
    pub const fn known(&self) -> &VecDeque<Generation> {
        &self.known
    }

    /// Stores a generation: on disk when this returns. `patch` leads to it from the last one.
    ///
    /// # Errors
    /// The disk refused, and nothing of the generation remains.
    pub async fn append(&mut self, generation: Generation, patch: Value) -> Result<(), StoreError> {
        let record = match self.known.is_empty() {
            true => Record { generation: generation.clone(), document: Some(patch), patch: None },
            false => Record { generation: generation.clone(), document: None, patch: Some(patch) },
        };
        self.journal.append(line(&record)?).await?;
        self.known.push_back(generation);
        Ok(())
    }

    /// The document of a generation, if it is still remembered.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn document(&self, number: Number) -> Result<Option<Value>, StoreError> {
        let mut document = None;
        for record in self.read()? {
            if apply(record, &mut document).generation == number {
                return Ok(document);
            }
        }
        Ok(None)
    }

    /// Whether so many generations have gathered that the file should be written anew.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.known.len() > KEEP + GATHER
    }

    /// Writes the file anew with the last generations.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn shrink(&mut self) -> Result<(), StoreError> {
        let forget = self.known.len().saturating_sub(KEEP);
        let mut document = None;
        let mut lines = Vec::with_capacity(KEEP);
        for (index, record) in self.read()?.into_iter().enumerate() {
            if index > forget {
                lines.push(line(&record)?);
            } else {
                let generation = apply(record, &mut document);
                if index == forget {
                    let document = document.clone();
                    lines.push(line(&Record { generation, document, patch: None })?);
                }
            }
        }
        self.journal.rewrite(lines).await?;
        self.known.drain(..forget);
        Ok(())
    }

    fn read(&self) -> Result<Vec<Record>, StoreError> {
        let text = fs::read(&self.path).map_err(|error| StoreError::Io {
            action: "read",
            path: self.path.display().to_string(),
            reason: error.to_string(),
        })?;
        parse(&records(&text).0, &self.path)
    }
}

fn parse(lines: &[Vec<u8>], path: &Path) -> Result<Vec<Record>, StoreError> {
    let unreadable = |error: serde_json::Error| StoreError::Io {
        action: "understand a record of",
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    lines.iter().map(|line| serde_json::from_slice(line).map_err(unreadable)).collect()
}

fn apply(record: Record, document: &mut Option<Value>) -> Generation {
    if let Some(whole) = record.document {
        *document = Some(whole);
    }
    if let Some(patch) = record.patch {
        merge_patch::merge(document.get_or_insert_with(|| Value::Object(Map::new())), patch);
    }
    record.generation
}

fn line(record: &Record) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Io {
        action: "write a record of",
        path: FILE.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn generation(number: Number) -> Generation {
        let time = Timestamp::from_seconds(number);
        Generation { generation: number, time, origin: "patch".into(), added: 1, changed: 0, removed: 0 }
    }

    #[tokio::test]
    async fn every_generation_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, document) = Generations::open(folder.path()).unwrap();
        assert_eq!((store.last(), document), (0, None));
        store.append(generation(1), json!({"version": 1, "a": {"x": 1}})).await.unwrap();
        store.append(generation(2), json!({"a": {"y": 2}})).await.unwrap();
        store.append(generation(3), json!({"a": null})).await.unwrap();
        let (again, document) = Generations::open(folder.path()).unwrap();
        assert_eq!((again.last(), document), (3, Some(json!({"version": 1}))));
        assert_eq!(again.document(2).unwrap(), Some(json!({"version": 1, "a": {"x": 1, "y": 2}})));
        assert_eq!(again.document(1).unwrap(), Some(json!({"version": 1, "a": {"x": 1}})));
        assert_eq!(again.document(4).unwrap(), None);
    }

    #[tokio::test]
    async fn the_file_stays_bounded_and_the_last_generations_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Generations::open(folder.path()).unwrap();
        for number in 1..=(KEEP + GATHER + 1) as Number {
            store
                .append(generation(number), json!({"n": number, format!("m{}", number % 7): number}))
                .await
                .unwrap();
        }
        assert!(store.has_grown());
        let before = store.document(store.last() - 50).unwrap();
        let length = fs::metadata(&store.path).unwrap().len();
        store.shrink().await.unwrap();
        assert!(!store.has_grown());
        assert!(fs::metadata(&store.path).unwrap().len() < length / 3);
        assert_eq!(store.document(store.last() - 50).unwrap(), before);
        assert_eq!(store.document(1).unwrap(), None, "forgotten");
        let next = store.last() + 1;
        store.append(generation(next), json!({"n": next})).await.unwrap();
        let (again, document) = Generations::open(folder.path()).unwrap();
        assert_eq!(again.known().len(), KEEP + 1);
        assert_eq!(document.unwrap()["n"], next);
    }
}
