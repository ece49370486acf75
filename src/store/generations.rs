//! Generations of the configuration: what was acknowledged is here, and comes back after a power cut.
//!
//! The first record is a whole document; each further one is the merge patch that leads to the next generation, so one
//! EIP among ten thousand costs a line of a hundred octets. A record is what is remembered of the generation, a tab, and
//! the document or patch. When the file has grown, in records or in octets, it is written anew with the last
//! generations only. Called by the loop.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::confirm::{ConfirmFile, Pending};
use super::journal::{Journal, StoreError, records};
use crate::clock::Timestamp;
use crate::merge_patch;

/// The file, in the state directory.
const FILE: &str = "generations.journal";
/// How many generations are kept when the file is written anew.
const KEEP: usize = 100;
/// How many more may gather before it is.
const GATHER: usize = 400;
/// How many octets of patches are kept then at most; the last generation is kept whatever its size.
const KEEP_OCTETS: usize = 8 << 20;
/// How many octets may gather before the file is written anew: with what is kept a fraction of the smallest disk.
const GATHER_OCTETS: usize = 8 << 20;
/// Between the two parts of a record. JSON as it is written here has none: in strings it is escaped.
const SEPARATOR: u8 = b'\t';

/// The number of a generation; 0 is the router with nothing configured, and is never stored.
pub type Number = u64;

/// Who asks for a change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Author {
    /// Who it is: `token NAME`, `certificate NAME`, `uid N`, `zstack`, `first boot`; empty where nobody was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where the request came from: an address and a port, or `socket`; absent where it came from within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What is remembered of a generation besides its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Generation {
    /// The number.
    pub generation: Number,
    /// When it was acknowledged.
    pub time: Timestamp,
    /// How it came: `replace`, `patch`, `rollback to N`, `first boot`, `not confirmed: back to N`,
    /// `management plane out of reach: back to N`.
    pub origin: String,
    /// Who asked for it; nobody is named in generations of older versions.
    #[serde(default)]
    pub author: Author,
    /// How many objects were added, changed and removed.
    pub added: usize,
    /// See `added`.
    pub changed: usize,
    /// See `added`.
    pub removed: usize,
}

/// What is stored of a document: JSON text, of the whole in the first record, else of the merge patch that leads there
/// from the record before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Vec<u8>);

impl Content {
    /// A document or a patch as text.
    ///
    /// # Errors
    /// None that a value of JSON or of the wire can cause.
    pub fn of(value: &impl Serialize) -> Result<Self, StoreError> {
        serde_json::to_vec(value).map(Self).map_err(|error| unwritable(&error))
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

/// One line of the file.
#[derive(Debug)]
struct Record {
    generation: Generation,
    content: Content,
}

/// The generations that are remembered.
#[derive(Debug)]
pub struct Generations {
    journal: Journal,
    confirm: ConfirmFile,
    path: PathBuf,
    known: VecDeque<Generation>,
    /// How many octets were written since the file was written anew or opened.
    gathered: usize,
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
            known.push_back(apply(record, &mut document, &path)?);
        }
        let gathered = lines.iter().skip(1).map(Vec::len).sum();
        let confirm = ConfirmFile::open(state_dir)?;
        Ok((Self { journal, confirm, path, known, gathered }, document))
    }

    /// What of them waits to be confirmed.
    #[must_use]
    pub const fn confirm(&self) -> &ConfirmFile {
        &self.confirm
    }

    /// What a predecessor left waiting, and the document that comes back; told once.
    pub const fn take_pending(&mut self) -> Option<(Pending, Value)> {
        self.confirm.take()
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

    /// Stores a generation: on disk when this returns. The content of the first one ever is its document, of each other
    /// one the patch that leads to it.
    ///
    /// # Errors
    /// The disk refused, and nothing of the generation remains.
    pub async fn append(&mut self, generation: Generation, content: Content) -> Result<(), StoreError> {
        let line = line(&Record { generation: generation.clone(), content })?;
        let octets = line.len();
        self.journal.append(line).await?;
        self.gathered += octets;
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
            if apply(record, &mut document, &self.path)?.generation == number {
                return Ok(document);
            }
        }
        Ok(None)
    }

