//! Generations of the configuration: what was acknowledged is here, and comes back after a power cut.
//!
//! The first record is a whole document; each further one is the merge patch that leads to the next generation, so one
//! EIP among ten thousand costs a line of a hundred octets, or the next document whole, where that is shorter. A record is
//! what is remembered of the generation, a tab, and its content (`content.rs`). Where each stands is kept in memory, so that
//! a generation is read without those around it. When the file has grown, in records or in octets, what is older than what
//! is kept is cut off. Called by the loop.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::confirm::{ConfirmFile, Pending};
use super::content::{self, Content};
use super::journal::{self, Journal, StoreError};
use crate::clock::Timestamp;

/// The file, in the state directory.
const FILE: &str = "generations.journal";
/// How many generations are kept when old ones are forgotten.
const KEEP: usize = 100;
/// How many of them are kept however great they are, unless they fill the disk.
const KEEP_AT_LEAST: usize = 50;
/// How many more may gather before old ones are forgotten.
const GATHER: usize = 400;
/// How many octets all that are kept beyond those may take.
const KEEP_OCTETS: u64 = 8 << 20;
/// How many octets may gather before old ones are forgotten, or as many as are kept where that is more.
const GATHER_OCTETS: u64 = 8 << 20;
/// What part of the disk is kept at most. Twice that may gather, and the file is copied when it is cut: a quarter is left.
const SHARE: u64 = 4;

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
    /// Where the request came from: an address and a port, or `socket`, or what told a fresh machine its first configuration;
    /// absent where it came from within.
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
    /// `management plane out of reach: back to N`, `not understood by this version: back to N`.
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

/// Where a record stands in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u64,
    /// How many octets of records that are not understood stand behind it.
    behind: u64,
    /// Whether nothing before it is needed to read it.
    whole: bool,
}

/// The generations that are remembered.
#[derive(Debug)]
pub struct Generations {
    journal: Journal,
    confirm: ConfirmFile,
    path: PathBuf,
    known: VecDeque<Generation>,
    /// Where each of them stands.
    places: VecDeque<Place>,
    /// The highest number of a record that is not understood.
    highest: Number,
    /// The length of the file.
    end: u64,
    /// How long it was when old ones were forgotten last.
    kept: u64,
    /// How many octets are kept at most.
    most: u64,
}

impl Generations {
    /// Opens the store in a state directory. With it comes the document of the last generation, if there is one.
    ///
    /// # Errors
    /// The file cannot be read or created, or its last generation cannot be understood.
    pub fn open(state_dir: &Path) -> Result<(Self, Option<Value>), StoreError> {
        let (store, document) = Self::read(state_dir)?;
        let document = document.map_err(|why| unreadable(&store.path, why))?;
        Ok((store, document))
    }

    /// Opens the store though another version wrote generations in it that this one does not understand: the last one
    /// that `understands` accepts comes back as a new one, made at `now`. The others stay remembered, for the version that
    /// wrote them.
    ///
    /// # Errors
    /// As [`Generations::open`], or none of them is understood: then this is `why`.
    pub async fn open_understood(
        state_dir: &Path,
        why: &str,
        now: Timestamp,
        understands: impl Fn(&Value) -> bool,
    ) -> Result<(Self, Option<Value>), StoreError> {
        let (mut store, _) = Self::read(state_dir)?;
        let found = store.known.iter().rev().find_map(|known| {
            let document = store.document(known.generation).ok().flatten();
            document.filter(&understands).map(|document| (known.generation, document))
        });
        let Some((back_to, document)) = found else { return Err(unreadable(&store.path, why.to_owned())) };
        let generation = store.highest.max(store.last()) + 1;
        tracing::error!(
            why,
            last = generation - 1,
            back_to,
            "the last generation is not understood by this version"
        );
        let origin = format!("not understood by this version: back to {back_to}");
        let author = Author::default();
        let back = Generation { generation, time: now, origin, author, added: 0, changed: 0, removed: 0 };
        store.append(back, Content::whole(&document)?).await?;
        Ok((store, Some(document)))
    }