    /// Whether so much has gathered that the file should be written anew.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.known.len() > 1
            && (self.known.len() > KEEP + GATHER || self.gathered > KEEP_OCTETS + GATHER_OCTETS)
    }

    /// Writes the file anew with the last generations.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn shrink(&mut self) -> Result<(), StoreError> {
        let records = self.read()?;
        let mut octets = 0;
        let fitting = records.iter().rev().take_while(|record| {
            octets += record.content.0.len();
            octets <= KEEP_OCTETS
        });
        // One of those that are kept is written whole, so its own patch is not.
        let keep = (fitting.count() + 1).min(KEEP);
        let forget = self.known.len().saturating_sub(keep);
        let mut document = None;
        let mut lines = Vec::with_capacity(keep);
        for (index, record) in records.into_iter().enumerate() {
            if index > forget {
                lines.push(line(&record)?);
            } else {
                let generation = apply(record, &mut document, &self.path)?;
                if let Some(document) = document.as_ref().filter(|_| index == forget) {
                    lines.push(line(&Record { generation, content: Content::of(document)? })?);
                }
            }
        }
        let gathered = lines.iter().skip(1).map(Vec::len).sum();
        self.journal.rewrite(lines).await?;
        self.known.drain(..forget);
        self.gathered = gathered;
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
    let record = |line: &Vec<u8>| {
        let end = line.iter().position(|octet| *octet == SEPARATOR).unwrap_or(line.len());
        let (head, rest) = line.split_at(end);
        let generation = serde_json::from_slice(head).map_err(|error| unreadable(path, &error))?;
        Ok(Record { generation, content: Content(rest.get(1..).unwrap_or_default().to_vec()) })
    };
    lines.iter().map(record).collect()
}

fn apply(record: Record, document: &mut Option<Value>, path: &Path) -> Result<Generation, StoreError> {
    let content: Value =
        serde_json::from_slice(&record.content.0).map_err(|error| unreadable(path, &error))?;
    match document {
        Some(document) => merge_patch::merge(document, content),
        None => *document = Some(content),
    }
    Ok(record.generation)
}

fn line(record: &Record) -> Result<Vec<u8>, StoreError> {
    let mut line = serde_json::to_vec(&record.generation).map_err(|error| unwritable(&error))?;
    line.push(SEPARATOR);
    line.extend_from_slice(&record.content.0);
    Ok(line)
}

fn unreadable(path: &Path, error: &serde_json::Error) -> StoreError {
    let (path, reason) = (path.display().to_string(), error.to_string());
    StoreError::Io { action: "understand a record of", path, reason }
}

fn unwritable(error: &serde_json::Error) -> StoreError {
    StoreError::Io { action: "write a record of", path: FILE.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn generation(number: Number) -> Generation {
        let time = Timestamp::from_seconds(number);
        let author = Author::default();
        Generation {
            generation: number,
            time,
            origin: "patch".into(),
            author,
            added: 1,
            changed: 0,
            removed: 0,
        }
    }

    async fn append(store: &mut Generations, number: Number, content: Value) {
        store.append(generation(number), Content::of(&content).unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn every_generation_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, document) = Generations::open(folder.path()).unwrap();
        assert_eq!((store.last(), document), (0, None));
        append(&mut store, 1, json!({"version": 1, "a": {"x": "a\tb\n"}})).await;
        append(&mut store, 2, json!({"a": {"y": 2}})).await;
        append(&mut store, 3, json!({"a": null})).await;
        let (again, document) = Generations::open(folder.path()).unwrap();
        assert_eq!((again.last(), document), (3, Some(json!({"version": 1}))));
        assert_eq!(again.document(2).unwrap(), Some(json!({"version": 1, "a": {"x": "a\tb\n", "y": 2}})));
        assert_eq!(again.document(1).unwrap(), Some(json!({"version": 1, "a": {"x": "a\tb\n"}})));
        assert_eq!(again.document(4).unwrap(), None);
    }

    #[tokio::test]
    async fn the_file_stays_bounded_and_the_last_generations_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Generations::open(folder.path()).unwrap();
        for number in 1..=(KEEP + GATHER + 1) as Number {
            append(&mut store, number, json!({"n": number, format!("m{}", number % 7): number})).await;
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
        append(&mut store, next, json!({"n": next})).await;
        let (again, document) = Generations::open(folder.path()).unwrap();
        assert_eq!(again.known().len(), KEEP + 1);
        assert_eq!(document.unwrap()["n"], next);
    }

    /// A caller that posts ten thousand objects and takes them away again does not fill the disk.
    #[tokio::test]
    async fn great_changes_are_bounded_by_their_octets() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Generations::open(folder.path()).unwrap();
        let (much, little) = (json!({"much": "x".repeat(3 << 20)}), json!({"much": null}));
        for number in 1..=24 {
            append(&mut store, number, if number % 2 == 1 { much.clone() } else { little.clone() }).await;
            if store.has_grown() {
                store.shrink().await.unwrap();
            }
            let length = fs::metadata(&store.path).unwrap().len();
            assert!(length < 24 << 20, "{length} octets at {number}");
        }
        assert!(store.known().len() > 2, "{}", store.known().len());
        assert_eq!(store.document(24).unwrap(), Some(json!({})));
        assert_eq!(store.document(23).unwrap(), Some(much));
    }
}