    /// Reads the store. With it comes the last document, or why it is not understood.
    fn read(state_dir: &Path) -> Result<(Self, Result<Option<Value>, String>), StoreError> {
        let path = state_dir.join(FILE);
        let (mut known, mut places) = (VecDeque::<Generation>::new(), VecDeque::<Place>::new());
        // What the last document is made of.
        let mut contents: Vec<Vec<u8>> = Vec::new();
        let (mut unread, mut highest, mut offset) = (None, 0, 0);
        let (journal, end) = Journal::open_each(&path, |record| {
            let (head, content) = split(record);
            let (here, length) = (offset, journal::length(record));
            offset += length;
            match serde_json::from_slice(head) {
                Ok(generation) => {
                    let whole = places.is_empty() || content::is_whole(content);
                    if whole {
                        contents.clear();
                    }
                    contents.push(content.to_vec());
                    places.push_back(Place { offset: here, length, behind: 0, whole });
                    known.push_back(generation);
                }
                Err(error) => {
                    if let Some(place) = places.back_mut() {
                        place.behind += length;
                    }
                    highest = highest.max(number_of(head).unwrap_or_default());
                    unread = Some(error.to_string());
                }
            }
        })?;
        let last = known.back().map_or(0, |last| last.generation);
        let mut document = match unread {
            Some(why) if known.is_empty() || highest > last => Err(why),
            Some(why) => {
                tracing::warn!(why, "passed over generations that another version wrote; they are kept");
                Ok(None)
            }
            None => Ok(None),
        };
        for content in &contents {
            document =
                document.and_then(|mut document| content::apply(content, &mut document).map(|()| document));
        }
        let confirm = ConfirmFile::open(state_dir)?;
        let kept = places.front().map_or(0, |first| first.length);
        let most = share(state_dir);
        Ok((Self { journal, confirm, path, known, places, highest, end, kept, most }, document))
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
    /// one what leads to it.
    ///
    /// # Errors
    /// The disk refused, and nothing of the generation remains.
    pub async fn append(&mut self, generation: Generation, content: Content) -> Result<(), StoreError> {
        let content = content.into_octets();
        let whole = self.places.is_empty() || content::is_whole(&content);
        let line = line(&generation, &content)?;
        let place = Place { offset: self.end, length: journal::length(&line), behind: 0, whole };
        self.journal.append(line).await?;
        self.end += place.length;
        self.places.push_back(place);
        self.known.push_back(generation);
        Ok(())
    }

    /// The document of a generation, if it is still remembered.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn document(&self, number: Number) -> Result<Option<Value>, StoreError> {
        match self.known.iter().position(|known| known.generation == number) {
            Some(index) => self.document_at(index),
            None => Ok(None),
        }
    }

    /// The document of the generation with this place among those that are known.
    fn document_at(&self, index: usize) -> Result<Option<Value>, StoreError> {
        let until = self.places.iter().take(index + 1);
        let first = until.clone().rposition(|place| place.whole).unwrap_or_default();
        let mut document = None;
        for place in until.skip(first) {
            let record = journal::read_at(&self.path, place.offset, place.length)?;
            let (_, content) = split(&record);
            content::apply(content, &mut document).map_err(|why| unreadable(&self.path, why))?;
        }
        Ok(document)
    }

    /// Whether so much has gathered that old generations should be forgotten.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        let (count, gathered) = (self.known.len(), self.end.saturating_sub(self.kept));
        let fills_disk = self.end > 2 * self.most && gathered > self.most / 2;
        count > KEEP + GATHER
            || (count > KEEP_AT_LEAST && gathered > GATHER_OCTETS.max(self.kept))
            || (count > 1 && fills_disk)
    }

    /// Forgets old generations.
    ///
    /// # Errors
    /// The disk refused, and the file is as it was.
    pub async fn shrink(&mut self) -> Result<(), StoreError> {
        let mut octets = 0;
        let fitting = self.places.iter().rev().enumerate().take_while(|(index, place)| {
            octets += place.length;
            octets <= self.most.min(if *index < KEEP_AT_LEAST { u64::MAX } else { KEEP_OCTETS })
        });
        let keep = fitting.count().clamp(1, KEEP);
        let forget = self.known.len().saturating_sub(keep);
        let (Some(place), Some(generation)) = (self.places.get(forget), self.known.get(forget)) else {
            return Ok(());
        };
        // The oldest that is kept has to be whole.
        let (first, from) = match (place.whole, self.document_at(forget)?) {
            (false, Some(document)) => {
                let content = Content::whole(&document)?.into_octets();
                (Some(line(generation, &content)?), place.offset + place.length)
            }
            _ => (None, place.offset),
        };
        let length = first.as_ref().map_or(place.length, |first| journal::length(first));
        self.journal.shorten(first, from).await?;
        self.known.drain(..forget);
        self.places.drain(..forget);
        let mut offset = 0;
        for (index, place) in self.places.iter_mut().enumerate() {
            if index == 0 {
                *place = Place { offset, length, whole: true, ..*place };
            }
            place.offset = offset;
            offset += place.length + place.behind;
        }
        (self.end, self.kept) = (offset, offset);
        Ok(())
    }
}

/// How many octets of the disk generations may take when old ones are forgotten.
fn share(state_dir: &Path) -> u64 {
    let disk = statvfs(state_dir).map(|disk| disk.blocks().saturating_mul(disk.fragment_size()));
    disk.map_or(u64::MAX / 2, |disk| disk / SHARE)
}

/// What is remembered of a generation, and its content.
fn split(record: &[u8]) -> (&[u8], &[u8]) {
    let end = record.iter().position(|octet| *octet == SEPARATOR).unwrap_or(record.len());
    (record.get(..end).unwrap_or_default(), record.get(end + 1..).unwrap_or_default())
}

/// The number of a record whose head is not understood otherwise.
fn number_of(head: &[u8]) -> Option<Number> {
    serde_json::from_slice::<Value>(head).ok()?.get("generation")?.as_u64()
}

fn line(generation: &Generation, content: &[u8]) -> Result<Vec<u8>, StoreError> {
    let written = serde_json::to_vec(generation).map_err(|error| StoreError::Io {
        action: "write a record of",
        path: FILE.to_owned(),
        reason: error.to_string(),
    });
    let mut line = written?;
    line.push(SEPARATOR);
    line.extend_from_slice(content);
    Ok(line)
}

fn unreadable(path: &Path, reason: String) -> StoreError {
    StoreError::Io { action: "understand a record of", path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests;
